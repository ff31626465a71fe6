//! Tensors as numpy arrays that look into the file's own bytes.
//!
//! Besides `logits_view` this is the only module of this crate with `unsafe`: numpy must be told an address and who keeps it valid.

use numpy::ndarray::ArrayView1;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use tabagent_gguf::{Inputs, Room, SharedBytes};

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
        // An array has the object that it is a view of in `base`, a `memoryview` in `obj`.
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

/// Keeps room as long as an array writes to it.
#[pyclass(frozen, module = "tabagent._native")]
struct RoomKeeper {
    /// Never touched again but to be dropped.
    _room: Room,
}

/// A writable array over `room`, whose bytes may be anything.
pub(crate) fn room(py: Python<'_>, mut room: Room) -> PyResult<Bound<'_, PyArray1<u8>>> {
    let (start, length) = (room.as_mut_ptr(), room.len());
    let keeper = Bound::new(py, RoomKeeper { _room: room })?;
    // SAFETY: `length` bytes lie at `start`, in a mapping that stays where it is when its `Room` moves into `keeper`.
    let view = unsafe { ArrayView1::from_shape_ptr(length, start) };
    // SAFETY: `keeper` becomes the array's base and lives as long as it. Nothing else refers to the bytes, so that they may be written.
    Ok(unsafe { PyArray1::borrow_from_array(&view, keeper.into_any()) })
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

/// The items of a numpy array to be written on another thread. The array stays alive as long as this.
pub(crate) struct BorrowedMut<T> {
    _array: Py<PyArray1<T>>,
    start: *mut T,
    length: usize,
}

// SAFETY: as for `Borrowed`; the one thread that holds this writes.
unsafe impl<T: Send> Send for BorrowedMut<T> {}

impl<T: Element> BorrowedMut<T> {
    /// The items of `array`, which must lie side by side.
    pub(crate) fn new(array: &mut PyReadwriteArray1<'_, T>) -> PyResult<Self> {
        let items = array.as_slice_mut()?;
        let (start, length) = (items.as_mut_ptr(), items.len());
        Ok(Self { _array: (***array).clone().unbind(), start, length })
    }
}

impl<T> Deref for BorrowedMut<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: as for `Borrowed`.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl<T> DerefMut for BorrowedMut<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `Borrowed`; numpy said that the array may be written, and this is the only one that refers to it from here.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}
