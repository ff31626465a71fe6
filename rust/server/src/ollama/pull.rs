//! `/api/pull` and `/api/delete`.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::options::read_stream;
use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::fields::JsonFields;
use crate::stream_body::{Kind, json as json_response, streamed};

/// Lines that wait for a client that reads slowly.
const LINES: usize = 16;

fn name(fields: &mut JsonFields) -> Result<String, ApiError> {
    let name = fields.text("model")?.or(fields.text("name")?);
    name.filter(|name| !name.is_empty()).ok_or_else(|| ApiError::field("model", "model is required"))
}

/// Fetches a model of the hub, and offers it from then on. A model that is there already is left as it is.
pub(crate) async fn pull(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let name = name(&mut fields)?;
    let stream = read_stream(&mut fields)?;
    let is_known = app.models.find(Some(&name)).is_ok() && !app.models.is_one();
    if !is_known && app.models.hub().is_none() {
        let message = "this server has one model and fetches no others; start it with `--models-dir`, `--models-preset` or models of `--config`";
        return Err(ApiError::not_supported(message));
    }
    let (lines, mut told) = mpsc::channel::<Value>(LINES);
    let shared = app.clone();
    let work = async move {
        if is_known {
            return Ok(());
        }
        let again = shared.clone();
        shared
            .work(move || {
                let Some(hub) = again.models.hub() else { return Ok(()) };
                let file = hub.fetch(&name, &mut |line| lines.blocking_send(line).is_ok());
                let file = file.map_err(|failure| {
                    let missing = failure.kind == tabagent_model::ErrorKind::ModelNotFound;
                    let problem = if missing { Problem::ModelNotFound } else { Problem::Internal };
                    ApiError::new(problem, failure.message)
                })?;
                again.models.add((hub.offer)(&name, file));
                Ok(())
            })
            .await
    };
    if !stream {
        let work = tokio::spawn(work);
        while told.recv().await.is_some() {}
        let done = work.await.map_err(|_| ApiError::new(Problem::Internal, "the working thread failed"))?;
        return done.map(|()| json_response(&json!({"status": "success"})));
    }
    Ok(streamed(Kind::Lines, move |mut pieces| async move {
        pieces.line(&json!({"status": "pulling manifest"})).await;
        let work = tokio::spawn(work);
        while let Some(line) = told.recv().await {
            pieces.line(&line).await;
        }
        let last = match work.await {
            Ok(Ok(())) => json!({"status": "success"}),
            Ok(Err(error)) => super::error(&error),
            Err(_) => json!({"error": "the working thread failed; this is a defect of tabagent"}),
        };
        pieces.line(&last).await;
    }))
}

/// Files are not deleted: they may belong to other programs.
pub(crate) async fn delete(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let entry = app.models.find(Some(&name(&mut fields)?))?;
    let message = format!(
        "`{}` is not deleted: this server deletes no files; delete the model's file by hand, and ask `/v1/models?reload=1`",
        entry.name
    );
    Err(ApiError::not_supported(message))
}
