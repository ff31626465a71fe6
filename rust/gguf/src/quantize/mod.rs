//! Whole models from one number format to others, as llama.cpp's quantizer makes them.
//!
//! [`plan`] decides what becomes of every tensor and why; [`quantize_file`] and [`quantize_model`] do it. [`fit_options`] chooses a type
//! for each tensor by measuring, so that the file has a given size.

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
