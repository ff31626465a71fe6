//! `tabagent-sampling` as a [`TokenSampler`].

use crate::{SamplerError, TokenId, TokenSampler};
use tabagent_sampling::Sampler;

impl TokenSampler for Sampler {
    fn sample(&mut self, logits: &[f32], _mask: Option<&[u32]>) -> Result<TokenId, SamplerError> {
        Ok(Sampler::sample(self, logits)?)
    }

    fn kept(&mut self, _out: &mut Vec<(TokenId, f32)>) {}

    fn accept(&mut self, token: TokenId) {
        Sampler::accept(self, token);
    }
}
