//! The models of a server, as Python describes them.

use crate::chat_template::ChatTemplate;
use crate::errors::IntoPyErr;
use crate::model::Model;
use crate::value::value_of;
use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use tabagent_model::{DraftLimits, ErrorKind, GenerateOptions, LoadFailure, LoadOptions, PoolSource, Stay};
use tabagent_server::{AdapterFile, ChatDefaults, ControlFiles, DraftSource, Hub, ModelEntry, Reload};

/// How files are loaded.
#[derive(Clone)]
struct Plan {
    library: PathBuf,
    module: Option<String>,
    options: LoadOptions,
}

fn item<'py>(of: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    of.get_item(name)?.ok_or_else(|| PyValueError::new_err(format!("`{name}` is missing")))
}

/// All models.
pub(crate) fn entries(models: &Bound<'_, PyList>) -> PyResult<Vec<ModelEntry>> {
    models.iter().map(|model| entry(&model.cast_into::<PyDict>()?)).collect()
}

fn entry(given: &Bound<'_, PyDict>) -> PyResult<ModelEntry> {
    let py = given.py();
    let path: PathBuf = item(given, "path")?.extract()?;
    let mut source = source(given, &path)?;
    if let Some(keep_alive) = item(given, "keep_alive")?.extract::<Option<f64>>()? {
        source = source.with_keep_alive(Stay::seconds(keep_alive));
    }
    let mut entry = ModelEntry::new(item(given, "name")?.extract::<String>()?, path, source);
    entry.aliases = item(given, "aliases")?.extract()?;
    entry.tags = item(given, "tags")?.extract()?;
    let template = item(given, "template")?;
    if !template.is_none() {
        entry.template = Some(Arc::clone(&template.cast::<ChatTemplate>()?.get().inner));
    }
    entry.template_text = item(given, "template_text")?.extract()?;
    entry.identity = item(given, "identity")?.extract()?;
    let defaults: Bound<'_, PyDict> = item(given, "defaults")?.cast_into::<PyDict>()?;
    entry.defaults = GenerateOptions::read(value_of(&defaults)?).map_err(|e| e.into_py(py))?;
    let adapters: Vec<(PathBuf, f32)> = item(given, "adapters")?.extract()?;
    let chat = item(given, "chat")?.cast_into::<PyDict>()?;
    entry.chat = chat_defaults(&chat)?;
    entry.control = control_files(&item(given, "control")?.cast_into::<PyDict>()?)?;
    if let Some(draft) = given.get_item("draft")? {
        entry.draft = Some(draft_source(&draft.cast_into::<PyDict>()?)?);
    }
    entry.adapters = adapters.into_iter().map(|(path, scale)| AdapterFile { path, scale }).collect();
    Ok(entry)
}

/// What conversations have that do not say otherwise; `variables` is the text of a JSON object.
fn chat_defaults(given: &Bound<'_, PyDict>) -> PyResult<ChatDefaults> {
    let variables: String = item(given, "variables")?.extract()?;
    Ok(ChatDefaults {
        variables: serde_json::from_str(&variables)
            .map_err(|error| PyValueError::new_err(format!("`template_variables`: {error}")))?,
        budget: item(given, "budget")?.extract()?,
        budget_message: item(given, "budget_message")?.extract()?,
    })
}

fn control_files(given: &Bound<'_, PyDict>) -> PyResult<ControlFiles> {
    let layers: Option<(u32, u32)> = item(given, "layers")?.extract()?;
    Ok(ControlFiles { files: item(given, "files")?.extract()?, layers: layers.map(|(from, to)| from..=to) })
}

/// A model that drafts: one that is there, or a file.
fn draft_source(given: &Bound<'_, PyDict>) -> PyResult<DraftSource> {
    let limits = item(given, "limits")?.cast_into::<PyDict>()?;
    let limits = DraftLimits::read(value_of(&limits)?).map_err(|e| e.into_py(given.py()))?;
    let path: PathBuf = item(given, "path")?.extract()?;
    Ok(DraftSource { source: source(given, &path)?, limits })
}

/// How a model is loaded: not at all (`model`), by functions of Python's (`borrow`, `give_back`), from the hub (`hub`), or from its file.
fn source(given: &Bound<'_, PyDict>, path: &std::path::Path) -> PyResult<PoolSource> {
    let py = given.py();
    if let Some(model) = given.get_item("model")? {
        let core = model.cast::<Model>()?.get().core();
        // A closed model would refuse every request.
        core.llama().map_err(|e| e.into_py(py))?;
        return Ok(PoolSource::fixed(core));
    }
    if let Some(borrow) = given.get_item("borrow")? {
        let give_back = item(given, "give_back")?.unbind();
        return Ok(lent(borrow.unbind(), give_back));
    }
    let plan = plan(&item(given, "load")?.cast_into::<PyDict>()?)?;
    match given.get_item("hub")? {
        Some(hub) => Ok(fetched(plan, hub_of(hub.cast::<PyDict>()?)?)),
        None => Ok(of_file(&plan, path.to_owned())),
    }
}

fn plan(given: &Bound<'_, PyDict>) -> PyResult<Plan> {
    let options: Bound<'_, PyDict> = item(given, "options")?.cast_into::<PyDict>()?;
    let options = LoadOptions::read(value_of(&options)?).map_err(|e| e.into_py(given.py()))?;
    Ok(Plan {
        library: item(given, "library")?.extract()?,
        module: item(given, "module")?.extract()?,
        options,
    })
}

fn of_file(plan: &Plan, path: PathBuf) -> PoolSource {
    PoolSource::of_file(path, plan.library.clone(), plan.module.clone(), plan.options.clone())
}

/// A model that Python lends. Its functions run on a thread that loads or closes models, never on one that serves HTTP.
fn lent(borrow: Py<PyAny>, give_back: Py<PyAny>) -> PoolSource {
    let load = move |_watch| {
        Python::attach(|py| {
            let model = borrow.call0(py)?;
            Ok(model.cast_bound::<Model>(py)?.get().core())
        })
        .map_err(|error: PyErr| Python::attach(|py| failure(py, &error)))
    };
    // What it says cannot be told to anybody.
    PoolSource::new(load).with_release(move |_| Python::attach(|py| drop(give_back.call0(py))))
}

fn failure(py: Python<'_>, error: &PyErr) -> LoadFailure {
    let kind =
        if error.is_instance_of::<PyMemoryError>(py) { ErrorKind::OutOfMemory } else { ErrorKind::ModelLoad };
    LoadFailure { kind, message: error.value(py).to_string() }
}

/// A model of the hub, fetched where it is not here.
fn fetched(plan: Plan, (hub, name): (Hub, String)) -> PoolSource {
    PoolSource::new(move |watch| {
        let path = hub.fetch(&name, &mut |_| watch(0.0))?;
        of_file(&plan, path).load(watch)
    })
}

fn hub_of(given: &Bound<'_, PyDict>) -> PyResult<(Hub, String)> {
    let command: Vec<OsString> = item(given, "command")?.extract()?;
    let never = Arc::new(|name: &str, path: PathBuf| {
        ModelEntry::new(
            name,
            path,
            PoolSource::new(|_| Err(LoadFailure { kind: ErrorKind::ModelLoad, message: String::new() })),
        )
    });
    Ok((Hub { command, offer: never }, item(given, "name")?.extract()?))
}

/// What fetches models that clients ask for, and how they are loaded.
pub(crate) fn hub(given: &Bound<'_, PyDict>) -> PyResult<Hub> {
    let plan = plan(&item(given, "load")?.cast_into::<PyDict>()?)?;
    let defaults: Bound<'_, PyDict> = item(given, "defaults")?.cast_into::<PyDict>()?;
    let defaults = GenerateOptions::read(value_of(&defaults)?).map_err(|e| e.into_py(given.py()))?;
    let chat = chat_defaults(&item(given, "chat")?.cast_into::<PyDict>()?)?;
    let offer = Arc::new(move |name: &str, path: PathBuf| {
        let source = of_file(&plan, path.clone());
        ModelEntry { defaults: defaults.clone(), chat: chat.clone(), ..ModelEntry::new(name, path, source) }
    });
    Ok(Hub { command: item(given, "command")?.extract()?, offer })
}

/// Asks Python which models there are, on a thread that may block.
pub(crate) fn reload(function: Py<PyAny>) -> Reload {
    Arc::new(move || {
        Python::attach(|py| {
            let read = function.call0(py)?;
            entries(read.cast_bound::<PyList>(py)?)
        })
        .map_err(|error| Python::attach(|py| error.value(py).to_string()))
    })
}
