//! The stages of a sampling step and their names.

use std::fmt;
use std::str::FromStr;

use crate::Parameters;

/// One stage of a sampling step; [`SamplerConfig::order`](crate::SamplerConfig::order) lists them.
///
/// A plain stage takes its parameters from the configuration's fields; [`With`](Self::With) carries its own, so that a stage can be
/// repeated with other values.
///
/// ```
/// use tabagent_sampling::{Parameters, Stage};
///
/// assert_eq!("top_k".parse(), Ok(Stage::TopK));
/// assert_eq!(Stage::Typical.to_string(), "typical_p");
/// assert_eq!(Stage::With(Parameters::TopK { top_k: 20 }).name(), "top_k");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Repeat, frequency and presence penalties on the tokens of the window.
    Penalties,
    /// Penalties on the tokens that would go on with a repetition (DRY, "don't repeat yourself").
    Dry,
    /// Division of the logits by the temperature, which may follow the entropy (dynamic temperature).
    Temperature,
    /// Keeps the tokens whose logit is at most so many standard deviations below the best (Tang et al. 2024, top-nσ).
    TopNSigma,
    /// Keeps the `top_k` most probable tokens.
    TopK,
    /// Keeps the smallest set of most probable tokens that holds `top_p` of the probability (Holtzman et al. 2020, nucleus sampling).
    TopP,
    /// Keeps the tokens that are at least `min_p` times as probable as the best one (Nguyen et al. 2024).
    MinP,
    /// Keeps the tokens whose surprise is nearest to the entropy (Meister et al. 2022, locally typical sampling).
    Typical,
    /// By chance, removes all tokens above a threshold but the least probable of them ("exclude top choices").
    Xtc,
    /// Decides between text and end for fill-in-the-middle; needs [`SamplerConfig::pieces`](crate::SamplerConfig::pieces).
    Infill,
    /// Prefers tokens whose probability is near a target. It makes the choice, so it runs last wherever it is listed, and once.
    AdaptiveP,
    /// Mirostat (Basu et al. 2021). It makes the choice, so it runs last wherever it is listed, and also when it is not listed:
    /// [`SamplerConfig::mirostat`](crate::SamplerConfig::mirostat) alone turns it on.
    Mirostat,
    /// A stage with parameters of its own.
    With(Parameters),
}

impl Stage {
    /// Every stage with a name, in the default order; [`Infill`](Self::Infill), which the default order does not have, is before the
    /// two that make the choice.
    pub const ALL: [Self; 12] = [
        Self::Penalties,
        Self::Dry,
        Self::Temperature,
        Self::TopNSigma,
        Self::TopK,
        Self::TopP,
        Self::MinP,
        Self::Typical,
        Self::Xtc,
        Self::Infill,
        Self::AdaptiveP,
        Self::Mirostat,
    ];

    /// The stage's name: the first word of its field in the configuration, such as `top_k`, `penalties` or `xtc`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::Temperature => "temperature",
            Self::TopNSigma => "top_n_sigma",
            Self::TopK => "top_k",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Typical => "typical_p",
            Self::Xtc => "xtc",
            Self::Infill => "infill",
            Self::AdaptiveP => "adaptive_p",
            Self::Mirostat => "mirostat",
            Self::With(parameters) => parameters.name(),
        }
    }

    /// The names of the settings that the stage reads and that [`With`](Self::With) can give it: none for those that make the choice.
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Penalties | Self::With(Parameters::Penalties { .. }) => {
                &["repeat_penalty", "repeat_window", "frequency_penalty", "presence_penalty"]
            }
            Self::Dry | Self::With(Parameters::Dry { .. }) => {
                &["dry_multiplier", "dry_base", "dry_allowed_length", "dry_window"]
            }
            Self::Temperature | Self::With(Parameters::Temperature { .. }) => {
                &["temperature", "dynatemp_range", "dynatemp_exponent"]
            }
            Self::TopNSigma | Self::With(Parameters::TopNSigma { .. }) => &["top_n_sigma"],
            Self::TopK | Self::With(Parameters::TopK { .. }) => &["top_k"],
            Self::TopP | Self::With(Parameters::TopP { .. }) => &["top_p", "min_keep"],
            Self::MinP | Self::With(Parameters::MinP { .. }) => &["min_p", "min_keep"],
            Self::Typical | Self::With(Parameters::Typical { .. }) => &["typical_p", "min_keep"],
            Self::Xtc | Self::With(Parameters::Xtc { .. }) => {
                &["xtc_probability", "xtc_threshold", "min_keep"]
            }
            Self::Infill | Self::With(Parameters::Infill) | Self::AdaptiveP | Self::Mirostat => &[],
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Stage {
    type Err = ParseStageError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|stage| stage.name() == name);
        found.ok_or_else(|| ParseStageError { name: name.to_owned() })
    }
}

/// A name that is no stage's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is no sampling stage; use {}",
    Stage::ALL.map(|stage| format!("`{stage}`")).join(", ")
)]
pub struct ParseStageError {
    /// The name as given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_to_their_stage() {
        for stage in Stage::ALL {
            assert_eq!(stage.to_string().parse(), Ok(stage));
        }
    }

    #[test]
    fn parse_error_lists_every_name() {
        let text = "topk".parse::<Stage>().unwrap_err().to_string();
        assert!(text.starts_with("`topk` is no sampling stage; use "));
        for stage in Stage::ALL {
            assert!(text.contains(&format!("`{stage}`")), "{text}");
        }
    }
}
