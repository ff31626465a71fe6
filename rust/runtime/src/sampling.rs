//! Implements the decode thread's traits for the sampler and the constraint of `tabagent-sampling`.

use std::sync::Arc;

use tabagent_sampling::constraint::Constraint;
use tabagent_sampling::{Sampler, SamplerState};

use crate::{
    ConstraintError, SamplerError, SamplerSnapshot, TokenConstraint, TokenId, TokenMask, TokenSampler,
};

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

    fn save(&self) -> Option<SamplerSnapshot> {
        Some(Arc::new(self.state()))
    }

    fn restore(&mut self, snapshot: &SamplerSnapshot) {
        if let Some(state) = snapshot.downcast_ref::<SamplerState>() {
            self.set_state(state);
        }
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

    fn rollback(&mut self, n: usize) -> Result<(), ConstraintError> {
        Ok(Constraint::rollback(self, n)?)
    }
}
