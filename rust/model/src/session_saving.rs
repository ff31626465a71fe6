//! Saving sessions, and loading them.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tabagent_llama::{Model as LlamaModel, StateError};
use tabagent_runtime::{AbortFlag, CellsRequest, EngineError, FinishReason, Poll, TokenStream};
use tabagent_sampling::Draws;

use crate::changes::Changes;
use crate::error::Error;
use crate::model::Model;
use crate::open::Open;
use crate::session::Session;
use crate::session_error::SessionError;
use crate::session_file::{SessionFile, most_bytes};
use crate::settings::SamplerSettings;

impl Session {
    /// Writes a file that [`Model::load_session`] reads, in this process or another one: the tokens, the sampler's state, and what is there of their cells, with what tells
    /// whether they fit a model. `note` is kept as it is. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`SessionError::File`], and those of [`tokens`](Self::tokens).
    pub fn save(&mut self, path: &Path, note: &str, stop: &AbortFlag) -> Result<(), Error> {
        self.settle(stop)?;
        let open = self.model.open()?;
        let cells = self.cells(&open, stop)?;
        let (n_cells, cells) = cells.unwrap_or_default();
        let mut header = identity(&open)?;
        header["tokens"] = json!(self.tokens.len());
        header["cells"] = json!({ "tokens": n_cells, "bytes": cells.len() });
        header["sampler"] = self.draws.as_ref().map(Draws::to_json).unwrap_or_default();
        header["note"] = json!(note);
        header["changes"] = self.changes.identity();
        let contents = SessionFile { header, tokens: self.tokens.clone(), cells };
        let head = contents.head();
        let parts = [&head[..], &contents.token_bytes(), &contents.cells];
        Ok(open.model.write_file(path, &parts).map_err(SessionError::from)?)
    }

    /// The cells that are there, with their number.
    fn cells(&self, open: &Open, stop: &AbortFlag) -> Result<Option<(usize, Vec<u8>)>, Error> {
        // The last token is decoded for its logits in any case.
        let n_tokens = self.tokens.len().saturating_sub(1);
        if n_tokens == 0 {
            return Ok(None);
        }
        let (stream, exported) = open.engine()?.export(self.cells_of(n_tokens))?;
        wait(&stream, stop)?;
        Ok(exported.take())
    }

    fn cells_of(&self, n_tokens: usize) -> CellsRequest {
        CellsRequest {
            tokens: self.tokens[..n_tokens].to_vec(),
            group: self.changes.group(),
            owner: Some(self.owner.clone()),
        }
    }
}

impl Model {
    /// The session of a file that [`Session::save`] wrote, and its note. `changes` are those that it was computed with. It has the default settings; [`Session::set_sampling`] gives it those that it had.
    ///
    /// # Errors
    /// [`Error::Session`] if the file is damaged, or is of another model, build or way of loading the model; [`Error::Request`] if the session does not fit the context; those of
    /// [`session`](Self::session).
    pub fn load_session(
        &self,
        path: &Path,
        changes: Changes,
        stop: &AbortFlag,
    ) -> Result<(Session, String), Error> {
        let open = self.open()?;
        open.engine()?;
        let file = read(path, &open)?;
        check_changes(&file.header["changes"], &changes.identity())?;
        let (note, draws, n_cells) = (file.note()?.to_owned(), file.sampler()?, file.n_cells()?);
        let SessionFile { tokens, cells, .. } = file;
        let mut session = self.session(SamplerSettings::default(), changes)?;
        session.begin_with(tokens, draws)?;
        if n_cells > 0 {
            let stream = open.engine()?.import(session.cells_of(n_cells), cells)?;
            wait(&stream, stop)?;
        }
        Ok((session, note))
    }
}

/// What a file holds, its digest and what it belongs to checked.
fn read(path: &Path, open: &Open) -> Result<SessionFile, Error> {
    let failed = |source| SessionError::File(StateError::Io { path: path.display().to_string(), source });
    // Opening a pipe blocks until its other end is open, and devices never end.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(SessionError::NotASession { reason: "it is no regular file" }.into());
    }
    let mut file = File::open(path).map_err(failed)?;
    let cache = open.memory().cache;
    let most = |n_tokens| most_bytes(cache, n_tokens);
    let (contents, is_whole) = SessionFile::read(&mut file, metadata.len(), most, failed)?;
    check_identity(&contents.header, &identity(open)?)?;
    if !is_whole {
        return Err(SessionError::Cells.into());
    }
    Ok(contents)
}

/// What the cells of a session depend on.
fn identity(open: &Open) -> Result<Json, SessionError> {
    cells_identity(&open.model, open.sequence_settings())
}

/// What cells depend on: the model and the settings of the context that must be the same.
pub(crate) fn cells_identity(
    model: &LlamaModel,
    settings: &[(&'static str, String)],
) -> Result<Json, SessionError> {
    let mut identity = json!({ "model": model.digest()? });
    for (name, value) in settings {
        identity[*name] = json!(value);
    }
    Ok(identity)
}

fn check_identity(found: &Json, expected: &Json) -> Result<(), SessionError> {
    if found["model"] != expected["model"] {
        return Err(SessionError::OtherModel);
    }
    let text = |of: &Json, name: &str| of[name].as_str().unwrap_or("nothing").to_owned();
    for name in ["build", "kv_type", "flash_attention"] {
        let (found, expected) = (text(found, name), text(expected, name));
        if found == expected {
            continue;
        }
        return Err(match name {
            "build" => SessionError::OtherBuild { expected, found },
            what => SessionError::OtherSettings { what, expected, found },
        });
    }
    Ok(())
}

/// Refuses other changes than those that cells were computed with; what a file says of their names does not count.
fn check_changes(found: &Json, given: &Json) -> Result<(), SessionError> {
    let known = |of: &Json| {
        let adapters = of["adapters"].as_array().cloned().unwrap_or_default();
        let adapter = |one: &Json| json!([one["digest"], one["scale"]]);
        (adapters.iter().map(adapter).collect::<Vec<_>>(), of["control"].clone())
    };
    if known(found) == known(given) {
        return Ok(());
    }
    let (found, given) = (words(found), words(given));
    let given = if given.contains(" and ") { format!("{given} are") } else { format!("{given} is") };
    Err(SessionError::OtherChanges { found, given })
}

/// Changes as people call them: the names of adapters with their scales.
fn words(of: &Json) -> String {
    const LONGEST: usize = 100;
    let adapter = |one: &Json| {
        let name: String = one["name"].as_str().unwrap_or_default().chars().take(LONGEST).collect();
        let bits = one["scale"].as_u64().and_then(|bits| u32::try_from(bits).ok()).unwrap_or_default();
        format!("`{name}` at scale {}", f32::from_bits(bits))
    };
    let mut all: Vec<String> = of["adapters"].as_array().into_iter().flatten().map(adapter).collect();
    if of["control"].is_object() {
        all.push("control vectors".to_owned());
    }
    if all.is_empty() { "nothing that changes the model".to_owned() } else { all.join(" and ") }
}

/// Waits for a transfer of cells.
fn wait(stream: &TokenStream, stop: &AbortFlag) -> Result<(), Error> {
    while !matches!(stream.next_timeout(Duration::from_millis(20)), Poll::Finished) {
        if stop.is_raised() {
            return Err(Error::Stopped);
        }
    }
    match stream.finish().map(|finish| finish.reason) {
        Some(FinishReason::Error(EngineError::NoCells { .. })) => Err(SessionError::Cells.into()),
        Some(FinishReason::Error(error)) => Err(error.into()),
        _ => Ok(()),
    }
}
