//! Quantizes whole models as llama.cpp's quantizer does.
//!
//! [`plan`] decides what every tensor becomes and why; [`quantize_file`] and [`quantize_model`] carry that out. [`fit_options`] measures the tensors
//! and chooses a type for each, so that the file has a given size.

mod error;
mod exempt;
mod facts;
mod fallback;
mod fit;
mod mixture;
mod new_value;
mod options;
mod order;
mod plan;
mod records;
mod role;
mod rows;
mod run;
mod target_size;
mod tensor_rule;

pub use error::QuantizeError;
pub use exempt::Exemption;
pub use fit::fit_options;
pub use options::{QuantizeOptions, Target};
pub use plan::{Plan, PlannedTensor, Reason, plan};
pub use role::Role;
pub use run::{Quantized, quantize_file, quantize_file_to_size, quantize_model};
pub use target_size::{
    CandidateTensor, MeasuredTensor, Mix, SizeTarget, TargetSizeError, TypeCost, candidate_types,
    choose_types, measure_types, parse_size,
};
pub use tensor_rule::{TensorRule, tensor_type};
