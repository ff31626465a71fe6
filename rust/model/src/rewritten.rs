//! Model files that llama.cpp cannot load as they are, rewritten once into the cache.
//!
//! `I2_S` is a number type of Microsoft's BitNet fork. [`convert`] keeps its weights exactly, as `TQ2_0` with a scale of 1, and its scales as tensors
//! with which llama.cpp multiplies. The rewritten file is known by what identifies the original: sizes, times of change and headers of its parts.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tabagent_gguf::{ConvertError, ConvertOptions, GgmlType, GgufError, GgufModel, convert, split_paths};
use tabagent_llama::{LogLevel, ModelError, note};

use crate::error::Error;
use crate::error_kind::ErrorKind;
use crate::failure::Failure as _;

/// Counts up when files are rewritten otherwise than before.
const VERSION: &str = "tabagent rewritten 1";
/// How long to wait between two looks at a file that another process writes.
const LOOK: Duration = Duration::from_millis(50);
/// The share of a load's progress that rewriting has.
const SHARE: f32 = 0.5;

/// A file that was loaded in place of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The file in the cache.
    pub path: PathBuf,
    /// Whether it was written for this load.
    pub is_new: bool,
}

/// Why a file could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// It is damaged, or nothing that llama.cpp computes gives its results.
    #[error(
        "llama.cpp cannot load the `I2_S` tensors of Microsoft's BitNet fork, and they cannot be rewritten: {0}"
    )]
    Convert(#[source] ConvertError),
    /// There is no cache.
    #[error(
        "`{}` has `I2_S` tensors of Microsoft's BitNet fork, which llama.cpp cannot load, and there is no cache folder for rewriting them; set \
         `TABAGENT_CACHE` to a folder, or rewrite the file with `tabagent convert {} OUT.gguf`",
        path.display(), path.display()
    )]
    NoCache {
        /// The file.
        path: PathBuf,
    },
    /// The cache cannot be used.
    #[error(
        "`{}` has `I2_S` tensors of Microsoft's BitNet fork, which llama.cpp cannot load, and cannot be rewritten into `{}`: {source}; free some \
         space, set `TABAGENT_CACHE` to another folder, or rewrite it with `tabagent convert {} OUT.gguf`",
        path.display(), folder.display(), path.display()
    )]
    Cache {
        /// The file.
        path: PathBuf,
        /// The folder in the cache.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Loads the model at `path` with `load`. A file that is refused because it has `I2_S` tensors is rewritten into `folder` and loaded from there.
///
/// `load` gets the file, and what to call with the part of it that is loaded, 0 to 1.
///
/// # Errors
/// Those of `load`, and [`Error::Rewrite`].
pub(crate) fn load_rewriting<T, P>(
    path: PathBuf,
    folder: Option<&Path>,
    progress: P,
    load: impl Fn(PathBuf, Box<dyn Fn(f32) -> bool + Send + Sync>) -> Result<T, Error>,
) -> Result<(T, Option<Rewritten>), Error>
where
    P: Fn(f32) -> bool + Clone + Send + Sync + 'static,
{
    let refused = match load(path.clone(), Box::new(progress.clone())) {
        Err(error) if error.kind() == ErrorKind::InvalidModel => error,
        loaded => return Ok((loaded?, None)),
    };
    let Some(original) = Original::open(path) else { return Err(refused) };
    let rewritten = original.rewritten(folder, &|part| progress(part * SHARE))?;
    let rest: Box<dyn Fn(f32) -> bool + Send + Sync> =
        Box::new(move |part| progress(SHARE + part * (1.0 - SHARE)));
    let loaded = load(rewritten.path.clone(), rest)?;
    Ok((loaded, Some(rewritten)))
}

/// A model with `I2_S` tensors.
struct Original {
    path: PathBuf,
    model: GgufModel,
}

impl Original {
    /// `None` for any other file; what is wrong with that, its load says.
    fn open(path: PathBuf) -> Option<Self> {
        let model = GgufModel::open(&path).ok()?;
        let has_any = model.tensors().any(|tensor| tensor.info.ggml_type == GgmlType::I2_S);
        has_any.then_some(Self { path, model })
    }

    /// The rewritten file, which is written if it is not there. Waits for another process that writes it.
    fn rewritten(
        &self,
        folder: Option<&Path>,
        progress: &(dyn Fn(f32) -> bool + Sync),
    ) -> Result<Rewritten, Error> {
        let path = self.path.as_path();
        let folder = folder.ok_or_else(|| RewriteError::NoCache { path: path.to_owned() })?;
        let unusable = |source| -> Error {
            RewriteError::Cache { path: path.to_owned(), folder: folder.to_owned(), source }.into()
        };
        let key = self.key().map_err(|source| -> Error {
            RewriteError::Convert(ConvertError::Read { path: path.to_owned(), source }).into()
        })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let to = folder.join(format!("{name}-{key}.gguf"));
        if GgufModel::open(&to).is_ok() {
            return Ok(Rewritten { path: to, is_new: false });
        }
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = folder.join(format!(".{key}.lock"));
        let held = File::options().create(true).append(true).open(&lock).map_err(unusable)?;
        loop {
            match held.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
                Err(TryLockError::WouldBlock) if !progress(0.0) => {
                    return Err(ModelError::Cancelled(path.to_owned()).into());
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            }
        }
        if GgufModel::open(&to).is_ok() {
            return Ok(Rewritten { path: to, is_new: false });
        }
        note(
            LogLevel::Info,
            &format!(
                "`{}` has `I2_S` tensors, which llama.cpp cannot load; rewriting them exactly to `{}`",
                path.display(),
                to.display()
            ),
        );
        let report = |done: u64, total: u64| {
            #[allow(clippy::cast_precision_loss, reason = "a share of what is to be done")]
            progress(if total == 0 { 0.0 } else { done as f32 / total as f32 })
        };
        match convert(path, &to, &ConvertOptions::default(), &report) {
            Ok(_) => {}
            Err(ConvertError::Gguf(GgufError::Cancelled)) => {
                return Err(ModelError::Cancelled(path.to_owned()).into());
            }
            Err(ConvertError::Gguf(GgufError::Write { source, .. })) => return Err(unusable(source)),
            Err(error) => return Err(RewriteError::Convert(error).into()),
        }
        // Those who wait for the lock find the file; a lock that stays does no harm.
        let _ = fs::remove_file(lock);
        Ok(Rewritten { path: to, is_new: true })
    }

    /// What identifies the original.
    fn key(&self) -> io::Result<String> {
        let mut hash = Sha256::new();
        hash.update(VERSION);
        let paths = match self.model.parts() {
            [_] => vec![self.path.clone()],
            _ => split_paths(&self.path).map_err(io::Error::other)?,
        };
        for (part, path) in self.model.parts().iter().zip(paths) {
            let mut file = File::open(path)?;
            let facts = file.metadata()?;
            let changed = facts.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            hash.update(facts.len().to_le_bytes());
            hash.update(changed.as_nanos().to_le_bytes());
            let mut header = Vec::new();
            (&mut file).take(part.data_offset()).read_to_end(&mut header)?;
            hash.update(header);
        }
        let digest = hash.finalize();
        let beginning = digest.first_chunk().copied().unwrap_or_default();
        Ok(format!("{:016x}", u64::from_be_bytes(beginning)))
    }
}

#[cfg(test)]
mod tests {
    use tabagent_gguf::{GgufFile, GgufWriter};
    use tempfile::TempDir;

    use super::*;

    /// A file with one matrix of zeros in `I2_S`.
    fn fork_file(folder: &Path, architecture: &str) -> PathBuf {
        let path = folder.join("fork.gguf");
        let mut packed = vec![0b0101_0101; 64 * 256];
        packed.extend(0.3_f32.to_le_bytes());
        packed.extend([0; 28]);
        GgufWriter::new()
            .add("general.architecture", architecture)
            .add_tensor("blk.0.attn_q.weight", GgmlType::I2_S, &[256, 256], packed)
            .write_to(&path)
            .unwrap();
        path
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|ending| ending != "lock")).collect()
    }

    #[test]
    fn a_file_is_rewritten_once_and_found_again() {
        let folder = TempDir::new().unwrap();
        let path = fork_file(folder.path(), "bitnet");
        let cache = folder.path().join("cache");
        let rewrite = || Original::open(path.clone()).unwrap().rewritten(Some(&cache), &|_| true).unwrap();
        let first = rewrite();
        assert!(first.is_new);
        let file = GgufFile::open(&first.path).unwrap();
        assert_eq!(file.tensor("blk.0.attn_q.weight").unwrap().ggml_type, GgmlType::TQ2_0);
        assert_eq!(file.tensor_data(file.tensor("blk.0.attn_q.scale").unwrap()), 0.3_f32.to_le_bytes());
        assert_eq!(rewrite(), Rewritten { path: first.path, is_new: false });
        assert_eq!(files(&cache).len(), 1);
    }

    #[test]
    fn a_stopped_rewriting_leaves_nothing() {
        let folder = TempDir::new().unwrap();
        let path = fork_file(folder.path(), "bitnet");
        let cache = folder.path().join("cache");
        let original = Original::open(path.clone()).unwrap();
        let stopped = original.rewritten(Some(&cache), &|_| false);
        assert!(matches!(stopped, Err(Error::Load(ModelError::Cancelled(_)))));
        assert!(files(&cache).is_empty());
        // Nor does it wait for another process that writes it.
        let lock = File::create(cache.join(format!(".{}.lock", original.key().unwrap()))).unwrap();
        lock.lock().unwrap();
        let stopped = original.rewritten(Some(&cache), &|_| false);
        assert!(matches!(stopped, Err(Error::Load(ModelError::Cancelled(_)))));
    }

    #[test]
    fn refusals_are_errors_of_their_kinds() {
        let folder = TempDir::new().unwrap();
        let path = fork_file(folder.path(), "bitnet-b1.58");
        let original = Original::open(path.clone()).unwrap();
        let kind = |cache| original.rewritten(cache, &|_| true).unwrap_err().kind();
        assert_eq!(kind(Some(folder.path())), ErrorKind::InvalidModel);
        assert_eq!(kind(None), ErrorKind::ModelLoad);
        assert_eq!(kind(Some(path.join("cache").as_path())), ErrorKind::ModelLoad);
        // Windows cuts no file that is mapped.
        drop(original);
        fs::write(&path, b"GGUF").unwrap();
        assert!(Original::open(path).is_none());
    }
}
