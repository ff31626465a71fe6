//! What is wrong with the shape of a message or a tool.

use serde_json::Value;

/// A field that has another type or value than it may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ShapeError {
    problem: String,
    mistyped: bool,
}

impl ShapeError {
    pub(crate) fn value(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), mistyped: false }
    }

    /// `what` must be `wanted` and is something else.
    pub(crate) fn kind(what: &str, wanted: &str, found: &Value) -> Self {
        Self { problem: format!("{what} must be {wanted}, not {}", kind(found)), mistyped: true }
    }

    /// The same error inside of the field `of`.
    pub(crate) fn inside(self, of: &str) -> Self {
        Self { problem: format!("{of}: {}", self.problem), mistyped: self.mistyped }
    }

    /// Whether a value has the wrong type, rather than a wrong value.
    pub fn is_mistyped(&self) -> bool {
        self.mistyped
    }
}

/// What kind of JSON a value is.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
