//! What a trial does, and by what its verdict is known.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tabagent_llama::{Device, Library, MetadataOverride, ModelConfig};
use tabagent_variants::Hardware;

use crate::error::Error;
use crate::library::OpenRequest;
use crate::load::LoadOptions;
use crate::probe::{file_stamp, library_files};

/// Counts up when a trial does something else than before, so that what was tried then is tried again.
const VERSION: &str = "tabagent trial 1";
/// Tokens of the context of a trial, at most: enough for its few tokens, and quickly made.
const CONTEXT: u32 = 512;
/// How long a trial may take, besides the time for reading the file.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much longer it may take with a GPU, whose driver compiles the kernels when they are first used. Software that pretends to be one takes minutes.
const KERNELS: Duration = Duration::from_mins(5);
/// Bytes of the file that are read in a second from a slow disk.
const READ_PER_SECOND: u64 = 20 << 20;

/// A trial before it is held.
pub(super) struct Plan {
    /// The model's file.
    pub(super) path: PathBuf,
    /// The directory of the library.
    pub(super) library: PathBuf,
    /// What the child is told on its standard input: the library's module, and the options of the load.
    pub(super) request: String,
    /// Names the verdict.
    pub(super) key: String,
    /// How long it may take.
    pub(super) limit: Duration,
}

impl Plan {
    pub(super) fn new(
        library: &Library,
        config: &mut ModelConfig,
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        let outline = config.outline()?;
        let info = library.info();
        let told = told(options, outline.context_train_size);
        let mut hash = Sha256::new();
        hash.update(VERSION);
        hash.update(config.header_digest()?);
        hash.update(told.to_string());
        // How much memory of a device is free changes all the time.
        let devices: Vec<_> = library
            .devices()
            .into_iter()
            .map(|device| (device.name, device.description, device.kind))
            .collect();
        hash.update(format!("{info:?} {devices:?}"));
        for file in library_files(&info.directory).iter().chain(&info.added) {
            hash.update(file_stamp(file));
        }
        let hardware = Hardware::probe();
        let cpu = &hardware.cpu;
        hash.update(format!("{} {} {:?}", cpu.vendor, cpu.model, cpu.features));
        let gpus =
            options.gpu_layers != Some(0) && config.placement().devices(library)?.iter().any(Device::is_gpu);
        let digest = hash.finalize();
        let mut request = OpenRequest::written(info.cpu_module.as_deref(), library.added());
        request["options"] = told;
        request["unverified"] = info.unverified.into();
        Ok(Self {
            path: config.path().to_owned(),
            library: info.directory.clone(),
            request: request.to_string(),
            key: hex(&digest[..16]),
            limit: PATIENCE
                + if gpus { KERNELS } else { Duration::ZERO }
                + Duration::from_secs(outline.file_bytes / READ_PER_SECOND),
        })
    }
}

/// The options of a load that decide what llama.cpp computes, by the names that [`LoadOptions::read`] knows.
fn told(options: &LoadOptions, context_train_size: u32) -> Json {
    let trained = if context_train_size == 0 { CONTEXT } else { context_train_size };
    let context = options.context_size.unwrap_or(trained).min(CONTEXT);
    let small = |size: Option<u32>| size.map(|size| size.min(context));
    let default = LoadOptions::default();
    let told = LoadOptions {
        context_size: Some(context),
        batch_size: small(options.batch_size),
        micro_batch_size: small(options.micro_batch_size),
        // Packing takes as long as all the rest, and what it does depends on the types and shapes of tensors, which fit or are left as they are.
        plain_weights: true,
        // What waits for its turn, what is kept for others and how weights come into memory is the same to llama.cpp's graphs.
        max_queue: None,
        sequence_size: None,
        deterministic: default.deterministic,
        cache_bytes: default.cache_bytes,
        threads: None,
        use_mmap: default.use_mmap,
        mlock: default.mlock,
        check_tensors: default.check_tensors,
        fit: None,
        trial: None,
        isolation: None,
        // Other machines would compute the same.
        placement: if options.placement.servers().is_empty() {
            options.placement.clone()
        } else {
            options.placement.without_servers()
        },
        // What is opened stands beside the options.
        added: default.added,
        ..options.clone()
    };
    let mut told_json = told.told();
    told_json["metadata_overrides"] = told
        .metadata_overrides
        .iter()
        .map(|(key, value)| {
            let value = match value {
                MetadataOverride::Int(value) => json!(value),
                MetadataOverride::Float(value) => json!(value),
                MetadataOverride::Bool(value) => json!(value),
                MetadataOverride::Str(value) => json!(value),
            };
            (key.clone(), value)
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    told_json
}

/// Bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn read(json: Json) -> LoadOptions {
        LoadOptions::read(Value::from(json)).unwrap()
    }

    #[test]
    fn the_child_reads_the_options_that_it_is_told() {
        let asked = read(json!({
            "gpu_layers": 3, "context_size": 200, "max_sequences": 5, "batch_size": 100, "micro_batch_size": 50, "kv_type": ["q8_0", "f16"],
            "flash_attention": "on", "full_sliding_window": true, "kv_unified": false, "offload_kv": false, "offload_ops": false,
            "vocab_only": true, "plain_weights": true, "devices": ["cuda:0", "cpu"], "split_mode": "row", "main_gpu": 0,
            "tensor_split": [0.5, 1.5], "override_tensors": {"ffn": "CPU"}, "cpu_experts": 3, "metadata_overrides": {"a": 7, "b": 7.0, "c": true, "d": "x"}
        }));
        assert_eq!(read(told(&asked, 4096)), asked);
    }

    #[test]
    fn a_trial_takes_no_larger_context_than_its_tokens_need() {
        let sizes = |json, trained| {
            let told = told(&read(json), trained);
            (told["context_size"].clone(), told["batch_size"].clone())
        };
        assert_eq!(sizes(json!({}), 4096), (json!(512), Json::Null));
        assert_eq!(sizes(json!({}), 64), (json!(64), Json::Null));
        assert_eq!(sizes(json!({}), 0), (json!(512), Json::Null));
        assert_eq!(sizes(json!({"context_size": 9000, "batch_size": 2048}), 64), (json!(512), json!(512)));
    }
}
