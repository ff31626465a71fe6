//! Chooses a type for each tensor of a model so that the file does not exceed a given size.
//!
//! Three steps, of which the first two are pure functions. [`candidate_types`] lists what a tensor may become;
//! [`measure_types`] quantizes some rows of every tensor to each of its candidates and says how many bytes it would take and how
//! much harm it would do; [`choose_types`] finds the combination that does the least harm within a [`SizeTarget`].
//!
//! ```
//! use tabagent_gguf::{
//!     CandidateTensor, GgmlType, GgufFile, GgufModel, GgufWriter, SizeTarget, candidate_types, choose_types,
//!     measure_types, no_progress,
//! };
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let weights: Vec<u8> = (0..64 * 256).flat_map(|k| ((k * k % 251) as f32 - 125.0).to_le_bytes()).collect();
//! let writer = GgufWriter::new().add_tensor("output.weight", GgmlType::F32, &[256, 64], weights);
//! let model = GgufModel::from_parts(vec![GgufFile::from_bytes(writer.to_bytes()?)?])?;
//!
//! let tensor = model.tensor("output.weight").ok_or("no such tensor")?;
//! let types = candidate_types(tensor.info.ggml_type, tensor.info.shape.row_len(), false);
//! let candidates = [CandidateTensor { tensor, types, importances: None }];
//! let measured = measure_types(&candidates, &no_progress)?;
//! let target: SizeTarget = "9 kB".parse()?;
//! let mix = choose_types(&measured, target, 96, 32)?;
//! assert_eq!(mix.types, [GgmlType::IQ4_XS]);
//! assert!(mix.file_bytes <= 9000);
//! # Ok(())
//! # }
//! ```

mod candidates;
mod choose;
mod frontier;
mod measure;
mod sensitivity;
mod target;

pub use candidates::{CandidateTensor, candidate_types};
pub use choose::{Mix, choose_types};
pub use measure::{MeasuredTensor, TypeCost, measure_types};
pub use target::{SizeTarget, TargetSizeError, parse_size};
