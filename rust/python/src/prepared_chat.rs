//! Requests for an answer in a conversation, made ready by the core.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tabagent_model as core;
use tabagent_model::{
    ChatRequest, GenerateOptions, GrammarRequest, PreparedChat as CorePrepared, ToolChoice,
};

use crate::chat_parser::ChatParser;
use crate::chat_template::{ChatTemplate, conversation_of};
use crate::errors::IntoPyErr;
use crate::grammar::Grammar;
use crate::value::value_of;

/// What is asked beside the conversation: which tools are called (`auto`, `none`, `required`, or one by its name), whether several at once, the form of
/// the content, and how many tokens may be thought, with a message.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Asked<'py> {
    tool_choice: String,
    tool_name: Option<String>,
    parallel: bool,
    content: Option<Bound<'py, PyDict>>,
    thinking: Option<(usize, String)>,
}

/// The prompt of an answer, what the answer is held to, and where it ends.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct PreparedChat {
    inner: CorePrepared,
}

impl From<CorePrepared> for PreparedChat {
    fn from(inner: CorePrepared) -> Self {
        Self { inner }
    }
}

/// The core's request.
pub(crate) fn chat_request(
    py: Python<'_>,
    template: Option<&ChatTemplate>,
    conversation: &Bound<'_, PyDict>,
    asked: Asked<'_>,
) -> PyResult<ChatRequest> {
    let mut request = ChatRequest::new(conversation_of(py, conversation)?);
    request.template = template.map(|template| Arc::clone(&template.inner));
    request.tool_choice = match (asked.tool_choice.as_str(), asked.tool_name) {
        (_, Some(name)) => ToolChoice::Named(name),
        ("required", None) => ToolChoice::Required,
        ("none", None) => ToolChoice::None,
        (_, None) => ToolChoice::Auto,
    };
    request.parallel_tool_calls = asked.parallel;
    if let Some(content) = asked.content {
        request.structure = Some(GrammarRequest::read(value_of(&content)?).map_err(|e| e.into_py(py))?);
    }
    request.thinking =
        asked.thinking.map(|(max_tokens, message)| core::ThinkingBudget { max_tokens, message });
    request.options = GenerateOptions::default();
    Ok(request)
}

#[pymethods]
impl PreparedChat {
    #[getter]
    fn tokens(&self) -> Vec<i32> {
        self.inner.prompt.tokens.clone()
    }

    #[getter]
    fn grammar(&self) -> Option<Grammar> {
        self.inner.grammar().map(|grammar| Grammar { inner: Arc::clone(grammar) })
    }

    /// Tool, parameter and keyword.
    #[getter]
    fn unenforced(&self) -> Vec<(String, String, String)> {
        let parts =
            |part: &core::Unenforced| (part.tool.clone(), part.parameter.clone(), part.keyword.clone());
        self.inner.unenforced().iter().map(parts).collect()
    }

    #[getter]
    fn reasoning_end(&self) -> Option<String> {
        self.inner.reasoning_end()
    }

    #[getter]
    fn stop(&self) -> Vec<String> {
        self.inner.options.stop.clone()
    }

    #[getter]
    fn thought<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(thought) = &self.inner.options.thought else { return Ok(None) };
        let dict = PyDict::new(py);
        let thoughts = &thought.thoughts;
        let kinds: Vec<_> = thoughts.kinds.iter().map(|pair| vec![&pair.start, &pair.end]).collect();
        let calls = thoughts.calls.iter().map(|(pair, interrupts)| (&pair.start, &pair.end, *interrupts));
        dict.set_item("max_tokens", thought.max_tokens)?;
        dict.set_item("message", &thought.message)?;
        dict.set_item("kinds", kinds)?;
        dict.set_item("inside", thoughts.is_inside)?;
        dict.set_item("interrupts", &thoughts.interrupts)?;
        dict.set_item("calls", calls.collect::<Vec<_>>())?;
        Ok(Some(dict))
    }

    fn parser(&self, py: Python<'_>) -> ChatParser {
        ChatParser::new(py.detach(|| self.inner.parser()))
    }
}
