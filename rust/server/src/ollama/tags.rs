//! What there is: `/api/tags`, `/api/ps`, `/api/show`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tabagent_model::{ChatTemplate, Model, Vocab};

use super::moment::rfc3339;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::models::{ModelEntry, Served};
use crate::stream_body::json as json_response;

/// Longer metadata are left out, unless all of them are asked for.
const LONG_METADATA: usize = 1024;
/// What is never unloaded goes in so many seconds, as in Ollama: Go's longest span.
const FOR_EVER: Duration = Duration::from_secs(i64::MAX as u64 / 1_000_000_000);

/// When a model's file was last changed; now if that is not known.
fn modified(path: &Path) -> SystemTime {
    let changed = std::fs::metadata(path).and_then(|facts| facts.modified());
    changed.unwrap_or_else(|_| SystemTime::now())
}

/// A number of weights as Ollama writes it: `134.5M`.
fn parameter_size(parameters: u64) -> String {
    let exact = parameters as f64;
    match parameters {
        1_000_000_000.. => format!("{:.1}B", exact / 1e9),
        1_000_000.. => format!("{:.2}M", exact / 1e6),
        1000.. => format!("{:.2}K", exact / 1e3),
        _ => parameters.to_string(),
    }
}

/// A name for the file's content: nothing is read for it but facts that differ between files.
fn digest(model: &Model) -> Result<String, ApiError> {
    let llama = model.llama()?;
    let facts = llama.facts();
    let mut state = [0xCBF2_9CE4_8422_2325_u64; 4];
    let metadata = llama.metadata().iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let size = facts.size.to_le_bytes();
    for (at, byte) in metadata.chain([size.as_slice()]).flatten().enumerate() {
        let part = &mut state[at % 4];
        *part = (*part ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    }
    Ok(state.iter().fold(String::new(), |mut text, part| {
        // Writing to a string does not fail.
        let _ = write!(text, "{part:016x}");
        text
    }))
}

fn details(model: &Model) -> Result<Value, ApiError> {
    let llama = model.llama()?;
    let facts = llama.facts();
    Ok(json!({
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": parameter_size(facts.parameters),
        "quantization_level": facts.quantization,
    }))
}

fn entry(name: &str, model: &Model) -> Result<Value, ApiError> {
    Ok(json!({
        "name": name,
        "model": name,
        "size": model.llama()?.facts().size,
        "digest": digest(model)?,
        "details": details(model)?,
    }))
}

/// All models. Of those that are not loaded, the file alone is known.
pub(crate) async fn tags(State(app): State<App>) -> Result<Response, ApiError> {
    let shared = app.clone();
    let models = app.work(move || {
        let one = |known: std::sync::Arc<ModelEntry>| {
            let model = shared.models.look(&known.name).and_then(|now| now.model);
            let mut entry = match &model {
                Some(model) => entry(&known.name, model)?,
                None => unloaded(&known),
            };
            entry["modified_at"] = rfc3339(modified(&known.path)).into();
            Ok(entry)
        };
        shared.models.all().into_iter().map(one).collect::<Result<Vec<Value>, ApiError>>()
    });
    Ok(json_response(&json!({"models": models.await?})))
}

/// A model of which nothing but its file is known.
fn unloaded(known: &ModelEntry) -> Value {
    json!({
        "name": known.name,
        "model": known.name,
        "size": std::fs::metadata(&known.path).map(|facts| facts.len()).unwrap_or_default(),
        "digest": "",
        "details": {
            "parent_model": "", "format": "gguf", "family": "", "families": null, "parameter_size": "", "quantization_level": "",
        },
    })
}

/// The models that are loaded.
pub(crate) async fn ps(State(app): State<App>) -> Result<Response, ApiError> {
    let shared = app.clone();
    let models = app.work(move || {
        let one = |known: std::sync::Arc<ModelEntry>| {
            let now = shared.models.look(&known.name)?;
            let model = now.model.as_ref()?;
            Some(running(&known.name, model, now.stays))
        };
        shared.models.all().into_iter().filter_map(one).collect::<Result<Vec<Value>, ApiError>>()
    });
    Ok(json_response(&json!({"models": models.await?})))
}

fn running(name: &str, model: &Model, stays: Option<Duration>) -> Result<Value, ApiError> {
    let mut entry = entry(name, model)?;
    let llama = model.llama()?;
    let facts = llama.facts();
    let on_gpu = if facts.layers == 0 {
        0.0
    } else {
        f64::from(facts.layers_on_gpu.min(facts.layers)) / f64::from(facts.layers)
    };
    entry["expires_at"] = rfc3339(SystemTime::now() + stays.unwrap_or(FOR_EVER)).into();
    entry["size_vram"] = ((facts.size as f64 * on_gpu) as u64).into();
    entry["context_length"] = model.sizes()?.sequence_size.into();
    Ok(entry)
}

/// Facts about a model.
pub(crate) async fn show(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let name = fields.text("model")?.or(fields.text("name")?);
    let name = name.ok_or_else(|| ApiError::field("model", "model is required"))?;
    let served = app.model(Some(&name)).await?;
    let verbose = fields.flag("verbose")?.unwrap_or_default();
    Ok(json_response(&app.work(move || shown(&served, verbose)).await?))
}

fn shown(served: &Served, verbose: bool) -> Result<Value, ApiError> {
    let llama = served.model.llama()?;
    let template = match &served.template {
        Some(template) => Some(std::sync::Arc::clone(template)),
        None => served.model.chat_template_for(false, false).ok(),
    };
    let mut info = Map::new();
    for (name, value) in llama.metadata() {
        let is_list = name.starts_with("tokenizer.ggml.") && value.starts_with('[');
        if verbose || (value.len() <= LONG_METADATA && !is_list && name != "tokenizer.chat_template") {
            info.insert(name.clone(), typed(value));
        }
    }
    info.insert("general.parameter_count".to_owned(), llama.facts().parameters.into());
    let text = template.as_ref().map(|template| template.text()).unwrap_or_default();
    let license = llama.metadata().get("general.license").cloned().unwrap_or_default();
    Ok(json!({
        "license": license,
        "modelfile": format!("FROM {}\n", served.path.file_name().unwrap_or_default().display()),
        "parameters": "",
        "template": text,
        "details": details(&served.model)?,
        "model_info": info,
        "capabilities": capabilities(template.as_deref(), llama.vocab(), served)?,
        "modified_at": rfc3339(modified(&served.path)),
    }))
}

/// A number or truth value as what it is.
fn typed(value: &str) -> Value {
    if let Ok(number) = value.parse::<i64>() {
        return number.into();
    }
    match value {
        "true" => true.into(),
        "false" => false.into(),
        _ => match value.parse::<f64>() {
            Ok(number) if number.is_finite() && value.contains(['.', 'e']) => number.into(),
            _ => value.into(),
        },
    }
}

/// What the model can do.
fn capabilities(
    template: Option<&ChatTemplate>,
    vocab: &Vocab,
    served: &Served,
) -> Result<Vec<&'static str>, ApiError> {
    let llama = served.model.llama()?;
    let facts = llama.facts();
    if facts.has_encoder
        || !facts.has_decoder
        || llama.metadata().keys().any(|name| name.ends_with(".pooling_type"))
    {
        return Ok(vec!["embedding"]);
    }
    let mut known = vec!["completion"];
    if let Some(template) = template {
        if template.capabilities().tools {
            known.push("tools");
        }
        if !template.output_format().reasoning.is_empty() {
            known.push("thinking");
        }
    }
    if vocab.token_fim_pre().is_some() && vocab.token_fim_suf().is_some() && vocab.token_fim_mid().is_some() {
        known.push("insert");
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_weights_are_short() {
        assert_eq!(parameter_size(134_515_008), "134.52M");
        assert_eq!(parameter_size(8_030_261_248), "8.0B");
        assert_eq!(parameter_size(999), "999");
    }

    #[test]
    fn metadata_have_their_types() {
        assert_eq!(typed("12"), json!(12));
        assert_eq!(typed("true"), json!(true));
        assert_eq!(typed("1.5"), json!(1.5));
        assert_eq!(typed("1e-05"), json!(1e-5));
        assert_eq!(typed("llama"), json!("llama"));
        assert_eq!(typed("inf"), json!("inf"));
    }
}
