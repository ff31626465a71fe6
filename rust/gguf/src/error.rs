//! What can be wrong with a GGUF file.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::text::{grouped, shown};

/// The part of a file that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The magic, version and counts at the start.
    Header,
    /// A metadata entry, by its key.
    Key(String),
    /// A tensor, by its name.
    Tensor(String),
}

impl Subject {
    /// The metadata entry with `key`, which may be any bytes.
    pub(crate) fn key(key: &[u8]) -> Self {
        Self::Key(shown(key))
    }

    /// The tensor called `name`, which may be any bytes.
    pub(crate) fn tensor(name: &[u8]) -> Self {
        Self::Tensor(shown(name))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Key(key) => write!(f, "key `{key}`"),
            Self::Tensor(name) => write!(f, "tensor `{name}`"),
        }
    }
}

/// Everything that reading, checking or writing a GGUF file can report.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The operating system refused to open, size or map the file.
    #[error("cannot open `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// The bytes break a rule of the format; nothing can be read from the file.
    #[error("`{file}` at byte {}: {subject} {problem}", grouped(*offset))]
    Invalid {
        /// The file's name, without its directory.
        file: String,
        /// Where the offending record starts, in bytes from the start of the file.
        offset: u64,
        /// The record.
        subject: Subject,
        /// The rule broken, with found and expected values.
        problem: String,
    },

    /// The file is well formed, but llama.cpp would refuse it, abort, crash or hang.
    #[error("`{file}` cannot be loaded: {subject} {problem}")]
    Unusable {
        /// The file's name, without its directory.
        file: String,
        /// Where the record, or a tensor's data, starts, in bytes from the start of the file; `None` for what is not there.
        offset: Option<u64>,
        /// The record.
        subject: Subject,
        /// The rule broken, with found and expected values.
        problem: String,
    },

    /// A number in a tensor is infinite or NaN.
    #[error("`{file}` at byte {}: {subject} {problem}", grouped(*offset))]
    Data {
        /// The file's name, without its directory.
        file: String,
        /// Where the number or its block starts, in bytes from the start of the file.
        offset: u64,
        /// The tensor.
        subject: Subject,
        /// The rule broken.
        problem: String,
    },

    /// The caller's progress function asked to stop. Nothing was left behind.
    #[error("cancelled")]
    Cancelled,

    /// Files are not the parts of one model.
    #[error("`{file}` does not belong to the other parts: {subject} {problem}")]
    Parts {
        /// The file's name, without its directory.
        file: String,
        /// The record.
        subject: Subject,
        /// The rule broken, with found and expected values.
        problem: String,
    },

    /// Parts of a model in several files are not beside the part that was named.
    #[error("`{}` is one of {count} parts; put the missing ones beside it: {}", path.display(), joined(missing))]
    MissingParts {
        /// The part that was named.
        path: PathBuf,
        /// How many parts there should be.
        count: u32,
        /// The parts that are not there.
        missing: Vec<PathBuf>,
    },

    /// The result would replace a file that it is made from.
    #[error("`{}` is one of the files that are read; give another name for the result", path.display())]
    SameFile {
        /// Where the result was to be written.
        path: PathBuf,
    },

    /// The content of a file to be written breaks a rule of the format.
    #[error("cannot write the GGUF file: {subject} {problem}")]
    Unwritable {
        /// The record.
        subject: Subject,
        /// The rule broken, with found and expected values.
        problem: String,
    },

    /// The operating system refused to create, write or rename the file.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Lists at most eight paths.
fn joined(paths: &[PathBuf]) -> String {
    const MAX_SHOWN: usize = 8;
    let shown: Vec<String> =
        paths.iter().take(MAX_SHOWN).map(|path| format!("`{}`", path.display())).collect();
    let rest = paths.len().saturating_sub(MAX_SHOWN);
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}
