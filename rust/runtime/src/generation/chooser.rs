//! The choice of a token: a request's sampler and its constraint, whose panics become errors of this request alone, and the budget of its thoughts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::budget::{Budget, BudgetState};
use crate::logprobs::kept_logprob;
use crate::{
    ConstraintError, EngineError, SamplerError, SamplerSnapshot, TokenConstraint, TokenId, TokenLogprob,
    TokenMask, TokenSampler,
};

pub(super) struct Chooser {
    sampler: Box<dyn TokenSampler>,
    constraint: Option<Box<dyn TokenConstraint>>,
    budget: Option<Budget>,
    n_vocab: usize,
    /// What may be chosen, kept to reuse its memory; none before something is ruled out.
    mask: Option<TokenMask>,
    /// What the last token was drawn from, kept to reuse its memory.
    kept: Vec<(TokenId, f32)>,
}

/// All that decides the next choices besides the logits and the constraint.
#[derive(Clone)]
pub(super) struct ChooserState {
    pub(super) sampler: SamplerSnapshot,
    budget: Option<BudgetState>,
}

/// Tokens that must not be chosen at a place.
#[derive(Clone, Copy, Default)]
pub(super) struct Excluded<'a> {
    pub(super) tokens: &'a [TokenId],
    /// Only these may be chosen.
    pub(super) others: Option<&'a TokenMask>,
}

impl Chooser {
    pub(super) fn new(
        sampler: Box<dyn TokenSampler>,
        constraint: Option<Box<dyn TokenConstraint>>,
        budget: Option<Budget>,
        n_vocab: usize,
    ) -> Self {
        Self { sampler, constraint, budget, n_vocab, mask: None, kept: Vec::new() }
    }

    /// Whether tokens may be forced.
    pub(super) fn can_force(&self) -> bool {
        self.constraint.is_some() || self.budget.is_some()
    }

    pub(super) fn is_constrained(&self) -> bool {
        self.constraint.is_some()
    }

    /// Chooses a token and tells the sampler, not the constraint.
    pub(super) fn choose(&mut self, logits: &[f32], excluded: Excluded<'_>) -> Result<TokenId, EngineError> {
        let due = self.due()?;
        let words = match &mut self.constraint {
            _ if due.is_some() => None,
            Some(constraint) => catch_unwind(AssertUnwindSafe(move || {
                // Moved in, so that the mask may outlive the closure.
                let constraint = constraint;
                constraint.mask()
            }))
            .unwrap_or_else(|panic| Err(panic_message(&*panic).into()))
            .map_err(|error| EngineError::Constraint { message: error.to_string() })?,
            None => None,
        };
        let excludes = !excluded.tokens.is_empty();
        let is_masked = words.is_some() || due.is_some() || excludes;
        let mask = is_masked.then(|| {
            let mask = self.mask.get_or_insert_with(|| TokenMask::new(self.n_vocab));
            match (words, due.as_deref()) {
                (_, Some([token, ..])) => {
                    mask.clear();
                    mask.allow(*token);
                }
                (Some(words), _) => mask.copy_from_words(words),
                _ => mask.allow_all(),
            }
            for token in excluded.tokens {
                mask.disallow(*token);
            }
            if let Some(others) = excluded.others.filter(|_| excludes) {
                mask.intersect(others);
            }
            &*mask
        });
        let sampler = &mut self.sampler;
        let chosen = catch_unwind(AssertUnwindSafe(|| {
            let token = sampler.sample(logits, mask)?;
            sampler.accept(token);
            Ok::<_, SamplerError>(token)
        }));
        let token = sampled(chosen)?;
        let in_range = usize::try_from(token).is_ok_and(|token| token < self.n_vocab);
        if in_range {
            Ok(token)
        } else {
            let message =
                format!("the sampler chose token {token} but the vocabulary has {} tokens", self.n_vocab);
            Err(EngineError::Sampler { message })
        }
    }

    /// The log-probabilities of what the last token was drawn from.
    pub(super) fn logprob(
        &mut self,
        token: TokenId,
        n_top: usize,
        bytes_of: impl FnMut(TokenId) -> Vec<u8>,
    ) -> TokenLogprob {
        self.kept.clear();
        self.sampler.kept(n_top, &mut self.kept);
        kept_logprob(&mut self.kept, token, n_top, bytes_of)
    }

    /// The tokens that end a thought for which nothing is left, unless the constraint demands something else first.
    fn due(&mut self) -> Result<Option<Vec<TokenId>>, EngineError> {
        let Some((tokens, may_wait)) = self.budget.as_ref().and_then(Budget::closing) else {
            return Ok(None);
        };
        let tokens = tokens.to_vec();
        if !may_wait {
            return Ok(Some(tokens));
        }
        let first = tokens.first().copied().and_then(|token| usize::try_from(token).ok()).unwrap_or_default();
        let allowed = self.guarded(|constraint| {
            let words = constraint.mask()?;
            Ok(words
                .is_none_or(|words| words.get(first / 32).is_some_and(|word| word >> (first % 32) & 1 == 1)))
        })?;
        Ok((allowed != Some(false)).then_some(tokens))
    }

    /// The tokens that the end of a thought or the constraint leaves no choice about.
    pub(super) fn forced(&mut self) -> Result<Vec<TokenId>, EngineError> {
        if let Some(tokens) = self.due()? {
            return Ok(tokens);
        }
        Ok(self.guarded(|constraint| Ok(constraint.forced()))?.unwrap_or_default())
    }

    /// Tells the sampler of a forced token. Returns false and tells it nothing if the sampler must not choose that token.
    pub(super) fn note_forced(&mut self, token: TokenId) -> Result<bool, EngineError> {
        if !usize::try_from(token).is_ok_and(|token| token < self.n_vocab) {
            let message = format!("it forced token {token} but the vocabulary has {} tokens", self.n_vocab);
            return Err(EngineError::Constraint { message });
        }
        let sampler = &mut self.sampler;
        sampled(catch_unwind(AssertUnwindSafe(|| {
            let allowed = sampler.allows(token);
            if allowed {
                sampler.accept(token);
            }
            Ok(allowed)
        })))
    }

    /// Tells the constraint and the budget of the next token.
    pub(super) fn accept(&mut self, token: TokenId) -> Result<(), EngineError> {
        self.guarded(|constraint| constraint.accept(token))?;
        if let Some(budget) = &mut self.budget {
            budget.accept(token);
        }
        Ok(())
    }

    /// Whether the constraint lets nothing follow; false without one.
    pub(super) fn is_finished(&mut self) -> Result<bool, EngineError> {
        Ok(self.guarded(|constraint| Ok(constraint.is_finished()))? == Some(true))
    }

    /// Whether the constraint lets the text end here; false without one.
    pub(super) fn can_end(&mut self) -> bool {
        matches!(self.guarded(|constraint| Ok(constraint.can_end())), Ok(Some(true)))
    }

    /// The state of sampler and budget, if the sampler can tell it.
    pub(super) fn state(&self) -> Result<Option<ChooserState>, EngineError> {
        let sampler = sampled(catch_unwind(AssertUnwindSafe(|| Ok(self.sampler.save()))))?;
        let budget = self.budget.as_ref().map(Budget::state);
        Ok(sampler.map(|sampler| ChooserState { sampler, budget }))
    }

    /// Takes the constraint back by its last `n_tokens` tokens, and the rest to an earlier state.
    pub(super) fn go_back(&mut self, n_tokens: usize, state: &ChooserState) -> Result<(), EngineError> {
        if let (Some(budget), Some(state)) = (&mut self.budget, &state.budget) {
            budget.set_state(state.clone());
        }
        self.guarded(|constraint| if n_tokens == 0 { Ok(()) } else { constraint.rollback(n_tokens) })?;
        let sampler = &mut self.sampler;
        sampled(catch_unwind(AssertUnwindSafe(|| {
            sampler.restore(&state.sampler);
            Ok(())
        })))
    }

    /// Asks the constraint, if there is one.
    fn guarded<T>(
        &mut self,
        ask: impl FnOnce(&mut dyn TokenConstraint) -> Result<T, ConstraintError>,
    ) -> Result<Option<T>, EngineError> {
        let Some(constraint) = &mut self.constraint else { return Ok(None) };
        catch_unwind(AssertUnwindSafe(|| ask(&mut **constraint)))
            .unwrap_or_else(|panic| Err(panic_message(&*panic).into()))
            .map(Some)
            .map_err(|error| EngineError::Constraint { message: error.to_string() })
    }
}

/// The result of a sampler, with a panic turned into an error.
fn sampled<T>(outcome: std::thread::Result<Result<T, SamplerError>>) -> Result<T, EngineError> {
    let result = outcome.map_err(|panic| panic_message(&*panic));
    let result = result.and_then(|result| result.map_err(|error| error.to_string()));
    result.map_err(|message| EngineError::Sampler { message })
}

/// What a caught panic says.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text")
        .to_owned()
}
