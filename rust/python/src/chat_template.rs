//! Chat templates, which need no model.

use crate::chat_parser::{ChatParser, Parsed, parsed};
use crate::errors::IntoPyErr;
use crate::job;
use crate::json::json_of;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;
use std::sync::Arc;
use tabagent_chat as core;
use tabagent_chat::{ChatTemplateError, Conversation, Message, Moment, ToolDefinition};

/// A parsed chat template.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct ChatTemplate {
    pub(crate) inner: Arc<core::ChatTemplate>,
}

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
    ) -> PyResult<Parsed> {
        let tools = tools.map(|list| definitions(py, &list)).transpose()?;
        let message = py.detach(|| {
            let mut parser = self.inner.parser(tools.as_deref(), prompt);
            parser.feed(text);
            if !partial {
                parser.finish();
            }
            parser.into_message()
        });
        Ok(parsed(message))
    }

    /// A parser of the answer to `prompt`.
    fn parser(&self, py: Python<'_>, tools: Option<Bound<'_, PyList>>, prompt: &str) -> PyResult<ChatParser> {
        let tools = tools.map(|list| definitions(py, &list)).transpose()?;
        Ok(ChatParser::new(py.detach(|| self.inner.parser(tools.as_deref(), Some(prompt)))))
    }

    /// What ends the reasoning that the model is in after `prompt`; `None` if it is in none.
    fn reasoning_end(&self, py: Python<'_>, prompt: &str) -> Option<String> {
        py.detach(|| {
            let format = self.inner.output_format();
            let pair = format.reasoning.first().filter(|_| format.is_in_reasoning_after(prompt));
            pair.map(|pair| pair.end.trim().to_owned())
        })
    }

    /// Where thoughts are in the answer to `prompt`, as `ThoughtOptions` reads it; `None` if the template has none.
    fn thoughts<'py>(
        &self,
        py: Python<'py>,
        prompt: &str,
        tools: bool,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(thoughts) = py.detach(|| self.inner.output_format().thoughts(prompt, tools)) else {
            return Ok(None);
        };
        let dict = PyDict::new(py);
        let kinds: Vec<_> = thoughts.kinds.into_iter().map(|pair| vec![pair.start, pair.end]).collect();
        let calls = thoughts.calls.into_iter().map(|(pair, interrupts)| (pair.start, pair.end, interrupts));
        dict.set_item("kinds", kinds)?;
        dict.set_item("inside", thoughts.is_inside)?;
        dict.set_item("interrupts", thoughts.interrupts)?;
        dict.set_item("calls", calls.collect::<Vec<_>>())?;
        Ok(Some(dict))
    }

    fn render(&self, py: Python<'_>, request: &Bound<'_, PyDict>) -> PyResult<String> {
        let conversation = conversation_of(py, request)?;
        let rendered = job::here(py, || self.inner.render(&conversation))?;
        rendered.map_err(|e| e.into_py(py))
    }

    fn render_segments(&self, py: Python<'_>, request: &Bound<'_, PyDict>) -> PyResult<Vec<(String, bool)>> {
        let conversation = conversation_of(py, request)?;
        let rendered = job::here(py, || self.inner.render_segments(&conversation))?;
        let rendered = rendered.map_err(|e| e.into_py(py))?;
        Ok(rendered.segments().map(|segment| (segment.text.to_owned(), segment.parse_special)).collect())
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
pub(crate) fn definitions(py: Python<'_>, list: &Bound<'_, PyList>) -> PyResult<Vec<ToolDefinition>> {
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
