//! The tensors of a folder's safetensors files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::mmap::{Bytes, SharedBytes};
use crate::text::shown;

use super::error::ConvertError;
use super::json::Object;

/// Number types that can be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    Bf16,
    /// Four ternary weights a byte, as BitNet checkpoints pack them.
    U8,
}

impl Kind {
    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }
}

/// A tensor in an open safetensors file.
#[derive(Debug, Clone)]
pub(crate) struct SourceTensor {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Sizes in row-major order, as in numpy.
    pub(crate) shape: Vec<usize>,
    /// The numbers, little-endian.
    pub(crate) bytes: SharedBytes,
}

/// All tensors of a folder by name, in the order of the files and of the names in each.
pub(super) struct Checkpoint {
    pub(super) tensors: Vec<(String, SourceTensor)>,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or all files that `model.safetensors.index.json` names.
    pub(super) fn open(folder: &Path) -> Result<Self, ConvertError> {
        let index = Object::read(&folder.join("model.safetensors.index.json"))?;
        let paths = match &index {
            Some(index) => shard_paths(folder, index)?,
            None => single_paths(folder)?,
        };
        let mut tensors = Vec::new();
        let mut seen = BTreeSet::new();
        for path in paths {
            for (name, tensor) in open_file(&path)? {
                if !seen.insert(name.clone()) {
                    let problem = format!("tensor `{}` is in another file, too", shown(name.as_bytes()));
                    return Err(ConvertError::source(&path, problem));
                }
                tensors.push((name, tensor));
            }
        }
        if let Some(index) = &index {
            check_index(index, &seen)?;
        }
        Ok(Self { tensors })
    }

    /// The tensor called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&SourceTensor> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }
}

/// The files without an index: `model*.safetensors`.
fn single_paths(folder: &Path) -> Result<Vec<PathBuf>, ConvertError> {
    let failed = |source| ConvertError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let problem = "there is no `model.safetensors`; other formats execute code and are not read, \
                       save the model with `safe_serialization=True`";
        return Err(ConvertError::source(folder, problem));
    }
    Ok(paths)
}

/// The files that the index names, which must lie in the folder itself.
fn shard_paths(folder: &Path, index: &Object) -> Result<Vec<PathBuf>, ConvertError> {
    let Some(weight_map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(index.missing(&["weight_map"]));
    };
    let mut names = BTreeSet::new();
    for (tensor, file) in weight_map {
        let name = file.as_str().filter(|name| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        });
        names.insert(
            name.ok_or_else(|| index.mistyped(tensor, file, "the name of a file in the same folder"))?,
        );
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Proves that index and files name the same tensors.
fn check_index(index: &Object, found: &BTreeSet<String>) -> Result<(), ConvertError> {
    let weight_map = index.get("weight_map").and_then(Value::as_object);
    let named: BTreeMap<&String, &Value> = weight_map.into_iter().flatten().collect();
    if let Some((name, file)) = named.iter().find(|(name, _)| !found.contains(**name)) {
        let problem = format!("tensor `{}` is not in {file}", shown(name.as_bytes()));
        return Err(ConvertError::source(index.path(), problem));
    }
    if let Some(name) = found.iter().find(|name| !named.contains_key(name)) {
        let problem = format!("tensor `{}` of the files is not listed", shown(name.as_bytes()));
        return Err(ConvertError::source(index.path(), problem));
    }
    Ok(())
}

/// The tensors of one file, by name.
pub(crate) fn open_file(path: &Path) -> Result<BTreeMap<String, SourceTensor>, ConvertError> {
    let bytes = Bytes::map(path).map_err(|source| ConvertError::Read { path: path.to_owned(), source })?;
    let bytes = Arc::new(bytes);
    let (header, metadata) = SafeTensors::read_metadata(bytes.as_slice()).map_err(|error| {
        ConvertError::source(path, format!("it is not a valid safetensors file: {error}"))
    })?;
    let start = header + 8;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let kind = match info.dtype {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::Bf16,
            Dtype::U8 => Kind::U8,
            // Buffers of positions and the like; refused later if anything needs them.
            Dtype::I64 | Dtype::I32 | Dtype::BOOL => continue,
            other => {
                let problem = format!(
                    "tensor `{}` has type `{other:?}`; convert it to `BF16` first",
                    shown(name.as_bytes())
                );
                return Err(ConvertError::source(path, problem));
            }
        };
        let range = start + info.data_offsets.0..start + info.data_offsets.1;
        let tensor = SourceTensor {
            path: path.to_owned(),
            kind,
            shape: info.shape.clone(),
            bytes: SharedBytes::new(&bytes, range),
        };
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}
