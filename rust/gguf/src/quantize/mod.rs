//! Models from one set of number types to another.

mod target_size;

pub use target_size::{
    CandidateTensor, MeasuredTensor, Mix, SizeTarget, TargetSizeError, TypeCost, candidate_types,
    choose_types, measure_types,
};
