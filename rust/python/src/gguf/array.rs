//! Arrays of metadata, decoded item by item.

use super::value;
use crate::job;
use numpy::PyArray1;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use tabagent_gguf::{SharedArray, Value, ValueType};

/// Items between two checks for signals.
const LISTENS: usize = 1 << 16;

/// An array of a file's metadata; it keeps the file open.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct GgufArray {
    array: SharedArray,
}

impl GgufArray {
    pub(crate) fn new(array: SharedArray) -> Self {
        Self { array }
    }
}

#[pymethods]
impl GgufArray {
    /// The type of the items.
    #[getter]
    fn item_type(&self) -> &'static str {
        self.array.item_type().name()
    }

    fn __len__(&self) -> usize {
        self.array.len()
    }

    /// Item `index`, from 0.
    fn get<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        let past =
            || PyIndexError::new_err(format!("`{index}` is past the array's {} items", self.array.len()));
        if self.array.item_type() == ValueType::Array {
            let nested = self.array.nested(index).ok_or_else(past)?;
            return Ok(Bound::new(py, Self::new(nested))?.into_any());
        }
        let item = py.detach(|| self.array.get(index)).ok_or_else(past)?;
        value::scalar(py, &item)
    }

    /// The items from `start` up to `stop`, which is left out.
    fn to_list<'py>(&self, py: Python<'py>, start: usize, stop: usize) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        let count = stop.saturating_sub(start);
        if self.array.item_type() == ValueType::Array {
            for index in start..stop.min(self.array.len()) {
                list.append(self.get(py, index)?)?;
            }
            return Ok(list);
        }
        for (index, item) in self.array.iter_from(start).take(count).enumerate() {
            if index % LISTENS == LISTENS - 1 {
                py.check_signals()?;
            }
            list.append(value::scalar(py, &item)?)?;
        }
        Ok(list)
    }

    /// A copy of an array of numbers or bools as a numpy array; None for strings and arrays.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        macro_rules! copied {
            ($($kind:ident),+) => {
                match self.array.item_type() {
                    $(ValueType::$kind => {
                        let array = self.array.clone();
                        let items = job::run_if(py, array.len() > LISTENS, move |_| {
                            let items = array.array();
                            items.iter().filter_map(|item| match item { Value::$kind(v) => Some(v), _ => None }).collect()
                        })?;
                        Ok(Some(PyArray1::from_vec(py, items).into_any()))
                    })+
                    ValueType::String | ValueType::Array => Ok(None),
                }
            };
        }
        copied!(U8, I8, U16, I16, U32, I32, U64, I64, F32, F64, Bool)
    }
}
