//! Logits as numpy arrays that share a context's own memory.
//!
//! One of the few places of this crate with `unsafe`: numpy gets an address and an object that keeps it valid.

use numpy::PyArray1;
use numpy::ndarray::ArrayView1;
use pyo3::prelude::*;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many views of a context's logits live. As long as one does, the context refuses to decode, load, clear or close.
#[derive(Clone, Default)]
pub(crate) struct Views {
    living: Arc<AtomicUsize>,
}

impl Views {
    /// Whether a view lives.
    pub(crate) fn any(&self) -> bool {
        self.living.load(Ordering::Acquire) > 0
    }

    /// A read-only array over `logits`, which belong to `owner`. The caller holds the lock under which alone `owner` moves or overwrites them,
    /// and asks [`any`](Self::any) under that lock before it does so.
    pub(crate) fn view<'py>(
        &self,
        py: Python<'py>,
        owner: Arc<dyn Any + Send + Sync>,
        logits: &[f32],
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        self.living.fetch_add(1, Ordering::AcqRel);
        let pin = Bound::new(py, Pin { views: self.clone(), _owner: owner })?;
        let view = ArrayView1::from(logits);
        // SAFETY: `pin` becomes the array's base and lives as long as it, and with it the owner of the logits; while a pin lives, whatever
        // would move or overwrite them is refused under the lock that the caller holds now.
        let array = unsafe { PyArray1::borrow_from_array(&view, pin.into_any()) };
        array.getattr("flags")?.setattr("writeable", false)?;
        Ok(array)
    }
}

/// Keeps logits where they are.
#[pyclass(frozen, module = "tabagent._native")]
struct Pin {
    views: Views,
    _owner: Arc<dyn Any + Send + Sync>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.views.living.fetch_sub(1, Ordering::AcqRel);
    }
}
