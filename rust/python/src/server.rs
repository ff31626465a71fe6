//! A server over models.

use crate::errors::{IntoPyErr, value_error};
use crate::job;
use crate::os_error::numbered;
use crate::served_models::{entries, hub, reload};
use crate::value::value_of;
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::{Mutex, PoisonError};
use tabagent_model::{PoolOptions, Stay};
use tabagent_server::{Address, Models, Settings, StartError};

/// A server that listens, with threads of its own that never run Python.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Server {
    /// `None` once stopped.
    inner: Mutex<Option<tabagent_server::Server>>,
    addresses: Vec<Address>,
    urls: Vec<String>,
}

#[pymethods]
impl Server {
    #[new]
    #[pyo3(signature = (models, *, settings, any_name, autoload, memory_limit, max_models, keep_alive, reload, hub))]
    fn new(
        py: Python<'_>,
        models: &Bound<'_, PyList>,
        settings: &Bound<'_, PyDict>,
        any_name: bool,
        autoload: bool,
        memory_limit: Option<u64>,
        max_models: Option<usize>,
        keep_alive: Option<f64>,
        reload: Option<Py<PyAny>>,
        hub: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let settings = Settings::read(value_of(settings)?).map_err(|e| e.into_py(py))?;
        let entries = entries(models)?;
        let keep_alive = keep_alive.map_or(Stay::ForEver, Stay::seconds);
        let options = PoolOptions { memory_limit, max_models, keep_alive };
        let (reload, hub) = (reload.map(self::reload), hub.map(self::hub).transpose()?);
        let started = py.detach(move || {
            let models = match (any_name, <[_; 1]>::try_from(entries)) {
                (true, Ok([only])) => Models::one_of_pool(only, options),
                (_, Ok([only])) => Models::several(vec![only], options),
                (_, Err(entries)) => Models::several(entries, options),
            };
            tabagent_server::Server::start(settings, models.with_behaviour(autoload, reload, hub))
        });
        let server = started.map_err(start_error)?;
        let (addresses, urls) = (server.addresses().to_vec(), server.urls());
        Ok(Self { inner: Mutex::new(Some(server)), addresses, urls })
    }

    /// Its addresses: `http://host:port`, `https://host:port`, or `unix:path`. There is at least one.
    fn urls(&self) -> Vec<String> {
        self.urls.clone()
    }

    /// Host and port of the first one; `None` of a socket in the file system.
    fn port(&self) -> Option<(String, u16)> {
        match self.addresses.first() {
            Some(Address::Tcp { host, port }) => Some((host.clone(), *port)),
            Some(Address::Unix(_)) | None => None,
        }
    }

    /// Has a model loaded though nobody asks for it, without waiting.
    fn load(&self, name: &str) -> PyResult<()> {
        let server = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map_or(Ok(()), |server| server.load(name)).map_err(value_error)
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
        StartError::Prefix(_) | StartError::VertexRoute(_) | StartError::Tls(_) => value_error(error),
        StartError::Bind { source, .. } | StartError::AccessLog { source, .. } => match source.raw_os_error()
        {
            Some(code) => numbered(code, error.to_string(), None),
            None => PyOSError::new_err(error.to_string()),
        },
        StartError::Inherited(_) => PyOSError::new_err(error.to_string()),
        StartError::Threads(_) => PyRuntimeError::new_err(error.to_string()),
    }
}
