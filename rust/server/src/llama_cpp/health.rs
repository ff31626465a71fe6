//! `/health`.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::app::App;
use crate::error::ApiError;
use crate::stop::stopping;
use crate::stream_body::json as json_response;

/// Whether requests are taken.
pub(crate) async fn health(State(app): State<App>) -> Result<Response, ApiError> {
    if app.stop.is_draining() { Err(stopping()) } else { Ok(json_response(&json!({"status": "ok"}))) }
}
