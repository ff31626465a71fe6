//! `/lora-adapters`.

use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde_json::json;

use crate::app::App;
use crate::error::ApiError;
use crate::fields::json_body;
use crate::query;
use crate::stream_body::json as json_response;

/// The adapters of a model, and how much of each requests get that do not say.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    let served = app.model(query::value(&uri, "model").as_deref()).await?;
    Ok(json_response(&served.state.adapters.listed()))
}

/// Sets how much of each requests get that do not say: a list of `{"id": …, "scale": …}`; those that are not in it get none.
pub(crate) async fn set(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let name = query::value(request.uri(), "model");
    let body = json_body(&app, request).await?;
    let served = app.model(name.as_deref()).await?;
    served.state.adapters.set(body)?;
    Ok(json_response(&json!({"success": true})))
}
