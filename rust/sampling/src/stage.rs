//! The stages of a sampling step and their names.

use std::fmt;
use std::str::FromStr;

/// One stage of a sampling step; [`SamplerConfig::order`](crate::SamplerConfig::order) lists them.
///
/// ```
/// use tabagent_sampling::Stage;
///
/// assert_eq!("top_k".parse(), Ok(Stage::TopK));
/// assert_eq!(Stage::Typical.to_string(), "typical_p");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Repeat, frequency and presence penalties on the tokens of the window.
    Penalties,
    /// Division of the logits by the temperature.
    Temperature,
    /// Keeps the `top_k` most probable tokens.
    TopK,
    /// Keeps the smallest set of most probable tokens that holds `top_p` of the probability (Holtzman et al. 2020, nucleus sampling).
    TopP,
    /// Keeps the tokens that are at least `min_p` times as probable as the best one (Nguyen et al. 2024).
    MinP,
    /// Keeps the tokens whose surprise is nearest to the entropy (Meister et al. 2022, locally typical sampling).
    Typical,
    /// Mirostat (Basu et al. 2021). It makes the choice, so it runs last wherever it is listed, and also when it is not listed:
    /// [`SamplerConfig::mirostat`](crate::SamplerConfig::mirostat) alone turns it on.
    Mirostat,
}

impl Stage {
    /// Every stage, in the default order.
    pub const ALL: [Self; 7] = [
        Self::Penalties,
        Self::Temperature,
        Self::TopK,
        Self::TopP,
        Self::MinP,
        Self::Typical,
        Self::Mirostat,
    ];

    /// The stage's name: `penalties`, `temperature`, `top_k`, `top_p`, `min_p`, `typical_p` or `mirostat`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Temperature => "temperature",
            Self::TopK => "top_k",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Typical => "typical_p",
            Self::Mirostat => "mirostat",
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
    "`{name}` is no sampling stage; use `penalties`, `temperature`, `top_k`, `top_p`, `min_p`, `typical_p` or `mirostat`"
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
