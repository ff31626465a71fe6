//! `/v1/models`.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::models::Served;
use crate::stream_body::json as json_response;

fn entry(served: &Served) -> Result<Value, ApiError> {
    let model = &served.model;
    let llama = model.llama()?;
    let facts = llama.facts();
    Ok(json!({
        "id": served.name,
        "aliases": served.aliases,
        "object": "model",
        "created": served.created,
        "owned_by": "tabagent",
        "meta": {
            "n_vocab": llama.vocab().len(),
            "n_ctx": model.sizes()?.sequence_size,
            "n_ctx_train": facts.context_train_size,
            "n_embd": facts.embedding_dim,
            "n_params": facts.parameters,
            "size": facts.size,
            "ftype": facts.quantization,
        },
    }))
}

/// All models.
pub(crate) async fn list(State(app): State<App>) -> Result<Response, ApiError> {
    let all = app.models.all();
    let data = all.iter().map(|served| entry(served)).collect::<Result<Vec<_>, _>>()?;
    // llama-server's own list beside OpenAI's, which some clients read.
    let models: Value = all
        .iter()
        .map(|served| {
            json!({
                "name": served.name, "model": served.name, "modified_at": "", "size": "", "digest": "", "type": "model",
                "description": "", "tags": [""], "capabilities": ["completion"], "parameters": "",
                "details": {"parent_model": "", "format": "gguf", "family": "", "families": [""], "parameter_size": "", "quantization_level": ""},
            })
        })
        .collect();
    Ok(json_response(&json!({"object": "list", "data": data, "models": models})))
}

/// One model.
pub(crate) async fn one(State(app): State<App>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let known = |served: &&std::sync::Arc<Served>| served.name == name || served.aliases.contains(&name);
    match app.models.all().iter().find(known) {
        Some(served) => Ok(json_response(&entry(served)?)),
        None => Err(ApiError::new(
            Problem::ModelNotFound,
            format!("there is no model `{name}`; `/v1/models` lists them"),
        )),
    }
}
