//! What a model measured, as dictionaries.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tabagent_model::{Metrics, Summary};

pub(crate) fn to_dict<'py>(py: Python<'py>, metrics: &Metrics) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let ended = PyDict::new(py);
    for (name, count) in [
        ("stop", metrics.ended.stop),
        ("length", metrics.ended.length),
        ("cancelled", metrics.ended.cancelled),
        ("timeout", metrics.ended.timeout),
        ("error", metrics.ended.error),
    ] {
        ended.set_item(name, count)?;
    }
    dict.set_item("ended", ended)?;
    for (name, count) in [
        ("submitted", metrics.submitted),
        ("prompt_tokens", metrics.prompt_tokens),
        ("cached_tokens", metrics.cached_tokens),
        ("completion_tokens", metrics.completion_tokens),
        ("drafted_tokens", metrics.drafted_tokens),
        ("accepted_tokens", metrics.accepted_tokens),
        ("steps", metrics.steps),
        ("step_requests", metrics.step_requests),
        ("parked", metrics.parked),
        ("stowed", metrics.stowed),
        ("stored_bytes", metrics.stored_bytes),
    ] {
        dict.set_item(name, count)?;
    }
    for (name, seconds) in [
        ("prompt_s", metrics.prompt_seconds),
        ("decode_s", metrics.decode_seconds),
        ("overhead_s", metrics.overhead_seconds),
    ] {
        dict.set_item(name, seconds)?;
    }
    for (name, latency) in [
        ("queue", &metrics.queue),
        ("first_token", &metrics.first_token),
        ("token_gap", &metrics.token_gap),
        ("step", &metrics.step),
    ] {
        dict.set_item(name, summary(py, latency)?)?;
    }
    Ok(dict)
}

fn summary<'py>(py: Python<'py>, summary: &Summary) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("count", summary.count)?;
    for (name, seconds) in [
        ("sum_s", summary.sum),
        ("p50_s", summary.p50),
        ("p90_s", summary.p90),
        ("p99_s", summary.p99),
        ("max_s", summary.max),
    ] {
        dict.set_item(name, seconds)?;
    }
    Ok(dict)
}
