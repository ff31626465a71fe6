//! Tensors as numpy arrays that look into the file's own bytes.
//!
//! Beside `logits_view` the one place of this crate with `unsafe`: numpy must be told an address and who keeps it valid.

use numpy::PyArray1;
use numpy::ndarray::ArrayView1;
use pyo3::prelude::*;
use std::path::PathBuf;
use tabagent_gguf::{Inputs, SharedBytes};

/// Keeps a file open as long as an array looks into it.
#[pyclass(frozen, module = "tabagent._native")]
struct Keeper {
    bytes: SharedBytes,
}

/// The files that an array looks into, through whatever views: mapped GGUF files, and those of `numpy.memmap`.
pub(crate) fn files(data: &Bound<'_, PyAny>) -> Inputs {
    /// Views of views: more are not made by hand.
    const MAX_DEPTH: usize = 64;
    let mut inputs = Inputs::default();
    let mut at = Some(data.clone());
    for _ in 0..MAX_DEPTH {
        let Some(object) = at else { break };
        if let Ok(keeper) = object.cast::<Keeper>() {
            inputs.add_bytes(&keeper.get().bytes);
            break;
        }
        if let Some(path) = object.getattr("filename").ok().and_then(|path| path.extract::<PathBuf>().ok()) {
            inputs.add_path(&path);
        }
        // Arrays name what they are a view of `base`, a `memoryview` calls it `obj`.
        at = ["base", "obj"].iter().find_map(|name| object.getattr(name).ok()).filter(|base| !base.is_none());
    }
    inputs
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
