//! The sampler: one configuration at work on one sequence.

use libm::log;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::candidates::Candidates;
use crate::history::History;
use crate::mask::MaskedRow;
use crate::mirostat::{ESTIMATE_LEN, Mirostat, surprise};
use crate::row::Row;
use crate::{ConfigError, SampleError, SamplerConfig, Stage, TokenId, TokenMask};

/// How far below the top, in units of the temperature, top-p first looks for its tokens.
const FIRST_DEPTH: f32 = 3.0;
/// Beyond this depth every weight is 0.
const LAST_DEPTH: f32 = 90.0;

/// Chooses tokens for one sequence.
///
/// Owns its random generator, its history, mirostat's state and its scratch memory: after the first steps nothing is allocated.
/// The memory is about 20 bytes for each 128 tokens of the vocabulary, and 40 bytes for each token that a stage has to list.
///
/// ```
/// use tabagent_sampling::{Sampler, SamplerConfig};
///
/// let mut sampler = Sampler::new(&SamplerConfig::greedy(), 3)?;
/// assert_eq!(sampler.sample(&[0.5, 2.0, 2.0])?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    n_vocab: usize,
    seed: u64,
    random: Xoshiro256PlusPlus,
    history: History,
    mirostat: Mirostat,
    row: Row,
    list: Candidates,
    masked: MaskedRow,
}

/// What is left of a row after the stages.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// The choice is made.
    Token(usize),
    /// All tokens, at this inverse temperature.
    Row(f32),
    /// Those in `Sampler::list`, at this inverse temperature.
    List(f32),
}

impl Sampler {
    /// A sampler for rows of `n_vocab` logits.
    ///
    /// # Errors
    ///
    /// What [`SamplerConfig::validate`] finds, [`ConfigError::Vocabulary`], [`ConfigError::BiasToken`], or [`ConfigError::Seed`] if no
    /// seed was given and none can be drawn.
    pub fn new(config: &SamplerConfig, n_vocab: usize) -> Result<Self, ConfigError> {
        config.validate()?;
        if n_vocab == 0 || n_vocab > TokenId::MAX as usize {
            return Err(ConfigError::Vocabulary { n_vocab });
        }
        for &(token, _) in &config.logit_bias {
            if !usize::try_from(token).is_ok_and(|token| token < n_vocab) {
                return Err(ConfigError::BiasToken { token, n_vocab });
            }
        }
        let seed = match config.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|source| ConfigError::Seed { source })?,
        };
        Ok(Self {
            config: config.clone(),
            n_vocab,
            seed,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            history: History::new(config),
            mirostat: Mirostat::new(config, n_vocab),
            row: Row::new(n_vocab),
            list: Candidates::default(),
            masked: MaskedRow::default(),
        })
    }

    /// The seed in use: the one given, or the one drawn from the operating system.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Takes a token into the history that the penalties look at; the prompt's tokens may be fed too, first to last.
    ///
    /// [`sample`](Self::sample) does not do it by itself. A token that the vocabulary does not have only takes up a place.
    pub fn accept(&mut self, token: TokenId) {
        self.history.accept(token);
    }

    /// Forgets the history and starts the random generator and mirostat anew, as just after [`new`](Self::new).
    pub fn reset(&mut self) {
        self.history.clear();
        self.mirostat.reset();
        self.random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
    }

    /// Chooses a token from one row of logits, by the rules in the [crate's documentation](crate).
    ///
    /// # Errors
    ///
    /// [`SampleError::WrongLength`] or [`SampleError::NoFiniteLogit`]; the sampler is then as before the call.
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, SampleError> {
        let token = match self.narrow(logits)? {
            Outcome::Token(token) => token,
            Outcome::Row(inverse_temperature) => {
                let target = self.row.weigh(logits, inverse_temperature) * self.draw();
                self.row.choose(logits, inverse_temperature, target).ok_or_else(|| no_finite(logits))?
            }
            Outcome::List(inverse_temperature) => {
                let total = self.list.weigh(inverse_temperature);
                let target = total * self.draw();
                let chosen = self.list.choose(target).ok_or_else(|| no_finite(logits))?;
                if self.config.mirostat != 0 {
                    self.mirostat.observe(surprise(f64::from(chosen.weight), total));
                }
                chosen.id as usize
            }
        };
        Ok(token as TokenId)
    }

    /// Chooses one of the tokens that `mask` allows, as if the others had a logit of negative infinity; no mask allows all.
    ///
    /// The first call with a mask allocates a row of `n_vocab` logits.
    ///
    /// # Errors
    ///
    /// Those of [`sample`](Self::sample), [`SampleError::WrongMask`] or [`SampleError::EmptyMask`]; the sampler is then as before the
    /// call.
    pub fn sample_masked(
        &mut self,
        logits: &[f32],
        mask: Option<&TokenMask>,
    ) -> Result<TokenId, SampleError> {
        let Some(mask) = mask else { return self.sample(logits) };
        self.check_length(logits)?;
        if mask.n_vocab() != self.n_vocab {
            return Err(SampleError::WrongMask { expected: self.n_vocab, got: mask.n_vocab() });
        }
        if mask.is_empty() {
            return Err(SampleError::EmptyMask { n_vocab: self.n_vocab });
        }
        let mut masked = std::mem::take(&mut self.masked);
        let token = self.sample(masked.fill(logits, mask));
        self.masked = masked;
        token
    }

    fn check_length(&self, logits: &[f32]) -> Result<(), SampleError> {
        let (expected, got) = (self.n_vocab, logits.len());
        if got == expected { Ok(()) } else { Err(SampleError::WrongLength { expected, got }) }
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    fn draw(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Everything but the choice.
    fn narrow(&mut self, logits: &[f32]) -> Result<Outcome, SampleError> {
        self.check_length(logits)?;
        self.row.load(logits);
        self.row.change(logits, self.config.logit_bias.iter().copied(), |bias, logit| biased(logit, bias));
        let top = self.row.top();
        if !top.is_finite() {
            let winner = if self.row.has_finite(logits) { self.row.find(logits, top) } else { None };
            return winner.map(Outcome::Token).ok_or_else(|| no_finite(logits));
        }
        if self.config.temperature == 0.0 {
            if self.config.order.contains(&Stage::Penalties) {
                self.penalise(logits, false, 1.0);
            }
            let best = self.row.find(logits, self.row.top());
            return best.map(Outcome::Token).ok_or_else(|| no_finite(logits));
        }
        Ok(self.run_stages(logits))
    }

    fn run_stages(&mut self, logits: &[f32]) -> Outcome {
        let truncate = self.config.mirostat == 0;
        let (mut listed, mut temperature) = (false, 1.0);
        for at in 0..self.config.order.len() {
            let inverse = inverse(temperature);
            match self.config.order[at] {
                Stage::Penalties => self.penalise(logits, listed, temperature),
                Stage::Temperature => temperature = self.config.temperature,
                Stage::TopK if truncate => listed = self.top_k(logits, listed),
                Stage::TopP if truncate => listed = self.top_p(logits, listed, inverse),
                Stage::MinP if truncate => listed = self.min_p(logits, listed, inverse),
                Stage::Typical if truncate => listed = self.typical(logits, listed, inverse),
                Stage::TopK | Stage::TopP | Stage::MinP | Stage::Typical | Stage::Mirostat => {}
            }
        }
        let inverse = inverse(temperature);
        match self.config.mirostat {
            0 if !listed => Outcome::Row(inverse),
            0 => Outcome::List(inverse),
            1 => self.mirostat_1(logits, inverse),
            _ => self.mirostat_2(logits, inverse),
        }
    }

    fn penalise(&mut self, logits: &[f32], listed: bool, temperature: f32) {
        let history = &self.history;
        if !history.is_enabled() {
            return;
        }
        if listed {
            self.list.change(|token, logit| match history.count(token as TokenId) {
                0 => logit,
                count => history.penalise(logit, count, temperature),
            });
        } else {
            let penalised = |count, logit| history.penalise(logit, count, temperature);
            self.row.change(logits, history.counts(), penalised);
        }
    }

    // Each of these stages returns whether the candidates are in `self.list` after it.

    fn top_k(&mut self, logits: &[f32], listed: bool) -> bool {
        let k = self.config.top_k as usize;
        if listed {
            self.list.top_k(k);
        } else if k > 0 && k < self.n_vocab {
            self.row.collect_top_k(logits, k, &mut self.list);
            return true;
        }
        listed
    }

    fn top_p(&mut self, logits: &[f32], listed: bool, inverse_temperature: f32) -> bool {
        let (p, min_keep) = (f64::from(self.config.top_p), self.config.min_keep);
        if p >= 1.0 {
            return listed;
        }
        if listed {
            let target = p * self.list.weigh(inverse_temperature);
            self.list.top_mass(target, min_keep);
            return true;
        }
        let target = p * self.row.weigh(logits, inverse_temperature);
        let top = self.row.top();
        let mut depth = FIRST_DEPTH;
        loop {
            let everything = depth > LAST_DEPTH;
            let threshold = if everything { f32::MIN } else { top - depth / inverse_temperature };
            self.row.collect(logits, threshold, &mut self.list);
            let mass = self.list.weigh(inverse_temperature);
            if everything || (mass >= target && self.list.len() >= min_keep) {
                break;
            }
            depth *= 1.5;
        }
        self.list.top_mass(target, min_keep);
        true
    }

    fn min_p(&mut self, logits: &[f32], listed: bool, inverse_temperature: f32) -> bool {
        let (p, min_keep) = (self.config.min_p, self.config.min_keep);
        if p <= 0.0 {
            return listed;
        }
        if !listed {
            self.collect_depth(logits, -log(f64::from(p)), inverse_temperature);
        }
        self.list.weigh(inverse_temperature);
        if !self.list.at_least(p, min_keep) {
            if listed {
                self.list.top_k(min_keep);
            } else {
                self.row.collect_top_k(logits, min_keep, &mut self.list);
            }
        }
        true
    }

    fn typical(&mut self, logits: &[f32], listed: bool, inverse_temperature: f32) -> bool {
        if self.config.typical_p >= 1.0 {
            return listed;
        }
        if !listed {
            self.row.collect(logits, f32::MIN, &mut self.list);
        }
        self.list.typical(self.config.typical_p, self.config.min_keep, inverse_temperature);
        true
    }

    fn mirostat_1(&mut self, logits: &[f32], inverse_temperature: f32) -> Outcome {
        self.row.collect_top_k(logits, ESTIMATE_LEN, &mut self.list);
        let best = self.list.falling_logits();
        let n_kept = self.mirostat.n_kept(best, f64::from(inverse_temperature));
        if n_kept <= ESTIMATE_LEN {
            self.list.top_k(n_kept);
        } else {
            self.row.collect_top_k(logits, n_kept, &mut self.list);
        }
        Outcome::List(inverse_temperature)
    }

    fn mirostat_2(&mut self, logits: &[f32], inverse_temperature: f32) -> Outcome {
        let total = self.row.weigh(logits, inverse_temperature);
        let mu = self.mirostat.mu();
        // -log2(w / total) <= mu where the depth below the top is at most mu ln 2 - ln total.
        let depth = mu * std::f64::consts::LN_2 - log(total);
        self.collect_depth(logits, depth.max(0.0), inverse_temperature);
        self.list.weigh(inverse_temperature);
        self.list.retain(|item| item.weight > 0.0 && surprise(f64::from(item.weight), total) <= mu);
        if self.list.len() == 0 {
            self.row.collect_top_k(logits, 1, &mut self.list);
        }
        Outcome::List(inverse_temperature)
    }

    /// Lists the tokens whose logit divided by the temperature is at most `depth` below the top, and some just beyond.
    fn collect_depth(&mut self, logits: &[f32], depth: f64, inverse_temperature: f32) {
        let top = f64::from(self.row.top());
        let margin = 1e-5 * depth / f64::from(inverse_temperature) + 1e-6 * top.abs();
        let threshold = top - depth / f64::from(inverse_temperature) - margin;
        self.row.collect(logits, threshold as f32, &mut self.list);
    }

    /// The kept tokens with their probabilities.
    #[cfg(test)]
    pub(crate) fn distribution(&mut self, logits: &[f32]) -> Result<Vec<(usize, f64)>, SampleError> {
        let inverse_temperature = match self.narrow(logits)? {
            Outcome::Token(token) => return Ok(vec![(token, 1.0)]),
            Outcome::List(inverse) => inverse,
            Outcome::Row(inverse) => {
                self.row.collect(logits, f32::MIN, &mut self.list);
                inverse
            }
        };
        let total = self.list.weigh(inverse_temperature);
        Ok(self.list.items().iter().map(|item| (item.id as usize, f64::from(item.weight) / total)).collect())
    }
}

/// 1 / temperature, finite even for a subnormal temperature.
fn inverse(temperature: f32) -> f32 {
    (1.0 / temperature).min(f32::MAX)
}

/// The sum, kept finite if the logit is and the bias bans nothing.
fn biased(logit: f32, bias: f32) -> f32 {
    if logit.is_finite() && bias.is_finite() {
        (logit + bias).clamp(f32::MIN, f32::MAX)
    } else {
        logit + bias
    }
}

fn no_finite(logits: &[f32]) -> SampleError {
    SampleError::NoFiniteLogit {
        n_vocab: logits.len(),
        n_nan: logits.iter().filter(|logit| logit.is_nan()).count(),
    }
}
