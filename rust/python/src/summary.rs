//! How a stream ended.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tabagent_model::{Finish, FinishReason, StopMatch};

pub(crate) fn to_dict<'py>(py: Python<'py>, finish: &Finish) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let reason = match finish.reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
        FinishReason::Timeout => "timeout",
        FinishReason::Error(_) => "error",
    };
    dict.set_item("finish_reason", reason)?;
    dict.set_item("stop_match", stop_match(py, finish.stop_match.as_ref())?)?;
    dict.set_item("prompt_tokens", finish.usage.prompt_tokens)?;
    dict.set_item("cached_tokens", finish.usage.cached_tokens)?;
    dict.set_item("completion_tokens", finish.usage.completion_tokens)?;
    dict.set_item("forced_tokens", finish.usage.forced_tokens)?;
    dict.set_item("drafted_tokens", finish.usage.drafted_tokens)?;
    dict.set_item("accepted_tokens", finish.usage.accepted_tokens)?;
    dict.set_item("dropped_tokens", finish.usage.dropped_tokens)?;
    dict.set_item("constraint_complete", finish.constraint_complete)?;
    dict.set_item("queued_s", finish.timings.queued.as_secs_f64())?;
    dict.set_item("prompt_s", finish.timings.prompt.as_secs_f64())?;
    dict.set_item("decode_s", finish.timings.decode.as_secs_f64())?;
    dict.set_item("first_token_s", finish.timings.first_token.map(|t| t.as_secs_f64()))?;
    let gaps = finish.timings.token_gaps.map(|gaps| gaps.map(|gap| gap.as_secs_f64()));
    dict.set_item("token_gaps_s", gaps.map(|[p50, p90, p99]| (p50, p90, p99)))?;
    dict.set_item("step_requests", finish.timings.step_requests)?;
    Ok(dict)
}

fn stop_match<'py>(py: Python<'py>, found: Option<&StopMatch>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(found) = found else { return Ok(None) };
    let dict = PyDict::new(py);
    match found {
        StopMatch::String(text) => {
            dict.set_item("kind", "string")?;
            dict.set_item("value", text)?;
        }
        StopMatch::Token(token) => {
            dict.set_item("kind", "token")?;
            dict.set_item("value", token)?;
        }
        StopMatch::Eog(token) => {
            dict.set_item("kind", "eog")?;
            dict.set_item("value", token)?;
        }
        StopMatch::Constraint => {
            dict.set_item("kind", "constraint")?;
            dict.set_item("value", py.None())?;
        }
    }
    Ok(Some(dict))
}
