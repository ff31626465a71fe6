//! `/props` and `/metrics`.

use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use serde_json::{Value, json};

use super::settings_json::settings;
use crate::app::App;
use crate::counts::Counted;
use crate::error::ApiError;
use crate::figures::Figures;
use crate::models::Served;
use crate::openai::FINGERPRINT;
use crate::query;
use crate::settings::Settings;
use crate::stream_body::json as json_response;

/// What the server is, and what a request has that does not say otherwise.
///
/// A model that sleeps is not woken: what is told of it is what it was.
pub(crate) async fn props(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    let name = query::value(&uri, "model");
    if name.is_none() && !app.models.is_one() {
        return Ok(json_response(&json!({
            "role": "router",
            "max_instances": app.models.most().unwrap_or(0),
            "models_autoload": app.models.autoloads(),
            "endpoint_slots": app.settings.slots,
            "endpoint_props": app.settings.props,
            "endpoint_metrics": app.settings.metrics,
            "build_info": FINGERPRINT,
        })));
    }
    let entry = app.models.find(name.as_deref())?;
    // Nothing in it changes while the model is loaded, and asking is no use of the model.
    let now = app.models.look(&entry.name).filter(|now| now.model.is_some() || now.loads > 0);
    if let (Some(now), Some(mut known)) = (now, app.models.known(&entry.name)) {
        known["is_sleeping"] = now.model.is_none().into();
        return Ok(json_response(&known));
    }
    let served = app.model(Some(&entry.name)).await?;
    let shared = app.clone();
    let body = app.work(move || written(&shared.settings, &served)).await?;
    Ok(json_response(&body))
}

pub(crate) fn written(settings_of: &Settings, served: &Served) -> Result<Value, ApiError> {
    let model = &served.model;
    let sizes = model.sizes()?;
    let (bos, eos) = model.chat_tokens()?;
    let template = match &served.template {
        Some(template) => Some(template.clone()),
        None => model.chat_template_for(false, false).ok(),
    };
    let capabilities = template.as_ref().map(|template| {
        let named = template.capabilities().named();
        Value::Object(named.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    });
    let llama = model.llama()?;
    let mut body = json!({
        "default_generation_settings": {"params": settings(served.defaults()), "n_ctx": sizes.sequence_size},
        "total_slots": sizes.max_sequences,
        "model_alias": served.name,
        "model_ftype": llama.facts().quantization,
        "model_path": served.path.file_name().map(|name| name.to_string_lossy().into_owned()),
        "modalities": {"vision": false, "video": false, "audio": false},
        "endpoint_slots": settings_of.slots,
        "endpoint_props": settings_of.props,
        "endpoint_metrics": settings_of.metrics,
        "chat_template": template.as_ref().map(|template| template.text()).unwrap_or_default(),
        "chat_template_caps": capabilities,
        "bos_token": bos,
        "eos_token": eos,
        "build_info": FINGERPRINT,
        "is_sleeping": false,
    });
    if let Some(text) = llama.chat_template(Some("tool_use")) {
        body["chat_template_tool_use"] = text.into();
    }
    Ok(body)
}

/// Global settings are those of the start.
pub(crate) async fn set_props() -> ApiError {
    ApiError::not_supported("this server does not change its settings; start it with others")
}

/// Numbers for Prometheus: llama-server's under its names, then those of the decode thread.
pub(crate) async fn metrics(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    if !app.settings.metrics {
        return Err(ApiError::not_supported(
            "this server does not show its metrics; start it with `--metrics`",
        ));
    }
    let entry = app.models.find(query::value(&uri, "model").as_deref())?;
    // Asking is no use of the model, and does not wake it.
    let figures = match app.models.figures(&entry.name) {
        Some(figures) => figures,
        None => Figures::of(&app.model(Some(&entry.name)).await?.model, Counted::default())?,
    };
    let text = figures.text(app.models.since_told(&entry.name, figures.totals()));
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    response.headers_mut().insert("process-start-time-unix", HeaderValue::from(app.models.began()));
    Ok(response)
}
