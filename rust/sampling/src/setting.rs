//! The numbers that a sampler is given: names, kinds, ranges and defaults, for everyone who reads or shows a configuration.

use crate::stages::parameters::short;
use crate::{ConfigError, SamplerConfig};

/// One number of a [`SamplerConfig`].
///
/// ```
/// use tabagent_sampling::Setting;
///
/// let top_p = Setting::named("top_p").ok_or("no such setting")?;
/// assert_eq!((top_p.default(), top_p.range), (0.95, "in (0, 1]"));
/// assert!(Setting::ALL.iter().all(|setting| Setting::named(setting.name).is_some()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The field's name.
    pub name: &'static str,
    /// The range in words, such as `in (0, 1]`.
    pub range: &'static str,
    /// What kind of number it is.
    pub kind: SettingKind,
    value: fn(&SamplerConfig) -> f64,
}

/// What kind of number a [`Setting`] is.
#[derive(Clone, Copy, Debug)]
pub enum SettingKind {
    /// An integer between these two.
    Integer {
        /// The least.
        least: i64,
        /// The greatest.
        most: i64,
    },
    /// A finite number in a range.
    Number {
        /// Whether a finite number is in the range.
        fits: fn(f32) -> bool,
    },
}

/// A [`Setting`] that is a number in a range.
macro_rules! number {
    ($name:ident, $range:literal, $fits:expr) => {
        Setting {
            name: stringify!($name),
            range: $range,
            kind: SettingKind::Number { fits: $fits },
            value: |config| short(config.$name),
        }
    };
}

/// A [`Setting`] that is an integer.
macro_rules! integer {
    ($name:ident, $range:literal, $least:expr, $most:expr) => {
        Setting {
            name: stringify!($name),
            range: $range,
            kind: SettingKind::Integer { least: $least, most: $most as i64 },
            value: |config| config.$name as f64,
        }
    };
}

fn is_share(x: f32) -> bool {
    (0.0..=1.0).contains(&x)
}

fn is_share_above_zero(x: f32) -> bool {
    x > 0.0 && x <= 1.0
}

fn is_at_least_zero(x: f32) -> bool {
    x >= 0.0
}

impl Setting {
    /// Every number of a configuration, in the order of its fields.
    #[allow(clippy::cast_lossless, reason = "one macro for integers of several widths")]
    pub const ALL: [Self; 24] = [
        number!(temperature, "finite and at least 0", is_at_least_zero),
        number!(dynatemp_range, "finite and at least 0", is_at_least_zero),
        number!(dynatemp_exponent, "finite and at least 0", is_at_least_zero),
        number!(top_n_sigma, "finite", |_| true),
        integer!(top_k, "in [0, 4294967295]", 0, u32::MAX),
        number!(top_p, "in (0, 1]", is_share_above_zero),
        number!(min_p, "in [0, 1]", is_share),
        number!(typical_p, "in (0, 1]", is_share_above_zero),
        number!(xtc_probability, "in [0, 1]", is_share),
        number!(xtc_threshold, "in [0, 1]", is_share),
        integer!(min_keep, "at least 1", 1, u32::MAX),
        number!(repeat_penalty, "finite and above 0", |x| x > 0.0),
        integer!(repeat_window, "at least -1", -1, i32::MAX),
        number!(frequency_penalty, "finite", |_| true),
        number!(presence_penalty, "finite", |_| true),
        number!(dry_multiplier, "finite and at least 0", is_at_least_zero),
        number!(dry_base, "finite and at least 0", is_at_least_zero),
        integer!(dry_allowed_length, "in [0, 2147483647]", 0, i32::MAX),
        integer!(dry_window, "at least -1", -1, i32::MAX),
        number!(adaptive_target, "finite and at most 1", |x| x <= 1.0),
        number!(adaptive_decay, "in [0, 0.99]", |x| (0.0..=0.99).contains(&x)),
        integer!(mirostat, "0, 1 or 2", 0, 2u8),
        number!(mirostat_tau, "finite and at least 0", is_at_least_zero),
        number!(mirostat_eta, "finite and at least 0", is_at_least_zero),
    ];

    /// The setting of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        const ALL: &[Setting] = &Setting::ALL;
        ALL.iter().find(|setting| setting.name == name)
    }

    /// What it is where nothing is given.
    pub fn default(&self) -> f64 {
        self.of(&SamplerConfig::default())
    }

    /// What it is in `config`, as the shortest decimal of the number kept there.
    pub fn of(&self, config: &SamplerConfig) -> f64 {
        (self.value)(config)
    }
}

/// Refuses a number that is not finite or outside of the range of the setting `name`.
pub(crate) fn check_number(name: &'static str, got: f32) -> Result<(), ConfigError> {
    match Setting::named(name) {
        Some(Setting { kind: SettingKind::Number { fits }, range, .. }) if !got.is_finite() || !fits(got) => {
            Err(ConfigError::Number { field: name, range, got })
        }
        _ => Ok(()),
    }
}

/// Refuses an integer outside of the range of the setting `name`.
pub(crate) fn check_integer(name: &'static str, got: i64) -> Result<(), ConfigError> {
    match Setting::named(name) {
        Some(Setting { kind: SettingKind::Integer { least, most }, range, .. })
            if !(*least..=*most).contains(&got) =>
        {
            Err(ConfigError::Integer { field: name, range, got })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Parameters, Stage};

    #[test]
    fn every_default_is_in_its_range() {
        for setting in Setting::ALL {
            let checked = match setting.kind {
                SettingKind::Number { .. } => check_number(setting.name, setting.default() as f32),
                SettingKind::Integer { .. } => check_integer(setting.name, setting.default() as i64),
            };
            assert_eq!(checked, Ok(()));
        }
    }

    #[test]
    fn every_setting_has_a_check_of_its_kind() {
        for setting in Setting::ALL {
            match setting.kind {
                SettingKind::Number { .. } => assert!(check_number(setting.name, f32::NAN).is_err()),
                SettingKind::Integer { least, most } => {
                    assert!(check_integer(setting.name, least - 1).is_err());
                    assert!(check_integer(setting.name, most + 1).is_err());
                }
            }
        }
    }

    #[test]
    fn parameters_of_stages_are_settings() {
        let config = SamplerConfig { dynatemp_range: 0.5, ..SamplerConfig::default() };
        for stage in Stage::ALL {
            let fields = config.parameters(stage).map_or_else(Vec::new, |parameters| parameters.fields());
            let names: Vec<&str> = fields.iter().map(|field| field.0).collect();
            if !matches!(stage, Stage::AdaptiveP | Stage::Mirostat) {
                assert_eq!(names, stage.parameters());
            }
            for (name, value) in fields {
                assert_eq!(Setting::named(name).unwrap().of(&config).to_bits(), value.to_bits(), "{name}");
            }
        }
        assert_eq!(Stage::With(Parameters::TopK { top_k: 1 }).parameters(), ["top_k"]);
    }
}
