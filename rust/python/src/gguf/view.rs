//! Tensors as numpy arrays that look into the file's own bytes.
//!
//! Beside `logits_view` the one place of this crate with `unsafe`: numpy must be told an address and who keeps it valid.

use numpy::PyArray1;
use numpy::ndarray::ArrayView1;
use pyo3::prelude::*;
use tabagent_gguf::SharedBytes;

/// Keeps a file open as long as an array looks into it.
#[pyclass(frozen, module = "tabagent._native")]
struct Keeper {
    bytes: SharedBytes,
}

/// A read-only array over `bytes`, without a copy.
pub(crate) fn view(py: Python<'_>, bytes: SharedBytes) -> PyResult<Bound<'_, PyArray1<u8>>> {
    let keeper = Bound::new(py, Keeper { bytes })?;
    let view = ArrayView1::from(&*keeper.get().bytes);
    // SAFETY: `keeper` becomes the array's base and lives as long as it; the bytes lie in a mapping or buffer that `keeper` shares, which
    // is neither moved nor freed before the last of its sharers goes, and which nobody writes to through this read-only array.
    let array = unsafe { PyArray1::borrow_from_array(&view, keeper.clone().into_any()) };
    array.getattr("flags")?.setattr("writeable", false)?;
    Ok(array)
}
