//! The function table: every C function this project calls, and no other.
//!
//! Pointers are `extern "C-unwind"`: a C++ exception that escapes would otherwise be undefined behaviour at once. Functions
//! known to throw or abort on ordinary input (grammars, the sampler chain, `llama_get_logits`) are left out on purpose.
#![allow(clippy::type_complexity, clippy::wildcard_imports)]

use crate::block::ParamBlock;
use crate::family::Family;
use crate::handles::{self, Handles};
use crate::types::*;
use std::ffi::{c_char, c_void};

/// Required functions that a library does not export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not export {}", .0.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", "))]
pub struct MissingSymbols(pub Vec<&'static str>);

macro_rules! function_table {
    (
        required { $( $name:ident: fn($($arg:ty),* $(,)?) $(-> $ret:ty)?; )* }
        optional { $( $oname:ident: fn($($oarg:ty),* $(,)?) $(-> $oret:ty)?; )* }
    ) => {
        /// The functions of one loaded llama.cpp. Fields are named as in `llama.h` and `ggml-backend.h`.
        #[derive(Clone)]
        pub struct Api {
            pub(crate) handles: Handles,
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub $name: unsafe extern "C-unwind" fn($($arg),*) $(-> $ret)?,
            )*
            $(
                #[doc = concat!("`", stringify!($oname), "`, absent from some builds")]
                pub $oname: Option<unsafe extern "C-unwind" fn($($oarg),*) $(-> $oret)?>,
            )*
        }

        impl Api {
            /// Names of the functions without which nothing works.
            pub const REQUIRED: &'static [&'static str] = &[$(stringify!($name)),*];
            /// Names of the functions that are used where they exist.
            pub const OPTIONAL: &'static [&'static str] = &[$(stringify!($oname)),*];

            /// Fills the table from `resolve`, which gives the address of a function of a library of `family`, or null. It is asked for functions by the names of
            /// the newest builds, but for those whose signature depends on the family.
            ///
            /// # Safety
            /// `resolve` must give the same answer to the same name. Every non-null address must be that of a C function with
            /// the signature that this table gives its name, and must stay callable as long as the table or a copy of it exists.
            ///
            /// # Errors
            /// [`MissingSymbols`] with all required names that did not resolve.
            pub unsafe fn resolve_with(
                family: Family,
                mut resolve: impl FnMut(&'static str) -> *mut c_void,
            ) -> Result<Self, MissingSymbols> {
                let mut missing = Vec::new();
                for name in handles::names(family) {
                    if resolve(name).is_null() {
                        missing.push(name);
                    }
                }
                $(
                    if resolve(stringify!($name)).is_null() {
                        missing.push(stringify!($name));
                    }
                )*
                if !missing.is_empty() {
                    return Err(MissingSymbols(missing));
                }
                Ok(Self {
                    // SAFETY: none of their functions is null (checked above), and the caller vouches for family and signatures.
                    handles: unsafe { Handles::resolve_with(family, &mut resolve) },
                    $(
                        // SAFETY: not null (checked above), and the caller vouches for the signature.
                        $name: unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($($arg),*) $(-> $ret)?>(
                                resolve(stringify!($name)),
                            )
                        },
                    )*
                    $(
                        // SAFETY: `Option` of a function pointer has null as `None`; the caller vouches for the signature.
                        $oname: unsafe {
                            std::mem::transmute::<*mut c_void, Option<unsafe extern "C-unwind" fn($($oarg),*) $(-> $oret)?>>(
                                resolve(stringify!($oname)),
                            )
                        },
                    )*
                })
            }
        }
    };
}

function_table! {
    required {
        ggml_backend_tensor_get: fn(*const ggml_tensor, *mut c_void, usize, usize);
        ggml_get_name: fn(*const ggml_tensor) -> *const c_char;
        ggml_nbytes: fn(*const ggml_tensor) -> usize;
        ggml_tensor_overhead: fn() -> usize;
        llama_adapter_lora_free: fn(*mut llama_adapter_lora);
        llama_adapter_lora_init: fn(*mut llama_model, *const c_char) -> *mut llama_adapter_lora;
        llama_attach_threadpool: fn(*mut llama_context, *mut ggml_threadpool, *mut ggml_threadpool);
        llama_backend_init: fn();
        llama_context_default_params: fn() -> ParamBlock;
        llama_decode: fn(*mut llama_context, llama_batch) -> i32;
        llama_detach_threadpool: fn(*mut llama_context);
        llama_detokenize: fn(*const llama_vocab, *const llama_token, i32, *mut c_char, i32, bool, bool) -> i32;
        llama_encode: fn(*mut llama_context, llama_batch) -> i32;
        llama_free: fn(*mut llama_context);
        llama_get_embeddings_ith: fn(*mut llama_context, i32) -> *mut f32;
        llama_get_embeddings_seq: fn(*mut llama_context, llama_seq_id) -> *mut f32;
        llama_get_logits_ith: fn(*mut llama_context, i32) -> *mut f32;
        llama_init_from_model: fn(*mut llama_model, ParamBlock) -> *mut llama_context;
        llama_log_set: fn(ggml_log_callback, *mut c_void);
        llama_memory_seq_cp: fn(*mut llama_memory, llama_seq_id, llama_seq_id, llama_pos, llama_pos);
        llama_memory_seq_add: fn(*mut llama_memory, llama_seq_id, llama_pos, llama_pos, llama_pos);
        llama_memory_seq_pos_max: fn(*mut llama_memory, llama_seq_id) -> llama_pos;
        llama_memory_seq_rm: fn(*mut llama_memory, llama_seq_id, llama_pos, llama_pos) -> bool;
        llama_model_default_params: fn() -> ParamBlock;
        llama_model_desc: fn(*const llama_model, *mut c_char, usize) -> i32;
        llama_model_free: fn(*mut llama_model);
        llama_model_has_decoder: fn(*const llama_model) -> bool;
        llama_model_has_encoder: fn(*const llama_model) -> bool;
        llama_model_is_recurrent: fn(*const llama_model) -> bool;
        llama_model_load_from_file: fn(*const c_char, ParamBlock) -> *mut llama_model;
        llama_model_meta_count: fn(*const llama_model) -> i32;
        llama_model_meta_key_by_index: fn(*const llama_model, i32, *mut c_char, usize) -> i32;
        llama_model_meta_val_str_by_index: fn(*const llama_model, i32, *mut c_char, usize) -> i32;
        llama_model_n_ctx_train: fn(*const llama_model) -> i32;
        llama_model_n_embd: fn(*const llama_model) -> i32;
        llama_model_n_head: fn(*const llama_model) -> i32;
        llama_model_n_layer: fn(*const llama_model) -> i32;
        llama_model_n_params: fn(*const llama_model) -> u64;
        llama_model_size: fn(*const llama_model) -> u64;
        llama_n_batch: fn(*const llama_context) -> u32;
        llama_n_ctx: fn(*const llama_context) -> u32;
        llama_n_seq_max: fn(*const llama_context) -> u32;
        llama_n_ubatch: fn(*const llama_context) -> u32;
        llama_set_abort_callback: fn(*mut llama_context, Option<ggml_abort_callback>, *mut c_void);
        llama_set_adapter_cvec: fn(*mut llama_context, *const f32, usize, i32, i32, i32) -> i32;
        llama_set_n_threads: fn(*mut llama_context, i32, i32);
        llama_state_get_data: fn(*mut llama_context, *mut u8, usize) -> usize;
        llama_state_get_size: fn(*mut llama_context) -> usize;
        llama_state_seq_get_data: fn(*mut llama_context, *mut u8, usize, llama_seq_id) -> usize;
        llama_state_seq_get_size: fn(*mut llama_context, llama_seq_id) -> usize;
        llama_state_seq_set_data: fn(*mut llama_context, *const u8, usize, llama_seq_id) -> usize;
        llama_state_set_data: fn(*mut llama_context, *const u8, usize) -> usize;
        llama_supports_gpu_offload: fn() -> bool;
        llama_supports_mlock: fn() -> bool;
        llama_supports_mmap: fn() -> bool;
        llama_synchronize: fn(*mut llama_context);
        llama_token_to_piece: fn(*const llama_vocab, llama_token, *mut c_char, i32, i32, bool) -> i32;
        llama_tokenize: fn(*const llama_vocab, *const c_char, i32, *mut llama_token, i32, bool, bool) -> i32;
        llama_vocab_bos: fn(*const llama_vocab) -> llama_token;
        llama_vocab_eos: fn(*const llama_vocab) -> llama_token;
        llama_vocab_eot: fn(*const llama_vocab) -> llama_token;
        llama_vocab_get_add_bos: fn(*const llama_vocab) -> bool;
        llama_vocab_get_add_eos: fn(*const llama_vocab) -> bool;
        llama_vocab_get_attr: fn(*const llama_vocab, llama_token) -> i32;
        llama_vocab_get_score: fn(*const llama_vocab, llama_token) -> f32;
        llama_vocab_get_text: fn(*const llama_vocab, llama_token) -> *const c_char;
        llama_vocab_is_control: fn(*const llama_vocab, llama_token) -> bool;
        llama_vocab_is_eog: fn(*const llama_vocab, llama_token) -> bool;
        llama_vocab_n_tokens: fn(*const llama_vocab) -> i32;
        llama_vocab_nl: fn(*const llama_vocab) -> llama_token;
        llama_vocab_pad: fn(*const llama_vocab) -> llama_token;
        llama_vocab_sep: fn(*const llama_vocab) -> llama_token;
        llama_vocab_type: fn(*const llama_vocab) -> llama_vocab_type;
    }
    optional {
        ggml_backend_buft_name: fn(*mut ggml_backend_buffer_type) -> *const c_char;
        ggml_backend_dev_backend_reg: fn(*mut ggml_backend_device) -> *mut ggml_backend_reg;
        ggml_backend_dev_buffer_type: fn(*mut ggml_backend_device) -> *mut ggml_backend_buffer_type;
        ggml_backend_dev_count: fn() -> usize;
        ggml_backend_dev_description: fn(*mut ggml_backend_device) -> *const c_char;
        ggml_backend_dev_get: fn(usize) -> *mut ggml_backend_device;
        ggml_backend_dev_memory: fn(*mut ggml_backend_device, *mut usize, *mut usize);
        ggml_backend_dev_name: fn(*mut ggml_backend_device) -> *const c_char;
        ggml_backend_dev_type: fn(*mut ggml_backend_device) -> ggml_backend_dev_type;
        ggml_backend_load: fn(*const c_char) -> *mut ggml_backend_reg;
        ggml_backend_load_all_from_path: fn(*const c_char);
        ggml_backend_reg_by_name: fn(*const c_char) -> *mut ggml_backend_reg;
        ggml_backend_reg_get_proc_address: fn(*mut ggml_backend_reg, *const c_char) -> *mut c_void;
        ggml_backend_reg_name: fn(*mut ggml_backend_reg) -> *const c_char;
        ggml_backend_register: fn(*mut ggml_backend_reg);
        ggml_commit: fn() -> *const c_char;
        ggml_log_set: fn(ggml_log_callback, *mut c_void);
        ggml_version: fn() -> *const c_char;
        llama_get_causal_attn: fn(*const llama_context) -> bool;
        llama_max_devices: fn() -> usize;
        llama_memory_can_shift: fn(*mut llama_memory) -> bool;
        llama_memory_seq_pos_min: fn(*mut llama_memory, llama_seq_id) -> llama_pos;
        llama_model_is_hybrid: fn(*const llama_model) -> bool;
        llama_model_load_from_splits: fn(*mut *const c_char, usize, ParamBlock) -> *mut llama_model;
        llama_model_n_cls_out: fn(*const llama_model) -> u32;
        llama_model_n_embd_out: fn(*const llama_model) -> i32;
        llama_model_n_head_kv: fn(*const llama_model) -> i32;
        llama_model_n_swa: fn(*const llama_model) -> i32;
        llama_print_system_info: fn() -> *const c_char;
        llama_version: fn() -> *const c_char;
        llama_vocab_fim_mid: fn(*const llama_vocab) -> llama_token;
        llama_vocab_fim_pad: fn(*const llama_vocab) -> llama_token;
        llama_vocab_fim_pre: fn(*const llama_vocab) -> llama_token;
        llama_vocab_fim_rep: fn(*const llama_vocab) -> llama_token;
        llama_vocab_fim_sep: fn(*const llama_vocab) -> llama_token;
        llama_vocab_fim_suf: fn(*const llama_vocab) -> llama_token;
        llama_vocab_get_add_sep: fn(*const llama_vocab) -> bool;
        llama_vocab_mask: fn(*const llama_vocab) -> llama_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_symbols_are_reported_at_once() {
        // SAFETY: `resolve` returns only null, so there is no address whose signature must be right.
        let error = unsafe { Api::resolve_with(Family::NEWEST, |_| std::ptr::null_mut()) }.err().unwrap();
        let handles = handles::names(Family::NEWEST);
        assert_eq!(error.0, handles.chain(Api::REQUIRED.iter().copied()).collect::<Vec<_>>());
        assert!(error.to_string().contains("`llama_decode`") && error.to_string().contains("`ggml_nbytes`"));
    }

    /// Grammars throw, sampler chains abort on empty candidates, `llama_get_logits` returns garbage before a decode, and what an adapter's file says
    /// is known before llama.cpp sees it.
    #[test]
    fn functions_known_to_abort_or_lie_are_not_in_the_table() {
        for banned in [
            "llama_sampler",
            "llama_get_logits",
            "llama_grammar",
            "llama_memory_seq_div",
            "llama_adapter_meta",
            "llama_adapter_get_alora",
            "llama_chat_apply",
        ] {
            for name in Api::REQUIRED.iter().chain(Api::OPTIONAL) {
                let hit = *name == banned || (banned != "llama_get_logits" && name.starts_with(banned));
                assert!(!hit, "{name}");
            }
        }
    }
}
