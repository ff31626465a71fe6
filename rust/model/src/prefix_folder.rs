//! A folder with the cells of beginnings, which outlive a process.
//!
//! Each file is one as of a session (`session_file`), without a sampler's state or a note, named by what the cells belong to and by their tokens. Several processes and models may share a
//! folder: files appear whole, one that is gone is decoded anew, and the limit is one for all of them, kept by whoever writes.

use std::fs::{File, FileTimes, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tabagent_llama::{LogLevel, Model as LlamaModel, StateError, TokenId, note};
use tabagent_runtime::Shelf;

use crate::load::LoadOptions;
use crate::open::ContextSizes;
use crate::session_error::SessionError;
use crate::session_file::{SessionFile, most_bytes};
use crate::session_saving::cells_identity;

/// How many bytes all files of a folder have at most, by default.
pub(crate) const DISK_BYTES: u64 = 4 << 30;
/// The end of a file's name.
const SUFFIX: &str = ".cells";
/// The beginning of the name of a file that is not whole yet.
const UNFINISHED: &str = ".unfinished-";
/// So old an unfinished file is nobody's any more.
const ABANDONED: Duration = Duration::from_hours(1);

/// Where to keep beginnings beyond memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCache {
    /// The folder, which is made if it is not there.
    pub folder: PathBuf,
    /// How many bytes all files in it have at most; those used longest ago go first.
    pub bytes: u64,
}

/// The files of one model in a folder.
pub(crate) struct PrefixFolder {
    options: DiskCache,
    /// What the cells belong to.
    identity: Json,
    /// The beginning of its files' names, a digest of the identity.
    label: String,
    /// The bytes of a full cache of the model's context.
    cache_bytes: u64,
    /// Whether it was said that nothing can be written.
    has_complained: bool,
}

impl PrefixFolder {
    /// Makes the folder.
    pub(crate) fn open(options: &DiskCache, identity: Json, cache_bytes: u64) -> Result<Self, SessionError> {
        let path = options.folder.display().to_string();
        make_private(&options.folder).map_err(|source| StateError::Io { path, source })?;
        let digest = Sha256::digest(identity.to_string());
        let label = digest.iter().take(8).fold(String::new(), |label, byte| label + &format!("{byte:02x}"));
        Ok(Self { options: options.clone(), identity, label, cache_bytes, has_complained: false })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.options.folder.join(format!("{}-{id:016x}{SUFFIX}", self.label))
    }

    /// The number in the name of one of this model's files.
    fn id_of(&self, name: &str) -> Option<u64> {
        let id = name.strip_prefix(&self.label)?.strip_prefix('-')?.strip_suffix(SUFFIX)?;
        u64::from_str_radix(id, 16).ok()
    }

    /// All regular files in the folder, with their names.
    fn files(&self) -> Vec<(String, Metadata)> {
        let Ok(entries) = std::fs::read_dir(&self.options.folder) else { return Vec::new() };
        let files = entries.flatten().filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
            Some((entry.file_name().into_string().ok()?, metadata))
        });
        files.collect()
    }

    fn write(&self, path: &Path, contents: &SessionFile) -> std::io::Result<()> {
        // For nobody else to read, as it may hold what somebody wrote.
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.options.folder)?;
        for part in [&contents.head()[..], &contents.token_bytes(), &contents.cells] {
            file.write_all(part)?;
        }
        file.persist(path).map(drop).map_err(|error| error.error)
    }

    /// Deletes the files used longest ago until the others have at most `bytes`, and returns the numbers of those that were this model's.
    fn shrink_to(&self, bytes: u64) -> Vec<u64> {
        let files = self.files().into_iter().filter(|(name, _)| name.ends_with(SUFFIX));
        let mut files: Vec<(SystemTime, u64, String)> = files
            .map(|(name, metadata)| {
                (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), name)
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        let mut dropped = Vec::new();
        for (_, length, name) in files {
            if total <= bytes {
                break;
            }
            if std::fs::remove_file(self.options.folder.join(&name)).is_ok() {
                total -= length;
                dropped.extend(self.id_of(&name));
            }
        }
        dropped
    }

    /// The contents of a file, if they belong to this model and are whole.
    fn read(&self, path: &Path) -> Result<SessionFile, SessionError> {
        let failed = |source| SessionError::File(StateError::Io { path: path.display().to_string(), source });
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let most = |n_tokens| most_bytes(self.cache_bytes, n_tokens);
        let (contents, is_whole) = SessionFile::read(&file, length, most, failed)?;
        if contents.header["identity"] != self.identity || !is_whole {
            return Err(SessionError::Cells);
        }
        // When it was used last.
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
        Ok(contents)
    }
}

impl Shelf for PrefixFolder {
    fn entries(&mut self) -> Vec<Vec<TokenId>> {
        let mut entries = Vec::new();
        for (name, metadata) in self.files() {
            let path = self.options.folder.join(&name);
            if name.starts_with(UNFINISHED) {
                let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
                if age.is_some_and(|age| age > ABANDONED) {
                    let _ = std::fs::remove_file(path);
                }
            } else if self.id_of(&name).is_some()
                && let Ok(file) = File::open(&path)
                && let Ok(tokens) = SessionFile::read_tokens(&file, metadata.len())
            {
                entries.push(tokens);
            }
        }
        entries
    }

    fn put(&mut self, id: u64, tokens: &[TokenId], cells: &[u8]) -> Option<Vec<u64>> {
        let header = json!({
            "identity": self.identity,
            "tokens": tokens.len(),
            "cells": { "tokens": tokens.len(), "bytes": cells.len() },
        });
        let contents = SessionFile { header, tokens: tokens.to_vec(), cells: cells.to_vec() };
        let n_bytes = (contents.head().len() + 4 * tokens.len() + cells.len()) as u64;
        let room = self.options.bytes.checked_sub(n_bytes)?;
        let dropped = self.shrink_to(room);
        match self.write(&self.path(id), &contents) {
            Ok(()) => Some(dropped),
            Err(error) => {
                if !std::mem::replace(&mut self.has_complained, true) {
                    let folder = self.options.folder.display();
                    note(
                        LogLevel::Warn,
                        &format!("cannot keep the beginnings of prompts in {folder}: {error}"),
                    );
                }
                None
            }
        }
    }

    fn get(&mut self, id: u64, tokens: &[TokenId]) -> Option<Vec<u8>> {
        let path = self.path(id);
        match self.read(&path) {
            Ok(contents) if contents.tokens == tokens => Some(contents.cells),
            // It may be gone already.
            _ => std::fs::remove_file(path).ok().and(None),
        }
    }

    fn remove(&mut self, id: u64) {
        // It may be gone already.
        let _ = std::fs::remove_file(self.path(id));
    }
}

/// What the cells of beginnings depend on: the model, how it was loaded, and the context.
pub(crate) fn identity(
    model: &LlamaModel,
    settings: &[(&'static str, String)],
    sizes: ContextSizes,
    options: &LoadOptions,
) -> Result<Json, SessionError> {
    let mut identity = cells_identity(model, settings)?;
    identity["overrides"] = json!(format!("{:?}", options.metadata_overrides));
    identity["full_sliding_window"] = json!(options.cache.full_sliding_window);
    // Models of Phi-3's kind have a second set of rope factors, for contexts longer than this (`llama_model::get_rope_factors`).
    let architecture = model.metadata().get("general.architecture").map_or("", String::as_str);
    let original = model.metadata().get(&format!("{architecture}.rope.scaling.original_context_length"));
    if let Some(original) = original.and_then(|length| length.parse::<u32>().ok()) {
        identity["long"] = json!([sizes.context_size > original, sizes.sequence_size > original]);
    }
    Ok(identity)
}

/// Makes a folder that others cannot look into, if there is none.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUGE: u64 = 1 << 40;

    fn open(folder: &Path, model: &str, bytes: u64) -> PrefixFolder {
        let options = DiskCache { folder: folder.to_owned(), bytes };
        PrefixFolder::open(&options, json!({ "model": model }), 1 << 20).unwrap()
    }

    fn sorted(mut entries: Vec<Vec<TokenId>>) -> Vec<Vec<TokenId>> {
        entries.sort();
        entries
    }

    #[test]
    fn what_is_put_is_there_for_the_next_one_of_the_same_model() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let mut first = open(&folder, "one", HUGE);
        assert_eq!(first.put(7, &[1, 2, 3], &[9; 100]), Some(vec![]));
        assert_eq!(first.put(8, &[1, 2], &[8; 10]), Some(vec![]));
        let mut second = open(&folder, "one", HUGE);
        assert_eq!(sorted(second.entries()), [vec![1, 2], vec![1, 2, 3]]);
        assert_eq!(second.get(7, &[1, 2, 3]), Some(vec![9; 100]));
        second.remove(8);
        assert_eq!(first.get(8, &[1, 2]), None);
        let mut other = open(&folder, "two", HUGE);
        assert_eq!(other.entries(), Vec::<Vec<TokenId>>::new());
        assert_eq!(other.get(7, &[1, 2, 3]), None);
        assert_eq!(second.entries().len(), 1, "another model's file is left alone");
    }

    #[test]
    fn damaged_files_are_no_cells_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = open(dir.path(), "one", HUGE);
        for damage in [0, 30, 60, 200, 400] {
            folder.put(1, &[4, 5], &[3; 300]).unwrap();
            let path = folder.path(1);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[damage] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(folder.get(1, &[4, 5]), None, "byte {damage}");
            assert!(!path.exists());
        }
        folder.put(1, &[4, 5], &[3; 300]).unwrap();
        assert_eq!(folder.get(1, &[4, 6]), None, "other tokens under this number");
        std::fs::write(folder.path(2), b"TABSESSN").unwrap();
        assert_eq!(folder.entries(), Vec::<Vec<TokenId>>::new());
        assert_eq!(folder.get(2, &[1]), None);
    }

    #[test]
    fn those_used_longest_ago_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = open(dir.path(), "one", 4000);
        let mut other = open(dir.path(), "two", 4000);
        let age = |path: &Path, hours: u64| {
            let time = SystemTime::now() - Duration::from_hours(hours);
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        };
        for id in 1..=3 {
            folder.put(id, &[id as TokenId], &[1; 800]).unwrap();
            age(&folder.path(id), 10 - id);
        }
        assert!(folder.get(1, &[1]).is_some(), "used now");
        assert_eq!(other.put(9, &[9], &[1; 1500]), Some(vec![]), "what went was the other model's");
        assert_eq!(sorted(folder.entries()), [[1], [3]]);
        assert_eq!(folder.put(4, &[4], &[1; 800]), Some(vec![3]));
        assert_eq!(folder.put(5, &[5], &[1; 5000]), None, "it alone is larger than all may be");
        assert_eq!(sorted(folder.entries()), [[1], [4]]);
        std::fs::write(dir.path().join("mine.txt"), [0; 9000]).unwrap();
        assert!(folder.get(4, &[4]).is_some());
        folder.put(6, &[6], &[1; 800]).unwrap();
        assert!(dir.path().join("mine.txt").exists(), "only files of beginnings count, and go");
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_and_one_that_goes_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        let options = DiskCache { folder: dir.path().join("file/folder"), bytes: HUGE };
        assert!(PrefixFolder::open(&options, json!({}), 0).is_err());
        let mut folder = open(&dir.path().join("folder"), "one", HUGE);
        std::fs::remove_dir(dir.path().join("folder")).unwrap();
        assert_eq!(folder.put(1, &[1], &[1]), None);
        assert_eq!(folder.get(1, &[1]), None);
        assert_eq!(folder.entries(), Vec::<Vec<TokenId>>::new());
    }
}
