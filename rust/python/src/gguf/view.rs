//! Tensors as numpy arrays that look into the file's own bytes.
//!
//! Beside `logits_view` the one place of this crate with `unsafe`: numpy must be told an address and who keeps it valid.

use numpy::ndarray::ArrayView1;
use numpy::{Element, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use std::ops::Deref;
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

/// The items of a numpy array, for another thread. The array stays alive as long as this.
pub(crate) struct Borrowed<T> {
    _array: Py<PyArray1<T>>,
    start: *const T,
    length: usize,
}

// SAFETY: the items are plain numbers that any thread may read, and the array behind them is only dropped, which PyO3 leaves to a thread
// that holds the GIL.
unsafe impl<T: Sync> Send for Borrowed<T> {}
// SAFETY: as above; nothing is written through it.
unsafe impl<T: Sync> Sync for Borrowed<T> {}

impl<T: Element> Borrowed<T> {
    /// The items of `array`, which must lie side by side.
    pub(crate) fn new(array: &PyReadonlyArray1<'_, T>) -> PyResult<Self> {
        let items = array.as_slice()?;
        let (start, length) = (items.as_ptr(), items.len());
        Ok(Self { _array: (**array).clone().unbind(), start, length })
    }
}

impl<T> Deref for Borrowed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `start` and `length` are those of a slice that numpy gave; numpy neither moves nor frees it while `_array` is referred to.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}
