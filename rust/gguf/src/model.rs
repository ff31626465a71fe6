//! A model in one file or in several.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use crate::byte_swap::swap_tensor;
use crate::error::{GgufError, Subject};
use crate::file::GgufFile;
use crate::input::Inputs;
use crate::metadata::Metadata;
use crate::reader::ByteOrder;
use crate::split::split_paths;
use crate::tensor::TensorInfo;

/// All parts of a model, opened by any one of them. A model in one file is its only part.
///
/// ```
/// use tabagent_gguf::{GgmlType, GgufFile, GgufModel, GgufWriter};
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let bytes = GgufWriter::new().add_tensor("t", GgmlType::I8, &[1], vec![5]).to_bytes()?;
/// let model = GgufModel::from_parts(vec![GgufFile::from_bytes(bytes)?])?;
/// assert_eq!(model.tensor("t").map(|tensor| tensor.data()), Some(&[5_u8][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GgufModel {
    parts: Vec<GgufFile>,
    /// Part and place in it, by the tensor's name.
    index: HashMap<String, (usize, usize)>,
}

/// A tensor and the file that holds it.
#[derive(Debug, Clone, Copy)]
pub struct ModelTensor<'a> {
    /// The part.
    pub file: &'a GgufFile,
    /// Name, type, shape and place.
    pub info: &'a TensorInfo,
}

impl<'a> ModelTensor<'a> {
    /// The stored bytes, in the file's byte order.
    pub fn data(&self) -> &'a [u8] {
        self.file.tensor_data(self.info)
    }

    /// The data in little-endian order, as [`quants`](crate::quants) takes it: the stored bytes, or for a big-endian file a copy with the bytes of
    /// every number swapped.
    pub fn little_endian_data(&self) -> Cow<'a, [u8]> {
        let stored = self.data();
        if self.file.byte_order() == ByteOrder::Little {
            return Cow::Borrowed(stored);
        }
        let mut swapped = stored.to_vec();
        swap_tensor(self.info.ggml_type, &mut swapped);
        Cow::Owned(swapped)
    }
}

impl GgufModel {
    /// Maps all parts of a model, given the path of any one (`name-00002-of-00003.gguf`), and checks that they belong together.
    ///
    /// # Errors
    /// [`GgufError::Open`] and [`GgufError::Invalid`] as for one file, [`GgufError::MissingParts`], [`GgufError::Parts`].
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let named = GgufFile::open(path)?;
        let Some(split) = named.split() else {
            return Self::from_parts(vec![named]);
        };
        let paths = split_paths(path)?;
        if paths.len() != usize::from(split.count) {
            let problem = format!(
                "is `{}`, but the name does not say so; rename the parts to `name-00001-of-{:05}.gguf` and so on",
                split.count, split.count
            );
            return Err(wrong(&named, "split.count", problem));
        }
        let parts: Result<Vec<_>, _> = paths.iter().map(|part| GgufFile::open(part)).collect();
        Self::from_parts(parts?)
    }

    /// Makes a model of parts that are already open, in order. A single part of several is accepted as it is.
    ///
    /// # Errors
    /// [`GgufError::Parts`] if there are none, if they are not the parts of one model in order, or if a tensor is in two of them.
    pub fn from_parts(parts: Vec<GgufFile>) -> Result<Self, GgufError> {
        let Some(first) = parts.first() else {
            return Err(GgufError::Parts {
                file: String::new(),
                subject: Subject::Header,
                problem: "is missing; give at least one file".to_owned(),
            });
        };
        if parts.len() > 1 {
            check_numbers(&parts)?;
        }
        let promised = first.split().map_or(0, |split| split.tensors_count) as usize;
        let mut index = HashMap::new();
        for (number, file) in parts.iter().enumerate() {
            for (place, tensor) in file.tensors().iter().enumerate() {
                if index.insert(tensor.name.clone(), (number, place)).is_some() {
                    return Err(GgufError::Parts {
                        file: file.file_name().to_owned(),
                        subject: Subject::tensor(tensor.name.as_bytes()),
                        problem: "is in an earlier part too, but names must be unique".to_owned(),
                    });
                }
            }
        }
        if parts.len() > 1 && promised != 0 && promised != index.len() {
            let problem = format!("is `{promised}`, but the parts hold `{}` tensors", index.len());
            return Err(wrong(first, "split.tensors.count", problem));
        }
        Ok(Self { parts, index })
    }

    /// The files, in order; at least one.
    pub fn parts(&self) -> &[GgufFile] {
        &self.parts
    }

    /// The files, in order.
    pub(crate) fn into_parts(self) -> Vec<GgufFile> {
        self.parts
    }

    /// The first part, which has the metadata.
    pub fn first(&self) -> &GgufFile {
        &self.parts[0]
    }

    /// The key-value pairs of the first part. Later parts have none of their own except their number.
    pub fn metadata(&self) -> &Metadata {
        self.first().metadata()
    }

    /// The tensors of all parts, in order.
    pub fn tensors(&self) -> impl Iterator<Item = ModelTensor<'_>> {
        self.parts.iter().flat_map(|file| file.tensors().iter().map(move |info| ModelTensor { file, info }))
    }

    /// How many tensors there are.
    pub fn n_tensors(&self) -> usize {
        self.index.len()
    }

    /// The tensor called `name`, whichever part it is in.
    pub fn tensor(&self, name: &str) -> Option<ModelTensor<'_>> {
        let &(part, place) = self.index.get(name)?;
        let file = self.parts.get(part)?;
        Some(ModelTensor { file, info: file.tensors().get(place)? })
    }

    /// The files of all parts; nothing made from them may replace one.
    pub(crate) fn inputs(&self) -> Inputs {
        match self.parts.as_slice() {
            [only] => only.inputs(),
            parts => parts.iter().fold(Inputs::default(), |mut inputs, part| {
                inputs.add(part.bytes().file_id());
                inputs
            }),
        }
    }

    /// Size of all parts in bytes.
    pub fn file_size(&self) -> u64 {
        self.parts.iter().map(GgufFile::file_size).sum()
    }
}

/// Checks `split.no` and `split.count` of several files.
fn check_numbers(parts: &[GgufFile]) -> Result<(), GgufError> {
    for (number, file) in parts.iter().enumerate() {
        let Some(split) = file.split() else {
            return Err(wrong(file, "split.count", "is missing, but the file is one of several".to_owned()));
        };
        if usize::from(split.count) != parts.len() {
            let problem = format!("is `{}`, but there are `{}` files", split.count, parts.len());
            return Err(wrong(file, "split.count", problem));
        }
        if usize::from(split.no) != number {
            let problem = format!(
                "is `{}`, but the file is number `{number}` of the parts; rename the parts back",
                split.no
            );
            return Err(wrong(file, "split.no", problem));
        }
    }
    Ok(())
}

fn wrong(file: &GgufFile, key: &str, problem: String) -> GgufError {
    GgufError::Parts { file: file.file_name().to_owned(), subject: Subject::key(key.as_bytes()), problem }
}
