//! The templates by which messages become a prompt.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::convert::error::ConvertError;
use crate::convert::json::{Object, read_text};
use crate::text::shown;
use crate::writer::GgufWriter;

use super::files::TokenizerFiles;

const DEFAULT: &str = "default";
/// The folder with further templates, one a file.
const ADDITIONAL: &str = "additional_chat_templates";
const KEY: &str = "chat_template";

/// Templates by name.
type Templates = BTreeMap<String, String>;

/// Adds the model's templates as `transformers` finds them: `chat_template.jinja`, or else a processor's `chat_template.json`, or else those
/// of `tokenizer_config.json`, which are the oldest; and over them the files of `additional_chat_templates`.
pub(super) fn add(writer: GgufWriter, files: &TokenizerFiles) -> Result<GgufWriter, ConvertError> {
    let mut templates = match read_text(&files.folder.join("chat_template.jinja"))? {
        Some(template) => Templates::from([(DEFAULT.to_owned(), template)]),
        None => match Object::read(&files.folder.join("chat_template.json"))? {
            Some(object) if object.get(KEY).is_some() => of_json(&object)?,
            _ => of_json(&files.config)?,
        },
    };
    templates.extend(additional(&files.folder.join(ADDITIONAL))?);
    write(writer, &templates, &files.folder)
}

/// The templates under `chat_template` of a JSON file: one, a list of named ones, or an object of them.
fn of_json(object: &Object) -> Result<Templates, ConvertError> {
    let wrong = |value: &Value| object.mistyped(KEY, value, "a template, or a list of templates with names");
    let pair = |entry: &Value| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        Some((text("name").filter(|name| !name.is_empty())?, text("template")?))
    };
    match object.get(KEY) {
        None => Ok(Templates::new()),
        Some(Value::String(template)) => Ok(Templates::from([(DEFAULT.to_owned(), template.clone())])),
        Some(Value::Array(entries)) => {
            entries.iter().map(|entry| pair(entry).ok_or_else(|| wrong(entry))).collect()
        }
        Some(Value::Object(entries)) => entries
            .iter()
            .map(|(name, template)| {
                let text = template.as_str().filter(|_| !name.is_empty()).ok_or_else(|| wrong(template))?;
                Ok((name.clone(), text.to_owned()))
            })
            .collect(),
        Some(other) => Err(wrong(other)),
    }
}

/// The templates of `folder`, `NAME.jinja` each; none if there is no such folder.
fn additional(folder: &Path) -> Result<Templates, ConvertError> {
    let failed = |source| ConvertError::Read { path: folder.to_owned(), source };
    let mut templates = Templates::new();
    if !folder.is_dir() {
        return Ok(templates);
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|end| end != "jinja") {
            continue;
        }
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
            return Err(ConvertError::source(&path, "the name of a template must be text"));
        };
        if let Some(template) = read_text(&path)? {
            templates.insert(name.to_owned(), template);
        }
    }
    Ok(templates)
}

/// Adds one key a template; in keys other characters than letters and digits become `_` (`add_chat_template` in
/// `gguf-py/gguf/gguf_writer.py`).
fn write(mut writer: GgufWriter, templates: &Templates, folder: &Path) -> Result<GgufWriter, ConvertError> {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (name, template) in templates {
        if name == DEFAULT {
            writer = writer.set("tokenizer.chat_template", template.as_str());
            continue;
        }
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if let Some(other) = names.insert(plain.clone(), name) {
            let (name, other) = (shown(name.as_bytes()), shown(other.as_bytes()));
            return Err(ConvertError::source(
                folder,
                format!("chat templates `{other}` and `{name}` would both be called `{plain}`; rename one"),
            ));
        }
        writer = writer.set(&format!("tokenizer.chat_template.{plain}"), template.as_str());
    }
    let names: Vec<String> = names.into_keys().collect();
    Ok(if names.is_empty() { writer } else { writer.set("tokenizer.chat_templates", names) })
}
