//! Language models computed by our own kernels, as an engine of the runtime.
//!
//! A [`LoadedModel`] is a GGUF file's [`Blueprint`], which says what is computed, with its weights on a [`Device`]. An [`EngineDecoder`] gives it a memory
//! of sequences and implements `tabagent_runtime`'s `Decoder`, so that streams, batches, prefix reuse and constraints work over it. An architecture is a
//! function from metadata to a blueprint, one file each in `architectures`; blueprints know no device, and devices no architecture.

mod architectures;
mod blueprint;
mod cpu;
mod decoder;
mod device;
mod error;
mod experts;
mod forward;
mod keys;
mod loaded_model;
mod lora;
mod memory;
mod options;
mod rope_plan;
mod saved_cells;
mod shift;
mod weights_plan;

pub use architectures::architectures;
pub use blueprint::{Activation, Arrangement, Attention, Blueprint, Feed, HeadNorm, Layer, Norm, Output};
pub use cpu::{Cpu, Rows};
pub use decoder::EngineDecoder;
pub use device::{Device, DeviceError, Heads, PlacedNorm, Sight};
pub use error::LoadError;
pub use loaded_model::LoadedModel;
pub use lora::{LoraAdapter, LoraMix};
pub use options::DecoderOptions;
pub use rope_plan::RopePlan;
pub use saved_cells::SavedCells;
