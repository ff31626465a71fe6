//! Saved sessions.
//!
//! A file has 8 bytes that say what it is, the version of this format, a SHA-256 digest of all that follows, the length of a header, the header as JSON, the tokens as
//! 32-bit integers, and the bytes of their cells. All integers are little-endian. It may come from anywhere, so everything is checked before it is used; the cells
//! once more by the decoder ([`Context::import_sequence`](tabagent_llama::Context::import_sequence)).

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tabagent_llama::{StateError, TokenId};
use tabagent_runtime::{AbortFlag, CellsRequest, EngineError, FinishReason, Poll, TokenStream};
use tabagent_sampling::Draws;

use crate::changes::Changes;
use crate::error::Error;
use crate::model::{Model, Open};
use crate::session::Session;
use crate::session_error::SessionError;
use crate::settings::SamplerSettings;

const MAGIC: &[u8; 8] = b"TABSESSN";
const VERSION: u32 = 1;
/// Magic, version, digest, and the length of the header.
const FIXED: usize = 8 + 4 + 32 + 4;
/// Maximum length of a header, which holds a note.
const MAX_HEADER: usize = 1 << 24;
/// What is written of cells besides their numbers, at most for each token and at all.
const EXTRA: (u64, u64) = (64, 1 << 20);

impl Session {
    /// Writes a file that [`Model::load_session`] reads, in this process or another one: the tokens, the sampler's state, and what is there of their cells, with what tells
    /// whether they fit a model. `note` is kept as it is. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`SessionError::Changed`], [`SessionError::File`], and those of [`tokens`](Self::tokens).
    pub fn save(&mut self, path: &Path, note: &str, stop: &AbortFlag) -> Result<(), Error> {
        self.settle(stop)?;
        if !self.changes.is_empty() {
            return Err(SessionError::Changed.into());
        }
        let open = self.model.open()?;
        let cells = self.cells(&open, stop)?;
        let (n_cells, cells) = cells.unwrap_or_default();
        let mut header = identity(&open)?;
        header["tokens"] = json!(self.tokens.len());
        header["cells"] = json!({ "tokens": n_cells, "bytes": cells.len() });
        header["sampler"] = self.draws.as_ref().map(Draws::to_json).unwrap_or_default();
        header["note"] = json!(note);
        let header = header.to_string();
        let tokens: Vec<u8> = self.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let length = (header.len() as u32).to_le_bytes();
        let mut hash = Sha256::new();
        let parts: [&[u8]; 4] = [&length, header.as_bytes(), &tokens, &cells];
        for part in parts {
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let head = [&MAGIC[..], &VERSION.to_le_bytes(), &digest].concat();
        let parts = [&head[..], parts[0], parts[1], parts[2], parts[3]];
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
    /// The session of a file that [`Session::save`] wrote, and its note. It has the default settings; [`Session::set_sampling`] gives it those that it had.
    ///
    /// # Errors
    /// [`Error::Session`] if the file is damaged, or is of another model, build or way of loading the model; [`Error::Request`] if the session does not fit the context; those of
    /// [`session`](Self::session).
    pub fn load_session(&self, path: &Path, stop: &AbortFlag) -> Result<(Session, String), Error> {
        let open = self.open()?;
        open.engine()?;
        let Contents { header, tokens, cells } = Contents::read(path, &open)?;
        let note = header["note"].as_str().ok_or_else(|| not("it has no note"))?.to_owned();
        let draws = match &header["sampler"] {
            Json::Null => None,
            draws => Some(Draws::from_json(draws).ok_or_else(|| not("it has no sampler's state"))?),
        };
        let mut session = self.session(SamplerSettings::default(), Changes::default())?;
        session.begin_with(tokens, draws)?;
        let n_cells = usize_of(&header["cells"]["tokens"])?;
        if n_cells >= session.tokens.len().max(1) {
            return Err(not("it has cells of more tokens than it has").into());
        }
        if n_cells > 0 {
            let stream = open.engine()?.import(session.cells_of(n_cells), cells)?;
            wait(&stream, stop)?;
        }
        Ok((session, note))
    }
}

/// What a file holds, its digest and what it belongs to checked.
struct Contents {
    header: Json,
    tokens: Vec<TokenId>,
    cells: Vec<u8>,
}

impl Contents {
    fn read(path: &Path, open: &Open) -> Result<Self, Error> {
        let failed = |source| SessionError::File(StateError::Io { path: path.display().to_string(), source });
        // Opening a pipe blocks until its other end is open, and devices never end.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(not("it is no regular file").into());
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut take = |n: usize| -> Result<Vec<u8>, SessionError> {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(n).map_err(|_| not("it is longer than memory"))?;
            (&mut file).take(n as u64).read_to_end(&mut bytes).map_err(failed)?;
            if bytes.len() == n { Ok(bytes) } else { Err(not("it is cut off")) }
        };
        let magic = take(MAGIC.len()).map_err(|error| match error {
            SessionError::NotASession { .. } => not("it does not begin with `TABSESSN`"),
            error => error,
        })?;
        if magic != MAGIC {
            return Err(not("it does not begin with `TABSESSN`").into());
        }
        let fixed = take(FIXED - MAGIC.len())?;
        if fixed[..4] != VERSION.to_le_bytes() {
            return Err(not("it has another format version").into());
        }
        let digest = &fixed[4..36];
        let length = u32::from_le_bytes([fixed[36], fixed[37], fixed[38], fixed[39]]) as usize;
        if length > MAX_HEADER {
            return Err(SessionError::Damaged.into());
        }
        let header_bytes = take(length)?;
        // Before the digest is checked, the header says only how much there is to read.
        let Ok(header) = serde_json::from_slice::<Json>(&header_bytes) else {
            return Err(SessionError::Damaged.into());
        };
        let sizes = (usize_of(&header["tokens"]), usize_of(&header["cells"]["bytes"]));
        let (Ok(n_tokens), Ok(n_bytes)) = sizes else { return Err(SessionError::Damaged.into()) };
        let expected = [FIXED, length].iter().map(|n| *n as u64).sum::<u64>();
        let expected =
            expected.saturating_add((n_tokens as u64).saturating_mul(4)).saturating_add(n_bytes as u64);
        match metadata.len() {
            found if found < expected => return Err(not("it is cut off").into()),
            found if found > expected => return Err(not("it goes on after its end").into()),
            _ => {}
        }
        // A file may seem long without taking any room on the disk.
        let most = open
            .memory()
            .cache
            .saturating_add(EXTRA.1)
            .saturating_add(EXTRA.0.saturating_mul(n_tokens as u64));
        let fits = n_bytes as u64 <= most;
        let (tokens, cells) = if fits { (take(n_tokens * 4)?, take(n_bytes)?) } else { Default::default() };
        let mut hash = Sha256::new();
        let parts: [&[u8]; 4] = [&fixed[36..], &header_bytes, &tokens, &cells];
        for part in parts {
            hash.update(part);
        }
        let found: [u8; 32] = hash.finalize().into();
        if fits && digest != found {
            return Err(SessionError::Damaged.into());
        }
        check_identity(&header, &identity(open)?)?;
        if !fits {
            return Err(SessionError::Cells.into());
        }
        let token = |bytes: &[u8]| TokenId::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        Ok(Self { header, tokens: tokens.chunks_exact(4).map(token).collect(), cells })
    }
}

/// What the cells of a session depend on.
fn identity(open: &Open) -> Result<Json, SessionError> {
    let digest = open.model.digest()?;
    let mut identity = json!({ "model": digest });
    for (name, value) in open.sequence_settings() {
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

fn usize_of(value: &Json) -> Result<usize, SessionError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| not("its header lacks a number"))
}

fn not(reason: &'static str) -> SessionError {
    SessionError::NotASession { reason }
}
