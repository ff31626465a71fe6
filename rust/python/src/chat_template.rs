//! Chat templates, which need no model.

use crate::chat_parser::{Parsed, parsed};
use crate::errors::IntoPyErr;
use crate::job;
use crate::json::json_of;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use tabagent_chat as core;
use tabagent_chat::format::AnswerStart;
use tabagent_chat::{ChatTemplateError, Conversation, Interrupt, Message, Moment, ToolDefinition};

/// A parsed chat template.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct ChatTemplate {
    pub(crate) inner: Arc<core::ChatTemplate>,
}

/// Bytes that are parsed between two looks for signals.
const PIECE: usize = 16 << 10;

/// A date and time, from the fields of a `datetime`.
type Now = (i32, u8, u8, u8, u8, u8, u32);

#[pymethods]
impl ChatTemplate {
    #[new]
    fn new(py: Python<'_>, text: String, bos_token: &str, eos_token: &str) -> PyResult<Self> {
        let made = core::ChatTemplate::new(text, bos_token, eos_token);
        Ok(Self { inner: Arc::new(made.map_err(|e| e.into_py(py))?) })
    }

    #[staticmethod]
    fn named(py: Python<'_>, name: &str, bos_token: &str, eos_token: &str) -> PyResult<Self> {
        let made = core::ChatTemplate::named(name, bos_token, eos_token);
        Ok(Self { inner: Arc::new(made.map_err(|e| e.into_py(py))?) })
    }

    #[getter]
    fn text(&self) -> &str {
        self.inner.text()
    }

    #[getter]
    fn bos_token(&self) -> &str {
        self.inner.bos_token()
    }

    #[getter]
    fn eos_token(&self) -> &str {
        self.inner.eos_token()
    }

    fn reads(&self, name: &str) -> bool {
        self.inner.reads(name)
    }

    fn capabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let capabilities = py.detach(|| *self.inner.capabilities());
        let dict = PyDict::new(py);
        for (name, value) in capabilities.named() {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    /// The message that a text says: content, reasoning, calls (id, name, arguments) and warnings.
    fn parse(
        &self,
        py: Python<'_>,
        text: &str,
        tools: Option<Bound<'_, PyList>>,
        partial: bool,
        prompt: Option<&str>,
        continued: Option<&str>,
    ) -> PyResult<Parsed> {
        let tools = tools.map(|list| definitions(py, &list)).transpose()?;
        let mut parser =
            py.detach(|| self.inner.parser_from(tools.as_deref(), prompt, AnswerStart::of_field(continued)));
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.floor_char_boundary(PIECE));
            py.detach(|| parser.feed(piece));
            py.check_signals()?;
            rest = others;
        }
        let message = py.detach(|| {
            if !partial {
                parser.finish();
            }
            parser.into_message()
        });
        Ok(parsed(message))
    }

    fn render(&self, py: Python<'_>, request: &Bound<'_, PyDict>) -> PyResult<String> {
        heeding_signals(py, conversation_of(py, request)?, |asked| self.inner.render(asked))
    }

    fn render_segments(&self, py: Python<'_>, request: &Bound<'_, PyDict>) -> PyResult<Vec<(String, bool)>> {
        let asked = conversation_of(py, request)?;
        let rendered = heeding_signals(py, asked, |asked| self.inner.render_segments(asked))?;
        Ok(rendered.segments().map(|segment| (segment.text.to_owned(), segment.parse_special)).collect())
    }
}

/// Renders a conversation. Signals are heard while that takes long; what a handler raises ends it.
fn heeding_signals<T: Send>(
    py: Python<'_>,
    mut conversation: Conversation,
    render: impl FnOnce(&Conversation) -> Result<T, ChatTemplateError> + Send,
) -> PyResult<T> {
    let raised = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&raised);
    conversation.interrupt = Some(Interrupt::new(move || {
        let Some(error) = Python::attach(|py| py.check_signals().err()) else { return false };
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        true
    }));
    let rendered = job::here(py, || render(&conversation))?;
    match raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error),
        None => rendered.map_err(|e| e.into_py(py)),
    }
}

/// The names of the templates that need no text.
#[pyfunction]
pub(crate) fn chat_template_names() -> Vec<&'static str> {
    core::ChatTemplate::names().collect()
}

fn items<'py>(request: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<Bound<'py, PyList>>> {
    Ok(match request.get_item(name)? {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) => Some(value.cast_into::<PyList>()?),
    })
}

fn required<'py>(request: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    request.get_item(name)?.ok_or_else(|| PyTypeError::new_err(format!("`{name}` is missing")))
}

/// Definitions of tools.
fn definitions(py: Python<'_>, list: &Bound<'_, PyList>) -> PyResult<Vec<ToolDefinition>> {
    let mut tools = Vec::new();
    for (index, tool) in list.iter().enumerate() {
        let tool = ToolDefinition::from_json(json_of(&tool, &format!("tools[{index}]"))?);
        let tool = tool.map_err(|shape| ChatTemplateError::Tool { index, shape });
        tools.push(tool.map_err(|e| e.into_py(py))?);
    }
    Ok(tools)
}

/// The conversation that a request describes: the arguments of `render` by their names.
pub(crate) fn conversation_of(py: Python<'_>, request: &Bound<'_, PyDict>) -> PyResult<Conversation> {
    let mut messages = Vec::new();
    for (index, message) in items(request, "messages")?.iter().flatten().enumerate() {
        let message = Message::from_json(json_of(&message, &format!("messages[{index}]"))?);
        let message = message.map_err(|shape| ChatTemplateError::Message { index, shape });
        messages.push(message.map_err(|e| e.into_py(py))?);
    }
    let mut conversation = Conversation::new(messages);
    if let Some(list) = items(request, "tools")? {
        conversation.tools = Some(definitions(py, &list)?);
    }
    if let Some(list) = items(request, "documents")? {
        let document = |(at, item): (usize, Bound<'_, PyAny>)| json_of(&item, &format!("documents[{at}]"));
        conversation.documents = Some(list.iter().enumerate().map(document).collect::<PyResult<_>>()?);
    }
    conversation.add_generation_prompt = required(request, "add_generation_prompt")?.extract()?;
    conversation.continue_final_message = required(request, "continue_final_message")?.extract()?;
    conversation.adapt = required(request, "adapt")?.extract()?;
    let (year, month, day, hour, minute, second, microsecond) = required(request, "now")?.extract::<Now>()?;
    conversation.now = Some(Moment { year, month, day, hour, minute, second, microsecond });
    for (name, value) in required(request, "variables")?.cast::<PyDict>()?.iter() {
        let name = name.extract::<String>()?;
        let value: Value = json_of(&value, &name)?;
        conversation.variables.insert(name, value);
    }
    Ok(conversation)
}
