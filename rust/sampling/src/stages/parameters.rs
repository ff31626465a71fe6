//! What one stage works with: the configuration's fields that it reads, or values of its own.

use crate::ConfigError;
use crate::setting::{check_integer, check_number};

/// The parameters of one stage, named as the fields of [`SamplerConfig`](crate::SamplerConfig).
///
/// The two stages that make the choice, adaptive-p and mirostat, run once and have none of their own.
///
/// ```
/// use tabagent_sampling::{Parameters, SamplerConfig, Stage};
///
/// let wide = Stage::With(Parameters::TopK { top_k: 200 });
/// let config = SamplerConfig { order: vec![wide, Stage::Temperature, Stage::TopK], ..SamplerConfig::default() };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are documented in `SamplerConfig`")]
pub enum Parameters {
    /// For [`Stage::Penalties`](crate::Stage::Penalties).
    Penalties { repeat_penalty: f32, repeat_window: i32, frequency_penalty: f32, presence_penalty: f32 },
    /// For [`Stage::Dry`](crate::Stage::Dry).
    Dry { dry_multiplier: f32, dry_base: f32, dry_allowed_length: u32, dry_window: i32 },
    /// For [`Stage::Temperature`](crate::Stage::Temperature).
    Temperature { temperature: f32, dynatemp_range: f32, dynatemp_exponent: f32 },
    /// For [`Stage::TopNSigma`](crate::Stage::TopNSigma).
    TopNSigma { top_n_sigma: f32 },
    /// For [`Stage::TopK`](crate::Stage::TopK).
    TopK { top_k: u32 },
    /// For [`Stage::TopP`](crate::Stage::TopP).
    TopP { top_p: f32, min_keep: usize },
    /// For [`Stage::MinP`](crate::Stage::MinP).
    MinP { min_p: f32, min_keep: usize },
    /// For [`Stage::Typical`](crate::Stage::Typical).
    Typical { typical_p: f32, min_keep: usize },
    /// For [`Stage::Xtc`](crate::Stage::Xtc).
    Xtc { xtc_probability: f32, xtc_threshold: f32, min_keep: usize },
    /// For [`Stage::Infill`](crate::Stage::Infill), which has none.
    Infill,
}

impl Parameters {
    /// The name of the stage.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Penalties { .. } => "penalties",
            Self::Dry { .. } => "dry",
            Self::Temperature { .. } => "temperature",
            Self::TopNSigma { .. } => "top_n_sigma",
            Self::TopK { .. } => "top_k",
            Self::TopP { .. } => "top_p",
            Self::MinP { .. } => "min_p",
            Self::Typical { .. } => "typical_p",
            Self::Xtc { .. } => "xtc",
            Self::Infill => "infill",
        }
    }

    /// Whether the stage changes nothing with these values, whatever the logits are.
    #[allow(clippy::float_cmp, reason = "only the exact value turns a stage off")]
    pub fn is_off(&self) -> bool {
        match *self {
            Self::Penalties { repeat_penalty, repeat_window, frequency_penalty, presence_penalty } => {
                repeat_window == 0
                    || (repeat_penalty == 1.0 && frequency_penalty == 0.0 && presence_penalty == 0.0)
            }
            Self::Dry { dry_multiplier, dry_base, dry_window, .. } => {
                dry_multiplier == 0.0 || dry_base < 1.0 || dry_window == 0
            }
            Self::Temperature { temperature, dynatemp_range, .. } => {
                temperature == 1.0 && dynatemp_range == 0.0
            }
            Self::TopNSigma { top_n_sigma } => top_n_sigma <= 0.0,
            Self::TopK { top_k } => top_k == 0,
            Self::TopP { top_p, .. } => top_p >= 1.0,
            Self::MinP { min_p, .. } => min_p <= 0.0,
            Self::Typical { typical_p, .. } => typical_p >= 1.0,
            Self::Xtc { xtc_probability, xtc_threshold, .. } => xtc_probability <= 0.0 || xtc_threshold > 0.5,
            Self::Infill => false,
        }
    }

    /// Whether the stage cuts tokens off, rather than changing logits; mirostat takes the place of such stages.
    pub(crate) const fn truncates(&self) -> bool {
        !matches!(self, Self::Penalties { .. } | Self::Dry { .. } | Self::Temperature { .. })
    }

    /// The values with their names.
    pub fn fields(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Self::Penalties { repeat_penalty, repeat_window, frequency_penalty, presence_penalty } => vec![
                ("repeat_penalty", short(repeat_penalty)),
                ("repeat_window", f64::from(repeat_window)),
                ("frequency_penalty", short(frequency_penalty)),
                ("presence_penalty", short(presence_penalty)),
            ],
            Self::Dry { dry_multiplier, dry_base, dry_allowed_length, dry_window } => vec![
                ("dry_multiplier", short(dry_multiplier)),
                ("dry_base", short(dry_base)),
                ("dry_allowed_length", f64::from(dry_allowed_length)),
                ("dry_window", f64::from(dry_window)),
            ],
            Self::Temperature { temperature, dynatemp_range, dynatemp_exponent } => {
                let mut fields = vec![("temperature", short(temperature))];
                if dynatemp_range > 0.0 {
                    fields.push(("dynatemp_range", short(dynatemp_range)));
                    fields.push(("dynatemp_exponent", short(dynatemp_exponent)));
                }
                fields
            }
            Self::TopNSigma { top_n_sigma } => vec![("top_n_sigma", short(top_n_sigma))],
            Self::TopK { top_k } => vec![("top_k", f64::from(top_k))],
            Self::TopP { top_p, min_keep } => vec![("top_p", short(top_p)), ("min_keep", min_keep as f64)],
            Self::MinP { min_p, min_keep } => vec![("min_p", short(min_p)), ("min_keep", min_keep as f64)],
            Self::Typical { typical_p, min_keep } => {
                vec![("typical_p", short(typical_p)), ("min_keep", min_keep as f64)]
            }
            Self::Xtc { xtc_probability, xtc_threshold, min_keep } => vec![
                ("xtc_probability", short(xtc_probability)),
                ("xtc_threshold", short(xtc_threshold)),
                ("min_keep", min_keep as f64),
            ],
            Self::Infill => Vec::new(),
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Number`] or [`ConfigError::Integer`] for the first one out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            Self::Penalties { repeat_penalty, repeat_window, frequency_penalty, presence_penalty } => {
                check_number("repeat_penalty", repeat_penalty)?;
                check_integer("repeat_window", i64::from(repeat_window))?;
                check_number("frequency_penalty", frequency_penalty)?;
                check_number("presence_penalty", presence_penalty)
            }
            Self::Dry { dry_multiplier, dry_base, dry_allowed_length, dry_window } => {
                check_number("dry_multiplier", dry_multiplier)?;
                check_number("dry_base", dry_base)?;
                check_integer("dry_allowed_length", i64::from(dry_allowed_length))?;
                check_integer("dry_window", i64::from(dry_window))
            }
            Self::Temperature { temperature, dynatemp_range, dynatemp_exponent } => {
                check_number("temperature", temperature)?;
                check_number("dynatemp_range", dynatemp_range)?;
                check_number("dynatemp_exponent", dynatemp_exponent)
            }
            Self::TopNSigma { top_n_sigma } => check_number("top_n_sigma", top_n_sigma),
            Self::TopK { top_k } => check_integer("top_k", i64::from(top_k)),
            Self::Infill => Ok(()),
            Self::TopP { top_p, min_keep } => {
                check_number("top_p", top_p)?;
                check_integer("min_keep", as_integer(min_keep))
            }
            Self::MinP { min_p, min_keep } => {
                check_number("min_p", min_p)?;
                check_integer("min_keep", as_integer(min_keep))
            }
            Self::Typical { typical_p, min_keep } => {
                check_number("typical_p", typical_p)?;
                check_integer("min_keep", as_integer(min_keep))
            }
            Self::Xtc { xtc_probability, xtc_threshold, min_keep } => {
                check_number("xtc_probability", xtc_probability)?;
                check_number("xtc_threshold", xtc_threshold)?;
                check_integer("min_keep", as_integer(min_keep))
            }
        }
    }
}

/// The shortest decimal of the `f32`, as a double: 0.95 rather than 0.949999988079071.
pub(crate) fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}

fn as_integer(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
