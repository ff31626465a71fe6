//! Sampler configurations from Python, and what they do with logits.

use crate::errors::{IntoPyErr, value_error};
use crate::gguf::Borrowed;
use crate::job;
use crate::model::Model;
use crate::value::value_of;
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use tabagent_model::{Breaker, SamplerSettings, distribution};
use tabagent_sampling::{SamplerConfig, Setting, SettingKind, Stage, StageReport};

/// Checks the fields of a `SamplerConfig`, as its `to_dict()` has them.
#[pyfunction]
pub(crate) fn check_sampling(py: Python<'_>, config: &Bound<'_, PyAny>) -> PyResult<()> {
    settings(py, config)?.config.validate().map_err(value_error)
}

/// A setting: name, default, range in words, and for an integer the least and the greatest.
type SettingFacts = (&'static str, f64, &'static str, Option<(i64, i64)>);

/// What the core knows of sampling: its settings, its stages with the settings that each reads, the default order and llama.cpp's, and the
/// texts where repetitions end for DRY.
type SamplerFacts = (
    Vec<SettingFacts>,
    Vec<(&'static str, &'static [&'static str])>,
    Vec<&'static str>,
    Vec<&'static str>,
    Vec<String>,
);

/// The facts that the package takes from the core rather than repeat them.
#[pyfunction]
pub(crate) fn sampler_facts() -> SamplerFacts {
    let facts = |setting: Setting| {
        let integers = match setting.kind {
            SettingKind::Integer { least, most } => Some((least, most)),
            SettingKind::Number { .. } => None,
        };
        (setting.name, setting.default(), setting.range, integers)
    };
    let text = |breaker| match breaker {
        Breaker::Text(text) => Some(text),
        Breaker::Tokens(_) => None,
    };
    let names = |order: Vec<Stage>| order.into_iter().map(Stage::name).collect();
    (
        Setting::ALL.into_iter().map(facts).collect(),
        Stage::ALL.into_iter().map(|stage| (stage.name(), stage.parameters())).collect(),
        names(SamplerConfig::default_order()),
        names(SamplerConfig::llama_cpp_order()),
        SamplerSettings::default().breakers.into_iter().filter_map(text).collect(),
    )
}

fn settings(py: Python<'_>, config: &Bound<'_, PyAny>) -> PyResult<SamplerSettings> {
    SamplerSettings::read(value_of(config)?).map_err(|e| e.into_py(py))
}

/// What a stage did: name, parameters, how many tokens were kept, their probability, and tokens with it before and after.
type Report = (&'static str, Vec<(&'static str, f64)>, usize, f64, Vec<(i32, f64, f64)>);

/// Probabilities, and what each stage did if that was asked for.
type Distribution<'py> = (Bound<'py, PyArray1<f32>>, Option<Vec<Report>>);

/// Up to this many logits and tokens, the work is done on the calling thread, in some milliseconds.
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
    let settings = settings(py, config)?;
    let model = model.map(|model| model.core());
    let logits = Borrowed::new(&logits)?;
    let long = logits.len() + history.len() > MANY || (model.is_some() && settings.needs_vocabulary());
    let done =
        job::run_if(py, long, move |_| distribution(settings, model.as_ref(), &logits, &history, explain))?;
    let done = done.map_err(|e| e.into_py(py))?;
    let reports = explain.then(|| done.stages.into_iter().map(report).collect());
    Ok((PyArray1::from_vec(py, done.probabilities), reports))
}

fn report(stage: StageReport) -> Report {
    let top = stage.top.into_iter().map(|share| (share.token, share.before, share.after)).collect();
    (stage.name, stage.parameters, stage.kept, stage.mass, top)
}
