//! `/v1/models`.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::{Model, PoolModel, PoolPhase};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::models::ModelEntry;
use crate::query;
use crate::stream_body::json as json_response;

/// How far a model is, in llama-server's words.
fn status(state: &PoolModel<Model>) -> Value {
    let value = match state.phase {
        PoolPhase::Queued | PoolPhase::Loading => "loading",
        PoolPhase::Loaded => "loaded",
        PoolPhase::Unloaded | PoolPhase::Closing => "unloaded",
    };
    let mut status = json!({"value": value});
    if state.phase == PoolPhase::Loading {
        status["progress"] = state.progress.into();
    }
    if state.failure.is_some() && state.phase == PoolPhase::Unloaded {
        status["failed"] = true.into();
    }
    status
}

fn entry(app: &App, entry: &ModelEntry) -> Result<Value, ApiError> {
    let state = app.models.look(&entry.name);
    let mut names: Vec<&str> = entry.aliases.iter().map(String::as_str).collect();
    if !names.is_empty() {
        names.insert(0, &entry.name);
    }
    let mut body = json!({
        "id": entry.name,
        "aliases": names,
        "tags": entry.tags,
        "object": "model",
        "created": app.models.created(&entry.name),
        "owned_by": "tabagent",
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    });
    if let Some(state) = &state {
        body["status"] = status(state);
        if let Some(model) = &state.model {
            body["meta"] = meta(model)?;
        }
    }
    Ok(body)
}

fn meta(model: &Model) -> Result<Value, ApiError> {
    let llama = model.llama()?;
    let facts = llama.facts();
    Ok(json!({
        "n_vocab": llama.vocab().len(),
        "n_ctx": model.sizes()?.sequence_size,
        "n_ctx_train": facts.context_train_size,
        "n_embd": facts.embedding_dim,
        "n_params": facts.parameters,
        "size": facts.size,
        "ftype": facts.quantization,
    }))
}

/// All models, read anew with `?reload=1`.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    if query::is_set(&uri, "reload") {
        let shared = app.clone();
        app.work(move || shared.models.reload()).await?;
    }
    let all = app.models.all();
    let data = all.iter().map(|known| entry(&app, known)).collect::<Result<Vec<_>, _>>()?;
    // llama-server's own list beside OpenAI's, which some clients read.
    let models: Value = all
        .iter()
        .map(|known| {
            json!({
                "name": known.name, "model": known.name, "modified_at": "", "size": "", "digest": "", "type": "model",
                "description": "", "tags": if known.tags.is_empty() { json!([""]) } else { json!(known.tags) },
                "capabilities": ["completion"], "parameters": "",
                "details": {"parent_model": "", "format": "gguf", "family": "", "families": [""], "parameter_size": "", "quantization_level": ""},
            })
        })
        .collect();
    Ok(json_response(&json!({"object": "list", "data": data, "models": models})))
}

/// One model.
pub(crate) async fn one(State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let all = app.models.all();
    let found = all.iter().find(|known| known.name == name || known.aliases.contains(&name));
    match found {
        Some(known) => Ok(json_response(&entry(&app, known)?)),
        None => Err(ApiError::new(
            Problem::ModelNotFound,
            format!("there is no model `{name}`; `/v1/models` lists them"),
        )),
    }
}
