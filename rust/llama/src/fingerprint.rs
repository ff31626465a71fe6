//! Telling one model file from another.

use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tabagent_gguf::GgufError;

/// A digest of a model file's length, its beginning, its end and samples between: equal for the same file, different for a fine-tune
/// of the same shape. Reads about a megabyte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) [u8; 32]);

const HEAD: u64 = 256 * 1024;
const SAMPLES: u64 = 64;
const SAMPLE: u64 = 8 * 1024;
/// Bytes of a header read at once: they stay in the processor's cache until they are hashed.
const PART: u64 = 256 * 1024;

impl Fingerprint {
    pub(crate) fn of_file(path: &Path) -> std::io::Result<Self> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let mut hash = Sha256::new();
        hash.update(length.to_le_bytes());
        read_into(&mut file, 0, HEAD.min(length), &mut hash)?;
        for i in 0..SAMPLES {
            let offset = length / SAMPLES * i;
            read_into(&mut file, offset, SAMPLE.min(length - offset), &mut hash)?;
        }
        let tail = SAMPLE.min(length);
        read_into(&mut file, length - tail, tail, &mut hash)?;
        Ok(Self(hash.finalize().into()))
    }

    /// A digest of the headers of a model's files, each with its header's length and its own.
    pub(crate) fn of_headers(paths: &[PathBuf], lengths: &[(u64, u64)]) -> Result<Self, GgufError> {
        let mut hash = Sha256::new();
        for (path, (header, length)) in paths.iter().zip(lengths) {
            hash.update(header.to_le_bytes());
            hash.update(length.to_le_bytes());
            let mut read = || -> std::io::Result<()> {
                let mut file = std::fs::File::open(path)?;
                let mut at = 0;
                while at < *header {
                    let part = PART.min(header - at);
                    read_into(&mut file, at, part, &mut hash)?;
                    at += part;
                }
                Ok(())
            };
            read().map_err(|source| GgufError::Open { path: path.clone(), source })?;
        }
        Ok(Self(hash.finalize().into()))
    }
}

fn read_into(file: &mut std::fs::File, offset: u64, length: u64, hash: &mut Sha256) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    hash.update(&bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_at_their_end_differ() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut bytes = vec![7_u8; 1_000_000];
        std::fs::write(&a, &bytes).unwrap();
        *bytes.last_mut().unwrap() = 8;
        bytes[999_000..].fill(9);
        std::fs::write(&b, &bytes).unwrap();
        let first = Fingerprint::of_file(&a).unwrap();
        assert_eq!(first, Fingerprint::of_file(&a).unwrap());
        assert_ne!(first, Fingerprint::of_file(&b).unwrap());
        std::fs::write(&b, b"").unwrap();
        assert_ne!(first, Fingerprint::of_file(&b).unwrap());
    }
}
