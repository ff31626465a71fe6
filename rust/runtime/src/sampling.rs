//! Implements the decode thread's traits for the sampler and the constraint of `tabagent-sampling`.

use crate::{ConstraintError, SamplerError, TokenConstraint, TokenId, TokenMask, TokenSampler};
use tabagent_sampling::Sampler;
use tabagent_sampling::constraint::Constraint;

impl TokenSampler for Sampler {
    fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<TokenId, SamplerError> {
        Ok(self.sample_masked(logits, mask)?)
    }

    fn allows(&self, token: TokenId) -> bool {
        Sampler::allows(self, token)
    }

    fn remember(&mut self, n: usize) {
        Sampler::remember(self, n);
    }

    fn kept(&self, n: usize, out: &mut Vec<(TokenId, f32)>) {
        Sampler::kept(self, n, out);
    }

    fn accept(&mut self, token: TokenId) {
        Sampler::accept(self, token);
    }
}

impl TokenConstraint for Constraint {
    fn mask(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        Ok(Constraint::mask(self)?)
    }

    fn accept(&mut self, token: TokenId) -> Result<(), ConstraintError> {
        Ok(Constraint::accept(self, token)?)
    }

    fn forced(&mut self) -> Vec<TokenId> {
        Constraint::forced(self)
    }

    fn can_end(&mut self) -> bool {
        Constraint::can_end(self)
    }

    fn is_finished(&mut self) -> bool {
        Constraint::is_finished(self)
    }
}
