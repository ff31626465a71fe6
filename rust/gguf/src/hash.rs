//! Fingerprints of a model's contents.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::threads::spread;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::error::GgufError;
use crate::model::GgufModel;
use crate::progress::Progress;

/// Bytes hashed between two reports of progress.
const PIECE_BYTES: usize = 4 << 20;

/// A SHA-256; printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hashes of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// Of each file's bytes, by its name: what `sha256sum` prints.
    pub files: Vec<(String, Digest)>,
    /// Of the data of all tensors in order, without padding: the same whatever the metadata says and however the model is split, and what
    /// llama.cpp's `gguf-hash --sha256` prints for the file.
    pub weights: Digest,
    /// Of each tensor's data, by its name, in order.
    pub tensors: Vec<(String, Digest)>,
}

/// Hashes a model's files, tensors and weights, in parallel.
///
/// ```
/// use tabagent_gguf::{GgmlType, GgufFile, GgufModel, GgufWriter, hash_model, no_progress};
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let bytes = GgufWriter::new().add_tensor("t", GgmlType::I8, &[3], b"abc".to_vec()).to_bytes()?;
/// let model = GgufModel::from_parts(vec![GgufFile::from_bytes(bytes)?])?;
/// let hashes = hash_model(&model, &no_progress)?;
/// assert!(hashes.weights.to_string().starts_with("ba7816bf"));
/// assert_eq!(hashes.tensors[0].1, hashes.weights);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`GgufError::Cancelled`].
pub fn hash_model(model: &GgufModel, progress: Progress<'_>) -> Result<Hashes, GgufError> {
    let tensors: Vec<_> = model.tensors().collect();
    let weights: Vec<&[u8]> = tensors.iter().map(super::model::ModelTensor::data).collect();
    let files: Vec<&[u8]> = model.parts().iter().map(|file| file.bytes().as_slice()).collect();
    let mut jobs: Vec<&[&[u8]]> = files.chunks(1).collect();
    jobs.push(&weights);
    jobs.extend(weights.chunks(1));
    let total = jobs.iter().flat_map(|job| job.iter()).map(|bytes| bytes.len() as u64).sum();
    let done = AtomicU64::new(0);
    // The long jobs come first, each as a task of its own, so that rayon does not give several of them to one thread.
    let digests: Result<Vec<Digest>, GgufError> =
        spread(|| jobs.par_iter().with_max_len(1).map(|job| digest(job, &done, total, progress)).collect());
    let mut digests = digests?.into_iter();
    let named = |names: Vec<String>, digests: &mut dyn Iterator<Item = Digest>| {
        names.into_iter().zip(digests).collect::<Vec<_>>()
    };
    let names = model.parts().iter().map(|file| file.file_name().to_owned()).collect::<Vec<_>>();
    let n_files = names.len();
    let files = named(names, &mut digests.by_ref().take(n_files));
    let Some(weights) = digests.next() else {
        return Err(GgufError::Cancelled);
    };
    let names = tensors.iter().map(|tensor| tensor.info.name.clone()).collect();
    Ok(Hashes { files, weights, tensors: named(names, &mut digests) })
}

fn digest(job: &[&[u8]], done: &AtomicU64, total: u64, progress: Progress<'_>) -> Result<Digest, GgufError> {
    let mut hasher = Sha256::new();
    for piece in job.iter().flat_map(|bytes| bytes.chunks(PIECE_BYTES)) {
        hasher.update(piece);
        let bytes = piece.len() as u64;
        if !progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
            return Err(GgufError::Cancelled);
        }
    }
    Ok(Digest(hasher.finalize().into()))
}
