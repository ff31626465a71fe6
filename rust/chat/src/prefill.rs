//! Prompts that end in the middle of the last message, for the model to go on with.

use serde_json::Value;

use crate::error::ChatTemplateError;
use crate::message::Message;
use crate::rendering::Rendering;

/// Marks where the message ends, so that the template's text after it can be cut off. The mark is transformers' own: templates that cut or
/// trim the message treat it the same.
const MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The names under which reasoning travels.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

fn refuse<T>(problem: impl Into<String>) -> Result<T, ChatTemplateError> {
    Err(ChatTemplateError::Continue { problem: problem.into() })
}

/// Marks the end of `field` in the last message; gives the text that is to be continued.
pub(crate) fn mark(
    messages: &mut [Message],
    field: &str,
    template: &str,
) -> Result<String, ChatTemplateError> {
    let Some(last) = messages.last_mut() else { return refuse("the conversation is empty") };
    let before = match last.get(field) {
        None | Some(Value::Null) => return refuse(format!("it has no `{field}`")),
        Some(value) => value.clone(),
    };
    let fields: Vec<&str> = if REASONING.contains(&field) {
        REASONING.into_iter().filter(|name| last.get(name) == Some(&before)).collect()
    } else {
        vec![field]
    };
    if !fields.iter().any(|name| template.contains(name)) {
        return refuse(format!("the template does not read `{field}`"));
    }
    match before {
        Value::String(text) => {
            for name in fields {
                last.set(name, format!("{text}{MARK}"));
            }
            Ok(text)
        }
        Value::Array(mut parts) => {
            let part = parts.iter_mut().rev().find_map(|part| part.get_mut("text"));
            let Some(Value::String(text)) = part else { return refuse(format!("its `{field}` has no text")) };
            let whole = text.clone();
            text.push_str(MARK);
            last.set(field, Value::Array(parts));
            Ok(whole)
        }
        _ => refuse(format!("its `{field}` is no text")),
    }
}

/// Cuts the prompt where the marked message ends.
pub(crate) fn cut(rendering: &mut Rendering, text: &str) -> Result<(), ChatTemplateError> {
    let found = rendering.text.rfind(MARK.trim_end());
    let Some(at) = found.filter(|_| rendering.text.contains(text.trim())) else {
        return refuse("the template does not write the whole message");
    };
    let length =
        if rendering.text[at..].starts_with(MARK) { at } else { rendering.text[..at].trim_end().len() };
    rendering.truncate(length);
    Ok(())
}
