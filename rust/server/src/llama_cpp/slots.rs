//! `/slots`: what runs, and saving, restoring and erasing what a slot has.

use std::path::{Path, PathBuf};
use std::time::Instant;

use axum::extract::{Path as UrlPath, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::{AbortFlag, Session};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::fields::{JsonFields, json_body};
use crate::held_slots::Held;
use crate::models::Served;
use crate::query;
use crate::stream_body::json as json_response;

/// Longest name of a file.
const LONGEST_NAME: usize = 255;

/// What runs: so many slots as requests are decoded together.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    if !app.settings.slots {
        return Err(ApiError::not_supported("this server does not show its slots; start it with `--slots`"));
    }
    let served = app.model(query::value(&uri, "model").as_deref()).await?;
    let sizes = served.model.sizes()?;
    let running = served.state.slots.all();
    let count = sizes.max_sequences as usize;
    let idle = (0..count).filter(|number| !running.contains_key(number)).count();
    if idle == 0 && query::value(&uri, "fail_on_no_slot").is_some() {
        return Err(ApiError::new(Problem::Unavailable, "no slot is free"));
    }
    let guesses = served.state.draft.is_some() || served.defaults().lookup.is_some();
    let slot = |number: usize| {
        let mut slot = json!({
            "id": number, "n_ctx": sizes.sequence_size, "speculative": guesses, "is_processing": running.contains_key(&number),
        });
        if let Some(request) = running.get(&number) {
            let remain = request.max_tokens.map_or(-1, |most| most.saturating_sub(request.decoded) as i64);
            slot["id_task"] = request.id_task.into();
            slot["n_prompt_tokens"] = request.prompt_tokens.into();
            slot["next_token"] = json!([{"has_next_token": true, "has_new_line": false, "n_remain": remain, "n_decoded": request.decoded}]);
        }
        slot
    };
    Ok(json_response(&(0..count).map(slot).collect()))
}

/// Saves, restores or erases what a slot has.
pub(crate) async fn act(
    State(app): State<App>,
    UrlPath(id): UrlPath<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let uri = request.uri().clone();
    let Some(folder) = app.settings.slot_save_path.clone() else {
        let message = "this server does not save slots; start it with `--slot-save-path FOLDER`";
        return Err(ApiError::not_supported(message));
    };
    let number: usize =
        id.parse().map_err(|_| ApiError::invalid(format!("`{id}` is no slot; `/slots` lists them")))?;
    let action = query::value(&uri, "action").unwrap_or_default();
    if !["save", "restore", "erase"].contains(&action.as_str()) {
        let message = format!("`action` must be `save`, `restore` or `erase`, got `{action}`");
        return Err(ApiError::field("action", message));
    }
    let mut fields = if action == "erase" {
        JsonFields::default()
    } else {
        JsonFields::of(json_body(&app, request).await?)?
    };
    let named = fields.text("model")?.or_else(|| query::value(&uri, "model"));
    let served = app.model(named.as_deref()).await?;
    let mut held = served.state.held.hold(number).await?;
    if action == "erase" {
        let erased = erase(&served, &mut held, number)?;
        return Ok(json_response(&json!({"id_slot": number, "n_erased": erased})));
    }
    let name =
        fields.text("filename")?.ok_or_else(|| ApiError::field("filename", "`filename` is missing"))?;
    let path = file(&folder, &name)?;
    let body = app
        .work(move || {
            let began = Instant::now();
            let (tokens, bytes) = match action.as_str() {
                "save" => save(&served, &mut held, number, &path)?,
                _ => restore(&served, &mut held, &path)?,
            };
            let ms = began.elapsed().as_secs_f64() * 1e3;
            Ok(match action.as_str() {
                "save" => written(number, &name, ("n_saved", tokens), ("n_written", bytes), ("save_ms", ms)),
                _ => written(number, &name, ("n_restored", tokens), ("n_read", bytes), ("restore_ms", ms)),
            })
        })
        .await?;
    Ok(json_response(&body))
}

fn written(slot: usize, name: &str, tokens: (&str, usize), bytes: (&str, u64), time: (&str, f64)) -> Value {
    let mut body = json!({"id_slot": slot, "filename": name});
    body[tokens.0] = tokens.1.into();
    body[bytes.0] = bytes.1.into();
    body["timings"][time.0] = time.1.into();
    body
}

/// A file in the folder: its name must be a plain one.
fn file(folder: &Path, name: &str) -> Result<PathBuf, ApiError> {
    let plain = |c: char| !c.is_control() && !"/\\:*?\"<>|".contains(c);
    let good = !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with(['.', ' '])
        && !name.ends_with(['.', ' '])
        && name.chars().all(plain);
    if good {
        return Ok(folder.join(name));
    }
    let message = "`filename` must be the name of a file, without a folder, not beginning with `.`";
    Err(ApiError::field("filename", message))
}

/// A failure about a file, which is named without its folder.
fn about_file(error: &tabagent_model::Error, path: &Path) -> ApiError {
    use tabagent_model::Failure as _;
    let text = error.to_string();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let message = text.replace(&path.display().to_string(), &name);
    match error.kind() {
        tabagent_model::ErrorKind::State | tabagent_model::ErrorKind::Io => {
            ApiError::field("filename", message)
        }
        _ => ApiError::from_parts(error, message),
    }
}

/// Writes the tokens and cells of a slot; how many tokens, and bytes of the file.
fn save(served: &Served, held: &mut Held, number: usize, path: &Path) -> Result<(usize, u64), ApiError> {
    let stop = AbortFlag::new();
    if held.session.is_none() {
        let last = served.state.held.last(number);
        if last.is_empty() || held.erased {
            return Err(ApiError::invalid(format!(
                "slot {number} has nothing to save; have it answer a request first"
            )));
        }
        held.session = Some(session(served, last)?);
    }
    let Some(session) = &mut held.session else { return Ok((0, 0)) };
    let tokens = session.tokens(&stop)?.len();
    session.save(path, "", &stop).map_err(|error| about_file(&error, path))?;
    Ok((tokens, std::fs::metadata(path).map(|facts| facts.len()).unwrap_or_default()))
}

fn session(served: &Served, tokens: Vec<i32>) -> Result<Session, ApiError> {
    let changes = served.state.adapters.changes(&served.model, None)?;
    let mut session = served.model.session(served.defaults().sampling.clone(), changes.clone())?;
    session.replace(tokens, changes, &AbortFlag::new())?;
    Ok(session)
}

/// Reads what was saved into a slot.
fn restore(served: &Served, held: &mut Held, path: &Path) -> Result<(usize, u64), ApiError> {
    let stop = AbortFlag::new();
    let changes = served.state.adapters.changes(&served.model, None)?;
    let (mut session, _) =
        served.model.load_session(path, changes, &stop).map_err(|error| about_file(&error, path))?;
    let tokens = session.tokens(&stop)?.len();
    held.session = Some(session);
    held.erased = false;
    Ok((tokens, std::fs::metadata(path).map(|facts| facts.len()).unwrap_or_default()))
}

/// Has a slot forget what it has; how many tokens that were.
fn erase(served: &Served, held: &mut Held, number: usize) -> Result<usize, ApiError> {
    let erased = match &mut held.session {
        Some(session) => session.tokens(&AbortFlag::new())?.len(),
        None => served.state.held.last(number).len(),
    };
    held.session = None;
    held.erased = true;
    served.state.held.remember(number, Vec::new());
    Ok(erased)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        let folder = Path::new("/saved");
        assert_eq!(file(folder, "slot 1.bin"), Ok(folder.join("slot 1.bin")));
        for name in ["", "..", ".hidden", "../x", "a/b", "a\\b", "C:x", "a\0", "a\n", "x.", &"a".repeat(256)]
        {
            assert!(file(folder, name).is_err(), "{name}");
        }
    }
}
