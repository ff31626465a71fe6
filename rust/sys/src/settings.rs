//! The settings of models and contexts, and how they are written into the parameter structs of each build of llama.cpp.
//!
//! The fields of these structs were renamed, merged and split over time. The layers above state each setting by its meaning; this module picks
//! the fields for it from the layout of the build.

use crate::block::ParamBlock;
use crate::layout::{AbiLayout, Field, FieldKind, StructLayout};
use crate::types::{
    ggml_backend_device, ggml_backend_sched_eval_callback, ggml_type, llama_flash_attn_type, llama_load_mode,
    llama_model_kv_override, llama_model_tensor_buft_override, llama_pooling_type, llama_progress_callback,
    llama_split_mode,
};
use std::ffi::c_void;

/// How to load a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelSettings {
    /// How many layers go to GPUs; `None` for all of them.
    pub gpu_layers: Option<u32>,
    /// Where the parts of the model go.
    pub placement: PlacementSettings,
    /// Map the file instead of reading it.
    pub memory_map: bool,
    /// Keep the weights locked in RAM.
    pub memory_lock: bool,
    /// Load no weights.
    pub vocab_only: bool,
    /// Look for NaN and infinity in the weights.
    pub check_tensors: bool,
    /// Keep weights as the file has them, where the build can pack them anew for the processor.
    pub plain_weights: bool,
    /// Read metadata alone and only count the memory that weights and contexts would take.
    pub dry_run: bool,
    /// Metadata that replaces the file's, ended by an empty key; null for none. Must live until the model is loaded.
    pub metadata_overrides: *const llama_model_kv_override,
    /// The progress callback and its user data, which must live until the model is loaded.
    pub progress: Option<(llama_progress_callback, *mut c_void)>,
}

/// Where the parts of a model go. What a pointer leads to must live until the model is loaded; null is the library's default.
#[derive(Clone, Copy, Debug)]
pub struct PlacementSettings {
    /// The devices to use beside the CPU, ended by null; null for all GPUs.
    pub devices: *const *mut ggml_backend_device,
    /// How several devices share the work.
    pub split_mode: Option<llama_split_mode>,
    /// The device that has all, or the small parts, in the modes in which one does.
    pub main_gpu: Option<u32>,
    /// How much of the model each device takes: as many numbers as `llama_max_devices` says.
    pub tensor_split: *const f32,
    /// Buffer types for the tensors that match patterns, ended by one without a pattern.
    pub overrides: *const llama_model_tensor_buft_override,
}

impl Default for PlacementSettings {
    fn default() -> Self {
        Self {
            devices: std::ptr::null(),
            split_mode: None,
            main_gpu: None,
            tensor_split: std::ptr::null(),
            overrides: std::ptr::null(),
        }
    }
}

/// How to make a context.
#[derive(Clone, Copy, Debug)]
pub struct ContextSettings {
    /// Number of tokens that the cache holds.
    pub context_size: u32,
    /// Maximum number of tokens per decode.
    pub batch_size: u32,
    /// Maximum number of tokens computed at once.
    pub micro_batch_size: u32,
    /// Number of sequences.
    pub sequences: u32,
    /// Maximum number of tokens per decode whose logits are wanted. Builds without this setting keep room for the whole batch.
    pub outputs_per_decode: u32,
    /// Threads that compute single tokens.
    pub threads: u32,
    /// Threads that compute prompts.
    pub prompt_threads: u32,
    /// Embeddings instead of logits.
    pub embeddings: bool,
    /// How the embeddings of a sequence's tokens become one; `UNSPECIFIED` for the way that the model's file names.
    pub pooling: llama_pooling_type,
    /// Fused attention.
    pub flash_attention: llama_flash_attn_type,
    /// Number format of the cache's keys.
    pub key_type: ggml_type,
    /// Number format of the cache's values.
    pub value_type: ggml_type,
    /// Keep the whole context of layers with a sliding window. Builds without this setting always do.
    pub full_sliding_window: bool,
    /// All sequences share one cache.
    pub unified_cache: bool,
    /// Keep the cache of layers on a GPU there.
    pub cache_on_devices: bool,
    /// Let GPUs compute with weights that lie in the host's memory.
    pub offload_operations: bool,
    /// What is told of the tensors of each graph, and its user data, which must live as long as the context.
    pub watcher: Option<(ggml_backend_sched_eval_callback, *mut c_void)>,
}

/// A setting that a build of llama.cpp does not support.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{build}` has no setting for `{setting}`; use another build of llama.cpp or leave `{setting}` at its default"
)]
pub struct UnsupportedSetting {
    /// The setting, as [`ModelSettings`] and [`ContextSettings`] name it.
    pub setting: &'static str,
    /// The build.
    pub build: &'static str,
}

/// Something that a build of llama.cpp cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{build}` cannot {feature}, which llama.cpp can since {since}; use a newer build of llama.cpp")]
pub struct UnsupportedFeature {
    /// What it cannot do: `save a state`.
    pub feature: &'static str,
    /// The build.
    pub build: &'static str,
    /// The first build that can.
    pub since: &'static str,
}

impl AbiLayout {
    /// Whether the parameters of contexts have a field of that name.
    pub fn has_context_setting(&self, name: &str) -> bool {
        self.context_params.fields.iter().any(|field| field.name == name)
    }

    /// Writes the settings of a model into a block that holds the library's own defaults.
    ///
    /// # Errors
    /// [`UnsupportedSetting`] with the first one that this build does not support.
    pub fn write_model(
        &self,
        block: &mut ParamBlock,
        settings: &ModelSettings,
    ) -> Result<(), UnsupportedSetting> {
        let mut params = Params { layout: &self.model_params, block, build: self.name };
        let all_layers = params.all_layers();
        let layers = settings.gpu_layers.map_or(all_layers, |count| i32::try_from(count).unwrap_or(i32::MAX));
        params.must("gpu_layers", |p| p.int("n_gpu_layers", layers))?;
        params.placement(&settings.placement)?;
        params.load_mode(settings.memory_map, settings.memory_lock)?;
        params.must("vocab_only", |p| p.bool("vocab_only", settings.vocab_only))?;
        params.must("check_tensors", |p| p.bool("check_tensors", settings.check_tensors))?;
        if settings.plain_weights {
            // Builds without the setting pack nothing.
            params.bool("use_extra_bufts", false);
        }
        if !params.bool("no_alloc", settings.dry_run) && settings.dry_run {
            return Err(params.unsupported("dry_run"));
        }
        if !settings.metadata_overrides.is_null() {
            let address = settings.metadata_overrides.addr();
            params.must("metadata_overrides", |p| p.word("kv_overrides", address))?;
        }
        if let Some((callback, data)) = settings.progress {
            let callback = callback as *const ();
            params.must("progress", |p| {
                p.word("progress_callback", callback.addr())
                    && p.word("progress_callback_user_data", data.addr())
            })?;
        }
        Ok(())
    }

    /// Writes the settings of a context into a block that holds the library's own defaults.
    ///
    /// # Errors
    /// [`UnsupportedSetting`] with the first one that this build does not support.
    pub fn write_context(
        &self,
        block: &mut ParamBlock,
        settings: &ContextSettings,
    ) -> Result<(), UnsupportedSetting> {
        let mut params = Params { layout: &self.context_params, block, build: self.name };
        for (setting, field, value) in [
            ("context_size", "n_ctx", settings.context_size),
            ("batch_size", "n_batch", settings.batch_size),
            ("micro_batch_size", "n_ubatch", settings.micro_batch_size),
            ("sequences", "n_seq_max", settings.sequences),
            ("threads", "n_threads", settings.threads),
            ("prompt_threads", "n_threads_batch", settings.prompt_threads),
        ] {
            params.must(setting, |p| p.int(field, value.cast_signed()))?;
        }
        params.int("n_outputs_max", settings.outputs_per_decode.cast_signed());
        params.must("embeddings", |p| p.bool("embeddings", settings.embeddings))?;
        if settings.pooling != llama_pooling_type::UNSPECIFIED {
            params.must("pooling", |p| p.int("pooling_type", settings.pooling.0))?;
        }
        params.must("key_type", |p| p.int("type_k", settings.key_type.0))?;
        params.must("value_type", |p| p.int("type_v", settings.value_type.0))?;
        params.flash_attention(settings.flash_attention)?;
        params.bool("swa_full", settings.full_sliding_window);
        if !params.bool("offload_kqv", settings.cache_on_devices) && !settings.cache_on_devices {
            return Err(params.unsupported("cache_on_devices"));
        }
        if !params.bool("op_offload", settings.offload_operations) && !settings.offload_operations {
            return Err(params.unsupported("offload_operations"));
        }
        if let Some((callback, data)) = settings.watcher {
            let callback = callback as *const ();
            params.must("watcher", |p| {
                p.word("cb_eval", callback.addr()) && p.word("cb_eval_user_data", data.addr())
            })?;
        }
        // In builds without this setting, sequences always share the cache.
        let told = params.bool("kv_unified", settings.unified_cache);
        if told || settings.unified_cache { Ok(()) } else { Err(params.unsupported("unified_cache")) }
    }
}

/// A parameter struct of a build while it is being written. The methods named after types return whether the build has such a field.
struct Params<'a> {
    layout: &'a StructLayout,
    block: &'a mut ParamBlock,
    build: &'static str,
}

impl Params<'_> {
    fn unsupported(&self, setting: &'static str) -> UnsupportedSetting {
        UnsupportedSetting { setting, build: self.build }
    }

    fn must(
        &mut self,
        setting: &'static str,
        write: impl FnOnce(&mut Self) -> bool,
    ) -> Result<(), UnsupportedSetting> {
        if write(self) { Ok(()) } else { Err(self.unsupported(setting)) }
    }

    fn put(&mut self, field: &str, kind: FieldKind, bytes: &[u8]) -> bool {
        let field: Option<&Field> = self.layout.field(field, kind);
        field.is_some_and(|field| self.block.put(field.offset, bytes))
    }

    fn int(&mut self, field: &str, value: i32) -> bool {
        self.put(field, FieldKind::Int, &value.to_ne_bytes())
    }

    fn bool(&mut self, field: &str, value: bool) -> bool {
        self.put(field, FieldKind::Bool, &[u8::from(value)])
    }

    fn word(&mut self, field: &str, value: usize) -> bool {
        self.put(field, FieldKind::Word, &(value as u64).to_ne_bytes())
    }

    /// The number that stands for all layers: the default where that is negative, else more than any model has.
    fn all_layers(&self) -> i32 {
        let default = self.layout.field("n_gpu_layers", FieldKind::Int).map_or(0, |f| f.default as u32);
        if default.cast_signed() < 0 { default.cast_signed() } else { i32::MAX }
    }

    fn placement(&mut self, wanted: &PlacementSettings) -> Result<(), UnsupportedSetting> {
        let words = [
            ("devices", "devices", wanted.devices.addr()),
            ("tensor_split", "tensor_split", wanted.tensor_split.addr()),
            ("override_tensors", "tensor_buft_overrides", wanted.overrides.addr()),
        ];
        for (setting, field, address) in words.into_iter().filter(|(_, _, address)| *address != 0) {
            self.must(setting, |p| p.word(field, address))?;
        }
        if let Some(mode) = wanted.split_mode {
            self.must("split_mode", |p| p.int("split_mode", mode.0))?;
        }
        if let Some(device) = wanted.main_gpu {
            self.must("main_gpu", |p| p.int("main_gpu", device.cast_signed()))?;
        }
        Ok(())
    }

    /// `load_mode` took the place of `use_mmap` and `use_mlock` in August 2026.
    fn load_mode(&mut self, map: bool, lock: bool) -> Result<(), UnsupportedSetting> {
        let mode = match (map, lock) {
            (true, false) => llama_load_mode::MMAP,
            (true, true) => llama_load_mode::MMAP_MLOCK,
            (false, false) => llama_load_mode::NONE,
            (false, true) => llama_load_mode::MLOCK,
        };
        if self.int("load_mode", mode.0) {
            return Ok(());
        }
        self.must("memory_map", |p| p.bool("use_mmap", map))?;
        self.must("memory_lock", |p| p.bool("use_mlock", lock))
    }

    /// `flash_attn_type` took the place of `flash_attn` at build 6325. The old switch has no value for "where the device can": for that the
    /// build's own default stays.
    fn flash_attention(&mut self, wanted: llama_flash_attn_type) -> Result<(), UnsupportedSetting> {
        if self.int("flash_attn_type", wanted.0) || wanted == llama_flash_attn_type::AUTO {
            return Ok(());
        }
        self.must("flash_attention", |p| p.bool("flash_attn", wanted == llama_flash_attn_type::ENABLED))
    }
}

#[cfg(test)]
mod tests;
