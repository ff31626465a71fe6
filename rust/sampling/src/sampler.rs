//! The sampler: one configuration at work on one sequence.

use std::sync::Arc;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use crate::last_draw::LastDraw;
use crate::mask::MaskedRow;
use crate::row::pool::Pool;
use crate::row::weight::Scale;
use crate::stages::adaptive_p::AdaptiveP;
use crate::stages::mirostat::{Mirostat, surprise};
use crate::stages::step::{Step, uniform};
use crate::{ConfigError, Parameters, SampleError, SamplerConfig, Stage, TokenId, TokenMask, TokenPieces};

/// Chooses tokens for one sequence.
///
/// Owns its random generator, its history, mirostat's state and its scratch memory: after the first steps nothing is allocated.
/// The memory is about 25 bytes for each 128 tokens of the vocabulary, and 40 bytes for each token that a stage has to list.
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
    n_vocab: usize,
    seed: u64,
    pub(crate) random: Xoshiro256PlusPlus,
    /// Logit bias, and negative infinity for what is banned.
    bias: Vec<(TokenId, f32)>,
    allowed: Option<TokenMask>,
    pieces: Option<Arc<TokenPieces>>,
    greedy: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) selector: Selector,
    pub(crate) pool: Pool,
    masked: MaskedRow,
    /// What `allowed` and a mask have in common.
    common: Option<TokenMask>,
    pub(crate) drawn: LastDraw,
}

/// What makes the choice.
#[derive(Clone, Debug)]
pub(crate) enum Selector {
    /// The probabilities alone.
    Dist,
    Mirostat1(Mirostat),
    Mirostat2(Mirostat),
    AdaptiveP(AdaptiveP),
}

/// What is left of a row after the stages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// The choice is made.
    Token(TokenId),
    /// One of the pool's candidates.
    Pool,
}

/// A point in a step at which something may look at the candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// The row is loaded, before everything else.
    Loaded,
    /// The bias is added and what is banned is gone.
    Bias,
    /// A stage has run.
    Step(Parameters),
    /// What makes the choice has changed the candidates.
    Selector(&'static str),
}

impl Sampler {
    /// A sampler for rows of `n_vocab` logits.
    ///
    /// # Errors
    ///
    /// What [`SamplerConfig::validate`] finds, [`ConfigError::Vocabulary`], [`ConfigError::UnknownToken`],
    /// [`ConfigError::NeedsPieces`] or [`ConfigError::WrongPieces`] for infill, or [`ConfigError::Seed`] if no seed was given and none
    /// can be drawn.
    pub fn new(config: &SamplerConfig, n_vocab: usize) -> Result<Self, ConfigError> {
        config.validate()?;
        if n_vocab == 0 || n_vocab > TokenId::MAX as usize {
            return Err(ConfigError::Vocabulary { n_vocab });
        }
        check_tokens(config, n_vocab)?;
        let greedy = config.temperature == 0.0;
        let runs = |parameters: &Parameters| {
            let replaced = (config.mirostat != 0 && parameters.truncates()) || greedy;
            let penalty = matches!(parameters, Parameters::Penalties { .. } | Parameters::Dry { .. });
            !parameters.is_off() && (penalty || !replaced)
        };
        let parameters = config.order.iter().filter_map(|&stage| config.parameters(stage));
        let steps: Vec<Step> = parameters.filter(runs).map(|own| Step::new(own, config)).collect();
        if steps.iter().any(|step| step.parameters == Parameters::Infill) {
            let pieces = config.pieces.as_ref().ok_or(ConfigError::NeedsPieces)?;
            if pieces.len() != n_vocab {
                return Err(ConfigError::WrongPieces { got: pieces.len(), n_vocab });
            }
        }
        let seed = match config.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|source| ConfigError::Seed { source })?,
        };
        let mut allowed = config.allowed_tokens.as_ref().map(|_| TokenMask::new(n_vocab));
        if let (Some(mask), Some(tokens)) = (&mut allowed, &config.allowed_tokens) {
            for &token in tokens {
                mask.allow(token);
            }
        }
        let banned = config.banned_tokens.iter().map(|&token| (token, f32::NEG_INFINITY));
        Ok(Self {
            n_vocab,
            seed,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            bias: config.logit_bias.iter().copied().chain(banned).collect(),
            allowed,
            pieces: config.pieces.clone(),
            greedy,
            steps,
            selector: Selector::new(config, n_vocab),
            pool: Pool::new(n_vocab),
            masked: MaskedRow::default(),
            common: None,
            drawn: LastDraw::default(),
        })
    }

    /// The seed in use: the one given, or the one drawn from the operating system.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of tokens in the vocabulary: the length of the rows.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// Takes a token into the history that the penalties and DRY look at; the prompt's tokens may be fed too, first to last.
    ///
    /// [`sample`](Self::sample) does not do it by itself. A token that the vocabulary does not have only takes up a place.
    pub fn accept(&mut self, token: TokenId) {
        self.steps.iter_mut().for_each(|step| step.accept(token));
    }

    /// Forgets the history and starts the random generator, mirostat and adaptive-p anew, as just after [`new`](Self::new).
    pub fn reset(&mut self) {
        self.steps.iter_mut().for_each(Step::clear);
        self.selector.reset();
        self.random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
    }

    /// Chooses a token from one row of logits, by the rules in the [crate's documentation](crate).
    ///
    /// # Errors
    ///
    /// [`SampleError::WrongLength`], [`SampleError::NoFiniteLogit`], or [`SampleError::EmptyMask`] if all
    /// [allowed tokens](SamplerConfig::allowed_tokens) are banned; the sampler is then as before the call.
    pub fn sample(&mut self, logits: &[f32]) -> Result<TokenId, SampleError> {
        self.sample_masked(logits, None)
    }

    /// Chooses one of the tokens that `mask` allows, as if the others had a logit of negative infinity; no mask allows all.
    ///
    /// The first call with a mask allocates a row of `n_vocab` logits.
    ///
    /// # Errors
    ///
    /// Those of [`sample`](Self::sample), [`SampleError::WrongMask`], or [`SampleError::EmptyMask`] if no allowed token is left; the
    /// sampler is then as before the call.
    pub fn sample_masked(
        &mut self,
        logits: &[f32],
        mask: Option<&TokenMask>,
    ) -> Result<TokenId, SampleError> {
        self.with_mask(logits, mask, Self::sample_row)
    }

    /// Does `work` on the row that the mask and the allowed tokens leave.
    pub(crate) fn with_mask<T>(
        &mut self,
        logits: &[f32],
        mask: Option<&TokenMask>,
        work: impl FnOnce(&mut Self, &[f32]) -> Result<T, SampleError>,
    ) -> Result<T, SampleError> {
        let (expected, got) = (self.n_vocab, logits.len());
        if got != expected {
            return Err(SampleError::WrongLength { expected, got });
        }
        if mask.is_none() && self.allowed.is_none() {
            return work(self, logits);
        }
        if let Some(got) = mask.map(TokenMask::n_vocab).filter(|&got| got != expected) {
            return Err(SampleError::WrongMask { expected, got });
        }
        let common = match (mask, &self.allowed) {
            (Some(mask), Some(allowed)) => {
                let common = self.common.get_or_insert_with(|| TokenMask::new(expected));
                common.copy_from_words(mask.words());
                common.intersect(allowed);
                Some(&*common)
            }
            (mask, allowed) => mask.or(allowed.as_ref()),
        };
        let Some(mask) = common.filter(|mask| !mask.is_empty()) else {
            return Err(SampleError::EmptyMask { n_vocab: expected });
        };
        let mut masked = std::mem::take(&mut self.masked);
        let row = masked.fill(logits, mask);
        let result = work(self, row);
        self.masked = masked;
        result
    }

    fn sample_row(&mut self, logits: &[f32]) -> Result<TokenId, SampleError> {
        let token = match self.narrow(logits, false, |_, _| {})? {
            Outcome::Token(token) => {
                self.drawn.set(token, 1.0, false);
                return Ok(token);
            }
            Outcome::Pool if self.pool.listed => self.choose_from_list(),
            Outcome::Pool => self.choose_from_row(logits),
        };
        token.ok_or_else(|| no_finite(logits))
    }

    fn choose_from_row(&mut self, logits: &[f32]) -> Option<TokenId> {
        let inverse = self.pool.inverse();
        let total = self.pool.row.weigh(logits, inverse);
        if let Selector::AdaptiveP(adaptive) = &mut self.selector {
            let draw = uniform(&mut self.random);
            let (token, share) = adaptive.choose(&mut self.pool, logits, total, draw)?;
            self.drawn.remember_adapted(&mut self.pool, logits, token, adaptive);
            adaptive.observe_share(share);
            return Some(token);
        }
        let target = total * uniform(&mut self.random);
        let chosen = self.pool.row.choose(logits, inverse, target)?;
        let token = chosen as TokenId;
        if let Selector::Mirostat1(mirostat) | Selector::Mirostat2(mirostat) = &mut self.selector {
            let scale = Scale::new(self.pool.row.top(), inverse);
            let weight = scale.weight(self.pool.row.logit(logits, chosen));
            mirostat.observe(surprise(f64::from(weight), total));
        }
        self.drawn.remember(&mut self.pool, logits, token, total);
        Some(token)
    }

    fn choose_from_list(&mut self) -> Option<TokenId> {
        let total = self.pool.list.weigh(self.pool.inverse());
        let target = total * uniform(&mut self.random);
        let chosen = self.pool.list.choose(target)?;
        let (token, weight) = (chosen.id as TokenId, f64::from(chosen.weight));
        match &mut self.selector {
            Selector::Dist => {}
            Selector::Mirostat1(mirostat) | Selector::Mirostat2(mirostat) => {
                mirostat.observe(surprise(weight, total));
            }
            Selector::AdaptiveP(adaptive) => adaptive.observe(token),
        }
        self.drawn.set(token, weight / total, true);
        Some(token)
    }

    /// Everything but the choice; `watch` is shown the candidates on the way if it is `watched`.
    ///
    /// If nobody watches, the last stage that cuts may leave a row that remembers its last token; only the choice can read that.
    pub(crate) fn narrow(
        &mut self,
        logits: &[f32],
        watched: bool,
        mut watch: impl FnMut(Moment, &mut Pool),
    ) -> Result<Outcome, SampleError> {
        let Self { pool, bias, steps, selector, random, pieces, .. } = self;
        pool.load(logits);
        watch(Moment::Loaded, pool);
        pool.row.change(logits, bias.iter().copied(), |bias, logit| biased(logit, bias));
        let top = pool.row.top();
        if !top.is_finite() {
            let winner = if top == f32::INFINITY { pool.row.find(logits, top) } else { None };
            return winner.map(|token| Outcome::Token(token as TokenId)).ok_or_else(|| no_finite(logits));
        }
        watch(Moment::Bias, pool);
        let draws = !matches!(selector, Selector::AdaptiveP(_)) && !watched;
        // Where a cut may be the last one.
        let n_before = steps.iter().rposition(|step| !step.takes_cut_rows()).unwrap_or(0);
        for (number, step) in steps.iter_mut().enumerate() {
            pool.may_end_in_row = draws && number >= n_before;
            step.run(pool, logits, random, pieces.as_deref());
            watch(Moment::Step(step.parameters), pool);
        }
        if self.greedy {
            let best = pool.row.find(logits, pool.row.top());
            return best.map(|token| Outcome::Token(token as TokenId)).ok_or_else(|| no_finite(logits));
        }
        pool.may_end_in_row = !watched;
        selector.narrow(pool, logits);
        if let Some(name) = selector.name() {
            watch(Moment::Selector(name), pool);
        }
        Ok(Outcome::Pool)
    }

    /// Whether the configuration lets the token be chosen at all: it is in the vocabulary, among the allowed tokens, and not banned, neither
    /// by name nor by a bias of negative infinity.
    ///
    /// ```
    /// use tabagent_sampling::{Sampler, SamplerConfig};
    ///
    /// let sampler = Sampler::new(&SamplerConfig { banned_tokens: vec![1], ..SamplerConfig::greedy() }, 3)?;
    /// assert!(sampler.allows(0) && !sampler.allows(1) && !sampler.allows(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allows(&self, token: TokenId) -> bool {
        let exists = usize::try_from(token).is_ok_and(|token| token < self.n_vocab);
        let banned = self.bias.iter().any(|&(id, bias)| id == token && bias == f32::NEG_INFINITY);
        exists && !banned && self.allowed.as_ref().is_none_or(|mask| mask.allows(token))
    }

    /// Whether any bias or ban is set.
    pub(crate) fn has_bias(&self) -> bool {
        !self.bias.is_empty()
    }
}

impl Selector {
    fn new(config: &SamplerConfig, n_vocab: usize) -> Self {
        let mirostat = || Mirostat::new(config.mirostat_tau, config.mirostat_eta, n_vocab);
        match config.mirostat {
            0 if config.adaptive_target >= 0.0 && config.order.contains(&Stage::AdaptiveP) => {
                Self::AdaptiveP(AdaptiveP::new(config.adaptive_target, config.adaptive_decay))
            }
            0 => Self::Dist,
            1 => Self::Mirostat1(mirostat()),
            _ => Self::Mirostat2(mirostat()),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Dist => {}
            Self::Mirostat1(mirostat) | Self::Mirostat2(mirostat) => mirostat.reset(),
            Self::AdaptiveP(adaptive) => adaptive.reset(),
        }
    }

    fn narrow(&mut self, pool: &mut Pool, logits: &[f32]) {
        match self {
            Self::Dist => {}
            Self::Mirostat1(mirostat) => pool.mirostat_1(logits, mirostat),
            Self::Mirostat2(mirostat) => pool.mirostat_2(logits, mirostat),
            Self::AdaptiveP(_) if !pool.listed && pool.may_end_in_row => {}
            Self::AdaptiveP(adaptive) => adaptive.transform(pool, logits),
        }
    }

    fn name(&self) -> Option<&'static str> {
        match self {
            Self::Dist => None,
            Self::Mirostat1(_) | Self::Mirostat2(_) => Some("mirostat"),
            Self::AdaptiveP(_) => Some("adaptive_p"),
        }
    }
}

fn check_tokens(config: &SamplerConfig, n_vocab: usize) -> Result<(), ConfigError> {
    let biased = config.logit_bias.iter().map(|&(token, _)| ("logit_bias", token));
    let banned = config.banned_tokens.iter().map(|&token| ("banned_tokens", token));
    let allowed = config.allowed_tokens.iter().flatten().map(|&token| ("allowed_tokens", token));
    let mut named = biased.chain(banned).chain(allowed);
    let unknown = named.find(|(_, token)| !usize::try_from(*token).is_ok_and(|token| token < n_vocab));
    unknown.map_or(Ok(()), |(field, token)| Err(ConfigError::UnknownToken { field, token, n_vocab }))
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
