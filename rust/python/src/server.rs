//! A server over loaded models.

use crate::chat_template::ChatTemplate;
use crate::errors::{IntoPyErr, value_error};
use crate::job;
use crate::model::Model;
use crate::value::value_of;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tabagent_model::GenerateOptions;
use tabagent_server::{Address, Models, Served, Settings, StartError};

/// A server that listens, with threads of its own that never run Python.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Server {
    /// `None` once stopped.
    inner: Mutex<Option<tabagent_server::Server>>,
    address: Address,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (model, *, name, aliases, path, template, defaults, settings))]
    fn new(
        py: Python<'_>,
        model: &Model,
        name: String,
        aliases: Vec<String>,
        path: PathBuf,
        template: Option<&ChatTemplate>,
        defaults: Option<&Bound<'_, PyDict>>,
        settings: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let settings = Settings::read(value_of(settings)?).map_err(|e| e.into_py(py))?;
        // A closed model would refuse every request.
        model.core().llama().map_err(|e| e.into_py(py))?;
        let mut served = Served::new(model.core(), name, path);
        served.aliases = aliases;
        served.template = template.map(|template| template.inner.clone());
        if let Some(defaults) = defaults {
            served.defaults = GenerateOptions::read(value_of(defaults)?).map_err(|e| e.into_py(py))?;
        }
        let started = py.detach(move || tabagent_server::Server::start(settings, Models::one(served)));
        let server = started.map_err(start_error)?;
        let address = server.address().clone();
        Ok(Self { inner: Mutex::new(Some(server)), address })
    }

    /// Its address: `http://host:port`, or `unix:path`.
    fn url(&self) -> String {
        self.address.to_string()
    }

    /// Host and port; `None` of a socket in the file system.
    fn port(&self) -> Option<(String, u16)> {
        match &self.address {
            Address::Tcp { host, port } => Some((host.clone(), *port)),
            Address::Unix(_) => None,
        }
    }

    /// Stops gracefully, and waits for that.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let server = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut server) = server else { return Ok(()) };
        job::run(py, move |_| server.stop())
    }
}

fn start_error(error: StartError) -> PyErr {
    match &error {
        StartError::Prefix(_) => value_error(error),
        StartError::Bind { source, .. } => match source.raw_os_error() {
            Some(code) => PyOSError::new_err((code, error.to_string())),
            None => PyOSError::new_err(error.to_string()),
        },
        StartError::Threads(_) => PyRuntimeError::new_err(error.to_string()),
    }
}
