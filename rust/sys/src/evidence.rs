//! Identifies the build of llama.cpp: what is observed of a library, and the layout that agrees with all of it.

use crate::layout::{AbiLayout, StructLayout};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What a default-params function did to poisoned memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultBytes {
    /// One entry per byte of the observed area: its value if the function wrote it, else `None`.
    pub bytes: Vec<Option<u8>>,
}

impl DefaultBytes {
    /// Number of bytes up to the last one written.
    pub fn extent(&self) -> usize {
        self.bytes.iter().rposition(Option::is_some).map_or(0, |i| i + 1)
    }

    pub(crate) fn from_runs(first: &[u8], second: &[u8]) -> Self {
        let bytes = first.iter().zip(second).map(|(a, b)| (a == b).then_some(*a)).collect();
        Self { bytes }
    }

    /// Lists the fields whose observed bytes differ from the layout's default, and the bytes written past its end.
    fn contradictions(&self, layout: &StructLayout) -> Vec<String> {
        let mut found = Vec::new();
        if self.extent() > layout.size {
            found.push(format!("`{}` has {} bytes, expected {}", layout.name, self.extent(), layout.size));
        }
        for field in layout.fields {
            let expected = &field.default.to_le_bytes()[..field.kind.size()];
            let observed = self.bytes.get(field.offset..field.offset + field.kind.size());
            let same = observed.is_some_and(|o| o.iter().zip(expected).all(|(a, b)| *a == Some(*b)));
            if !same {
                found.push(format!(
                    "`{}.{}` has another default at offset {}",
                    layout.name, field.name, field.offset
                ));
            }
        }
        found
    }
}

/// The version that a library reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionEvidence {
    /// Not asked yet: asking means running its code.
    Unread,
    /// The library has no `llama_version`.
    Missing,
    /// The version that it returned.
    Is(String),
}

/// Everything observed of a library before the first call that passes a struct to it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What `llama_version()` said.
    pub version: VersionEvidence,
    /// Exported symbols that start with `llama_`.
    pub symbols: BTreeSet<String>,
    /// What `llama_model_default_params` wrote; `None` until probed.
    pub model_defaults: Option<DefaultBytes>,
    /// What `llama_context_default_params` wrote; `None` until probed.
    pub context_defaults: Option<DefaultBytes>,
}

/// No known layout fits a library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown llama.cpp build: expected {expected}; found {found}; evidence: {}", evidence.join("; "))]
pub struct AbiMismatch {
    /// The builds that are supported.
    pub expected: String,
    /// What is known of this library.
    pub found: String,
    /// How it differs from the nearest supported build.
    pub evidence: Vec<String>,
}

/// Picks the one layout that all the evidence agrees with.
///
/// Evidence that is not gathered yet (`Unread`, `None`) contradicts no layout, so a library can be refused for its version and symbols before
/// any of its functions is called.
///
/// # Errors
/// [`AbiMismatch`] when no layout fits; it lists what contradicts the nearest one.
pub fn identify<'a>(evidence: &Evidence, layouts: &'a [AbiLayout]) -> Result<&'a AbiLayout, AbiMismatch> {
    let mut nearest: Option<Vec<String>> = None;
    for layout in layouts {
        let against = contradictions(evidence, layout);
        if against.is_empty() {
            return Ok(layout);
        }
        if nearest.as_ref().is_none_or(|n| against.len() < n.len()) {
            nearest = Some(against);
        }
    }
    Err(AbiMismatch {
        expected: layouts.iter().map(|l| format!("`{}`", l.name)).collect::<Vec<_>>().join(" or "),
        found: describe(evidence),
        evidence: nearest.unwrap_or_default(),
    })
}

fn describe(evidence: &Evidence) -> String {
    let mut text = match &evidence.version {
        VersionEvidence::Is(version) => format!("version `{version}`"),
        VersionEvidence::Unread => "a build of unknown version".to_owned(),
        VersionEvidence::Missing => "a build without `llama_version`, so from before August 2026".to_owned(),
    };
    let _ = write!(text, " with {} `llama_*` symbols", evidence.symbols.len());
    if let (Some(model), Some(context)) = (&evidence.model_defaults, &evidence.context_defaults) {
        let _ = write!(
            text,
            ", {} bytes of model and {} of context parameters",
            model.extent(),
            context.extent()
        );
    }
    text
}

fn contradictions(evidence: &Evidence, layout: &AbiLayout) -> Vec<String> {
    let mut against = Vec::new();
    match &evidence.version {
        VersionEvidence::Unread => {}
        VersionEvidence::Is(version) if layout.versions.contains(&version.as_str()) => {}
        VersionEvidence::Is(version) => against.push(format!("`llama_version()` is `{version}`")),
        VersionEvidence::Missing => against.push("`llama_version` is missing".to_owned()),
    }
    let known: BTreeSet<&str> = layout.symbols.lines().filter(|l| !l.is_empty()).collect();
    let missing: Vec<_> = known.iter().filter(|s| !evidence.symbols.contains(**s)).collect();
    let surplus: Vec<_> = evidence.symbols.iter().filter(|s| !known.contains(s.as_str())).collect();
    if !missing.is_empty() {
        against.push(format!("{} symbols are missing ({})", missing.len(), shorten(&missing)));
    }
    if !surplus.is_empty() {
        against.push(format!("{} symbols are new ({})", surplus.len(), shorten(&surplus)));
    }
    if let Some(defaults) = &evidence.model_defaults {
        against.extend(defaults.contradictions(&layout.model_params));
    }
    if let Some(defaults) = &evidence.context_defaults {
        against.extend(defaults.contradictions(&layout.context_params));
    }
    against
}

fn shorten<T: AsRef<str>>(names: &[T]) -> String {
    let mut text = names.iter().take(3).map(|n| format!("`{}`", n.as_ref())).collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests;
