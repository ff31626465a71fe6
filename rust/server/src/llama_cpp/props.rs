//! `/props` and `/metrics`.

use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::{Error, Model};

use super::settings_json::settings;
use crate::app::App;
use crate::error::ApiError;
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
    let loaded = app.models.look(&entry.name).and_then(|now| now.model);
    let told = loaded.and_then(|model| metrics_of(&model).ok());
    let text = match told.or_else(|| app.models.last_metrics(&entry.name)) {
        Some(text) => text,
        None => metrics_of(&app.model(Some(&entry.name)).await?.model)?,
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    response.headers_mut().insert("process-start-time-unix", HeaderValue::from(app.models.began()));
    Ok(response)
}

/// The numbers of a model.
pub(crate) fn metrics_of(model: &Model) -> Result<String, Error> {
    let (metrics, stats) = (model.metrics()?, model.stats()?);
    let each = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
    let mut text = String::new();
    for (kind, name, help, value) in [
        (
            "counter",
            "prompt_tokens_total",
            "Number of prompt tokens processed, excluding cached tokens",
            metrics.prompt_tokens as f64,
        ),
        (
            "counter",
            "prompt_tokens_cached_total",
            "Number of prompt tokens reused from the cache",
            metrics.cached_tokens as f64,
        ),
        ("counter", "prompt_seconds_total", "Total time spent processing prompts", metrics.prompt_seconds),
        (
            "counter",
            "tokens_predicted_total",
            "Number of generation tokens processed",
            metrics.completion_tokens as f64,
        ),
        (
            "counter",
            "tokens_predicted_seconds_total",
            "Total time spent generating tokens",
            metrics.decode_seconds,
        ),
        ("counter", "n_decode_total", "Total number of llama_decode() calls", metrics.steps as f64),
        (
            "counter",
            "spec_decode_num_draft_tokens_total",
            "Draft tokens generated",
            metrics.drafted_tokens as f64,
        ),
        (
            "counter",
            "spec_decode_num_accepted_tokens_total",
            "Draft tokens accepted",
            metrics.accepted_tokens as f64,
        ),
        (
            "gauge",
            "prompt_tokens_seconds",
            "Average prompt throughput in tokens/s",
            each(metrics.prompt_tokens as f64, metrics.prompt_seconds),
        ),
        (
            "gauge",
            "predicted_tokens_seconds",
            "Average generation throughput in tokens/s",
            each(metrics.completion_tokens as f64, metrics.decode_seconds),
        ),
        ("gauge", "requests_processing", "Number of requests processing", stats.active as f64),
        ("gauge", "requests_deferred", "Number of requests deferred", stats.queued as f64),
        (
            "gauge",
            "n_busy_slots_per_decode",
            "Average number of busy slots per llama_decode() call",
            each(metrics.step_requests as f64, metrics.steps as f64),
        ),
    ] {
        use std::fmt::Write as _;
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "# HELP llamacpp:{name} {help}\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}\n"
        );
    }
    text.push_str(&metrics.prometheus(&stats));
    Ok(text)
}
