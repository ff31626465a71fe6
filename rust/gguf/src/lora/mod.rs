//! Low-rank adapters (`LoRA`): reading them, merging them into models, and writing them as GGUF.
//!
//! An adapter holds two thin matrices for some of a model's tensors: `A` of `r` rows as long as the tensor's, and `B` with `r` numbers for
//! each of the tensor's rows. It stands for `W + scale · alpha / r · B · A` in place of `W`: <https://arxiv.org/abs/2106.09685>.

mod adapter;
mod base;
mod error;
mod export;
mod factor;
mod gguf_adapter;
mod loadable;
mod low_rank;
mod merge;
mod opening;
mod out_type;
mod peft;
mod peft_config;
mod peft_fields;
mod tensor;

pub use error::LoraError;
pub use export::{ConvertedAdapter, convert_adapter, is_adapter_folder};
pub use loadable::LoadableAdapter;
pub use merge::{LoraOptions, Merged, merge_lora};
pub use out_type::{ADAPTER_TYPES, MergeType};
