//! The templates by which messages become a prompt.

use std::path::Path;

use serde_json::Value;

use crate::convert::error::ConvertError;
use crate::convert::json::{Object, read_text};
use crate::writer::GgufWriter;

use super::files::TokenizerFiles;

/// Adds the templates of `tokenizer_config.json`, `chat_template.jinja` or `chat_template.json`, whichever comes first.
pub(super) fn add(writer: GgufWriter, files: &TokenizerFiles) -> Result<GgufWriter, ConvertError> {
    let template = match files.config.get("chat_template").cloned() {
        Some(template) => Some(template),
        None => from_files(&files.folder)?,
    };
    match template {
        None => Ok(writer),
        Some(Value::String(template)) => Ok(writer.set("tokenizer.chat_template", template.as_str())),
        Some(Value::Array(templates)) => Ok(add_named(writer, &templates)),
        Some(other) => {
            Err(files.config.mistyped("chat_template", &other, "a template or a list of named ones"))
        }
    }
}

fn from_files(folder: &Path) -> Result<Option<Value>, ConvertError> {
    if let Some(template) = read_text(&folder.join("chat_template.jinja"))? {
        return Ok(Some(Value::String(template)));
    }
    let object = Object::read(&folder.join("chat_template.json"))?;
    Ok(object.and_then(|object| object.get("chat_template").cloned()))
}

/// Several templates: one is the default, the others have names.
fn add_named(mut writer: GgufWriter, templates: &[Value]) -> GgufWriter {
    let mut names = Vec::new();
    for entry in templates {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let (Some(name), Some(template)) = (text("name"), text("template")) else { continue };
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        match name.as_str() {
            "" => {}
            "default" => writer = writer.set("tokenizer.chat_template", template),
            _ => {
                writer = writer.set(&format!("tokenizer.chat_template.{name}"), template);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }
    if names.is_empty() { writer } else { writer.set("tokenizer.chat_templates", names) }
}
