//! Logits to token: logit bias, penalties, truncation, mirostat and a seeded choice, without any engine.
//!
//! A [`SamplerConfig`] says what to do, a [`Sampler`] does it for one sequence of one vocabulary:
//!
//! ```
//! use tabagent_sampling::{Sampler, SamplerConfig};
//!
//! let config = SamplerConfig { seed: Some(7), ..SamplerConfig::default() };
//! let mut sampler = Sampler::new(&config, 4)?;
//! let token = sampler.sample(&[0.1, 2.5, -1.0, 0.3])?;
//! sampler.accept(token);
//! assert!((0..4).contains(&token));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a step does
//!
//! 1. With [`Sampler::sample_masked`], or with allowed tokens, the others go to negative infinity.
//! 2. The logit bias is added, and banned tokens go to negative infinity.
//! 3. The stages run in [`SamplerConfig::order`]; each sees the probabilities renormalised over what the stages before it kept.
//! 4. One token is chosen: walking the kept tokens in the order of their ids, the first one whose cumulative weight exceeds
//!    `u` times the total, for one uniform `u` in `[0, 1)` with 53 random bits.
//!
//! A temperature of 0 makes the step greedy: the token with the highest logit after bias and penalties, the lowest id on ties, and
//! no random number is drawn. With mirostat on, only bias, penalties, DRY and temperature run before it and it makes the choice.
//! An XTC stage that is on draws one random number in each step, before the choice.
//!
//! The formulas are llama.cpp's (`src/llama-sampler.cpp` of the pinned version). A stage may be listed more than once, with
//! [`Stage::With`] also with parameters of its own, and no stage can leave an empty set.
//! Where llama.cpp leaves a removed token in its array at negative infinity, here it is gone; this changes only what counts
//! candidates, such as the dynamic temperature after top-n-sigma.
//!
//! # Logits that are not finite
//!
//! NaN counts as negative infinity. A token at negative infinity is no candidate: it is never returned and no stage counts it. If a
//! token has positive infinity after the bias, the lowest such id is returned and nothing is drawn. If no logit is above negative
//! infinity, the step is an error: an arbitrary token is never returned.
//!
//! # Reproducibility
//!
//! The same configuration, seed, accepted tokens and logits give the same tokens on every platform. It rests on IEEE 754 addition,
//! multiplication, division, comparison and fused multiplication and addition, which Rust neither reorders nor fuses unasked; on this
//! crate's own power of two (a polynomial in `f32`, see `weight.rs`) and the `libm` crate's logarithm and power in place of the
//! platform's; and on xoshiro256++ seeded through `SplitMix64`. No sum depends on the width of the machine's vectors: `simd` adds in 32
//! lanes everywhere, and tests compare its instruction sets bit by bit. Weights carry a relative error of 2e-7, so a cut by top-p or
//! typical that lies nearer than that to its target may fall a token earlier or later than exact arithmetic has it. Both add up weights in
//! the order in which the standard library's selection leaves them, so another Rust release could move a cut that lies within 1e-15 of
//! its target.
//!
//! # How a step is fast
//!
//! - **One pass over the row.** A step reads the logits once for the maxima of blocks of 128 and keeps 1/128 of the row; after that it
//!   looks only into the blocks whose maximum reaches a threshold. Bias and penalties change private copies of the blocks they touch.
//! - **Top-k by partial selection.** The k-th highest block maximum has at least k logits at or above it. It is found by selection
//!   (Hoare 1961, Find; the standard library's `select_nth_unstable`) among the maxima that reach the k-th highest of 128 group maxima, and
//!   the logits above it, barely more than k, are selected from again. Nothing is ever sorted in full.
//! - **Top-p by histogram and bracket.** A sample of the row and its block maxima, added up in a histogram of depths below the top, tell
//!   about where the cut lies: two lines are drawn around it (the idea of Floyd and Rivest 1975, SELECT). If few tokens are above
//!   the lower line, they are listed. Otherwise one pass weighs the row, adds up what is above the upper line and packs the logits
//!   between the two side by side (a compressing store, or a table of permutations), their tokens being told by their places; splitting
//!   that part near where the cut is expected finds it. A bad guess costs time, never the result.
//! - **Typical likewise.** Surprise and entropy share the term ln Z, so how far the one is from the other is a distance between logits: one
//!   pass finds the logit that stands for the entropy, and then the lines of top-p are drawn around it, on both sides.
//! - **Rows stay rows.** After the last stage that cuts, the row is not listed if many tokens are left: it remembers the last token kept, and
//!   the choice walks over block sums. So min-p, top-n-sigma, a large top-k, mirostat with a high limit and adaptive-p cost a pass each.
//! - **Vectors.** Maxima, thresholds and weights are computed with AVX2 and FMA or AVX-512 where the processor has it (looked up once at
//!   run time), with NEON on 64-bit ARM through the compiler, and by the same lanes in plain code elsewhere. A weight is 13 vector
//!   operations, and those of four vectors are interleaved, so that none waits for the one before.
//! - **Memory.** All scratch memory is kept from step to step; a test counts the allocations of warm steps: none.
//!
//! [`sample_batch`] spreads the sequences of a batch over the threads of the caller's rayon pool.

mod batch;
mod config;
pub mod constraint;
mod draws;
mod error;
mod explain;
mod last_draw;
mod mask;
mod row;
mod sampler;
mod sampler_state;
mod setting;
mod stages;
mod token_pieces;

#[cfg(test)]
mod reference;

pub use batch::sample_batch;
pub use config::SamplerConfig;
pub use draws::Draws;
pub use error::{ConfigError, SampleError};
pub use explain::{Explanation, StageReport, TokenShare};
pub use mask::TokenMask;
pub use row::log_sum::log_sum_exp;
pub use sampler::Sampler;
pub use sampler_state::SamplerState;
pub use setting::{Setting, SettingKind};
pub use stages::dry_breakers::Breakers;
pub use stages::parameters::Parameters;
pub use stages::stage::{ParseStageError, Stage};
pub use token_pieces::TokenPieces;

/// A token's id, as in llama.cpp (`llama_token` in `include/llama.h`).
pub type TokenId = i32;
