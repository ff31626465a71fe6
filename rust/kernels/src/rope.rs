//! Rotary position embeddings.

use std::f64::consts::PI;

use crate::KernelError;

/// Which two dimensions of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeKind {
    /// Neighbours: 0 and 1, 2 and 3 (`LLAMA_ROPE_TYPE_NORM`).
    Normal,
    /// Halves: 0 and n/2, 1 and n/2 + 1 (`LLAMA_ROPE_TYPE_NEOX`).
    NeoX,
}

/// YaRN: low frequencies are scaled, high ones kept, those between mixed (Peng et al., 2023, arXiv 2309.00071).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// How much of the mix applies: 1 for YaRN.
    pub ext_factor: f32,
    /// Turns in the original context above which a frequency is kept; usually 32.
    pub beta_fast: f32,
    /// Turns in the original context below which a frequency is scaled; usually 1.
    pub beta_slow: f32,
    /// The context length that the model was trained with before its extension, in tokens.
    pub n_ctx_orig: usize,
}

/// What a model says about its rotations.
///
/// Linear scaling is `freq_scale = 1 / factor`; Llama 3's scaling and longrope are `freq_factors` (the tensor `rope_freqs`, `rope_factors_long` or
/// `rope_factors_short`), longrope with `attn_factor`.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeOptions {
    /// Which dimensions are turned together.
    pub kind: RopeKind,
    /// How many dimensions of a head are turned; the rest stays.
    pub n_dims: usize,
    /// The base of the frequencies: 10,000 in the first models.
    pub freq_base: f32,
    /// What positions are multiplied with: 1 without scaling.
    pub freq_scale: f32,
    /// What each of the `n_dims / 2` frequencies is divided by.
    pub freq_factors: Option<Vec<f32>>,
    /// What all results are multiplied with: 1 in most models.
    pub attn_factor: f32,
    /// YaRN's numbers, where the model is scaled so.
    pub yarn: Option<Yarn>,
}

impl RopeOptions {
    /// Rotations without any scaling.
    pub fn new(kind: RopeKind, n_dims: usize, freq_base: f32) -> Self {
        Self { kind, n_dims, freq_base, freq_scale: 1.0, freq_factors: None, attn_factor: 1.0, yarn: None }
    }
}

/// The rotations of a model: a frequency for each pair of dimensions.
#[derive(Debug, Clone)]
pub struct Rope {
    kind: RopeKind,
    frequencies: Vec<f64>,
    magnitude: f32,
}

impl Rope {
    /// Computes the frequencies, as `rope_yarn` and `ggml_rope_cache_init` in `ggml/src/ggml-cpu/ops.cpp` do.
    ///
    /// # Errors
    ///
    /// [`KernelError::WrongValue`] for an odd or zero `n_dims`, for a base, scale or factor that is not positive and finite, and for an original
    /// context of no tokens; [`KernelError::WrongLength`] if there is not a frequency factor for each pair.
    pub fn new(options: &RopeOptions) -> Result<Self, KernelError> {
        let wrong = |what, found: String| Err(KernelError::WrongValue { what, found });
        let positive = |x: f32| x.is_finite() && x > 0.0;
        if options.n_dims == 0 || !options.n_dims.is_multiple_of(2) {
            return wrong("the number of rotated dimensions", options.n_dims.to_string());
        }
        if !positive(options.freq_base) {
            return wrong("the base of the rotations", options.freq_base.to_string());
        }
        if !positive(options.freq_scale) {
            return wrong("the scale of the rotations", options.freq_scale.to_string());
        }
        let n_pairs = options.n_dims / 2;
        if let Some(factors) = &options.freq_factors {
            KernelError::check_length("the list of frequency factors", n_pairs, factors.len())?;
            if let Some(factor) = factors.iter().find(|factor| !positive(**factor)) {
                return wrong("a frequency factor", factor.to_string());
            }
        }
        let mut magnitude = options.attn_factor;
        let mut ramp = None;
        if let Some(yarn) = options.yarn.filter(|yarn| yarn.ext_factor != 0.0) {
            if yarn.n_ctx_orig == 0 {
                return wrong("the original context of the rotations", yarn.n_ctx_orig.to_string());
            }
            magnitude *= 1.0 + 0.1 * (1.0 / options.freq_scale).ln();
            ramp = Some((f64::from(yarn.ext_factor), yarn.bounds(options.n_dims, options.freq_base)));
        }
        let frequency = |pair: usize| {
            let factor = options.freq_factors.as_ref().map_or(1.0, |factors| f64::from(factors[pair]));
            let base =
                f64::from(options.freq_base).powf(-(2.0 * pair as f64) / options.n_dims as f64) / factor;
            let scaled = f64::from(options.freq_scale) * base;
            ramp.map_or(scaled, |(ext_factor, (low, high))| {
                let kept = 1.0 - ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                let mix = kept * ext_factor;
                scaled * (1.0 - mix) + base * mix
            })
        };
        Ok(Self { kind: options.kind, frequencies: (0..n_pairs).map(frequency).collect(), magnitude })
    }

    /// The angles for the positions of a batch's tokens: computed once, used by every layer.
    ///
    /// A position may be negative: a rotation back by so many tokens.
    pub fn angles(&self, positions: &[i32]) -> RopeAngles {
        let mut turns = Vec::with_capacity(positions.len() * self.frequencies.len());
        for position in positions {
            for frequency in &self.frequencies {
                let (sin, cos) = (f64::from(*position) * frequency).sin_cos();
                turns.push((cos as f32 * self.magnitude, sin as f32 * self.magnitude));
            }
        }
        RopeAngles { kind: self.kind, n_pairs: self.frequencies.len(), n_tokens: positions.len(), turns }
    }
}

impl Yarn {
    /// The pairs between which frequencies are mixed (`ggml_rope_yarn_corr_dims` in `ggml/src/ggml.c`).
    fn bounds(&self, n_dims: usize, base: f32) -> (f64, f64) {
        let pair = |n_turns: f32| {
            let turns = self.n_ctx_orig as f64 / (f64::from(n_turns) * 2.0 * PI);
            n_dims as f64 * turns.ln() / (2.0 * f64::from(base).ln())
        };
        (pair(self.beta_fast).floor().max(0.0), pair(self.beta_slow).ceil().min(n_dims as f64 - 1.0))
    }
}

/// Cosines and sines for the tokens of a batch, made by [`Rope::angles`].
#[derive(Debug, Clone)]
pub struct RopeAngles {
    kind: RopeKind,
    n_pairs: usize,
    n_tokens: usize,
    turns: Vec<(f32, f32)>,
}

impl RopeAngles {
    /// Turns the heads of all tokens: `values` are `n_tokens` rows of `n_heads` heads of `head_dim` values.
    ///
    /// # Panics
    ///
    /// If `values` has another length, or a head fewer dimensions than are turned.
    pub fn apply(&self, values: &mut [f32], n_heads: usize, head_dim: usize) {
        assert!(head_dim >= 2 * self.n_pairs, "a head has at least the dimensions that are turned");
        assert_eq!(values.len(), self.n_tokens * n_heads * head_dim, "one row a token");
        if values.is_empty() {
            return;
        }
        for (token, row) in values.chunks_exact_mut(n_heads * head_dim).enumerate() {
            let turns = &self.turns[token * self.n_pairs..][..self.n_pairs];
            for head in row.chunks_exact_mut(head_dim) {
                match self.kind {
                    RopeKind::Normal => {
                        for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                            let [x, y] = *pair;
                            *pair = [x * cos - y * sin, x * sin + y * cos];
                        }
                    }
                    RopeKind::NeoX => {
                        let (first, second) = head.split_at_mut(self.n_pairs);
                        for ((x, y), (cos, sin)) in first.iter_mut().zip(second).zip(turns) {
                            (*x, *y) = (*x * cos - *y * sin, *x * sin + *y * cos);
                        }
                    }
                }
            }
        }
    }
}
