//! ggml's number formats: blocks of packed weights to numbers and back.
//!
//! [`dequantize`] turns any type into F32 with ggml's bits, [`quantize`] packs F32 into the bytes that the pinned ggml's
//! `ggml_quantize_chunk` gives, and [`check`] finds scales that are NaN or infinite. All work on slices, need no engine,
//! and choose vector instructions when they run.

#![allow(
    clippy::inline_always,
    reason = "only inlined code gets the vector instructions of its caller; see `simd`"
)]

mod check;
mod decode;
mod dequantize;
mod encode;
mod error;
mod half;
mod lattice;
mod quantize;
mod simd;
mod swap;
mod watch;

pub use check::check;
pub use dequantize::{
    dequantize, dequantize_bf16, dequantize_bf16_with, dequantize_f16, dequantize_f16_with, dequantize_over,
    dequantize_parallel, dequantize_with,
};
pub use error::QuantError;
pub use quantize::{can_quantize, needs_imatrix, quantize, quantize_parallel, quantize_with};
pub use swap::{swap_bytes, swap_bytes_with};
