//! Identifies the build of llama.cpp: what is observed of a library, and the layout that agrees with all of it.

use crate::family::Family;
use crate::layout::{AbiLayout, StructLayout};
use crate::symbols;
use std::collections::BTreeSet;

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

    /// How many of the bytes that the function wrote belong to fields.
    fn explained_by(&self, layout: &StructLayout) -> usize {
        let fields = layout.fields.iter().flat_map(|field| field.offset..field.offset + field.kind.size());
        fields.filter(|at| self.bytes.get(*at).is_some_and(Option::is_some)).count()
    }

    /// Lists the fields whose observed bytes differ from the layout's default, and the bytes written past its end or between fields: compilers leave those between fields alone or
    /// set them to zero, so that anything else is a field that the layout does not have.
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
        let is_field =
            |at: usize| layout.fields.iter().any(|f| (f.offset..f.offset + f.kind.size()).contains(&at));
        let between = self.bytes.iter().take(layout.size).enumerate();
        for (at, byte) in between.filter(|(_, byte)| byte.is_some_and(|byte| byte != 0)) {
            if !is_field(at) {
                let value = byte.unwrap_or_default();
                found.push(format!(
                    "`{}` has the value {value} at offset {at}, where no field is known",
                    layout.name
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
    /// The supported builds that come nearest.
    pub expected: String,
    /// What is known of this library.
    pub found: String,
    /// How it differs from the nearest supported build.
    pub evidence: Vec<String>,
}

/// How much of the evidence has to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// All of it.
    #[default]
    Known,
    /// Sizes and defaults of the structs, and the functions that are called. The version may be another one, functions that no known build has may be there, and functions that
    /// are not called may be missing.
    Unverified,
}

/// The layouts that no evidence speaks against.
///
/// Evidence that is not gathered yet (`Unread`, `None`) contradicts no layout, so a library can be refused for its version and symbols before
/// any of its functions is called.
///
/// # Errors
/// [`AbiMismatch`] when no layout fits; it lists what contradicts the nearest one.
pub fn candidates<'a>(
    evidence: &Evidence,
    layouts: &'a [AbiLayout],
    strictness: Strictness,
) -> Result<Vec<&'a AbiLayout>, AbiMismatch> {
    let mut found = Vec::new();
    let mut nearest: Option<(usize, Vec<String>, &str)> = None;
    for layout in layouts {
        let (distance, against) = contradictions(evidence, layout, strictness);
        if against.is_empty() {
            found.push(layout);
        } else if nearest.as_ref().is_none_or(|(least, ..)| distance <= *least) {
            nearest = Some((distance, against, layout.name));
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let (_, evidence_against, name) = nearest.unwrap_or_default();
    Err(AbiMismatch {
        expected: format!("`{name}`, the most similar of {} known layouts", layouts.len()),
        found: evidence.to_string(),
        evidence: evidence_against,
    })
}

/// The one layout that all the evidence agrees with. Of several, it is the one that has fields for the most of the bytes that were written: a new field whose default is zero looks like
/// bytes between fields to the layout before it, and compilers seldom write those.
///
/// # Errors
/// [`AbiMismatch`] when no layout fits, or more than one.
pub fn identify<'a>(
    evidence: &Evidence,
    layouts: &'a [AbiLayout],
    strictness: Strictness,
) -> Result<&'a AbiLayout, AbiMismatch> {
    let found = candidates(evidence, layouts, strictness)?;
    let explained = |layout: &AbiLayout| {
        let of = |seen: &Option<DefaultBytes>, structure| {
            seen.as_ref().map_or(0, |seen| seen.explained_by(structure))
        };
        of(&evidence.model_defaults, &layout.model_params)
            + of(&evidence.context_defaults, &layout.context_params)
    };
    let most = found.iter().map(|layout| explained(layout)).max();
    let best: Vec<_> = found.into_iter().filter(|layout| Some(explained(layout)) == most).collect();
    match best.as_slice() {
        [one] => Ok(one),
        several => Err(AbiMismatch {
            expected: "one known layout".to_owned(),
            found: evidence.to_string(),
            evidence: several
                .iter()
                .map(|layout| format!("`{}` agrees with all of it", layout.name))
                .collect(),
        }),
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.version {
            VersionEvidence::Is(version) => write!(f, "version `{version}`")?,
            VersionEvidence::Unread => f.write_str("a build of unknown version")?,
            VersionEvidence::Missing => {
                f.write_str("a build without `llama_version`, so from before August 2026")?;
            }
        }
        write!(f, " with {} `llama_*` symbols", self.symbols.len())?;
        match (&self.model_defaults, &self.context_defaults) {
            (Some(model), Some(context)) => write!(
                f,
                ", {} bytes of model and {} of context parameters",
                model.extent(),
                context.extent()
            ),
            _ => Ok(()),
        }
    }
}

/// How far the library is from a layout, and in what. Symbols count one each, bytes more: a library of another layout differs in many symbols, one whose author added a field in none.
fn contradictions(evidence: &Evidence, layout: &AbiLayout, strictness: Strictness) -> (usize, Vec<String>) {
    let mut against = Vec::new();
    let expected = symbols::expected(layout);
    let exported = || evidence.symbols.iter().map(String::as_str);
    let is_strict = strictness == Strictness::Known;
    let missing: Vec<_> = (expected.must.iter().copied())
        .filter(|name| !evidence.symbols.contains(*name) && (is_strict || Family::uses(name)))
        .collect();
    let surplus: Vec<_> = exported()
        .filter(|name| !expected.may.contains(name) && (is_strict || symbols::is_known(name)))
        .collect();
    let mut distance = missing.len() + surplus.len();
    if is_strict {
        match (&evidence.version, layout.versions) {
            (VersionEvidence::Is(version), range) if !is_within(version, range) => {
                against.push(format!("`llama_version()` is `{version}`"));
            }
            (VersionEvidence::Missing, Some(_)) => against.push("`llama_version` is missing".to_owned()),
            _ => {}
        }
    }
    if !missing.is_empty() {
        against.push(format!("{} symbols are missing ({})", missing.len(), shorten(&missing)));
    }
    if !surplus.is_empty() {
        against.push(format!("{} symbols are new ({})", surplus.len(), shorten(&surplus)));
    }
    let observed = [
        (&evidence.model_defaults, &layout.model_params),
        (&evidence.context_defaults, &layout.context_params),
    ];
    for (defaults, structure) in observed {
        let found = defaults.as_ref().map(|defaults| defaults.contradictions(structure)).unwrap_or_default();
        distance += 4 * found.len();
        against.extend(found);
    }
    (distance, against)
}

/// Whether a version such as `0.5.0-dev` lies in a range of versions.
fn is_within(version: &str, range: Option<(&str, &str)>) -> bool {
    let numbers = |text: &str| -> Option<Vec<u32>> {
        text.strip_suffix("-dev").unwrap_or(text).split('.').map(|part| part.parse().ok()).collect()
    };
    let Some((lowest, highest)) = range else { return false };
    match (numbers(lowest), numbers(version), numbers(highest)) {
        (Some(lowest), Some(version), Some(highest)) => {
            version.len() == lowest.len() && (lowest..=highest).contains(&version)
        }
        _ => false,
    }
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
