//! The options of a sampling step.

use crate::{ConfigError, Stage, TokenId};

/// How to choose tokens: plain values, checked by [`validate`](Self::validate) and by [`Sampler::new`](crate::Sampler::new).
///
/// ```
/// use tabagent_sampling::SamplerConfig;
///
/// let config = SamplerConfig { temperature: 0.7, top_p: 1.5, ..SamplerConfig::default() };
/// assert_eq!(config.validate().unwrap_err().to_string(), "`top_p` must be in (0, 1], got `1.5`");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerConfig {
    /// What the logits are divided by; 0 is greedy whatever `order` says, 1 leaves them as they are. At least 0.
    pub temperature: f32,
    /// How many of the most probable tokens to keep; 0 keeps all.
    pub top_k: u32,
    /// The probability that the most probable tokens kept must hold, in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// The least probability relative to the best token's, in [0, 1]; 0 keeps all.
    pub min_p: f32,
    /// The probability that the most typical tokens kept must exceed, in (0, 1]; 1 keeps all.
    pub typical_p: f32,
    /// How many tokens top-p, min-p and typical keep at the least. At least 1.
    pub min_keep: usize,
    /// What a positive logit of a token of the window is divided by, and a negative one multiplied by; 1 is off. Above 0.
    pub repeat_penalty: f32,
    /// How many of the last accepted tokens the penalties look at: -1 all, 0 none.
    pub repeat_window: i32,
    /// What is taken from a token's logit for each time it occurs in the window; finite.
    pub frequency_penalty: f32,
    /// What is taken from a token's logit if it occurs in the window; finite.
    pub presence_penalty: f32,
    /// 0 off, 1 mirostat, 2 mirostat 2.0. It replaces top-k, top-p, min-p and typical.
    pub mirostat: u8,
    /// Mirostat's target surprise, in bits. Finite, at least 0.
    pub mirostat_tau: f32,
    /// Mirostat's learning rate. Finite, at least 0.
    pub mirostat_eta: f32,
    /// What to add to the logits of single tokens before everything else; `-inf` bans a token, entries for one token add up.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The seed of the random choice; `None` draws one from the operating system.
    pub seed: Option<u64>,
    /// The stages to run, first to last, none twice; a stage that is not listed does not run (but see [`Stage::Mirostat`]).
    pub order: Vec<Stage>,
}

impl Default for SamplerConfig {
    /// Temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, all else off, in the order of [`Stage::ALL`].
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            min_keep: 1,
            repeat_penalty: 1.0,
            repeat_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            logit_bias: Vec::new(),
            seed: None,
            order: Stage::ALL.to_vec(),
        }
    }
}

impl SamplerConfig {
    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// The defaults in llama.cpp's own order, where the temperature comes after the truncation
    /// (`common_params_sampling` in `common/common.h` of the pinned version).
    pub fn llama_cpp() -> Self {
        Self { order: Self::llama_cpp_order(), ..Self::default() }
    }

    /// llama.cpp's own order of the stages that this crate has: penalties, top-k, typical, top-p, min-p, temperature.
    pub fn llama_cpp_order() -> Vec<Stage> {
        use Stage::{MinP, Penalties, Temperature, TopK, TopP, Typical};
        vec![Penalties, TopK, Typical, TopP, MinP, Temperature]
    }

    /// Checks every field on its own.
    ///
    /// Whether the tokens of `logit_bias` exist is checked by [`Sampler::new`](crate::Sampler::new), which knows the vocabulary.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Number`], [`ConfigError::Integer`], [`ConfigError::DuplicateStage`] or [`ConfigError::Bias`] for the first
    /// field that cannot be used. NaN is refused everywhere.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let above_zero = |x: f32| x > 0.0;
        let at_least_zero = |x: f32| x >= 0.0;
        let share = |x: f32| x > 0.0 && x <= 1.0;
        number("temperature", "finite and at least 0", self.temperature, at_least_zero)?;
        number("top_p", "in (0, 1]", self.top_p, share)?;
        number("min_p", "in [0, 1]", self.min_p, |x| (0.0..=1.0).contains(&x))?;
        number("typical_p", "in (0, 1]", self.typical_p, share)?;
        integer("min_keep", "at least 1", self.min_keep as i64, self.min_keep >= 1)?;
        number("repeat_penalty", "finite and above 0", self.repeat_penalty, above_zero)?;
        integer("repeat_window", "at least -1", i64::from(self.repeat_window), self.repeat_window >= -1)?;
        number("frequency_penalty", "finite", self.frequency_penalty, |_| true)?;
        number("presence_penalty", "finite", self.presence_penalty, |_| true)?;
        integer("mirostat", "0, 1 or 2", i64::from(self.mirostat), self.mirostat <= 2)?;
        number("mirostat_tau", "finite and at least 0", self.mirostat_tau, at_least_zero)?;
        number("mirostat_eta", "finite and at least 0", self.mirostat_eta, at_least_zero)?;
        for &(token, got) in &self.logit_bias {
            if got.is_nan() || got == f32::INFINITY {
                return Err(ConfigError::Bias { token, got });
            }
        }
        for (i, &stage) in self.order.iter().enumerate() {
            if self.order[..i].contains(&stage) {
                return Err(ConfigError::DuplicateStage { stage });
            }
        }
        Ok(())
    }
}

fn number(
    field: &'static str,
    range: &'static str,
    got: f32,
    fits: impl Fn(f32) -> bool,
) -> Result<(), ConfigError> {
    if got.is_finite() && fits(got) { Ok(()) } else { Err(ConfigError::Number { field, range, got }) }
}

fn integer(field: &'static str, range: &'static str, got: i64, fits: bool) -> Result<(), ConfigError> {
    if fits { Ok(()) } else { Err(ConfigError::Integer { field, range, got }) }
}
