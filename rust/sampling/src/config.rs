//! The options of a sampling step.

use std::sync::Arc;

use crate::setting::{check_integer, check_number};
use crate::{Breakers, ConfigError, Parameters, Stage, TokenId, TokenPieces};

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
    /// How far the dynamic temperature goes below and above `temperature`; 0 is off. At least 0.
    pub dynatemp_range: f32,
    /// The power of the entropy, relative to the largest possible, that moves the dynamic temperature. At least 0.
    pub dynatemp_exponent: f32,
    /// How many standard deviations below the best logit to keep; 0 and below keeps all.
    pub top_n_sigma: f32,
    /// How many of the most probable tokens to keep; 0 keeps all.
    pub top_k: u32,
    /// The probability that the most probable tokens kept must hold, in (0, 1]; 1 keeps all.
    pub top_p: f32,
    /// The least probability relative to the best token's, in [0, 1]; 0 keeps all.
    pub min_p: f32,
    /// The probability that the most typical tokens kept must exceed, in (0, 1]; 1 keeps all.
    pub typical_p: f32,
    /// The chance, in [0, 1], that XTC removes tokens in a step; 0 is off.
    pub xtc_probability: f32,
    /// The least probability of the tokens that XTC may remove, in [0, 1]; above 0.5 it is off.
    pub xtc_threshold: f32,
    /// How many tokens top-p, min-p, typical and XTC keep at the least. At least 1.
    pub min_keep: usize,
    /// What a positive logit of a token of the window is divided by, and a negative one multiplied by; 1 is off. Above 0.
    pub repeat_penalty: f32,
    /// How many of the last accepted tokens the penalties look at: -1 all, 0 none.
    pub repeat_window: i32,
    /// What is taken from a token's logit for each time it occurs in the window; finite.
    pub frequency_penalty: f32,
    /// What is taken from a token's logit if it occurs in the window; finite.
    pub presence_penalty: f32,
    /// What DRY takes from the logit of a token that would make a repetition longer than allowed by one; 0 is off. At least 0.
    pub dry_multiplier: f32,
    /// What DRY's penalty grows by with each further token; below 1 is off. At least 0.
    pub dry_base: f32,
    /// The longest repetition without a penalty from DRY, in tokens.
    pub dry_allowed_length: u32,
    /// How many of the last accepted tokens DRY looks at: -1 all, 0 none.
    pub dry_window: i32,
    /// Where repetitions end for DRY; without a vocabulary there are none (see [`Breakers`]).
    pub dry_breakers: Arc<Breakers>,
    /// The probability that adaptive-p prefers, at most 1; negative is off.
    pub adaptive_target: f32,
    /// How much of the past adaptive-p remembers at each token, in [0, 0.99]: about `1 / (1 - decay)` tokens.
    pub adaptive_decay: f32,
    /// 0 off, 1 mirostat, 2 mirostat 2.0. It replaces all stages but penalties, DRY and temperature.
    pub mirostat: u8,
    /// Mirostat's target surprise, in bits. Finite, at least 0.
    pub mirostat_tau: f32,
    /// Mirostat's learning rate. Finite, at least 0.
    pub mirostat_eta: f32,
    /// What to add to the logits of single tokens before everything else; `-inf` bans a token, entries for one token add up.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Tokens that are never chosen.
    pub banned_tokens: Vec<TokenId>,
    /// If given, only these tokens are ever chosen; at least one.
    pub allowed_tokens: Option<Vec<TokenId>>,
    /// The vocabulary's texts, which [`Stage::Infill`] needs.
    pub pieces: Option<Arc<TokenPieces>>,
    /// The seed of the random choice; `None` draws one from the operating system.
    pub seed: Option<u64>,
    /// The stages to run, first to last; a stage may be repeated, and one that is not listed does not run (but see
    /// [`Stage::Mirostat`]).
    pub order: Vec<Stage>,
}

impl Default for SamplerConfig {
    /// Temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, all else off, in [`SamplerConfig::default_order`].
    fn default() -> Self {
        Self {
            temperature: 0.8,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_n_sigma: -1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            min_keep: 1,
            repeat_penalty: 1.0,
            repeat_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_window: 64,
            dry_breakers: Arc::default(),
            adaptive_target: -1.0,
            adaptive_decay: 0.9,
            mirostat: 0,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            logit_bias: Vec::new(),
            banned_tokens: Vec::new(),
            allowed_tokens: None,
            pieces: None,
            seed: None,
            order: Self::default_order(),
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

    /// The default order: all stages but infill, as in [`Stage::ALL`].
    pub fn default_order() -> Vec<Stage> {
        Stage::ALL.into_iter().filter(|stage| *stage != Stage::Infill).collect()
    }

    /// llama.cpp's own order: penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature.
    pub fn llama_cpp_order() -> Vec<Stage> {
        use Stage::{Dry, MinP, Penalties, Temperature, TopK, TopNSigma, TopP, Typical, Xtc};
        vec![Penalties, Dry, TopNSigma, TopK, Typical, TopP, MinP, Xtc, Temperature]
    }

    /// What `stage` works with: these fields, or its own values. `None` for the stages that make the choice.
    pub fn parameters(&self, stage: Stage) -> Option<Parameters> {
        let min_keep = self.min_keep;
        let parameters = match stage {
            Stage::Penalties => Parameters::Penalties {
                repeat_penalty: self.repeat_penalty,
                repeat_window: self.repeat_window,
                frequency_penalty: self.frequency_penalty,
                presence_penalty: self.presence_penalty,
            },
            Stage::Dry => Parameters::Dry {
                dry_multiplier: self.dry_multiplier,
                dry_base: self.dry_base,
                dry_allowed_length: self.dry_allowed_length,
                dry_window: self.dry_window,
            },
            Stage::Temperature => Parameters::Temperature {
                temperature: self.temperature,
                dynatemp_range: self.dynatemp_range,
                dynatemp_exponent: self.dynatemp_exponent,
            },
            Stage::TopNSigma => Parameters::TopNSigma { top_n_sigma: self.top_n_sigma },
            Stage::TopK => Parameters::TopK { top_k: self.top_k },
            Stage::TopP => Parameters::TopP { top_p: self.top_p, min_keep },
            Stage::MinP => Parameters::MinP { min_p: self.min_p, min_keep },
            Stage::Typical => Parameters::Typical { typical_p: self.typical_p, min_keep },
            Stage::Xtc => Parameters::Xtc {
                xtc_probability: self.xtc_probability,
                xtc_threshold: self.xtc_threshold,
                min_keep,
            },
            Stage::Infill => Parameters::Infill,
            Stage::With(parameters) => parameters,
            Stage::AdaptiveP | Stage::Mirostat => return None,
        };
        Some(parameters)
    }

    /// Checks every field on its own, and the parameters that stages of `order` have of their own.
    ///
    /// Whether the tokens named exist is checked by [`Sampler::new`](crate::Sampler::new), which knows the vocabulary.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Number`], [`ConfigError::Integer`], [`ConfigError::Bias`] or [`ConfigError::NothingAllowed`] for the first
    /// field that cannot be used. NaN is refused everywhere.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for stage in Stage::ALL.into_iter().chain(self.order.iter().copied()) {
            self.parameters(stage).map_or(Ok(()), |parameters| parameters.validate())?;
        }
        check_number("adaptive_target", self.adaptive_target)?;
        check_number("adaptive_decay", self.adaptive_decay)?;
        check_integer("mirostat", i64::from(self.mirostat))?;
        check_number("mirostat_tau", self.mirostat_tau)?;
        check_number("mirostat_eta", self.mirostat_eta)?;
        for &(token, got) in &self.logit_bias {
            if got.is_nan() || got == f32::INFINITY {
                return Err(ConfigError::Bias { token, got });
            }
        }
        if self.allowed_tokens.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::NothingAllowed);
        }
        Ok(())
    }
}
