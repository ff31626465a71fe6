//! The arithmetic of language models on this processor, with no engine around it.
//!
//! A [`Matrix`] holds a tensor's weights, packed for this crate's products. [`Activations`] hold the rows of numbers that
//! matrices are multiplied with, for one token or many. [`multiply`] and [`multiply_all`] do it on the threads of a [`Pool`].
//! [`rms_norm`], [`layer_norm`], [`Rope`], the activation functions and [`attention`] over the pages of a key-value cache ([`KvPage`]) are the
//! rest of what a transformer needs.
//!
//! ```
//! use tabagent_gguf::GgmlType;
//! use tabagent_kernels::{Activations, Matrix, Pool, multiply};
//!
//! let pool = Pool::new(2)?;
//! let weights: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|w| w.to_le_bytes()).collect();
//! let matrix = Matrix::pack(GgmlType::F32, 3, 2, &weights)?; // two rows of three
//! let mut input = Activations::new();
//! input.load(&[1.0, 0.0, -1.0], 3, &pool)?; // one token
//! let mut output = [0.0; 2];
//! multiply(&matrix, &input, &mut output, &pool)?;
//! assert_eq!(output, [-2.0, -2.0]);
//! # Ok::<(), tabagent_kernels::KernelError>(())
//! ```

#![allow(
    clippy::inline_always,
    reason = "only inlined code gets the vector instructions of its caller; see `simd`"
)]

mod activations;
mod attention;
mod elementwise;
mod error;
mod kv_page;
mod math;
mod matrix;
mod multiply;
mod norm;
mod packed;
mod plain;
mod pool;
mod quantized;
mod rope;
mod simd;
mod singles;

pub use activations::Activations;
pub use attention::{Attention, Query, attention, attention_with};
pub use elementwise::{
    add, gelu, gelu_erf, gelu_erf_mul, gelu_mul, gelu_quick, gelu_quick_mul, relu, relu_mul, relu_squared,
    relu_squared_mul, scale, silu, silu_mul, soft_cap, softmax,
};
pub use error::KernelError;
pub use kv_page::{KvPage, KvShape};
pub use matrix::Matrix;
pub use multiply::{multiply, multiply_all, multiply_with};
pub use norm::{layer_norm, rms_norm, rms_norm_in_place};
pub use pool::Pool;
pub use rope::{Rope, RopeAngles, RopeKind, RopeOptions, Yarn};
pub use simd::Isa;
