//! Taking choices of a sampler back.

use rand_xoshiro::Xoshiro256PlusPlus;

use crate::Sampler;
use crate::sampler::Selector;
use crate::stages::step::Recollection;

/// What decides a sampler's next choices besides the logits: its random generator, the history of its penalties, and the state of
/// mirostat or adaptive-p. Scratch memory is not in it.
///
/// ```
/// use tabagent_sampling::{Sampler, SamplerConfig};
///
/// let mut sampler = Sampler::new(&SamplerConfig { seed: Some(1), ..SamplerConfig::default() }, 3)?;
/// let before = sampler.state();
/// let token = sampler.sample(&[0.5, 2.0, 2.0])?;
/// sampler.accept(token);
/// sampler.set_state(&before);
/// assert_eq!(sampler.sample(&[0.5, 2.0, 2.0])?, token);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SamplerState {
    pub(crate) random: Xoshiro256PlusPlus,
    steps: Vec<Recollection>,
    pub(crate) selector: SelectorState,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SelectorState {
    Dist,
    Mirostat(f64),
    AdaptiveP((f64, f64)),
}

impl Sampler {
    /// What to come back to by [`set_state`](Self::set_state). Copies the history of the penalties, if there are any.
    pub fn state(&self) -> SamplerState {
        SamplerState {
            random: self.random.clone(),
            steps: self.steps.iter().map(crate::stages::step::Step::recollection).collect(),
            selector: match &self.selector {
                Selector::Dist => SelectorState::Dist,
                Selector::Mirostat1(mirostat) | Selector::Mirostat2(mirostat) => {
                    SelectorState::Mirostat(mirostat.limit())
                }
                Selector::AdaptiveP(adaptive) => SelectorState::AdaptiveP(adaptive.faded()),
            },
        }
    }

    /// Comes back to a state of this sampler, as if no token had been chosen or accepted since.
    pub fn set_state(&mut self, state: &SamplerState) {
        self.random = state.random.clone();
        self.steps.iter_mut().zip(&state.steps).for_each(|(step, before)| step.recollect(before));
        self.selector.set_state(state.selector);
    }
}

impl Selector {
    /// Comes back to a state; to that of another kind of choice it does not.
    pub(crate) fn set_state(&mut self, state: SelectorState) {
        match (self, state) {
            (Self::Mirostat1(mirostat) | Self::Mirostat2(mirostat), SelectorState::Mirostat(limit)) => {
                mirostat.set_limit(limit);
            }
            (Self::AdaptiveP(adaptive), SelectorState::AdaptiveP(faded)) => adaptive.set_faded(faded),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SamplerConfig;

    fn configs() -> Vec<SamplerConfig> {
        let base = SamplerConfig { seed: Some(7), temperature: 1.5, ..SamplerConfig::default() };
        vec![
            base.clone(),
            SamplerConfig { repeat_penalty: 1.7, repeat_window: 3, frequency_penalty: 0.4, ..base.clone() },
            SamplerConfig { dry_multiplier: 2.0, dry_window: -1, xtc_probability: 0.5, ..base.clone() },
            SamplerConfig { mirostat: 1, ..base.clone() },
            SamplerConfig { mirostat: 2, ..base.clone() },
            SamplerConfig {
                adaptive_target: 0.4,
                order: vec![crate::Stage::TopK, crate::Stage::AdaptiveP],
                ..base
            },
        ]
    }

    proptest! {
        #[test]
        fn choices_after_coming_back_are_the_same(
            rows in prop::collection::vec(prop::collection::vec(-3f32..3.0, 9), 2..30),
            at in 0usize..30,
        ) {
            let at = at % rows.len();
            for config in configs() {
                let mut sampler = Sampler::new(&config, 9).unwrap();
                let choose = |sampler: &mut Sampler, rows: &[Vec<f32>]| -> Vec<i32> {
                    rows.iter().map(|row| {
                        let token = sampler.sample(row).unwrap();
                        sampler.accept(token);
                        token
                    }).collect()
                };
                choose(&mut sampler, &rows[..at]);
                let before = sampler.state();
                let first = choose(&mut sampler, &rows[at..]);
                sampler.set_state(&before);
                prop_assert_eq!(choose(&mut sampler, &rows[at..]), first);
            }
        }
    }
}
