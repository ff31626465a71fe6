//! Parsing by a template.

use super::{AnswerStart, OutputParser, ParsedMessage, ToolTypes};
use crate::{ChatTemplate, ToolDefinition};
use serde_json::Value;

impl ChatTemplate {
    /// A parser of the answer to a prompt; without the prompt, of the answer to what the template writes if nothing else is asked of it.
    ///
    /// `tools` are those that the model was told of: with an empty list nothing is a call, and without a list anything may be one.
    pub fn parser(&self, tools: Option<&[ToolDefinition]>, prompt: Option<&str>) -> OutputParser {
        self.parser_from(tools, prompt, AnswerStart::Message)
    }

    /// As [`parser`](Self::parser), of an answer that may go on with a message. White space at its beginning then belongs to it.
    pub fn parser_from(
        &self,
        tools: Option<&[ToolDefinition]>,
        prompt: Option<&str>,
        start: AnswerStart,
    ) -> OutputParser {
        let format = self.output_format();
        let values = tools.map(|tools| tools.iter().cloned().map(Value::from).collect::<Vec<_>>());
        let in_reasoning = match (prompt, start) {
            (Some(prompt), _) => format.begins_in_reasoning_after(prompt, start),
            (None, AnswerStart::Message) => format.begins_in_reasoning,
            (None, _) => format.begins_in_reasoning_after("", start),
        };
        let parser = OutputParser::new(format, ToolTypes::new(values.as_deref()), in_reasoning);
        if start == AnswerStart::Message { parser } else { parser.continuing() }
    }

    /// The message that a text of the model says. A `partial` text is one that goes on: what is not certain yet is not there.
    ///
    /// ```
    /// use tabagent_chat::ChatTemplate;
    ///
    /// let template = ChatTemplate::new("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", "", "")?;
    /// let message = template.parse("[{\"name\": \"now\", \"arguments\": {}}]", None, false);
    /// assert_eq!(message.tool_calls[0].name, "now");
    /// # Ok::<(), tabagent_chat::ChatTemplateError>(())
    /// ```
    pub fn parse(&self, text: &str, tools: Option<&[ToolDefinition]>, partial: bool) -> ParsedMessage {
        let mut parser = self.parser(tools, None);
        parser.feed(text);
        if !partial {
            parser.finish();
        }
        parser.into_message()
    }
}
