//! Logits as numpy arrays that look into the context's own memory.
//!
//! The one place of this crate with `unsafe`: numpy must be told an address and who keeps it valid.

use crate::context::Shared;
use numpy::PyArray1;
use numpy::ndarray::ArrayView1;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Keeps a context's logits where they are: as long as one lives, the context refuses to decode, load, clear or close.
#[pyclass(frozen, module = "tabagent._native")]
struct Pin {
    shared: Arc<Shared>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.shared.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A read-only array over `logits`, which belong to the context of `shared`. The caller holds the context's lock.
pub(crate) fn view<'py>(
    py: Python<'py>,
    shared: &Arc<Shared>,
    logits: &[f32],
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    shared.pins.fetch_add(1, Ordering::AcqRel);
    let pin = Bound::new(py, Pin { shared: Arc::clone(shared) })?;
    let view = ArrayView1::from(logits);
    // SAFETY: `pin` becomes the array's base and lives as long as it; while a pin lives, whatever would move or overwrite the
    // context's logits is refused under the lock that the caller holds now.
    let array = unsafe { PyArray1::borrow_from_array(&view, pin.into_any()) };
    array.getattr("flags")?.setattr("writeable", false)?;
    Ok(array)
}
