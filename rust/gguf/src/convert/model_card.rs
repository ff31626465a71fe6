//! What the head of a folder's `README.md` says about a model: the part of YAML that model cards use, keys with a text or a list of texts.

use std::collections::BTreeMap;
use std::path::Path;

use crate::owned::OwnedValue;
use crate::writer::GgufWriter;

use super::error::ConvertError;
use super::json::read_text;
use super::model_name::{ModelName, title};

/// Where the models and data sets that cards name are found.
const HUB: &str = "https://huggingface.co";

/// Keys in GGUF and the keys of cards that they come from; the first that is there counts.
const TEXTS: [(&str, &[&str]); 8] = [
    ("name", &["name", "model_name"]),
    ("author", &["author", "model_author", "model_creator"]),
    ("version", &["version", "model_version"]),
    ("organization", &["organization", "model_organization"]),
    ("finetune", &["finetune", "model_finetune"]),
    ("basename", &["basename", "model_basename", "model_type"]),
    ("description", &["description", "model_description"]),
    ("size_label", &["size_label", "model_size_label"]),
];

/// The entries of a card's head.
#[derive(Default)]
pub(super) struct ModelCard {
    entries: BTreeMap<String, Vec<String>>,
}

impl ModelCard {
    pub(super) fn read(folder: &Path) -> Result<Self, ConvertError> {
        // A card that is no text is none; the model can be converted all the same.
        let text = match read_text(&folder.join("README.md")) {
            Ok(text) => text.unwrap_or_default(),
            Err(ConvertError::Read { source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
                String::new()
            }
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let mut card = Self::default();
        if lines.next() != Some("---") {
            return card;
        }
        let mut key = String::new();
        for line in lines.take_while(|line| *line != "---") {
            let line = line.trim_end();
            if let Some(item) = line.trim_start().strip_prefix("- ").filter(|_| !key.is_empty()) {
                // Items that are objects belong to what is not read.
                if !item.contains(": ") && !item.ends_with(':') {
                    card.entries.entry(key.clone()).or_default().push(unquoted(item));
                }
            } else if line.starts_with(|c: char| c.is_whitespace() || c == '#' || c == '-') {
                // Inner objects are not read, nor what follows in them.
                if line.contains(':') {
                    key.clear();
                }
            } else if let Some((name, value)) = line.split_once(':') {
                name.clone_into(&mut key);
                let values = inline_values(value.trim());
                if !values.is_empty() {
                    card.entries.insert(key.clone(), values);
                }
            }
        }
        card
    }

    /// The text of the key `general.key`, if the card states it.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let (_, names) = TEXTS.iter().find(|(known, _)| *known == key)?;
        let values = names.iter().find_map(|name| self.entries.get(*name))?;
        values.first().cloned()
    }

    fn list(&self, names: &[&str]) -> Vec<String> {
        names.iter().filter_map(|name| self.entries.get(*name)).flatten().cloned().collect()
    }

    /// Adds authors, licence, tags, languages, base models and data sets to `writer`.
    pub(super) fn add(&self, mut writer: GgufWriter) -> GgufWriter {
        for key in ["author", "description"] {
            if let Some(text) = self.text(key) {
                writer = writer.set(&format!("general.{key}"), text.as_str());
            }
        }
        let license = self.list(&["license"]).join(",");
        if !license.is_empty() {
            writer = writer.set("general.license", license.as_str());
        }
        for (key, names) in [("license.name", ["license_name"]), ("license.link", ["license_link"])] {
            if let Some(text) = self.list(&names).first() {
                writer = writer.set(&format!("general.{key}"), text.as_str());
            }
        }
        let first_list = |names: &[&str]| {
            let name = names.iter().find(|name| self.entries.contains_key(**name));
            name.map(|name| self.list(&[name])).unwrap_or_default()
        };
        writer = add_sources(writer, "base_model", &first_list(&["base_model", "base_models"]));
        writer = add_sources(writer, "dataset", &first_list(&["datasets", "dataset"]));
        for (key, names) in [("tags", ["tags", "pipeline_tag"]), ("languages", ["languages", "language"])] {
            let items = self.list(&names);
            if !items.is_empty() {
                writer = writer.set(&format!("general.{key}"), OwnedValue::from(items));
            }
        }
        writer
    }
}

/// Adds models or data sets that the model was made of.
fn add_sources(mut writer: GgufWriter, kind: &str, ids: &[String]) -> GgufWriter {
    if ids.is_empty() {
        return writer;
    }
    writer = writer.set(&format!("general.{kind}.count"), ids.len() as u32);
    for (index, id) in ids.iter().enumerate() {
        let is_url = id.starts_with("http://") || id.starts_with("https://");
        let hub_id = id.strip_prefix(&format!("{HUB}/")).filter(|id| id.matches('/').count() == 1);
        let mut set = |key: &str, text: &str| {
            let writer_now = std::mem::take(&mut writer);
            writer = writer_now.set(&format!("general.{kind}.{index}.{key}"), text);
        };
        if is_url {
            set("repo_url", id);
        }
        let Some(id) = hub_id.or((!is_url).then_some(id.as_str())) else { continue };
        let name = ModelName::parse(id, 0);
        if let Some(full) = &name.name {
            set("name", &title(full));
        }
        if let Some(version) = &name.version {
            set("version", version);
        }
        if let Some(organization) = &name.organization {
            set("organization", &title(organization));
            if !is_url && let Some(full) = &name.name {
                set("repo_url", &format!("{HUB}/{organization}/{full}"));
            }
        }
    }
    writer
}

/// The values on the line of a key: one text, or a list in brackets.
fn inline_values(value: &str) -> Vec<String> {
    let list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    match (value, list) {
        // Long texts start on the next line and are not read.
        ("" | "|" | ">" | ">-" | "|-" | "null" | "~", _) => Vec::new(),
        (_, Some(list)) => {
            list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(unquoted).collect()
        }
        (value, None) => vec![unquoted(value)],
    }
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let within = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_cards_are_read() {
        let text = "---\nlanguage: en\nlicense: 'mit'\ntags:\n- a\n  - \"b\"\nmodel-index:\n- name: x\n  results:\n  - c\n\
                    base_model: [o/m-7B, n]\n---\ntags: z\n";
        let card = ModelCard::parse(text);
        assert_eq!(card.list(&["language"]), ["en"]);
        assert_eq!(card.list(&["license"]), ["mit"]);
        assert_eq!(card.list(&["tags"]), ["a", "b"]);
        assert_eq!(card.list(&["base_model"]), ["o/m-7B", "n"]);
        assert!(card.list(&["results", "name"]).is_empty());
        assert!(ModelCard::parse("# title\n---\ntags: a\n---\n").entries.is_empty());
    }
}
