//! Reads what a model answers, while it comes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use tabagent_chat::format::{Delta, OutputParser};

/// A parser of one answer.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct ChatParser {
    inner: Mutex<OutputParser>,
}

/// Content, reasoning, calls with id, name and arguments, and warnings.
pub(crate) type Parsed = (String, Option<String>, Vec<(Option<String>, String, String)>, Vec<String>);

/// The kind of a delta, the place of its call, its text and its id.
type Part = (&'static str, usize, String, Option<String>);

impl ChatParser {
    pub(crate) fn new(parser: OutputParser) -> Self {
        Self { inner: Mutex::new(parser) }
    }

    fn lock(&self) -> MutexGuard<'_, OutputParser> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl ChatParser {
    fn feed(&self, text: &str) -> Vec<Part> {
        self.lock().feed(text).into_iter().map(part).collect()
    }

    fn finish(&self) -> Vec<Part> {
        self.lock().finish().into_iter().map(part).collect()
    }

    fn message(&self) -> Parsed {
        parsed(self.lock().message().clone())
    }
}

/// A message as Python takes it.
pub(crate) fn parsed(message: tabagent_chat::format::ParsedMessage) -> Parsed {
    let calls = message.tool_calls.into_iter().map(|call| (call.id, call.name, call.arguments)).collect();
    (message.content, message.reasoning, calls, message.warnings)
}

fn part(delta: Delta) -> Part {
    match delta {
        Delta::Content(text) => ("content", 0, text, None),
        Delta::Reasoning(text) => ("reasoning", 0, text, None),
        Delta::CallBegin { index, name, id } => ("call", index, name, id),
        Delta::CallId { index, id } => ("call id", index, String::new(), Some(id)),
        Delta::CallArguments { index, text } => ("arguments", index, text, None),
        Delta::CallEnd { index } => ("end of call", index, String::new(), None),
        Delta::CallsDropped { from } => ("dropped", from, String::new(), None),
    }
}
