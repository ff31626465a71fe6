//! What a step would draw from, and what each stage of it does: for people, not for speed.

use crate::sampler::{Moment, Outcome};
use crate::{SampleError, Sampler, TokenId};

/// How many tokens a report shows.
const SHOWN: usize = 10;

/// A step taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The stages that ran, first to last; those that are off are not there. The last one makes the choice: `dist`, `greedy`,
    /// `mirostat` or `adaptive_p`.
    pub stages: Vec<StageReport>,
    /// The final distribution over the vocabulary: 0 for tokens that were removed, 1 for the token of a greedy step.
    pub probabilities: Vec<f32>,
}

/// What one stage did.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// The stage's name, such as `top_k`; `logit_bias` for bias and bans, and what makes the choice.
    pub name: &'static str,
    /// Its parameters by name.
    pub parameters: Vec<(&'static str, f64)>,
    /// How many candidates it left.
    pub kept: usize,
    /// How much of the probability before it the candidates left had together.
    pub mass: f64,
    /// The 10 most probable tokens before it, best first.
    pub top: Vec<TokenShare>,
}

/// A token's probability on both sides of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenShare {
    /// The token.
    pub token: TokenId,
    /// Its probability before the stage.
    pub before: f64,
    /// Its probability after it; 0 if the stage removed it.
    pub after: f64,
}

impl Sampler {
    /// The distribution that the next [`sample`](Self::sample) with these logits draws from: one probability a token, 0 for tokens that
    /// are removed, and one 1 for a greedy step.
    ///
    /// It changes nothing: the random generator, the history and the controllers of mirostat and adaptive-p stay as they are. XTC's
    /// coin falls as it will fall in the next step.
    ///
    /// # Errors
    ///
    /// Those of [`sample`](Self::sample).
    pub fn probabilities(&mut self, logits: &[f32]) -> Result<Vec<f32>, SampleError> {
        self.take_apart(logits, |_, _| {})
    }

    /// Takes the step that [`sample`](Self::sample) would take apart, stage by stage, by the rules of
    /// [`probabilities`](Self::probabilities). It allocates, and takes as long as a few dozen steps.
    ///
    /// # Errors
    ///
    /// Those of [`sample`](Self::sample).
    pub fn explain(&mut self, logits: &[f32]) -> Result<Explanation, SampleError> {
        let mut stages = Vec::new();
        let has_bias = self.has_bias();
        let mut before: Vec<(TokenId, f64)> = Vec::new();
        let probabilities = self.take_apart(logits, |seen, after| {
            let (name, parameters) = match seen {
                Seen::Moment(Moment::Loaded) => ("", Vec::new()),
                Seen::Moment(Moment::Bias) if !has_bias => ("", Vec::new()),
                Seen::Moment(Moment::Bias) => ("logit_bias", Vec::new()),
                Seen::Moment(Moment::Step(parameters)) => (parameters.name(), parameters.fields()),
                Seen::Moment(Moment::Selector(name)) | Seen::Choice(name) => (name, Vec::new()),
            };
            if !name.is_empty() {
                stages.push(report(name, parameters, &before, after));
            }
            before.clear();
            before.extend_from_slice(after);
        })?;
        Ok(Explanation { stages, probabilities })
    }

    /// Runs a step without its choice and without leaving a trace; `watch` sees the distribution after each part.
    fn take_apart(
        &mut self,
        logits: &[f32],
        mut watch: impl FnMut(Seen, &[(TokenId, f64)]),
    ) -> Result<Vec<f32>, SampleError> {
        let (random, drawn) = (self.random.clone(), self.drawn.clone());
        let result = self.with_mask(logits, None, |sampler, logits| {
            let mut shares = Vec::new();
            let mut selected = false;
            let outcome = sampler.narrow(logits, true, |moment, pool| {
                selected |= matches!(moment, Moment::Selector(_));
                pool.shares(logits, &mut shares);
                watch(Seen::Moment(moment), &shares);
            })?;
            if let Outcome::Token(token) = outcome {
                shares = vec![(token, 1.0)];
                watch(Seen::Choice("greedy"), &shares);
            } else {
                sampler.pool.shares(logits, &mut shares);
                if !selected {
                    watch(Seen::Choice("dist"), &shares);
                }
            }
            let mut probabilities = vec![0f32; logits.len()];
            for (token, share) in shares {
                probabilities[token as usize] = share as f32;
            }
            Ok(probabilities)
        });
        (self.random, self.drawn) = (random, drawn);
        // The candidates of the last step are overwritten.
        self.drawn.forget();
        result
    }
}

/// A part of a step.
#[derive(Clone, Copy)]
enum Seen {
    Moment(Moment),
    Choice(&'static str),
}

/// Compares two distributions, both by rising id.
fn report(
    name: &'static str,
    parameters: Vec<(&'static str, f64)>,
    before: &[(TokenId, f64)],
    after: &[(TokenId, f64)],
) -> StageReport {
    let share = |list: &[(TokenId, f64)], token: TokenId| {
        list.binary_search_by_key(&token, |share| share.0).map_or(0.0, |at| list[at].1)
    };
    let mass = after.iter().map(|&(token, _)| share(before, token)).sum::<f64>().min(1.0);
    let mut best: Vec<(TokenId, f64)> = before.to_vec();
    let order = |a: &(TokenId, f64), b: &(TokenId, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if best.len() > SHOWN {
        best.select_nth_unstable_by(SHOWN - 1, order);
        best.truncate(SHOWN);
    }
    best.sort_unstable_by(order);
    let top = best.into_iter().map(|(token, p)| TokenShare { token, before: p, after: share(after, token) });
    StageReport { name, parameters, kept: after.len(), mass, top: top.collect() }
}
