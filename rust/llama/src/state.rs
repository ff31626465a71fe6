//! Saving and loading what a context holds.
//!
//! llama.cpp loads half of a damaged state and continues with wrong numbers, so each of our states has a header: the build that wrote it, the
//! model and settings that it belongs to, and a digest of its contents.

use crate::batch::SeqId;
use crate::context::Context;
use crate::context_config::ContextConfig;
use crate::context_error::ContextError;
use crate::guard::guarded;
use crate::model::Model;
use crate::sequence_state::{MemoryKind, StateShape};
use crate::streams;
use sha2::{Digest, Sha256};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use tabagent_sys::UnsupportedFeature;

/// Why a state could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is something else, or cut off.
    #[error("this is not a saved context state: {reason}")]
    NotAState {
        /// What is wrong.
        reason: &'static str,
    },
    /// Bits have changed since it was saved.
    #[error("the saved state is damaged: its digest does not match its contents")]
    Damaged,
    /// It belongs to another model.
    #[error("the saved state belongs to another model; load it with the model file that it was saved with")]
    OtherModel,
    /// It was saved by another build of llama.cpp.
    #[error(
        "the saved state was written by `{found}` and this process runs `{expected}`; states do not carry over"
    )]
    OtherBuild {
        /// The build that runs.
        expected: String,
        /// The build that wrote it.
        found: String,
    },
    /// It does not fit the context.
    #[error(
        "the saved state was made with {what} `{found}` and this context has `{expected}`; create the context alike"
    )]
    OtherSettings {
        /// The setting.
        what: &'static str,
        /// This context's.
        expected: String,
        /// The state's.
        found: String,
    },
    /// llama.cpp failed to save or load it.
    #[error("llama.cpp could not {task} the state")]
    Failed {
        /// `save` or `load`.
        task: &'static str,
    },
    /// The build of llama.cpp does not tell what a loaded state holds.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedFeature),
    /// A file could not be read or written.
    #[error("state file `{path}`: {source}")]
    Io {
        /// The file.
        path: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

const MAGIC: &[u8; 8] = b"TABSTATE";
const VERSION: u32 = 1;
/// Magic, version, model digest, contents digest, and the length of the settings text.
const FIXED: usize = 8 + 4 + 32 + 32 + 4;

/// What llama.cpp returns when it fails, and what counts as returned when it throws.
const NOTHING: usize = 0;

/// The names of [`Context::sequence_settings`].
pub const SEQUENCE_SETTINGS: [&str; 3] = ["build", "kv_type", "flash_attention"];

impl Context {
    /// Everything the context holds: all sequences, not the logits. As large as the used part of the KV cache.
    ///
    /// # Errors
    /// [`StateError::Failed`], or [`StateError::Io`] when the model file is gone.
    pub fn save_state(&self) -> Result<Vec<u8>, StateError> {
        if self.is_moving {
            return Err(StateError::Failed { task: "save" });
        }
        let settings = self.settings();
        let header = FIXED + settings.len();
        let size = self.state_size();
        let mut bytes = vec![0_u8; header + size];
        let written = self.read_state(&mut bytes[header..]);
        if written == 0 || written > size {
            return Err(StateError::Failed { task: "save" });
        }
        bytes.truncate(header + written);
        let digest: [u8; 32] = Sha256::digest(&bytes[header..]).into();
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..44].copy_from_slice(&self.model_digest()?);
        bytes[44..76].copy_from_slice(&digest);
        bytes[76..80].copy_from_slice(&(settings.len() as u32).to_le_bytes());
        bytes[FIXED..header].copy_from_slice(settings.as_bytes());
        Ok(bytes)
    }

    /// The most bytes of everything that it holds.
    fn state_size(&self) -> usize {
        // SAFETY: the context is live.
        guarded(|| unsafe { (self.api().llama_state_get_size)(self.ptr()) }).unwrap_or(NOTHING)
    }

    /// Writes everything that it holds into `bytes`; returns how many there were.
    fn read_state(&self, bytes: &mut [u8]) -> usize {
        let (out, size) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: the context is live; `out` has `size` writable bytes.
        guarded(|| unsafe { (self.api().llama_state_get_data)(self.ptr(), out, size) }).unwrap_or(NOTHING)
    }

    /// Replaces everything the context holds by a state that [`Context::save_state`] returned. After an error the context is as before, or empty
    /// if llama.cpp itself failed.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn load_state(&mut self, state: &[u8]) -> Result<(), StateError> {
        let (header, payload) = self.check_state(state)?;
        if self.held.is_some() {
            let build = self.model.here().library.layout().name;
            let since = "b5429 of May 2025";
            return Err(UnsupportedFeature { feature: "load saved states", build, since }.into());
        }
        debug_assert_eq!(header + payload.len(), state.len());
        self.clear();
        // SAFETY: the bytes are those that this build wrote for this model and these settings: their digest says so.
        let set =
            || unsafe { (self.api().llama_state_set_data)(self.ptr(), payload.as_ptr(), payload.len()) };
        let read = guarded(set).unwrap_or(NOTHING);
        if read == payload.len() {
            Ok(())
        } else {
            self.clear();
            Err(StateError::Failed { task: "load" })
        }
    }

    /// [`Context::save_state`] into a file, which appears whole or not at all.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn save_state_file(&self, path: &Path) -> Result<(), StateError> {
        let failed = |source| StateError::Io { path: path.display().to_string(), source };
        self.model.check_target(path).map_err(failed)?;
        write_whole(path, &[&self.save_state()?]).map_err(failed)
    }

    /// [`Context::load_state`] from a file.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn load_state_file(&mut self, path: &Path) -> Result<(), StateError> {
        let failed = |source| StateError::Io { path: path.display().to_string(), source };
        // Opening a pipe blocks until its other end is open, and devices never end.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(StateError::NotAState { reason: "it is no regular file" });
        }
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        (&file).take(MAGIC.len() as u64).read_to_end(&mut bytes).map_err(failed)?;
        // Only a file that begins as a state is read to its end, however long it is.
        if bytes == MAGIC {
            (&file).read_to_end(&mut bytes).map_err(failed)?;
        }
        self.load_state(&bytes)
    }

    /// A second context of the same model and settings, with the same adapters, control vector and contents.
    ///
    /// # Errors
    /// [`ContextError`] when the second context does not fit, or llama.cpp fails to copy.
    pub fn try_clone(&self) -> Result<Self, ContextError> {
        let mut copy = Self::new(&self.model, &self.config)?;
        copy.take_changes_of(self)?;
        let mut bytes = vec![0_u8; self.state_size()];
        let written = self.read_state(&mut bytes);
        // SAFETY: `written` bytes that a context of the same model and settings just wrote.
        let set = || unsafe { (self.api().llama_state_set_data)(copy.ptr(), bytes.as_ptr(), written) };
        let read = guarded(set).unwrap_or(NOTHING);
        copy.forget_outputs();
        copy.held.clone_from(&self.held);
        if written == 0 || read != written {
            return Err(ContextError::StateFailed { task: "copy the state" });
        }
        Ok(copy)
    }

    /// An empty context in the place of this one, with other numbers of tokens and sequences, which share their cells or not. It has the same adapters and control vector, and takes snapshots
    /// of this one.
    ///
    /// # Errors
    /// [`ContextError`] when it does not fit beside this one.
    pub fn rearranged(
        &self,
        context_size: u32,
        max_sequences: u32,
        unified: bool,
    ) -> Result<Self, ContextError> {
        let config = ContextConfig {
            context_size: Some(context_size),
            max_sequences,
            spare_sequences: 0,
            unified_cache: unified,
            ..self.config.clone()
        };
        let mut other = Self::new(&self.model, &config)?;
        other.take_changes_of(self)?;
        (other.id, other.is_rearranged) = (self.id, true);
        Ok(other)
    }

    /// One sequence, as plain bytes for this very context; see [`Context::restore_sequence`].
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], or [`ContextError::StateFailed`] when llama.cpp fails.
    pub fn snapshot_sequence(&self, sequence: SeqId) -> Result<SequenceSnapshot, ContextError> {
        if self.is_moving {
            let task = "save a sequence before what was moved is in its place, which the next decode does";
            return Err(ContextError::StateFailed { task });
        }
        let slot = self.check_sequence(i64::from(sequence))?.cast_signed();
        // SAFETY: the context is live and the sequence exists.
        let size = guarded(|| unsafe { (self.api().llama_state_seq_get_size)(self.ptr(), slot) });
        let size = size.unwrap_or(NOTHING);
        let mut bytes = vec![0_u8; size];
        let out = bytes.as_mut_ptr();
        // SAFETY: `out` has `size` writable bytes.
        let get = || unsafe { (self.api().llama_state_seq_get_data)(self.ptr(), out, size, slot) };
        let written = guarded(get).unwrap_or(NOTHING);
        if written == 0 || written > size {
            return Err(ContextError::StateFailed { task: "save the sequence" });
        }
        bytes.truncate(written);
        let first = self.held.as_ref().and_then(|held| held.first(slot.cast_unsigned()));
        Ok(SequenceSnapshot { bytes, context: self.id, first })
    }

    /// Puts a snapshot of this context into a sequence and replaces what that holds. Decoding continues as if the snapshot had never been taken out.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`]; [`ContextError::Full`] when there are no cells for it; [`ContextError::OtherContext`];
    /// [`ContextError::StateFailed`] when it is of a context that was [rearranged](Self::rearranged) since, and cannot be read.
    pub fn restore_sequence(
        &mut self,
        sequence: SeqId,
        snapshot: &SequenceSnapshot,
    ) -> Result<(), ContextError> {
        let slot = self.check_sequence(i64::from(sequence))?;
        if snapshot.context != self.id {
            return Err(ContextError::OtherContext);
        }
        self.forget_outputs();
        self.put_sequence(slot, snapshot)
    }

    /// Puts a snapshot of this context into a sequence that exists.
    pub(crate) fn put_sequence(
        &mut self,
        slot: SeqId,
        snapshot: &SequenceSnapshot,
    ) -> Result<(), ContextError> {
        self.remove_sequence(slot)?;
        let n_streams = self.n_streams();
        let moved;
        let bytes = if streams::n_streams(&snapshot.bytes) == Some(n_streams) || !self.is_rearranged {
            &snapshot.bytes
        } else {
            let windowed = self.model.facts().sliding_window > 0;
            moved = streams::in_streams(&snapshot.bytes, n_streams, windowed).ok_or(
                ContextError::StateFailed { task: "move the sequence to memory of another arrangement" },
            )?;
            &moved
        };
        // SAFETY: bytes that this context wrote, in a type that nobody else can make; the sequence exists.
        let set = || unsafe {
            (self.api().llama_state_seq_set_data)(self.ptr(), bytes.as_ptr(), bytes.len(), slot.cast_signed())
        };
        let read = guarded(set).unwrap_or(NOTHING);
        if read == bytes.len() {
            if let Some(held) = &mut self.held {
                held.set(slot, snapshot.first);
            }
            return Ok(());
        }
        self.remove_sequence(slot)?;
        Err(ContextError::Full { tokens: 0, n_ctx: self.resolved.n_ctx })
    }

    /// A snapshot of a sequence of `n_tokens` tokens as bytes that another context of the same model, build and kind of memory can take, in this process or another one. `None` if
    /// the memory is of a kind that [`import_sequence`](Self::import_sequence) cannot check.
    pub fn export_sequence(&self, snapshot: &SequenceSnapshot, n_tokens: u32) -> Option<Vec<u8>> {
        let n_streams = streams::n_streams(&snapshot.bytes)?;
        let bytes = match self.memory_kind() {
            MemoryKind::Whole | MemoryKind::Windowed => self.in_streams(&snapshot.bytes, n_streams, 1)?,
            MemoryKind::Recurrent | MemoryKind::Hybrid => snapshot.bytes.clone(),
        };
        let n_streams = streams::n_streams(&bytes)?;
        self.shape(n_tokens, n_streams).fits(&bytes).then_some(bytes)
    }

    /// A snapshot for this context of bytes that [`export_sequence`](Self::export_sequence) gave. They may come from anywhere: everything that llama.cpp relies on is checked. What
    /// the numbers in them mean, nobody can check. `None` if they are no state of `n_tokens` tokens.
    pub fn import_sequence(&self, bytes: &[u8], n_tokens: u32) -> Option<SequenceSnapshot> {
        let n_streams = self.n_streams();
        let bytes = match self.memory_kind() {
            MemoryKind::Whole | MemoryKind::Windowed => {
                self.shape(n_tokens, 1).fits(bytes).then_some(())?;
                self.in_streams(bytes, 1, n_streams)?
            }
            MemoryKind::Recurrent | MemoryKind::Hybrid => bytes.to_vec(),
        };
        let fits = self.shape(n_tokens, n_streams).fits(&bytes);
        fits.then_some(SequenceSnapshot { bytes, context: self.id, first: (n_tokens > 0).then_some(0) })
    }

    /// How many parts the memory is kept in.
    fn n_streams(&self) -> u32 {
        if self.config.unified_cache { 1 } else { self.resolved.n_seq_max }
    }

    fn in_streams(&self, bytes: &[u8], from: u32, to: u32) -> Option<Vec<u8>> {
        if from == to {
            return Some(bytes.to_vec());
        }
        streams::in_streams(bytes, to, self.memory_kind() == MemoryKind::Windowed)
    }

    fn shape(&self, n_tokens: u32, n_streams: u32) -> StateShape {
        StateShape { n_tokens, n_streams, memory: self.memory_kind() }
    }

    fn memory_kind(&self) -> MemoryKind {
        let facts = self.model.facts();
        match (facts.recurrent, facts.hybrid) {
            (_, true) => MemoryKind::Hybrid,
            (true, false) => MemoryKind::Recurrent,
            (false, false) if facts.sliding_window > 0 => MemoryKind::Windowed,
            (false, false) => MemoryKind::Whole,
        }
    }

    /// The settings that a context must share with this one to take its exported sequences, and the build of llama.cpp, each with its name.
    pub fn sequence_settings(&self) -> [(&'static str, String); 3] {
        let [build, kv_type, flash_attention] = SEQUENCE_SETTINGS;
        [
            (build, self.model.here().library.info().build.clone()),
            (kv_type, crate::context_config::describe_kv_types(self.config.kv_types())),
            (flash_attention, format!("{:?}", self.config.flash_attention).to_lowercase()),
        ]
    }

    fn check_state<'a>(&self, state: &'a [u8]) -> Result<(usize, &'a [u8]), StateError> {
        let not = |reason| StateError::NotAState { reason };
        if !state.starts_with(MAGIC) {
            return Err(not("it does not begin with `TABSTATE`"));
        }
        if state.len() < FIXED {
            return Err(not("it is too short"));
        }
        if state[8..12] != VERSION.to_le_bytes() {
            return Err(not("it has another format version"));
        }
        let length = state[76..80].try_into().map_or(usize::MAX, |b| u32::from_le_bytes(b) as usize);
        let header =
            FIXED.checked_add(length).filter(|h| *h <= state.len()).ok_or_else(|| not("it is cut off"))?;
        let payload = &state[header..];
        let digest: [u8; 32] = Sha256::digest(payload).into();
        if state[44..76] != digest {
            return Err(StateError::Damaged);
        }
        if state[12..44] != self.model_digest()? {
            return Err(StateError::OtherModel);
        }
        let found = std::str::from_utf8(&state[FIXED..header]).map_err(|_| StateError::Damaged)?;
        compare_settings(&self.settings(), found)?;
        Ok((header, payload))
    }

    /// One `name=value` a line; the build first.
    fn settings(&self) -> String {
        format!(
            "build={}\ncontext_size={}\nmax_sequences={}\nkv_type={}\nfull_sliding_window={}\nflash_attention={:?}\nkv_unified={}",
            self.model.here().library.info().build,
            self.resolved.n_ctx,
            self.resolved.n_seq_max,
            crate::context_config::describe_kv_types(self.config.kv_types()),
            self.config.full_sliding_window,
            self.config.flash_attention,
            self.config.unified_cache,
        )
    }

    fn model_digest(&self) -> Result<[u8; 32], StateError> {
        self.model.digest()
    }
}

impl Model {
    /// A digest of the file's length and of parts of it: equal for the same file, different for a fine-tune of the same shape.
    ///
    /// # Errors
    /// [`StateError::Io`] when the file is gone.
    pub fn digest(&self) -> Result<[u8; 32], StateError> {
        let path = self.path().display().to_string();
        self.fingerprint().map(|f| f.0).map_err(|source| StateError::Io { path, source })
    }

    /// Writes a file about this model, which appears whole or not at all: what was there before stays if it cannot be written.
    ///
    /// # Errors
    /// [`StateError::Io`], also for the model's own file.
    pub fn write_file(&self, path: &Path, parts: &[&[u8]]) -> Result<(), StateError> {
        let failed = |source| StateError::Io { path: path.display().to_string(), source };
        self.check_target(path).map_err(failed)?;
        write_whole(path, parts).map_err(failed)
    }

    /// Refuses what no file about this model may replace.
    fn check_target(&self, path: &Path) -> std::io::Result<()> {
        let refused = |problem| Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, problem));
        // Renaming a file onto `/dev/null` would replace the device.
        if std::fs::metadata(path).is_ok_and(|old| !old.is_file() && !old.is_dir()) {
            return refused("it is a device or a pipe; give the path of a file");
        }
        let mut inputs = tabagent_gguf::Inputs::default();
        inputs.add_path(self.path());
        if inputs.refuse(path).is_err() {
            return refused("it is the model's own file; give another name for the state");
        }
        Ok(())
    }
}

/// Writes beside `path`, and puts the file in its place when it is whole and on the disk.
fn write_whole(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

/// One sequence of a context, for that context only.
pub struct SequenceSnapshot {
    bytes: Vec<u8>,
    context: u64,
    /// The first position that it holds, where the build does not tell.
    first: Option<u32>,
}

impl SequenceSnapshot {
    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn compare_settings(expected: &str, found: &str) -> Result<(), StateError> {
    const NAMES: [&str; 7] = [
        "build",
        "context_size",
        "max_sequences",
        "kv_type",
        "full_sliding_window",
        "flash_attention",
        "kv_unified",
    ];
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('=')).unwrap_or("nothing");
        line.to_owned()
    };
    for name in NAMES {
        let (expected, found) = (value(expected, name), value(found, name));
        if expected != found {
            return Err(if name == "build" {
                StateError::OtherBuild { expected, found }
            } else {
                StateError::OtherSettings { what: name, expected, found }
            });
        }
    }
    Ok(())
}
