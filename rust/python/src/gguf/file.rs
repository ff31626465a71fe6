//! An open model file, in all its parts.

use super::array::GgufArray;
use super::{describe, value, view, watch};
use crate::errors::{IntoPyErr, value_error};
use crate::job;
use numpy::PyArray1;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyString};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tabagent_gguf::{
    ByteOrder, GgufError, GgufModel, Header, ModelTensor, check_data, check_model, check_parts,
    diff_models_with, hash_model,
};

/// The parts of a model, mapped.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct GgufFile {
    pub(crate) model: Arc<GgufModel>,
}

/// A tensor as Python gets it: name, type, dimensions in GGUF's order, number of its part, start in the part, bytes.
type TensorFacts<'a> = (&'a str, &'static str, &'a [u64], usize, u64, u64);

/// Opens the file behind `descriptor` a second time. `/dev/fd` finds it even if its own name is gone or belongs to another file by now.
#[cfg(unix)]
fn reopened(descriptor: u32) -> io::Result<File> {
    File::open(format!("/dev/fd/{descriptor}"))
}

/// Windows has no `/dev/fd`; Python reads such files itself.
#[cfg(not(unix))]
fn reopened(_descriptor: u32) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

impl GgufFile {
    fn new(py: Python<'_>, file: Result<tabagent_gguf::GgufFile, GgufError>) -> PyResult<Self> {
        let model = file.and_then(|file| GgufModel::from_parts(vec![file]));
        Ok(Self { model: Arc::new(model.map_err(|error| error.into_py(py))?) })
    }

    fn tensor(&self, name: &str) -> PyResult<ModelTensor<'_>> {
        self.model.tensor(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }
}

#[pymethods]
impl GgufFile {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let model = job::run(py, move |_| GgufModel::open(&path))?.map_err(|error| error.into_py(py))?;
        Ok(Self { model: Arc::new(model) })
    }

    /// Maps one file alone, even if it is a part of a model or wrongly says so.
    #[staticmethod]
    fn open_part(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let file = job::run(py, move |_| tabagent_gguf::GgufFile::open(&path))?;
        Self::new(py, file)
    }

    /// The number of the part that the file is, from 0, and how many there are; None for a whole model.
    #[getter]
    fn split(&self) -> Option<(u16, u16)> {
        self.model.first().split().map(|split| (split.no, split.count))
    }

    /// Maps the file behind an open descriptor, from its start.
    #[staticmethod]
    fn from_descriptor(py: Python<'_>, descriptor: u32, name: &str) -> PyResult<Self> {
        let name = name.to_owned();
        let file = job::run(py, move |_| {
            let opened =
                reopened(descriptor).map_err(|source| GgufError::Open { path: (&name).into(), source });
            opened.and_then(|file| tabagent_gguf::GgufFile::from_file(&file, &name))
        })?;
        Self::new(py, file)
    }

    /// Reads bytes where they lie.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: PyBackedBytes, name: &str) -> PyResult<Self> {
        let name = name.to_owned();
        let file = job::run(py, move |_| tabagent_gguf::GgufFile::from_foreign(Arc::new(data), &name))?;
        Self::new(py, file)
    }

    /// Reads the beginning of a file that is elsewhere, such as on a server; returns an integer if at least that many of its first bytes are needed.
    #[staticmethod]
    fn from_beginning(py: Python<'_>, data: PyBackedBytes, size: u64, name: &str) -> PyResult<Py<PyAny>> {
        let name = name.to_owned();
        let header =
            job::run(py, move |_| tabagent_gguf::GgufFile::from_beginning(data.to_vec(), size, &name))?;
        match header {
            Ok(Header::Needs(bytes)) => Ok(bytes.into_pyobject(py)?.into_any().unbind()),
            Ok(Header::Complete(file)) => Ok(Bound::new(py, Self::new(py, Ok(file))?)?.into_any().unbind()),
            Err(error) => Err(error.into_py(py)),
        }
    }

    /// Reads the beginnings of all parts of a model that is elsewhere; each is the bytes, the whole part's size and its name.
    #[staticmethod]
    fn from_beginnings(py: Python<'_>, parts: Vec<(PyBackedBytes, u64, String)>) -> PyResult<Self> {
        let model = job::run(py, move |_| {
            let files = parts.iter().map(|(data, size, name)| {
                match tabagent_gguf::GgufFile::from_beginning(data.to_vec(), *size, name)? {
                    Header::Complete(file) => Ok(file),
                    // The bytes end within the header: reading them as a whole file gives the error of a truncated one.
                    Header::Needs(_) => tabagent_gguf::GgufFile::from_bytes(data.to_vec()),
                }
            });
            GgufModel::from_parts(files.collect::<Result<_, _>>()?)
        })?;
        Ok(Self { model: Arc::new(model.map_err(|error| error.into_py(py))?) })
    }

    #[getter]
    fn version(&self) -> u32 {
        self.model.first().version()
    }

    #[getter]
    fn byte_order(&self) -> &'static str {
        match self.model.first().byte_order() {
            ByteOrder::Little => "little",
            ByteOrder::Big => "big",
        }
    }

    #[getter]
    fn alignment(&self) -> u64 {
        self.model.first().alignment()
    }

    #[getter]
    fn size(&self) -> u64 {
        self.model.file_size()
    }

    #[getter]
    fn part_names(&self) -> Vec<String> {
        self.model.parts().iter().map(|file| file.file_name().to_owned()).collect()
    }

    #[getter]
    fn is_header_only(&self) -> bool {
        self.model.parts().iter().any(tabagent_gguf::GgufFile::is_header_only)
    }

    fn keys(&self) -> Vec<&str> {
        self.model.metadata().iter().map(|(key, _)| key).collect()
    }

    /// The type of a value, written `u32` or `arr[str]`.
    fn value_type(&self, key: &str) -> PyResult<String> {
        let value = self.model.metadata().get(key).ok_or_else(|| PyKeyError::new_err(key.to_owned()))?;
        Ok(value.full_type())
    }

    fn value<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Bound<'py, PyAny>> {
        let metadata = self.model.metadata();
        if let Some(array) = metadata.shared_array(key) {
            return Ok(Bound::new(py, GgufArray::new(array))?.into_any());
        }
        let value = metadata.get(key).ok_or_else(|| PyKeyError::new_err(key.to_owned()))?;
        value::scalar(py, &value)
    }

    fn tensors(&self) -> Vec<TensorFacts<'_>> {
        let parts = self.model.parts().iter().enumerate();
        parts
            .flat_map(|(part, file)| {
                file.tensors().iter().map(move |info| {
                    let start = file.data_start(info);
                    let kind = info.ggml_type.name();
                    (info.name.as_str(), kind, info.shape.dims(), part, start, info.n_bytes)
                })
            })
            .collect()
    }

    /// The stored bytes of a tensor: a read-only array that looks into the file and keeps it open.
    fn raw<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let tensor = self.tensor(name)?;
        if tensor.file.is_header_only() {
            return Err(value_error(format!(
                "tensor `{name}` is not here: only the file's beginning was read"
            )));
        }
        view::view(py, tensor.file.shared_data(tensor.info))
    }

    /// Whether llama.cpp would load the model; with `data`, also whether all its numbers are finite.
    fn check(&self, py: Python<'_>, model: bool, data: bool, progress: Option<Py<PyAny>>) -> PyResult<()> {
        let this = Arc::clone(&self.model);
        watch::read(py, progress.as_ref(), move |progress| {
            if model {
                check_model(this.first())?;
                // A part that was opened alone is checked alone.
                if this.parts().len() > 1 {
                    check_parts(this.parts())?;
                }
            }
            if data { check_data(&this, progress) } else { Ok(()) }
        })
    }

    fn describe(&self, py: Python<'_>, file: String, array_items: usize) -> PyResult<String> {
        let model = Arc::clone(&self.model);
        job::run(py, move |_| describe::describe(&model, &file, array_items, None))
    }

    /// SHA-256 of the files, the weights and each tensor, in hexadecimal.
    fn hashes<'py>(&self, py: Python<'py>, progress: Option<Py<PyAny>>) -> PyResult<Bound<'py, PyDict>> {
        let model = Arc::clone(&self.model);
        let hashes = watch::read(py, progress.as_ref(), move |progress| hash_model(&model, progress))?;
        let named = |list: &[(String, tabagent_gguf::Digest)]| {
            let dict = PyDict::new(py);
            list.iter().try_for_each(|(name, digest)| dict.set_item(name, digest.to_string()))?;
            PyResult::Ok(dict)
        };
        let dict = PyDict::new(py);
        dict.set_item("files", named(&hashes.files)?)?;
        dict.set_item("weights", PyString::new(py, &hashes.weights.to_string()))?;
        dict.set_item("tensors", named(&hashes.tensors)?)?;
        Ok(dict)
    }

    /// The differences to another model, in words.
    fn differences(&self, py: Python<'_>, other: &Self) -> PyResult<Vec<String>> {
        let (first, second) = (Arc::clone(&self.model), Arc::clone(&other.model));
        if self.is_header_only() || other.is_header_only() {
            return Err(value_error("only the file's beginning was read, so its tensors cannot be compared"));
        }
        watch::read(py, None, move |progress| {
            let found = diff_models_with(&first, &second, progress)?;
            Ok::<_, GgufError>(found.iter().map(ToString::to_string).collect())
        })
    }
}
