//! Models in several files, `name-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

use crate::error::GgufError;
use crate::metadata::Metadata;

/// Which part of a model in several files a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// This part, from 0.
    pub no: u16,
    /// How many parts there are.
    pub count: u16,
    /// Tensors in all parts together; 0 if the file does not say.
    pub tensors_count: u32,
}

impl Split {
    /// Reads the `split.*` keys; `None` if the model is in one file.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        let number = |key: &str| metadata.get(key)?.as_u64();
        let count = u16::try_from(number("split.count")?).ok()?;
        if count <= 1 {
            return None;
        }
        let no = number("split.no").and_then(|no| u16::try_from(no).ok()).unwrap_or_default();
        let tensors_count =
            number("split.tensors.count").and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
        Some(Self { no, count, tensors_count })
    }
}

/// All parts of a model, in order, given any one of them. A path whose name is not that of a part is returned alone.
///
/// # Errors
/// [`GgufError::MissingParts`] names every part that is not there.
pub fn split_paths(first: &Path) -> Result<Vec<PathBuf>, GgufError> {
    let Some((prefix, _, count)) = first.file_name().and_then(|name| name.to_str()).and_then(parse_name)
    else {
        return Ok(vec![first.to_owned()]);
    };
    let prefix = first.with_file_name(prefix);
    let paths: Vec<PathBuf> = (1..=count).map(|no| part_path(&prefix, no, count)).collect();
    let missing: Vec<PathBuf> = paths.iter().filter(|path| !path.is_file()).cloned().collect();
    if missing.is_empty() {
        return Ok(paths);
    }
    Err(GgufError::MissingParts { path: first.to_owned(), count, missing })
}

/// The existing parts of the model of which `path` names one; none if its name is not that of a part.
pub(crate) fn present_parts(path: &Path) -> Vec<PathBuf> {
    let Some((prefix, _, count)) = path.file_name().and_then(|name| name.to_str()).and_then(parse_name)
    else {
        return Vec::new();
    };
    let prefix = path.with_file_name(prefix);
    (1..=count).map(|no| part_path(&prefix, no, count)).filter(|part| part.is_file()).collect()
}

/// The path of part `no`, from 1, of `count`: `prefix-00002-of-00003.gguf`.
pub fn part_path(prefix: &Path, no: u32, count: u32) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(format!("-{no:05}-of-{count:05}.gguf"));
    path.into()
}

/// Takes `name-00002-of-00003.gguf` apart into `name`, 2 and 3 (`llama_split_path` in `src/llama.cpp`).
pub(crate) fn parse_name(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, no) = rest.rsplit_once('-')?;
    let number = |digits: &str| -> Option<u32> {
        let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let (no, count) = (number(no)?, number(count)?);
    (no >= 1 && no <= count && u16::try_from(count).is_ok()).then_some((prefix, no, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_are_taken_apart() {
        assert_eq!(parse_name("m-7b-00002-of-00003.gguf"), Some(("m-7b", 2, 3)));
        for other in [
            "m.gguf",
            "m-00004-of-00003.gguf",
            "m-0001-of-0003.gguf",
            "m-00000-of-00003.gguf",
            "m-1-of-x.gguf",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn any_part_leads_to_all_of_them_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |no: u32| dir.path().join(format!("m-{no:05}-of-00003.gguf"));
        std::fs::write(path(1), b"").unwrap();
        std::fs::write(path(3), b"").unwrap();
        let text = split_paths(&path(3)).unwrap_err().to_string();
        assert!(text.contains("one of 3 parts") && text.contains("m-00002-of-00003.gguf"), "{text}");
        assert!(!text.contains("m-00001-of-00003.gguf"), "{text}");
        std::fs::write(path(2), b"").unwrap();
        assert_eq!(split_paths(&path(2)).unwrap(), [path(1), path(2), path(3)]);
        assert_eq!(split_paths(Path::new("/x/model.gguf")).unwrap(), [PathBuf::from("/x/model.gguf")]);
    }
}
