//! What the caller asks for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use crate::select_error::SelectError;
use crate::text::serialize_path;

/// Which variant is wanted.
///
/// Parsed from a string: `auto`; a path if it holds a `/` or `\`, begins with `.` or `~`, or ends like a shared library; any
/// other word is a name. A directory beside the current one is written `./name`.
///
/// ```
/// use tabagent_variants::VariantRequest;
/// assert_eq!("auto".parse(), Ok(VariantRequest::Auto));
/// assert_eq!("Haswell".parse(), Ok(VariantRequest::Module("haswell".into())));
/// assert_eq!("./lib".parse(), Ok(VariantRequest::Path("./lib".into())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VariantRequest {
    /// The best usable one.
    Auto,
    /// The one of this name, in small letters: a CPU module (`haswell`) or a variant of a `BitnetRelease` tree.
    Module(String),
    /// The best usable one at this path: a directory, a llama.cpp library, or one CPU module file.
    Path(#[serde(serialize_with = "serialize_path")] PathBuf),
}

impl FromStr for VariantRequest {
    type Err = SelectError;

    /// Parses a request.
    ///
    /// # Errors
    ///
    /// [`SelectError::EmptyRequest`] for an empty or blank text.
    fn from_str(text: &str) -> Result<Self, SelectError> {
        let text = text.trim();
        let shared_library = Path::new(text)
            .extension()
            .is_some_and(|end| ["so", "dylib", "dll"].iter().any(|known| end.eq_ignore_ascii_case(known)));
        if text.is_empty() {
            Err(SelectError::EmptyRequest)
        } else if text.eq_ignore_ascii_case("auto") {
            Ok(Self::Auto)
        } else if text.contains(['/', '\\']) || text.starts_with(['.', '~']) || shared_library {
            Ok(Self::Path(text.into()))
        } else {
            Ok(Self::Module(text.to_lowercase()))
        }
    }
}

impl fmt::Display for VariantRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Module(name) => f.write_str(name),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_are_names() {
        assert_eq!("armv8.2_1".parse(), Ok(VariantRequest::Module("armv8.2_1".into())));
    }

    #[test]
    fn blank_request_is_refused() {
        assert_eq!(" \n".parse::<VariantRequest>(), Err(SelectError::EmptyRequest));
    }

    #[test]
    fn library_file_is_a_path() {
        assert_eq!("libllama.so".parse(), Ok(VariantRequest::Path("libllama.so".into())));
        assert_eq!("llama.DLL".parse(), Ok(VariantRequest::Path("llama.DLL".into())));
        assert_eq!(r"C:\llama".parse(), Ok(VariantRequest::Path(r"C:\llama".into())));
    }
}
