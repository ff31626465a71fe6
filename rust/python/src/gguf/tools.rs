//! Editing files, and lists that need no file.

use super::{value, watch};
use crate::errors::value_error;
use pyo3::prelude::*;
use std::path::PathBuf;
use tabagent_gguf::{
    ADAPTER_TYPES, Edit, Edited, GgmlType, MergeType, OutType, edit_metadata, edit_metadata_to, parse_size,
};

/// One change of metadata: the key, and the type and value to set; None removes it.
type Change<'py> = (String, Option<(String, Bound<'py, PyAny>)>);

/// Changes the metadata of a file, or of a copy of it at `output`; returns `unchanged`, `in place` or `rewritten`.
#[pyfunction]
pub(crate) fn gguf_edit(
    py: Python<'_>,
    path: PathBuf,
    changes: Vec<Change<'_>>,
    output: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
) -> PyResult<&'static str> {
    let edits: Vec<Edit> = changes
        .into_iter()
        .map(|(key, value)| match value {
            None => Ok(Edit::Remove(key)),
            Some((kind, value)) => Ok(Edit::Set(key, value::owned(&value, &kind)?)),
        })
        .collect::<PyResult<_>>()?;
    let done = watch::write(py, progress.as_ref(), move |progress| {
        let Some(output) = output else {
            return edit_metadata(&path, &edits, progress);
        };
        edit_metadata_to(&path, &edits, &output, progress).map(|()| Edited::Rewritten)
    })?;
    Ok(match done {
        Edited::Unchanged => "unchanged",
        Edited::InPlace { .. } => "in place",
        Edited::Rewritten => "rewritten",
    })
}

/// Bytes from a size as people write it, such as `90MB`, `2G` or `1.5GiB`.
#[pyfunction]
pub(crate) fn gguf_parse_size(text: &str) -> PyResult<u64> {
    parse_size(text).map_err(value_error)
}

/// Every tensor type: name, number, weights in a block, bytes of a block.
#[pyfunction]
pub(crate) fn gguf_types() -> Vec<(&'static str, u32, u64, u64)> {
    GgmlType::ALL.iter().map(|t| (t.name(), t.id(), t.block_size(), t.block_bytes())).collect()
}

/// Names of the types that results can have: of a converted model, of a merged one, and of a converted adapter.
#[pyfunction]
pub(crate) fn gguf_out_types() -> (Vec<&'static str>, Vec<&'static str>, Vec<&'static str>) {
    (
        OutType::NAMES.iter().map(|(name, _)| *name).collect(),
        MergeType::NAMES.iter().map(|(name, _)| *name).collect(),
        ADAPTER_TYPES.iter().map(|kind| kind.name()).collect(),
    )
}

/// The tensor type called `name`.
pub(crate) fn ggml_type(name: &str) -> PyResult<GgmlType> {
    let found = GgmlType::ALL.iter().copied().find(|kind| kind.name() == name);
    found.ok_or_else(|| {
        value_error(format!("`{name}` is no type of tensors; `tabagent.gguf.TYPES` lists them"))
    })
}
