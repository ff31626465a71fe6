//! `tabagent._native`: the Python module over the Rust crates. The contract is `python/tabagent/_native.pyi`.
//!
//! A function here converts its arguments, releases the GIL, calls, and converts the result; everything else belongs in one of the crates below.
// PyO3 takes arguments by value, and its macros expand to items that cannot carry docs.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    clippy::fn_params_excessive_bools,
    missing_docs
)]

mod adapter;
mod arguments;
mod chat_parser;
mod chat_template;
mod context;
mod embed;
mod errors;
mod event;
mod facts;
mod gguf;
mod grammar;
mod hook;
mod interpreter;
mod job;
mod json;
mod json_reader;
mod library;
mod log;
mod logits_view;
mod memory;
mod metrics;
mod model;
mod os_error;
mod panics;
mod prepared_chat;
mod progress;
mod sampling;
mod served_models;
mod server;
mod session;
mod stream;
mod summary;
mod tokenizer;
mod trace;
mod value;
mod variants;
mod wait;
mod wake;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    interpreter::refuse_others(module.py())?;
    panics::keep_quiet();
    trace::listen();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CAPTURE_LIMIT", tabagent_model::CAPTURE_LIMIT)?;
    module.add("KV_TYPES", tabagent_model::KvType::names())?;
    module.add_class::<adapter::Adapter>()?;
    module.add_class::<adapter::ControlVector>()?;
    module.add_class::<chat_parser::ChatParser>()?;
    module.add_class::<chat_template::ChatTemplate>()?;
    module.add_class::<context::Context>()?;
    module.add_class::<embed::Stop>()?;
    module.add_class::<event::TokenEvent>()?;
    module.add_class::<event::TokenLogprob>()?;
    module.add_class::<event::TopLogprob>()?;
    module.add_class::<grammar::Constraint>()?;
    module.add_class::<grammar::Grammar>()?;
    module.add_class::<hook::HookWorker>()?;
    module.add_class::<json_reader::JsonReader>()?;
    module.add_class::<model::Model>()?;
    module.add_class::<prepared_chat::PreparedChat>()?;
    module.add_class::<server::Server>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<tokenizer::Tokenizer>()?;
    module.add_function(wrap_pyfunction!(chat_template::chat_template_names, module)?)?;
    module.add_function(wrap_pyfunction!(errors::error_kinds, module)?)?;
    module.add_function(wrap_pyfunction!(job::stop_jobs, module)?)?;
    module.add_function(wrap_pyfunction!(library::loaded_library, module)?)?;
    module.add_function(wrap_pyfunction!(library::open_library, module)?)?;
    module.add_function(wrap_pyfunction!(log::drain_log, module)?)?;
    module.add_function(wrap_pyfunction!(log::set_log_levels, module)?)?;
    module.add_function(wrap_pyfunction!(sampling::check_sampling, module)?)?;
    module.add_function(wrap_pyfunction!(sampling::sampler_facts, module)?)?;
    module.add_function(wrap_pyfunction!(sampling::sampling_distribution, module)?)?;
    module.add_function(wrap_pyfunction!(variants::hardware_json, module)?)?;
    module.add_function(wrap_pyfunction!(variants::select_variant_json, module)?)?;
    module.add_function(wrap_pyfunction!(variants::variants_json, module)?)?;
    gguf::register(module)
}
