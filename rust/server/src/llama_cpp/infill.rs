//! `/infill`.

use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use tabagent_model::{InfillFile, InfillRequest};

use super::completion;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;

/// Writes what is missing between `input_prefix` and `input_suffix`; the rest of the body is that of `/completion`. The names of repository and files are
/// llama-server's where none are given, so that prompts have the same tokens.
pub(crate) async fn infill(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let served = app.model(fields.peek("model").and_then(Value::as_str)).await?;
    let required = |fields: &mut JsonFields, name: &str| {
        let text = fields.text(name)?;
        text.ok_or_else(|| ApiError::field(name, format!("\"{name}\" is required")))
    };
    let request = InfillRequest {
        prefix: required(&mut fields, "input_prefix")?,
        suffix: required(&mut fields, "input_suffix")?,
        prompt: fields.text("prompt")?.unwrap_or_default(),
        extra: extra(&mut fields)?,
        repository: Some("myproject".to_owned()),
        filename: Some("filename".to_owned()),
        suffix_first: fields.flag("spm_infill")?.unwrap_or_default(),
        max_tokens: ["n_predict", "max_completion_tokens", "max_tokens"]
            .iter()
            .find_map(|name| usize::try_from(fields.peek(name)?.as_i64()?).ok()),
    };
    let tokens = app.work(move || Ok(served.model.infill_prompt(&request)?)).await?;
    fields.put("prompt", tokens.into());
    completion::complete(State(app), fields).await
}

/// Other files: objects with a `text`, and perhaps a `filename`.
fn extra(fields: &mut JsonFields) -> Result<Vec<InfillFile>, ApiError> {
    let files = fields.list("input_extra")?.unwrap_or_default();
    let file = |(at, item): (usize, Value)| {
        let name = format!("input_extra[{at}]");
        let mut item = JsonFields::inside(&name, item)?;
        let missing = || ApiError::field(&name, format!("`{name}` must have a `text`"));
        Ok(InfillFile {
            name: item.text("filename")?.unwrap_or_else(|| "tmp".to_owned()),
            text: item.text("text")?.ok_or_else(missing)?,
        })
    };
    files.into_iter().enumerate().map(file).collect()
}
