//! The log of llama.cpp and of the core for Python's `logging`.

use pyo3::prelude::*;
use tabagent_model::LogLevel;

use crate::trace;

/// The number of a level in Python's `logging`.
fn to_logging(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => 10,
        LogLevel::Info => 20,
        LogLevel::Warn => 30,
        LogLevel::Error => 40,
    }
}

/// Lines kept since the last call: the logger's name, the level and the text; llama.cpp's first.
#[pyfunction]
pub(crate) fn drain_log(py: Python<'_>) -> Vec<(String, u8, String)> {
    let (records, lines) = py.detach(|| (tabagent_model::drain_log(), trace::drain()));
    let records = records
        .into_iter()
        .map(|record| ("tabagent.llama".to_owned(), to_logging(record.level), record.text));
    records.chain(lines.into_iter().map(|line| (line.logger, line.level, line.text))).collect()
}

/// Keeps only lines at or above a `logging` level: llama.cpp's and the core's.
#[pyfunction]
pub(crate) fn set_log_levels(llama: i64, core: i64) {
    tabagent_model::set_log_level(match llama {
        ..=10 => LogLevel::Debug,
        11..=20 => LogLevel::Info,
        21..=30 => LogLevel::Warn,
        _ => LogLevel::Error,
    });
    trace::set_level(core);
}
