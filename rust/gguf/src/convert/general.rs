//! The keys for a model's name and for the sampling that its makers recommend (`gguf-py/gguf/metadata.py`).

use std::path::Path;

use crate::owned::OwnedValue;
use crate::writer::GgufWriter;

use super::error::ConvertError;
use super::json::Object;
use super::model_card::ModelCard;
use super::model_name::{ModelName, size_label, title};

/// Adds the `general.*` keys of the model in `folder` to `writer`.
pub(super) fn add(
    mut writer: GgufWriter,
    folder: &Path,
    config: &Object,
    n_params: u64,
) -> Result<GgufWriter, ConvertError> {
    writer = sampling(writer, folder)?;
    let card = ModelCard::read(folder)?;
    let mut ids = Vec::new();
    // A path is not a model's name.
    if let Some(id) = config.text("_name_or_path").filter(|id| id.matches('/').count() <= 1 && !id.is_empty())
    {
        ids.push(id.to_owned());
    }
    ids.extend(folder_name(folder));
    let names: Vec<ModelName> = ids.iter().map(|id| ModelName::parse(id, n_params)).collect();
    let first = |part: fn(&ModelName) -> Option<&String>| names.iter().find_map(part).cloned();
    let titled = |part: fn(&ModelName) -> Option<&String>| first(part).map(|text| title(&text));
    let size = first(|name| name.size_label.as_ref()).unwrap_or_else(|| size_label(n_params));
    for (key, found) in [
        ("name", titled(|name| name.name.as_ref())),
        ("version", first(|name| name.version.as_ref())),
        ("organization", titled(|name| name.organization.as_ref())),
        ("finetune", first(|name| name.finetune.as_ref())),
        ("basename", first(|name| name.basename.as_ref())),
        ("size_label", Some(size)),
    ] {
        if let Some(text) = card.text(key).or(found) {
            writer = writer.set(&format!("general.{key}"), text.as_str());
        }
    }
    Ok(card.add(writer))
}

/// The folder's own name, even if it was given as `.`.
fn folder_name(folder: &Path) -> Option<String> {
    let full = std::fs::canonicalize(folder).ok()?;
    Some(full.file_name()?.to_str()?.to_owned())
}

/// What `generation_config.json` recommends.
fn sampling(mut writer: GgufWriter, folder: &Path) -> Result<GgufWriter, ConvertError> {
    let Some(config) = Object::read(&folder.join("generation_config.json"))? else { return Ok(writer) };
    for (key, from) in
        [("top_k", &["top_k"][..]), ("penalty_last_n", &["penalty_last_n"]), ("mirostat", &["mirostat"])]
    {
        if let Some(count) = config.count(from)? {
            let count = i32::try_from(count)
                .map_err(|_| config.mistyped(from[0], &count.into(), "a whole number below 2^31"))?;
            writer = writer.set(&format!("general.sampling.{key}"), OwnedValue::I32(count));
        }
    }
    for (key, from) in [
        ("top_p", &["top_p"][..]),
        ("min_p", &["min_p"]),
        ("xtc_probability", &["xtc_probability"]),
        ("xtc_threshold", &["xtc_threshold"]),
        ("temp", &["temperature"]),
        ("penalty_repeat", &["penalty_repeat", "repetition_penalty"]),
        ("mirostat_tau", &["mirostat_tau"]),
        ("mirostat_eta", &["mirostat_eta"]),
    ] {
        if let Some(number) = config.number(from)? {
            writer = writer.set(&format!("general.sampling.{key}"), number as f32);
        }
    }
    if let Some(sequence) = config.text("sequence") {
        writer = writer.set("general.sampling.sequence", sequence);
    }
    Ok(writer)
}
