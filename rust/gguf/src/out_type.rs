//! Looks up the names of the types that results can have.

use thiserror::Error;

/// A text that is not the name of a type for this result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no output type; choose one of {}", listed(names))]
pub struct UnknownOutType {
    /// The text.
    pub text: String,
    /// The names that exist.
    pub names: Vec<&'static str>,
}

/// The type that `text` names, in upper or lower case.
pub(crate) fn named<T: Copy>(all: &[(&'static str, T)], text: &str) -> Result<T, UnknownOutType> {
    let found = all.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| *kind);
    found.ok_or_else(|| UnknownOutType {
        text: text.to_owned(),
        names: all.iter().map(|(name, _)| *name).collect(),
    })
}

/// The name of `kind`.
pub(crate) fn name_of<T: PartialEq>(all: &[(&'static str, T)], kind: &T) -> &'static str {
    all.iter().find(|(_, known)| known == kind).map_or("", |(name, _)| name)
}

fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
