//! Writing a model as several files.

use std::path::{Path, PathBuf};

use crate::error::{GgufError, Subject};
use crate::file_id::FileId;
use crate::input::Inputs;
use crate::owned::OwnedValue;
use crate::progress::Progress;
use crate::split::part_path;

use super::content::{ALIGNMENT, Content, Told, unwritable};
use super::replace::{FinishedFile, NewFile};
use super::{Entry, GgufWriter};

/// Where a model is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitBy {
    /// The most bytes of tensors in a part; a larger tensor has a part for itself.
    Bytes(u64),
    /// The most tensors in a part.
    Tensors(usize),
}

/// True for the keys that say which part a file is (`LLM_KV_SPLIT_NO` and so on in `src/llama-arch.cpp`).
pub(crate) fn is_split_key(key: &str) -> bool {
    matches!(key, "split.no" | "split.count" | "split.tensors.count")
}

impl GgufWriter {
    /// Writes the model as `prefix-00001-of-0000N.gguf` and so on, as llama.cpp loads them, and returns the paths in order. All metadata
    /// is in the first part; with `first_without_tensors` nothing else. No part appears before all are written.
    ///
    /// # Errors
    /// As [`GgufWriter::write_with`]; [`GgufError::Unwritable`] also for a limit of 0 and for more than 65,535 parts.
    pub fn write_parts(
        &self,
        prefix: &Path,
        by: SplitBy,
        first_without_tensors: bool,
        progress: Progress<'_>,
    ) -> Result<Vec<PathBuf>, GgufError> {
        let plan = self.content().check()?;
        let counts = self.cut(by, plan.alignment, first_without_tensors)?;
        let n_parts = u16::try_from(counts.len()).map_err(|_| {
            let problem = format!("would be cut into `{}` parts, but there can be 65,535", counts.len());
            unwritable(Subject::Header, problem)
        })?;
        let paths: Vec<PathBuf> =
            (1..=u32::from(n_parts)).map(|no| part_path(prefix, no, u32::from(n_parts))).collect();
        self.write_counted(&paths, &counts, Told::new(progress, plan.data_bytes))?;
        Ok(paths)
    }

    /// Writes parts at `paths` with `counts` tensors each, as [`GgufWriter::write_parts`] does.
    pub(crate) fn write_counted_parts(
        &self,
        paths: &[PathBuf],
        counts: &[usize],
        progress: Progress<'_>,
    ) -> Result<(), GgufError> {
        let plan = self.content().check()?;
        self.write_counted(paths, counts, Told::new(progress, plan.data_bytes))
    }

    fn write_counted(
        &self,
        paths: &[PathBuf],
        counts: &[usize],
        mut told: Told<'_>,
    ) -> Result<(), GgufError> {
        self.refuse_parts(paths)?;
        let n_parts = u16::try_from(counts.len()).unwrap_or(u16::MAX);
        let mut finished: Vec<FinishedFile> = Vec::new();
        let mut start = 0;
        for ((no, &count), path) in (0_u16..).zip(counts).zip(paths) {
            let part = Part { whole: self, no, n_parts, tensors: start..start + count };
            finished.push(part.write(path, &mut told)?);
            start += count;
        }
        told.ask()?;
        let mut shown = Vec::new();
        for (file, path) in finished.into_iter().zip(paths) {
            let replaces = path.exists();
            if let Err(error) = file.show() {
                // Removes the new parts that replaced no file; replaced files of the same name are lost already.
                for path in &shown {
                    drop(std::fs::remove_file(path));
                }
                return Err(error);
            }
            if !replaces {
                shown.push(path.clone());
            }
        }
        Ok(())
    }

    /// Refuses paths that lead to a file that is read, and two paths that lead to one file.
    fn refuse_parts(&self, paths: &[PathBuf]) -> Result<(), GgufError> {
        let mut others = Inputs::default();
        for path in paths {
            self.inputs.refuse(path)?;
            others.refuse(path)?;
            others.add(FileId::of_path(path).as_ref());
        }
        Ok(())
    }

    /// How many tensors each part gets.
    fn cut(&self, by: SplitBy, alignment: u64, first_without_tensors: bool) -> Result<Vec<usize>, GgufError> {
        if matches!(by, SplitBy::Bytes(0) | SplitBy::Tensors(0)) {
            let problem = "cannot be cut into parts of nothing; give a limit of at least 1";
            return Err(unwritable(Subject::Header, problem.to_owned()));
        }
        let mut counts = if first_without_tensors { vec![0, 0] } else { vec![0] };
        let (mut count, mut bytes) = (0, 0_u64);
        for tensor in &self.tensors {
            let size = tensor.data.n_bytes().next_multiple_of(alignment);
            let is_full = match by {
                SplitBy::Bytes(limit) => bytes.saturating_add(size) > limit,
                SplitBy::Tensors(limit) => count == limit,
            };
            if is_full && count > 0 {
                counts.push(0);
                (count, bytes) = (0, 0);
            }
            (count, bytes) = (count + 1, bytes.saturating_add(size));
            if let Some(last) = counts.last_mut() {
                *last = count;
            }
        }
        Ok(counts)
    }
}

/// One part to be written.
struct Part<'a> {
    whole: &'a GgufWriter,
    no: u16,
    n_parts: u16,
    tensors: std::ops::Range<usize>,
}

impl Part<'_> {
    fn write(&self, path: &Path, told: &mut Told<'_>) -> Result<FinishedFile, GgufError> {
        let whole = self.whole;
        // Of the metadata, later parts have only the alignment, which places their tensors.
        let mut entries: Vec<(String, Entry)> = whole
            .entries
            .iter()
            .filter(|(key, _)| !is_split_key(key) && (self.no == 0 || key == ALIGNMENT))
            .cloned()
            .collect();
        let n_tensors = i32::try_from(whole.tensors.len()).unwrap_or(i32::MAX);
        for (key, value) in [
            ("split.no", OwnedValue::U16(self.no)),
            ("split.count", OwnedValue::U16(self.n_parts)),
            ("split.tensors.count", OwnedValue::I32(n_tensors)),
        ] {
            entries.push((key.to_owned(), Entry::Owned(value)));
        }
        let tensors = whole.tensors.get(self.tensors.clone()).unwrap_or_default();
        let content = Content { entries: &entries, tensors, tail: None, ..whole.content() };
        let plan = content.check()?;
        let mut file = NewFile::create(path)?;
        content.emit(file.out(), &plan, told).map_err(|fault| fault.explain(path))?;
        file.finish()
    }
}
