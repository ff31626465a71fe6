//! The file of a saved session.
//!
//! It has 8 bytes that say what it is, the version of this format, a SHA-256 digest of all that follows, the length of a header, the header as JSON, the tokens as
//! 32-bit integers, and the bytes of their cells. All integers are little-endian. It may come from anywhere, so everything is checked before it is used; the cells
//! once more by the decoder ([`Context::import_sequence`](tabagent_llama::Context::import_sequence)).

use std::io::Read;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tabagent_llama::TokenId;
use tabagent_sampling::Draws;

use crate::session_error::SessionError;

const MAGIC: &[u8; 8] = b"TABSESSN";
const VERSION: u32 = 1;
/// Magic, version, digest, and the length of the header.
const FIXED: usize = 8 + 4 + 32 + 4;
/// Maximum length of a header, which holds a note.
const MAX_HEADER: usize = 1 << 24;
/// What is written of cells besides their numbers, at most for each token and at all.
const EXTRA: (u64, u64) = (64, 1 << 20);

/// What a file of a session holds.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionFile {
    /// What it belongs to, how long its parts are, the sampler's state and a note.
    pub header: Json,
    /// The conversation.
    pub tokens: Vec<TokenId>,
    /// The cells of the first tokens, as the decoder wrote them.
    pub cells: Vec<u8>,
}

impl SessionFile {
    /// What comes before the tokens. The header tells the lengths of both other parts.
    pub fn head(&self) -> Vec<u8> {
        let header = self.header.to_string();
        let length = (header.len() as u32).to_le_bytes();
        let digest = digest(&[&length, header.as_bytes(), &self.token_bytes(), &self.cells]);
        [&MAGIC[..], &VERSION.to_le_bytes(), &digest, &length, header.as_bytes()].concat()
    }

    /// The tokens as they are written.
    pub fn token_bytes(&self) -> Vec<u8> {
        self.tokens.iter().flat_map(|token| token.to_le_bytes()).collect()
    }

    /// Reads a file of `length` bytes. Where its cells have more bytes than `most` says for so many tokens, neither tokens nor cells are read, the digest is not
    /// checked, and the answer says that it is not whole.
    ///
    /// # Errors
    /// [`SessionError::NotASession`], [`SessionError::Damaged`], and what `failed` makes of errors of the source.
    pub fn read(
        mut source: impl Read,
        length: u64,
        most: impl Fn(u64) -> u64,
        failed: impl Fn(std::io::Error) -> SessionError,
    ) -> Result<(Self, bool), SessionError> {
        let Head { digest: expected, parts, header, n_tokens, n_bytes } =
            Head::read(&mut source, length, &failed)?;
        if n_bytes as u64 > most(n_tokens as u64) {
            return Ok((Self { header, tokens: Vec::new(), cells: Vec::new() }, false));
        }
        let tokens = take(&mut source, n_tokens.saturating_mul(4), &failed)?;
        let cells = take(&mut source, n_bytes, &failed)?;
        if expected != digest(&[&parts, &tokens, &cells]) {
            return Err(SessionError::Damaged);
        }
        Ok((Self { header, tokens: tokens_of(&tokens), cells }, true))
    }

    /// Reads the tokens of a file of `length` bytes. The digest, which is of the cells too, is not checked.
    ///
    /// # Errors
    /// [`SessionError::NotASession`], [`SessionError::Damaged`].
    pub fn read_tokens(mut source: impl Read, length: u64) -> Result<Vec<TokenId>, SessionError> {
        let failed = |_| not("it cannot be read");
        let head = Head::read(&mut source, length, &failed)?;
        Ok(tokens_of(&take(&mut source, head.n_tokens.saturating_mul(4), &failed)?))
    }

    /// What somebody wrote to it.
    ///
    /// # Errors
    /// [`SessionError::NotASession`].
    pub fn note(&self) -> Result<&str, SessionError> {
        self.header["note"].as_str().ok_or_else(|| not("it has no note"))
    }

    /// The state of its sampler, if it has one.
    ///
    /// # Errors
    /// [`SessionError::NotASession`].
    pub fn sampler(&self) -> Result<Option<Draws>, SessionError> {
        match &self.header["sampler"] {
            Json::Null => Ok(None),
            draws => Draws::from_json(draws).map(Some).ok_or_else(|| not("it has no sampler's state")),
        }
    }

    /// How many of its first tokens there are cells of; fewer than there are tokens.
    ///
    /// # Errors
    /// [`SessionError::NotASession`].
    pub fn n_cells(&self) -> Result<usize, SessionError> {
        let n_cells = usize_of(&self.header["cells"]["tokens"])?;
        if n_cells >= self.tokens.len().max(1) {
            return Err(not("it has cells of more tokens than it has"));
        }
        Ok(n_cells)
    }
}

/// What comes before the tokens, with its lengths checked against that of the file.
struct Head {
    digest: [u8; 32],
    /// What the digest begins with.
    parts: Vec<u8>,
    header: Json,
    n_tokens: usize,
    n_bytes: usize,
}

impl Head {
    fn read(
        source: &mut impl Read,
        length: u64,
        failed: &impl Fn(std::io::Error) -> SessionError,
    ) -> Result<Self, SessionError> {
        let magic = take(source, MAGIC.len(), failed).map_err(|error| match error {
            SessionError::NotASession { .. } => not("it does not begin with `TABSESSN`"),
            error => error,
        })?;
        if magic != MAGIC {
            return Err(not("it does not begin with `TABSESSN`"));
        }
        let fixed = take(source, FIXED - MAGIC.len(), failed)?;
        if fixed[..4] != VERSION.to_le_bytes() {
            return Err(not("it has another format version"));
        }
        let n_header = u32::from_le_bytes([fixed[36], fixed[37], fixed[38], fixed[39]]) as usize;
        if n_header > MAX_HEADER {
            return Err(SessionError::Damaged);
        }
        let header_bytes = take(source, n_header, failed)?;
        // Before the digest is checked, the header says only how much there is to read.
        let Ok(header) = serde_json::from_slice::<Json>(&header_bytes) else {
            return Err(SessionError::Damaged);
        };
        let sizes = (usize_of(&header["tokens"]), usize_of(&header["cells"]["bytes"]));
        let (Ok(n_tokens), Ok(n_bytes)) = sizes else { return Err(SessionError::Damaged) };
        let expected = (FIXED as u64 + n_header as u64)
            .saturating_add((n_tokens as u64).saturating_mul(4))
            .saturating_add(n_bytes as u64);
        match length {
            found if found < expected => return Err(not("it is cut off")),
            found if found > expected => return Err(not("it goes on after its end")),
            _ => {}
        }
        let digest = fixed[4..36].try_into().map_err(|_| SessionError::Damaged)?;
        Ok(Self { digest, parts: [&fixed[36..], &header_bytes].concat(), header, n_tokens, n_bytes })
    }
}

fn take(
    source: &mut impl Read,
    n: usize,
    failed: &impl Fn(std::io::Error) -> SessionError,
) -> Result<Vec<u8>, SessionError> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(n).map_err(|_| not("it is longer than memory"))?;
    source.take(n as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() == n { Ok(bytes) } else { Err(not("it is cut off")) }
}

fn tokens_of(bytes: &[u8]) -> Vec<TokenId> {
    let token = |bytes: &[u8]| TokenId::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.chunks_exact(4).map(token).collect()
}

/// How many bytes the cells of so many tokens take at most, where a full cache has `cache_bytes`: a file may seem long without taking any room on the disk.
pub(crate) fn most_bytes(cache_bytes: u64, n_tokens: u64) -> u64 {
    cache_bytes.saturating_add(EXTRA.1).saturating_add(EXTRA.0.saturating_mul(n_tokens))
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn usize_of(value: &Json) -> Result<usize, SessionError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| not("its header lacks a number"))
}

fn not(reason: &'static str) -> SessionError {
    SessionError::NotASession { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn whole(bytes: &[u8], most: u64) -> Result<(SessionFile, bool), SessionError> {
        SessionFile::read(bytes, bytes.len() as u64, |_| most, |error| panic!("{error}"))
    }

    fn file() -> (SessionFile, Vec<u8>) {
        let header = json!({ "tokens": 3, "cells": { "tokens": 2, "bytes": 5 }, "note": "mine" });
        let file = SessionFile { header, tokens: vec![1, -1, 70_000], cells: vec![9; 5] };
        let bytes = [file.head(), file.token_bytes(), file.cells.clone()].concat();
        (file, bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let (file, bytes) = file();
        let (read, is_whole) = whole(&bytes, 5).unwrap();
        assert!(is_whole);
        assert_eq!(read, file);
        assert_eq!((read.note().unwrap(), read.n_cells().unwrap()), ("mine", 2));
        assert!(read.sampler().unwrap().is_none());
        let (read, is_whole) = whole(&bytes, 4).unwrap();
        assert!(!is_whole && read.tokens.is_empty() && read.cells.is_empty());
        assert_eq!(SessionFile::read_tokens(&bytes[..], bytes.len() as u64).unwrap(), file.tokens);
    }

    #[test]
    fn files_that_were_cut_or_grew_or_changed_are_errors() {
        let (_, bytes) = file();
        for n in 0..bytes.len() {
            assert!(whole(&bytes[..n], 100).is_err(), "cut to {n}");
            assert!(SessionFile::read_tokens(&bytes[..n], n as u64).is_err(), "cut to {n}");
            let mut flipped = bytes.clone();
            flipped[n] ^= 4;
            assert!(whole(&flipped, 100).is_err(), "byte {n} flipped");
        }
        assert!(whole(&[&bytes[..], &[0]].concat(), 100).is_err());
    }
}
