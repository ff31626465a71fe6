//! The head of a folder's `README.md`, the model card (`gguf-py/gguf/metadata.py`).

use std::path::Path;

use crate::owned::OwnedValue;
use crate::writer::GgufWriter;

use super::error::ConvertError;
use super::json::read_bytes;
use super::model_name::{ModelName, title};
use super::yaml::Yaml;

/// The site that has the models and data sets that cards name.
const HUB: &str = "https://huggingface.co";

/// Keys in GGUF and the keys of cards that they come from; the first one present counts.
const TEXTS: [(&str, &[&str]); 12] = [
    ("name", &["name", "model_name"]),
    ("author", &["author", "model_author", "model_creator"]),
    ("version", &["version", "model_version"]),
    ("organization", &["organization", "model_organization"]),
    ("finetune", &["finetune", "model_finetune"]),
    ("basename", &["basename", "model_basename", "model_type"]),
    ("description", &["description", "model_description"]),
    ("size_label", &["size_label", "model_size_label"]),
    ("source.url", &["url", "model_url"]),
    ("source.doi", &["doi", "model_doi"]),
    ("source.uuid", &["uuid", "model_uuid"]),
    ("source.repo_url", &["repo_url", "model_repo_url"]),
];

/// The keys under which cards name the models and the data sets that the model was made from; the first one present counts.
const SOURCES: [(&str, [&str; 3]); 2] = [
    ("base_model", ["base_model", "base_models", "base_model_sources"]),
    ("dataset", ["datasets", "dataset", "dataset_sources"]),
];

/// What a mapping may say about one of those models or data sets.
const SOURCE_KEYS: [&str; 9] =
    ["name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"];

/// A card's head.
pub(super) struct ModelCard(Yaml);

impl ModelCard {
    pub(super) fn read(folder: &Path) -> Result<Self, ConvertError> {
        // A card that is not UTF-8 counts as empty; the model can be converted without it.
        let bytes = read_bytes(&folder.join("README.md"))?.unwrap_or_default();
        Ok(Self::parse(std::str::from_utf8(&bytes).unwrap_or_default()))
    }

    /// Parses the head of `text`, between two lines of three dashes. A head that is not YAML counts as empty.
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        if lines.next() != Some("---") {
            return Self(Yaml::Null);
        }
        let head: Vec<&str> = lines.take_while(|line| *line != "---").collect();
        // Some cards contain tabs, which YAML does not allow.
        Self(Yaml::parse(&head.join("\n").replace('\t', "  ")).unwrap_or(Yaml::Null))
    }

    fn first(&self, names: &[&str]) -> Option<&Yaml> {
        names.iter().filter_map(|name| self.0.get(name)).find(|value| **value != Yaml::Null)
    }

    /// The text of the key `general.key`, if the card states it.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let (_, names) = TEXTS.iter().find(|(known, _)| *known == key)?;
        self.first(names)?.text().map(str::to_owned)
    }

    fn list(&self, names: &[&str]) -> Vec<String> {
        names.iter().filter_map(|name| self.0.get(name)).flat_map(Yaml::texts).collect()
    }

    /// Adds authors, licence, sources, tags, languages, base models and data sets to `writer`.
    pub(super) fn add(&self, mut writer: GgufWriter) -> GgufWriter {
        for key in ["author", "description", "source.url", "source.doi", "source.uuid", "source.repo_url"] {
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
        for (kind, names) in SOURCES {
            if let Some(value) = names.iter().find_map(|name| self.0.get(name)) {
                writer = add_sources(writer, kind, value);
            }
        }
        for (key, names) in [("tags", ["tags", "pipeline_tag"]), ("languages", ["languages", "language"])] {
            let items = self.list(&names);
            if !items.is_empty() {
                writer = writer.set(&format!("general.{key}"), OwnedValue::from(items));
            }
        }
        writer
    }
}

/// Adds the models or data sets that the model was made from: names, addresses, or mappings with what is known of them. If the card has the key
/// without any, their count is 0.
fn add_sources(mut writer: GgufWriter, kind: &str, value: &Yaml) -> GgufWriter {
    let sources = match value {
        Yaml::Null => &[][..],
        Yaml::List(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    writer = writer.set(&format!("general.{kind}.count"), sources.len() as u32);
    for (index, source) in sources.iter().enumerate() {
        for (key, text) in facts(source) {
            writer = writer.set(&format!("general.{kind}.{index}.{key}"), text.as_str());
        }
    }
    writer
}

/// What is known of one model or data set.
fn facts(source: &Yaml) -> Vec<(&'static str, String)> {
    if let Yaml::Map(_) = source {
        let fact = |key: &'static str| Some((key, source.get(key)?.text()?.to_owned()));
        return SOURCE_KEYS.into_iter().filter_map(fact).collect();
    }
    let Some(id) = source.text() else { return Vec::new() };
    let mut facts = Vec::new();
    let is_url = ["http://", "https://", "ssh://"].iter().any(|start| id.starts_with(start));
    if is_url {
        facts.push(("repo_url", id.to_owned()));
    }
    let on_hub =
        [HUB, "http://huggingface.co"].iter().find_map(|hub| id.strip_prefix(hub)?.strip_prefix('/'));
    let is_id = |id: &&str| id.split('/').count() == 2 && id.split('/').all(|part| !part.is_empty());
    let Some(id) = on_hub.filter(is_id).or((!is_url).then_some(id)) else { return facts };
    let name = ModelName::parse(id, 0);
    if let Some(full) = &name.name {
        facts.push(("name", title(full)));
    }
    if let Some(version) = name.version {
        facts.push(("version", version));
    }
    if let Some(organization) = &name.organization {
        facts.push(("organization", title(organization)));
        if let (false, Some(full)) = (is_url, &name.name) {
            facts.push(("repo_url", format!("{HUB}/{organization}/{full}")));
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_cards_are_read() {
        let text = "---\nlanguage: en\nlicense: 'mit'\ntags:\n- a\n  \n- \"b\"\nmodel-index:\n- name: x\n  results:\n  - c\n\
                    base_model: [o/m-7B, n]\n---\ntags: z\n";
        let card = ModelCard::parse(text);
        assert_eq!(card.list(&["language"]), ["en"]);
        assert_eq!(card.list(&["license"]), ["mit"]);
        assert_eq!(card.list(&["tags"]), ["a", "b"]);
        assert_eq!(card.list(&["base_model"]), ["o/m-7B", "n"]);
        assert!(card.list(&["results", "name"]).is_empty());
        assert_eq!(ModelCard::parse("# title\n---\ntags: a\n---\n").0, Yaml::Null);
        assert_eq!(ModelCard::parse("---\ntags: [a\n---\n").0, Yaml::Null);
    }

    #[test]
    fn sources_are_names_addresses_or_mappings() {
        let source = |text: &str| facts(&Yaml::parse(text).unwrap());
        assert_eq!(
            source("{name: Base, doi: 10.1/2, other: x}"),
            [("name", "Base".to_owned()), ("doi", "10.1/2".to_owned())]
        );
        assert_eq!(source("ssh://a/b"), [("repo_url", "ssh://a/b".to_owned())]);
        assert_eq!(source("http://huggingface.co/org/Base")[1], ("name", "Base".to_owned()));
        assert_eq!(source("org/Base")[2], ("repo_url", "https://huggingface.co/org/Base".to_owned()));
    }
}
