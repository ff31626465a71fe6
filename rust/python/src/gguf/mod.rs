//! GGUF files for Python: reading, checking, comparing, changing and writing them.

mod array;
mod convert;
mod describe;
mod file;
mod imatrix;
mod lora;
mod quantize;
mod quants;
mod tools;
mod value;
mod view;
mod watch;
mod writer;

use pyo3::prelude::*;

pub(crate) use view::Borrowed;

/// Adds the classes and functions to `tabagent._native`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<array::GgufArray>()?;
    module.add_class::<file::GgufFile>()?;
    module.add_class::<imatrix::GgufImatrix>()?;
    module.add_class::<writer::GgufWriter>()?;
    module.add_function(wrap_pyfunction!(convert::gguf_convert, module)?)?;
    module.add_function(wrap_pyfunction!(describe::gguf_info_json, module)?)?;
    module.add_function(wrap_pyfunction!(lora::gguf_convert_lora, module)?)?;
    module.add_function(wrap_pyfunction!(lora::gguf_merge_lora, module)?)?;
    module.add_function(wrap_pyfunction!(quants::gguf_dequantize, module)?)?;
    module.add_function(wrap_pyfunction!(quants::gguf_quantize, module)?)?;
    module.add_function(wrap_pyfunction!(quants::gguf_room, module)?)?;
    module.add_function(wrap_pyfunction!(quants::gguf_swap_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(quantize::gguf_file_type_name, module)?)?;
    module.add_function(wrap_pyfunction!(quantize::gguf_file_types, module)?)?;
    module.add_function(wrap_pyfunction!(quantize::gguf_quantize_model, module)?)?;
    module.add_function(wrap_pyfunction!(tools::gguf_edit, module)?)?;
    module.add("GGUF_MAX_THREADS", tabagent_gguf::MAX_THREADS)?;
    module.add_function(wrap_pyfunction!(tools::gguf_out_types, module)?)?;
    module.add_function(wrap_pyfunction!(tools::gguf_parse_size, module)?)?;
    module.add_function(wrap_pyfunction!(tools::gguf_types, module)?)?;
    Ok(())
}
