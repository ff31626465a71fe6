//! The one interpreter that may use this extension.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Refuses all interpreters but the first.
///
/// PyO3 attaches every thread that asks for the GIL to the first interpreter (`PyGILState_Ensure`), so closing a model that another interpreter
/// has loaded would wait for itself for ever.
pub(crate) fn refuse_others(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: the caller holds the GIL of an interpreter.
    let interpreter = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: the interpreter that runs this code.
    let id = unsafe { ffi::PyInterpreterState_GetID(interpreter) };
    if id == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "tabagent works in the main interpreter alone, and this is a subinterpreter; import it in the main one, or use a process of its own",
    ))
}
