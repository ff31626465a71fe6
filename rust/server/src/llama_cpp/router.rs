//! Loading and unloading models: `/models/load` and `/models/unload`.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::stream_body::json as json_response;

fn name(fields: &mut JsonFields) -> Result<String, ApiError> {
    fields.text("model")?.ok_or_else(|| ApiError::field("model", "`model` is missing"))
}

/// Begins to load a model. `/models` tells when it is loaded.
pub(crate) async fn load(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let entry = app.models.find(Some(&name(&mut fields)?))?;
    app.models.load(&entry.name)?;
    Ok(json_response(&json!({"success": true})))
}

/// Closes a model once its requests have ended.
pub(crate) async fn unload(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let entry = app.models.find(Some(&name(&mut fields)?))?;
    if !app.models.unload(&entry.name) {
        let message = format!("model `{}` was loaded by who started this server, and stays", entry.name);
        return Err(ApiError::field("model", message));
    }
    Ok(json_response(&json!({"success": true})))
}
