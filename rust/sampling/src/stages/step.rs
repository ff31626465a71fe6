//! One stage at work: its parameters and what it remembers.

use std::collections::VecDeque;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use crate::row::pool::Pool;
use crate::stages::dry::Dry;
use crate::stages::history::History;
use crate::stages::infill::Infill;
use crate::{Parameters, SamplerConfig, TokenId, TokenPieces};

/// One stage of one sampler; never one that is off.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) parameters: Parameters,
    memory: Memory,
}

/// What a stage keeps between steps.
#[derive(Clone, Debug)]
enum Memory {
    None,
    History(Box<History>),
    Dry(Box<Dry>),
    Infill(Box<Infill>),
}

/// What a stage remembers of the accepted tokens.
#[derive(Clone, Debug)]
pub(crate) enum Recollection {
    Nothing,
    History(Box<History>),
    Dry(VecDeque<TokenId>),
}

impl Step {
    pub(crate) fn new(parameters: Parameters, config: &SamplerConfig) -> Self {
        let memory = match parameters {
            Parameters::Penalties { repeat_penalty, repeat_window, frequency_penalty, presence_penalty } => {
                let history =
                    History::new(repeat_penalty, repeat_window, frequency_penalty, presence_penalty);
                Memory::History(Box::new(history))
            }
            Parameters::Dry { dry_multiplier, dry_base, dry_allowed_length, dry_window } => {
                let breakers = &config.dry_breakers;
                let dry = Dry::new(dry_multiplier, dry_base, dry_allowed_length, dry_window, breakers);
                Memory::Dry(Box::new(dry))
            }
            Parameters::Infill => Memory::Infill(Box::default()),
            _ => Memory::None,
        };
        Self { parameters, memory }
    }

    /// Whether the stage can be run on a row that remembers a cut.
    pub(crate) fn takes_cut_rows(&self) -> bool {
        match self.parameters {
            Parameters::Temperature { temperature, dynatemp_range, .. } => {
                temperature > 0.0 && dynatemp_range <= 0.0
            }
            Parameters::MinP { min_keep, .. } => min_keep <= 1,
            Parameters::TopK { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn accept(&mut self, token: TokenId) {
        match &mut self.memory {
            Memory::History(history) => history.accept(token),
            Memory::Dry(dry) => dry.accept(token),
            Memory::None | Memory::Infill(_) => {}
        }
    }

    pub(crate) fn recollection(&self) -> Recollection {
        match &self.memory {
            Memory::History(history) => Recollection::History(history.clone()),
            Memory::Dry(dry) => Recollection::Dry(dry.tokens().clone()),
            Memory::None | Memory::Infill(_) => Recollection::Nothing,
        }
    }

    pub(crate) fn recollect(&mut self, recollection: &Recollection) {
        match (&mut self.memory, recollection) {
            (Memory::History(history), Recollection::History(before)) => history.clone_from(before),
            (Memory::Dry(dry), Recollection::Dry(tokens)) => dry.set_tokens(tokens),
            _ => {}
        }
    }

    pub(crate) fn clear(&mut self) {
        match &mut self.memory {
            Memory::History(history) => history.clear(),
            Memory::Dry(dry) => dry.clear(),
            Memory::None | Memory::Infill(_) => {}
        }
    }

    /// Lowers the logits of tokens that the history counts against (penalties and DRY); other stages do nothing here.
    pub(crate) fn penalise(&mut self, pool: &mut Pool, logits: &[f32]) {
        let temperature = pool.temperature;
        match &mut self.memory {
            Memory::History(history) => {
                let one = |token| Some(history.count(token)).filter(|&count| count > 0);
                let change = |count, logit| history.penalise(logit, count, temperature);
                pool.change(logits, history.counts(), one, change);
            }
            Memory::Dry(dry) => {
                dry.look();
                let change = |length, logit| dry.penalise(logit, length, temperature);
                pool.change(logits, dry.lengths(), |token| dry.length(token), change);
            }
            Memory::None | Memory::Infill(_) => {}
        }
    }

    /// Runs the stage on the candidates.
    pub(crate) fn run(
        &mut self,
        pool: &mut Pool,
        logits: &[f32],
        random: &mut Xoshiro256PlusPlus,
        pieces: Option<&TokenPieces>,
    ) {
        match self.parameters {
            Parameters::Penalties { .. } | Parameters::Dry { .. } => self.penalise(pool, logits),
            Parameters::Temperature { temperature, dynatemp_range, dynatemp_exponent } => {
                pool.temper(logits, temperature, dynatemp_range, dynatemp_exponent);
            }
            Parameters::TopNSigma { top_n_sigma } => pool.top_n_sigma(logits, top_n_sigma),
            Parameters::TopK { top_k } => pool.keep_best(logits, top_k as usize),
            Parameters::TopP { top_p, min_keep } => pool.top_p(logits, top_p, min_keep),
            Parameters::MinP { min_p, min_keep } => pool.min_p(logits, min_p, min_keep),
            Parameters::Typical { typical_p, min_keep } => pool.typical(logits, typical_p, min_keep),
            Parameters::Xtc { xtc_probability, xtc_threshold, min_keep } => {
                if uniform(random) < f64::from(xtc_probability) {
                    pool.exclude_top(logits, xtc_threshold, min_keep);
                }
            }
            Parameters::Infill => {
                if let (Memory::Infill(infill), Some(pieces)) = (&mut self.memory, pieces) {
                    infill.apply(pool, logits, pieces);
                }
            }
        }
    }
}

/// Uniform in [0, 1), a multiple of 2^-53.
pub(crate) fn uniform(random: &mut Xoshiro256PlusPlus) -> f64 {
    (random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}
