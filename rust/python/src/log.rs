//! llama.cpp's log for Python's `logging`.

use pyo3::prelude::*;
use tabagent_model::LogLevel;

/// The number of a level in Python's `logging`.
fn to_logging(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => 10,
        LogLevel::Info => 20,
        LogLevel::Warn => 30,
        LogLevel::Error => 40,
    }
}

/// Lines kept since the last call.
#[pyfunction]
pub(crate) fn drain_log(py: Python<'_>) -> Vec<(u8, String)> {
    let records = py.detach(tabagent_model::drain_log);
    records.into_iter().map(|record| (to_logging(record.level), record.text)).collect()
}

/// Keeps only lines at or above a `logging` level.
#[pyfunction]
pub(crate) fn set_log_level(level: i64) {
    tabagent_model::set_log_level(match level {
        ..=10 => LogLevel::Debug,
        11..=20 => LogLevel::Info,
        21..=30 => LogLevel::Warn,
        _ => LogLevel::Error,
    });
}
