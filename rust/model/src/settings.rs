//! Sampler settings as users give them.

use tabagent_sampling::{Breakers, Parameters, SamplerConfig, Stage};

use crate::error::Error;
use crate::value::{Fields, OptionError, Value, integer, list, number, text, tokens};
use crate::vocabulary_facts::Breaker;

/// A sampler's configuration before anything is looked up in a vocabulary.
///
/// ```
/// use tabagent_model::SamplerSettings;
///
/// let settings = SamplerSettings::read(serde_json::json!({"temperature": 0.5, "order": ["top_k", "temperature"]}).into())?;
/// assert_eq!(settings.config.temperature, 0.5);
/// assert_eq!(settings.config.top_k, 40);
/// # Ok::<(), tabagent_model::OptionError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerSettings {
    /// All but the breakers and pieces.
    pub config: SamplerConfig,
    /// Where repetitions end for DRY.
    pub breakers: Vec<Breaker>,
}

/// Breakers where none are given (`dry_sequence_breakers` in `common/common.h` of the pinned llama.cpp).
const DEFAULT_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

impl From<SamplerConfig> for SamplerSettings {
    fn from(config: SamplerConfig) -> Self {
        let breakers = DEFAULT_BREAKERS.map(|text| Breaker::Text(text.to_owned())).into();
        Self { config, breakers }
    }
}

impl Default for SamplerSettings {
    fn default() -> Self {
        SamplerConfig::default().into()
    }
}

impl SamplerSettings {
    /// Reads settings by their names; missing ones have their defaults. Ranges are checked when a sampler is made of it.
    ///
    /// # Errors
    /// [`OptionError`] names the setting that is unknown, or has a wrong type.
    pub fn read(settings: Value) -> Result<Self, OptionError> {
        let mut given = Fields::new(settings, "sampling")?;
        let Self { mut config, mut breakers } = Self::default();
        read_parameters(&mut config, &mut given)?;
        set(&mut config.adaptive_target, given.number("adaptive_target")?);
        set(&mut config.adaptive_decay, given.number("adaptive_decay")?);
        set(&mut config.mirostat, given.integer("mirostat", "0, 1 or 2")?);
        set(&mut config.mirostat_tau, given.number("mirostat_tau")?);
        set(&mut config.mirostat_eta, given.number("mirostat_eta")?);
        set(&mut config.logit_bias, given.list("logit_bias")?.map(logit_bias).transpose()?);
        set(&mut config.banned_tokens, given.tokens("banned_tokens")?);
        config.allowed_tokens = given.tokens("allowed_tokens")?;
        config.seed = given.integer("seed", "between 0 and 18446744073709551615")?;
        let order = given.list("order")?.map(|order| stages(&config, order)).transpose()?;
        set(&mut config.order, order);
        set(&mut breakers, given.list("dry_breakers")?.map(read_breakers).transpose()?);
        given.finish()?;
        Ok(Self { config, breakers })
    }

    /// Whether the configuration cannot work without its breakers.
    pub(crate) fn needs_breakers(&self) -> bool {
        let mut parameters = self.config.order.iter().filter_map(|&stage| self.config.parameters(stage));
        !self.breakers.is_empty() && parameters.any(|p| matches!(p, Parameters::Dry { .. }) && !p.is_off())
    }

    /// Whether the configuration cannot work without the vocabulary's texts.
    pub(crate) fn needs_pieces(&self) -> bool {
        self.config.order.iter().any(|stage| stage.name() == Stage::Infill.name())
    }

    /// Whether a vocabulary must be looked at, which takes longer than the rest.
    pub fn needs_vocabulary(&self) -> bool {
        self.needs_breakers() || self.needs_pieces()
    }

    /// The configuration where there is no model.
    ///
    /// # Errors
    /// [`Error::BreakersWithoutModel`] if DRY is on and ends repetitions at texts.
    pub fn without_model(mut self) -> Result<SamplerConfig, Error> {
        if self.needs_breakers() {
            let sequences = self.breakers.iter().map(|breaker| match breaker {
                Breaker::Tokens(tokens) => Ok(tokens.as_slice()),
                Breaker::Text(_) => Err(Error::BreakersWithoutModel),
            });
            let sequences = sequences.collect::<Result<Vec<_>, _>>()?;
            self.config.dry_breakers = Breakers::from_sequences(sequences).into();
        }
        Ok(self.config)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Copies the parameters of stages that `given` has: those of a whole configuration, or those of one stage of `order`.
fn read_parameters(config: &mut SamplerConfig, given: &mut Fields) -> Result<(), OptionError> {
    const KEEP: &str = "an integer of at least 1";
    const COUNT: &str = "an integer of at least 0";
    const WINDOW: &str = "an integer of at least -1";
    macro_rules! read {
        ($($name:ident: $get:ident $(($range:expr))?),* $(,)?) => {
            $(set(&mut config.$name, given.$get(stringify!($name) $(, $range)?)?);)*
        };
    }
    read!(
        temperature: number,
        dynatemp_range: number,
        dynatemp_exponent: number,
        top_n_sigma: number,
        top_k: integer(COUNT),
        top_p: number,
        min_p: number,
        typical_p: number,
        xtc_probability: number,
        xtc_threshold: number,
        min_keep: integer(KEEP),
        repeat_penalty: number,
        repeat_window: integer(WINDOW),
        frequency_penalty: number,
        presence_penalty: number,
        dry_multiplier: number,
        dry_base: number,
        dry_allowed_length: integer(COUNT),
        dry_window: integer(WINDOW),
    );
    Ok(())
}

/// The stages: names, or maps with the name under `stage` and parameters of the stage's own.
fn stages(config: &SamplerConfig, order: Vec<Value>) -> Result<Vec<Stage>, OptionError> {
    let named = |value: Value| {
        let name = text("order", value)?;
        name.parse::<Stage>().map_err(|_| {
            let all = Stage::ALL.map(|stage| format!("`{stage}`")).join(", ");
            OptionError::out_of_range("order", format!("a sequence of {all}"), &name)
        })
    };
    let stage = |item: Value| {
        let Value::Map(_) = item else { return named(item) };
        let mut own = Fields::new(item, "order")?;
        let stage = named(own.take("stage").ok_or(OptionError::Missing { name: "order[].stage" })?)?;
        let mut changed = config.clone();
        read_parameters(&mut changed, &mut own)?;
        own.finish()?;
        let parameters = changed.parameters(stage).ok_or_else(|| {
            let range = "a sequence in which stages that make the choice have no parameters of their own";
            OptionError::out_of_range("order", range, &stage)
        })?;
        Ok(Stage::With(parameters))
    };
    order.into_iter().map(stage).collect()
}

fn read_breakers(items: Vec<Value>) -> Result<Vec<Breaker>, OptionError> {
    let read = |item: Value| match item {
        Value::Text(text) => Ok(Breaker::Text(text)),
        other => tokens("dry_breakers", other).map(Breaker::Tokens),
    };
    items.into_iter().map(read).collect()
}

fn logit_bias(pairs: Vec<Value>) -> Result<Vec<(i32, f32)>, OptionError> {
    let read = |pair: Value| match list("logit_bias", pair)?.as_slice() {
        [token, bias] => {
            Ok((integer("logit_bias", "pairs with a token id first", token)?, number("logit_bias", bias)?))
        }
        other => Err(OptionError::out_of_range(
            "logit_bias",
            "pairs of token id and number",
            &format!("a sequence of {}", other.len()),
        )),
    };
    pairs.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Result<SamplerSettings, OptionError> {
        SamplerSettings::read(json.into())
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        assert_eq!(read(json!({})), Ok(SamplerSettings::default()));
        assert_eq!(read(json!({"seed": null})), Ok(SamplerSettings::default()));
    }

    #[test]
    fn every_kind_of_setting_is_read() {
        let settings = read(json!({
            "temperature": 1, "top_k": 5, "seed": u64::MAX, "repeat_window": -1, "banned_tokens": [1, 2],
            "allowed_tokens": [3], "logit_bias": [[4, -1.5]], "dry_breakers": ["\n", [5, 6]],
            "order": ["top_k", {"stage": "temperature", "temperature": 0.25}]
        }));
        let SamplerSettings { config, breakers } = settings.unwrap();
        assert_eq!((config.temperature, config.top_k, config.seed), (1.0, 5, Some(u64::MAX)));
        assert_eq!((config.repeat_window, config.banned_tokens.as_slice()), (-1, &[1, 2][..]));
        assert_eq!((config.allowed_tokens, config.logit_bias), (Some(vec![3]), vec![(4, -1.5)]));
        assert_eq!(breakers, [Breaker::Text("\n".to_owned()), Breaker::Tokens(vec![5, 6])]);
        let own = Parameters::Temperature { temperature: 0.25, dynatemp_range: 0.0, dynatemp_exponent: 1.0 };
        assert_eq!(config.order, [Stage::TopK, Stage::With(own)]);
    }

    #[test]
    fn wrong_settings_are_named() {
        for (json, expected) in [
            (json!({"temperatur": 1}), "unknown option `temperatur`"),
            (json!({"temperature": "hot"}), "`temperature` must be a number, got `str`"),
            (json!({"top_k": 1.5}), "`top_k` must be an integer, got `float`"),
            (json!({"top_k": -1}), "`top_k` must be an integer of at least 0, got `-1`"),
            (json!({"order": ["hot"]}), "`order` must be a sequence of `penalties`"),
            (json!({"order": [{"top_k": 1}]}), "`order[].stage` is missing"),
            (json!({"order": [{"stage": "mirostat"}]}), "`order` must be a sequence in which stages"),
            (json!({"logit_bias": [[1]]}), "`logit_bias` must be pairs of token id and number"),
            (json!({"dry_breakers": [1]}), "`dry_breakers` must be a sequence of token ids, got `int`"),
            (json!([]), "`sampling` must be named options, got `list`"),
        ] {
            let text = read(json).unwrap_err().to_string();
            assert!(text.starts_with(expected), "{text}");
        }
    }

    #[test]
    fn texts_that_break_repetitions_need_a_model() {
        let with = |json: serde_json::Value| read(json).unwrap().without_model();
        assert!(with(json!({})).is_ok(), "DRY is off");
        let error = with(json!({"dry_multiplier": 1})).unwrap_err();
        assert!(matches!(error, Error::BreakersWithoutModel));
        let config = with(json!({"dry_multiplier": 1, "dry_breakers": [[7, 8]]})).unwrap();
        assert_eq!(config.dry_breakers.len(), 1);
    }
}
