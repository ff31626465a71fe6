//! How a layer rotates queries and keys by their positions.

use tabagent_kernels::{RopeKind, RopeOptions, Yarn};

use crate::error::LoadError;
use crate::keys::Keys;

/// A rotation as a file's metadata describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct RopePlan {
    /// Which numbers are turned, and how far at each position.
    pub options: RopeOptions,
    /// The context from before it was stretched.
    pub context: usize,
    /// Whether angles are divided by the numbers of `rope_freqs.weight`, or of `rope_factors_long.weight` for contexts longer than `context` and
    /// `rope_factors_short.weight` for others, if the file has them.
    pub has_factors: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Scaling {
    Linear,
    None,
    Yarn,
    LongRope,
}

impl RopePlan {
    /// The rotation that the file describes, as `llama_model_base::load_hparams` (`src/llama-model.cpp`) and the constructor of `llama_context`
    /// (`src/llama-context.cpp`) read it. Pairs are neighbours or, with `is_neox`, half a head apart.
    pub(crate) fn read(
        keys: &Keys<'_>,
        head: usize,
        context_train: usize,
        is_neox: bool,
    ) -> Result<Self, LoadError> {
        let n_dims = keys.number_or("rope.dimension_count", head, 2..=head.max(2))?;
        if !n_dims.is_multiple_of(2) {
            return Err(keys.error("rope.dimension_count", format!("is `{n_dims}`, but must be even")));
        }
        let base = keys.positive_if_any("rope.freq_base")?.unwrap_or(10_000.0);
        let words = [
            ("linear", Scaling::Linear),
            ("none", Scaling::None),
            ("yarn", Scaling::Yarn),
            ("longrope", Scaling::LongRope),
        ];
        let scaling = keys.word("rope.scaling.type", &words)?;
        let factor = match keys.positive_if_any("rope.scaling.factor")? {
            Some(factor) => factor,
            None => keys.positive_if_any("rope.scale_linear")?.unwrap_or(1.0),
        };
        let freq_scale = if scaling == Scaling::None { 1.0 } else { 1.0 / factor };
        let context = keys.number_or("rope.scaling.original_context_length", context_train, 1..=1 << 30)?;
        let mut attn_factor = keys.positive_if_any("rope.scaling.attn_factor")?.unwrap_or(1.0);
        // The files of none of our architectures say otherwise.
        let yarn = Yarn { ext_factor: 1.0, beta_fast: 32.0, beta_slow: 1.0, n_ctx_orig: context };
        let yarn = (scaling == Scaling::Yarn).then_some(yarn);
        if yarn.is_some() && factor < 1.0 {
            // Only stretching makes scores grow.
            attn_factor /= 1.0 + 0.1 * factor.ln();
        }
        let kind = if is_neox { RopeKind::NeoX } else { RopeKind::Normal };
        let options = RopeOptions { freq_scale, attn_factor, yarn, ..RopeOptions::new(kind, n_dims, base) };
        Ok(Self { options, context, has_factors: false })
    }

    /// A rotation of the same numbers without scaling.
    pub(crate) fn plain(&self, base: f32) -> Self {
        let RopeOptions { kind, n_dims, .. } = self.options;
        Self { options: RopeOptions::new(kind, n_dims, base), context: self.context, has_factors: false }
    }

    /// The rotation with another base.
    pub(crate) fn with_base(mut self, base: f32) -> Self {
        self.options.freq_base = base;
        self
    }

    /// The tensor of factors for a context of `n_ctx` tokens, in the order in which they are looked for.
    pub(crate) fn factor_tensors(&self, n_ctx: usize) -> [&'static str; 2] {
        let by_context =
            if n_ctx > self.context { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
        ["rope_freqs.weight", by_context]
    }
}
