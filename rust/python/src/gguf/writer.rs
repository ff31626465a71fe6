//! Writing GGUF files from Python.

use super::file::GgufFile;
use super::{tools, value, view, watch};
use crate::errors::value_error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tabagent_gguf::{ByteOrder, SplitBy, TensorData};

/// Collects metadata and tensors, and writes them.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct GgufWriter {
    /// None while it writes.
    writer: Arc<Mutex<Option<tabagent_gguf::GgufWriter>>>,
}

/// A writer while it writes; it comes back whatever happens.
struct Lent {
    writer: Option<tabagent_gguf::GgufWriter>,
    home: Arc<Mutex<Option<tabagent_gguf::GgufWriter>>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.writer.take();
    }
}

impl GgufWriter {
    /// Replaces the writer with what `change` makes of it.
    fn change(
        &self,
        change: impl FnOnce(tabagent_gguf::GgufWriter) -> tabagent_gguf::GgufWriter,
    ) -> PyResult<()> {
        let writer = self.take()?;
        self.put(change(writer));
        Ok(())
    }

    fn take(&self) -> PyResult<tabagent_gguf::GgufWriter> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        writer.ok_or_else(|| PyRuntimeError::new_err("the writer is writing in another thread"))
    }

    fn put(&self, writer: tabagent_gguf::GgufWriter) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }

    /// Runs `work` with the writer, which comes back whatever happens.
    fn lent<T: Send + 'static>(
        &self,
        py: Python<'_>,
        progress: Option<&Py<PyAny>>,
        work: impl FnOnce(
            &tabagent_gguf::GgufWriter,
            tabagent_gguf::Progress<'_>,
        ) -> Result<T, tabagent_gguf::GgufError>
        + Send
        + 'static,
    ) -> PyResult<T> {
        let lent = Lent { writer: Some(self.take()?), home: Arc::clone(&self.writer) };
        watch::write(py, progress, move |progress| match &lent.writer {
            Some(writer) => work(writer, progress),
            None => Err(tabagent_gguf::GgufError::Cancelled),
        })
    }
}

#[pymethods]
impl GgufWriter {
    #[new]
    fn new(byte_order: &str, version: u32) -> PyResult<Self> {
        let order = order_named(byte_order)?;
        let writer = tabagent_gguf::GgufWriter::new().with_byte_order(order).with_version(version);
        Ok(Self { writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// A writer with all that a model holds, as one file, in its own byte order or another.
    #[staticmethod]
    fn of_model(file: &GgufFile, byte_order: Option<&str>) -> PyResult<Self> {
        if file.model.parts().iter().any(tabagent_gguf::GgufFile::is_header_only) {
            return Err(value_error("only the file's beginning was read, so its tensors cannot be written"));
        }
        let mut writer = tabagent_gguf::GgufWriter::of_model(&file.model);
        if let Some(order) = byte_order {
            writer = writer.with_byte_order(order_named(order)?);
        }
        Ok(Self { writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Sets a value of the type written `u32` or `arr[str]`.
    fn set(&self, key: &str, kind: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = value::owned(value, kind)?;
        self.change(|writer| writer.set(key, value))
    }

    fn remove(&self, key: &str) -> PyResult<()> {
        self.change(|writer| writer.remove(key))
    }

    /// Adds a tensor of `n_bytes`, which `make` returns when the tensor is written; `data` is the object that it is made from.
    fn add_tensor(
        &self,
        name: &str,
        kind: &str,
        dims: Vec<u64>,
        n_bytes: u64,
        make: Py<PyAny>,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let kind = tools::ggml_type(kind)?;
        let inputs = view::files(data);
        let data = TensorData::made(n_bytes, move |out| {
            let made =
                Python::try_attach(|py| make.call0(py)?.extract::<PyBackedBytes>(py).map_err(PyErr::from));
            let bytes = made.ok_or_else(|| io::Error::other("the interpreter is ending"))?;
            out.write_all(&bytes.map_err(io::Error::other)?)
        });
        self.change(|writer| writer.with_inputs(&inputs).add_tensor(name, kind, &dims, data))
    }

    fn write(&self, py: Python<'_>, path: PathBuf, progress: Option<Py<PyAny>>) -> PyResult<()> {
        self.lent(py, progress.as_ref(), move |writer, progress| writer.write_with(&path, progress))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.lent(py, None, |writer, progress| writer.to_bytes_with(progress))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Writes the model in parts and returns their paths.
    fn write_parts(
        &self,
        py: Python<'_>,
        prefix: PathBuf,
        max_bytes: Option<u64>,
        max_tensors: Option<usize>,
        first_without_tensors: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<OsString>> {
        let by = match (max_bytes, max_tensors) {
            (Some(bytes), None) => SplitBy::Bytes(bytes),
            (None, Some(tensors)) => SplitBy::Tensors(tensors),
            _ => return Err(value_error("give either `max_bytes` or `max_tensors`")),
        };
        self.lent(py, progress.as_ref(), move |writer, progress| {
            let paths = writer.write_parts(&prefix, by, first_without_tensors, progress)?;
            Ok(paths.into_iter().map(PathBuf::into_os_string).collect())
        })
    }
}

fn order_named(name: &str) -> PyResult<ByteOrder> {
    match name {
        "little" => Ok(ByteOrder::Little),
        "big" => Ok(ByteOrder::Big),
        other => Err(value_error(format!("`{other}` is no byte order; it is `little` or `big`"))),
    }
}
