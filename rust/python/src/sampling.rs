//! Sampler configurations from Python, and what they do with logits.

use crate::arguments::{field, integer, number, wrong_type};
use crate::errors::{raise, value_error};
use crate::gguf::Borrowed;
use crate::job;
use crate::model::Model;
use crate::vocabulary_facts::Breaker;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};
use tabagent_sampling::{Explanation, Parameters, Sampler, SamplerConfig, Stage};

/// A `SamplerConfig` as Python has it: what needs a vocabulary is not looked up yet.
pub(crate) struct Given {
    pub(crate) config: SamplerConfig,
    pub(crate) breakers: Vec<Breaker>,
}

impl Given {
    /// Whether the configuration cannot work without its breakers.
    pub(crate) fn needs_breakers(&self) -> bool {
        let stages = self.config.order.iter().filter_map(|&stage| self.config.parameters(stage));
        !self.breakers.is_empty()
            && stages.into_iter().any(|p| matches!(p, Parameters::Dry { .. }) && !p.is_off())
    }

    /// Whether the configuration cannot work without the vocabulary's texts.
    pub(crate) fn needs_pieces(&self) -> bool {
        self.config.order.iter().any(|stage| stage.name() == "infill")
    }

    /// The configuration where there is no model.
    fn without_model(mut self) -> PyResult<SamplerConfig> {
        if self.needs_breakers() {
            let sequences = self.breakers.iter().map(|breaker| match breaker {
                Breaker::Tokens(tokens) => Ok(tokens.as_slice()),
                Breaker::Text(_) => Err(value_error(
                    "`dry_breakers` has texts, which need a vocabulary; give `model`, or sequences of token ids",
                )),
            });
            let sequences = sequences.collect::<PyResult<Vec<_>>>()?;
            self.config.dry_breakers = tabagent_sampling::Breakers::from_sequences(sequences).into();
        }
        Ok(self.config)
    }
}

/// Checks the fields of a `SamplerConfig`.
#[pyfunction]
pub(crate) fn check_sampling(config: &Bound<'_, PyAny>) -> PyResult<()> {
    sampler_config(config)?.config.validate().map_err(value_error)
}

/// What a stage did: name, parameters, how many tokens were kept, their probability, and tokens with it before and after.
type Report = (&'static str, Vec<(&'static str, f64)>, usize, f64, Vec<(i32, f64, f64)>);

/// Probabilities, and what each stage did if that was asked for.
type Distribution<'py> = (Bound<'py, PyArray1<f32>>, Option<Vec<Report>>);

/// Logits and tokens that are worked on where the call is made, in some milliseconds.
const MANY: usize = 1 << 18;

/// The distribution that a `SamplerConfig` draws from, and if wanted what each stage does.
#[pyfunction]
#[pyo3(signature = (config, logits, history, *, explain, model))]
pub(crate) fn sampling_distribution<'py>(
    py: Python<'py>,
    config: &Bound<'py, PyAny>,
    logits: PyReadonlyArray1<'py, f32>,
    history: Vec<i32>,
    explain: bool,
    model: Option<PyRef<'py, Model>>,
) -> PyResult<Distribution<'py>> {
    let config = match model {
        Some(model) => model.sampling(py, config)?,
        None => sampler_config(config)?.without_model()?,
    };
    let logits = Borrowed::new(&logits)?;
    let done = job::run_if(py, logits.len() + history.len() > MANY, move |_| {
        let mut sampler = Sampler::new(&config, logits.len()).map_err(|e| Problem::Config(e.to_string()))?;
        for token in history {
            sampler.accept(token);
        }
        let step = if explain {
            sampler.explain(&logits)
        } else {
            let stages = Vec::new();
            sampler.probabilities(&logits).map(|probabilities| Explanation { stages, probabilities })
        };
        step.map_err(|e| Problem::Logits(e.to_string()))
    })?;
    let done = done.map_err(|problem| match problem {
        Problem::Config(text) => value_error(text),
        Problem::Logits(text) => raise(py, "SamplingError", text),
    })?;
    let reports = explain.then(|| done.stages.into_iter().map(report).collect());
    Ok((PyArray1::from_vec(py, done.probabilities), reports))
}

enum Problem {
    Config(String),
    Logits(String),
}

fn report(stage: tabagent_sampling::StageReport) -> Report {
    let top = stage.top.into_iter().map(|share| (share.token, share.before, share.after)).collect();
    (stage.name, stage.parameters, stage.kept, stage.mass, top)
}

/// A `SamplerConfig` from its `to_dict()`. Ranges are checked by whoever makes a sampler of it.
pub(crate) fn sampler_config(config: &Bound<'_, PyAny>) -> PyResult<Given> {
    let mut built = SamplerConfig::default();
    read_parameters(&mut built, config)?;
    built.adaptive_target = number(config, "adaptive_target")?;
    built.adaptive_decay = number(config, "adaptive_decay")?;
    built.mirostat = integer(config, "mirostat", "0, 1 or 2")?;
    built.mirostat_tau = number(config, "mirostat_tau")?;
    built.mirostat_eta = number(config, "mirostat_eta")?;
    built.logit_bias = logit_bias(&field(config, "logit_bias")?)?;
    built.banned_tokens = tokens(&field(config, "banned_tokens")?, "banned_tokens")?;
    let allowed = field(config, "allowed_tokens")?;
    built.allowed_tokens = if allowed.is_none() { None } else { Some(tokens(&allowed, "allowed_tokens")?) };
    built.seed = seed(&field(config, "seed")?)?;
    built.order = order(&built, &field(config, "order")?)?;
    let breakers = breakers(&field(config, "dry_breakers")?)?;
    Ok(Given { config: built, breakers })
}

/// Takes over what stages read, as far as `fields` has it: all of a configuration, or some for one stage of `order`.
fn read_parameters(config: &mut SamplerConfig, fields: &Bound<'_, PyAny>) -> PyResult<()> {
    macro_rules! read {
        ($($name:ident: $get:expr),* $(,)?) => {
            $(if fields.contains(stringify!($name))? {
                config.$name = $get(fields, stringify!($name))?;
            })*
        };
    }
    let keep = |fields: &Bound<'_, PyAny>, name: &str| integer(fields, name, "an integer of at least 1");
    let count = |fields: &Bound<'_, PyAny>, name: &str| integer(fields, name, "an integer of at least 0");
    let window = |fields: &Bound<'_, PyAny>, name: &str| integer(fields, name, "an integer of at least -1");
    read!(
        temperature: number,
        dynatemp_range: number,
        dynatemp_exponent: number,
        top_n_sigma: number,
        top_k: count,
        top_p: number,
        min_p: number,
        typical_p: number,
        xtc_probability: number,
        xtc_threshold: number,
        min_keep: keep,
        repeat_penalty: number,
        repeat_window: window,
        frequency_penalty: number,
        presence_penalty: number,
        dry_multiplier: number,
        dry_base: number,
        dry_allowed_length: count,
        dry_window: window,
    );
    Ok(())
}

/// The stages: names, or dicts with the name under `stage` and parameters of the stage's own.
fn order(config: &SamplerConfig, value: &Bound<'_, PyAny>) -> PyResult<Vec<Stage>> {
    let wrong = |_| PyTypeError::new_err("`order` must be a sequence of stage names and stages");
    let items: Vec<Bound<'_, PyAny>> = value.extract().map_err(wrong)?;
    let stage = |item: &Bound<'_, PyAny>| {
        let name: String = item.extract().map_err(wrong)?;
        name.parse::<Stage>().map_err(|e| value_error(format!("`order`: {e}")))
    };
    items
        .iter()
        .map(|item| {
            let Ok(own) = item.cast::<PyDict>() else { return stage(item) };
            let stage = stage(&field(own, "stage")?)?;
            let mut changed = config.clone();
            read_parameters(&mut changed, own)?;
            let parameters = changed.parameters(stage).ok_or_else(|| {
                value_error(format!(
                    "`order`: `{stage}` makes the choice once and has no parameters of its own"
                ))
            })?;
            Ok(Stage::With(parameters))
        })
        .collect()
}

fn tokens(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Vec<i32>> {
    value.extract().map_err(|_| PyTypeError::new_err(format!("`{name}` must be a sequence of token ids")))
}

fn breakers(value: &Bound<'_, PyAny>) -> PyResult<Vec<Breaker>> {
    let wrong = || PyTypeError::new_err("`dry_breakers` must hold texts and sequences of token ids");
    let items: Vec<Bound<'_, PyAny>> = value.extract().map_err(|_| wrong())?;
    items
        .iter()
        .map(|item| match item.cast::<PyString>() {
            Ok(text) => Ok(Breaker::Text(text.to_str()?.to_owned())),
            Err(_) => Ok(Breaker::Tokens(item.extract().map_err(|_| wrong())?)),
        })
        .collect()
}

fn logit_bias(value: &Bound<'_, PyAny>) -> PyResult<Vec<(i32, f32)>> {
    let wrong = |_| PyTypeError::new_err("`logit_bias` must be pairs of token id and number");
    let pairs: Vec<(i64, f64)> = value.extract().map_err(wrong)?;
    pairs
        .into_iter()
        .map(|(token, bias)| {
            let token = i32::try_from(token).map_err(|_| {
                value_error(format!("`logit_bias` has token `{token}`, which is no token id"))
            })?;
            Ok((token, bias as f32))
        })
        .collect()
}

fn seed(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    if value.is_none() {
        return Ok(None);
    }
    if value.is_instance_of::<PyBool>() || !value.hasattr("__index__")? {
        return Err(wrong_type("seed", "an integer or None", value));
    }
    value
        .extract::<u64>()
        .map(Some)
        .map_err(|_| value_error(format!("`seed` must be between 0 and 18446744073709551615, got `{value}`")))
}
