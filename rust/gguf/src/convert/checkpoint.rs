//! The tensors of a folder's safetensors files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::mmap::{Bytes, SharedBytes};
use crate::progress::{Progress, go_on};
use crate::text::{pointer_problem, shown};

use super::error::ConvertError;
use super::json::{self, Object};

/// The most files that a model without an index may have.
const MAX_FILES: usize = 10_000;

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
    pub(super) fn open(folder: &Path, progress: Progress<'_>) -> Result<Self, ConvertError> {
        let index = Object::read(&folder.join("model.safetensors.index.json"))?;
        let paths = match &index {
            Some(index) => {
                let paths = shard_paths(folder, index)?;
                let single = folder.join("model.safetensors");
                if single.is_file() && !paths.contains(&single) {
                    let problem =
                        "it does not name `model.safetensors`, which is there, too; remove one of the two";
                    return Err(ConvertError::source(index.path(), problem));
                }
                paths
            }
            None => single_paths(folder)?,
        };
        let mut tensors = Vec::new();
        let mut places: BTreeMap<String, String> = BTreeMap::new();
        for path in paths {
            go_on(progress)?;
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            for (name, tensor) in open_all(&path)? {
                if let Some(other) = places.insert(name.clone(), file.clone()) {
                    let name = shown(name.as_bytes());
                    return Err(ConvertError::source(&path, format!("tensor `{name}` is in `{other}`, too")));
                }
                tensors.extend(tensor.map(|tensor| (name, tensor)));
            }
        }
        if let Some(index) = &index {
            check_index(index, &places)?;
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
    check_complete(&paths)?;
    Ok(paths)
}

/// Checks that no file is missing among those called `model-00001-of-00003.safetensors` and so on.
fn check_complete(paths: &[PathBuf]) -> Result<(), ConvertError> {
    for path in paths {
        let Some((stem, count)) = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".safetensors")?.rsplit_once("-of-"))
            .and_then(|(stem, count)| Some((stem.rsplit_once('-')?.0, count)))
        else {
            continue;
        };
        // The name may claim any number of files, hence the limit.
        for number in 1..=count.parse::<usize>().unwrap_or_default().min(MAX_FILES) {
            let other = path.with_file_name(format!(
                "{stem}-{number:0width$}-of-{count}.safetensors",
                width = count.len()
            ));
            if !paths.contains(&other) {
                return Err(ConvertError::source(
                    &other,
                    "it is missing beside the other files of the model",
                ));
            }
        }
    }
    Ok(())
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

/// Proves that the index names each tensor of the files, in the file that holds it.
fn check_index(index: &Object, places: &BTreeMap<String, String>) -> Result<(), ConvertError> {
    let weight_map = index.get("weight_map").and_then(Value::as_object);
    let named: BTreeMap<&String, &Value> = weight_map.into_iter().flatten().collect();
    let fail = |name: &str, problem: String| {
        Err(ConvertError::source(index.path(), format!("tensor `{}` {problem}", shown(name.as_bytes()))))
    };
    for (name, file) in &named {
        match places.get(*name) {
            Some(place) if Some(place.as_str()) == file.as_str() => {}
            Some(place) => return fail(name, format!("is not in {file}, but in `{place}`")),
            None => return fail(name, format!("is not in {file}")),
        }
    }
    match places.keys().find(|name| !named.contains_key(name)) {
        Some(name) => fail(name, "of the files is not listed".to_owned()),
        None => Ok(()),
    }
}

/// The tensors of one file, by name.
pub(crate) fn open_file(path: &Path) -> Result<BTreeMap<String, SourceTensor>, ConvertError> {
    Ok(open_all(path)?.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))).collect())
}

/// The tensors of one file, by name; `None` for buffers of integers, which no model needs.
fn open_all(path: &Path) -> Result<BTreeMap<String, Option<SourceTensor>>, ConvertError> {
    let bytes = Bytes::map(path).map_err(|source| ConvertError::Read { path: path.to_owned(), source })?;
    let bytes = Arc::new(bytes);
    if let Some(problem) = pointer_problem(bytes.as_slice()) {
        return Err(ConvertError::source(path, format!("it {problem}")));
    }
    let (header, metadata) = SafeTensors::read_metadata(bytes.as_slice()).map_err(|error| {
        ConvertError::source(path, format!("it is not a valid safetensors file: {error}"))
    })?;
    let start = header + 8;
    // The library silently takes the last of several tensors with one name; this parser refuses them.
    if let Err(error) = json::parse(bytes.as_slice().get(8..start).unwrap_or_default()) {
        return Err(ConvertError::source(path, format!("its header is not valid: {error}")));
    }
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let kind = match info.dtype {
            Dtype::F32 => Kind::F32,
            Dtype::F16 => Kind::F16,
            Dtype::BF16 => Kind::Bf16,
            Dtype::U8 => Kind::U8,
            // Buffers of positions and the like; refused later if anything needs them.
            Dtype::I64 | Dtype::I32 | Dtype::BOOL => {
                tensors.insert(name, None);
                continue;
            }
            other => {
                let problem = format!(
                    "tensor `{}` has type `{other}`; convert it to `BF16` first",
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
        tensors.insert(name, Some(tensor));
    }
    Ok(tensors)
}
