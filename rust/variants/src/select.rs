//! The one variant that a request leads to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::catalogue::{absolute, is_library};
use crate::feature::CpuFeature;
use crate::library_dir::LibrarySource;
use crate::request::VariantRequest;
use crate::text::{distance, serialize_path};
use crate::verdict::Verdict;

/// What was asked for, what was chosen, and what the caller should be told about it.
///
/// ```
/// # use tabagent_variants::{Hardware, SelectError, VariantRequest, rank, select};
/// match select(&VariantRequest::Auto, &rank(&Hardware::probe(), &[])) {
///     Ok(choice) => println!("{}: {}", choice.verdict.name, choice.verdict.reason),
///     Err(error) => assert_eq!(error, SelectError::NoLibrary),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The request.
    pub request: VariantRequest,
    /// The chosen variant; always usable.
    pub verdict: Verdict,
    /// Set when the user pointed somewhere (an explicit path or the environment) and nothing there is usable, so that
    /// something else was chosen.
    pub warning: Option<String>,
}

/// Why no variant could be chosen.
///
/// ```
/// use tabagent_variants::{SelectError, VariantRequest};
/// assert_eq!("".parse::<VariantRequest>(), Err(SelectError::EmptyRequest));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectError {
    /// The request is an empty text.
    #[error("the variant is empty; ask for `auto`, a name such as `haswell`, or a path")]
    EmptyRequest,
    /// No library directory was found at all.
    #[error(
        "no llama.cpp library was found; install a wheel with libraries or set `TABAGENT_LIBRARY_PATH` to a directory that holds one"
    )]
    NoLibrary,
    /// Libraries were found, and none of them runs here.
    #[error("none of the {found} variants found runs on this machine; the closest one, `{name}`, {reason}")]
    NoneUsable {
        /// How many variants were found.
        found: usize,
        /// The one that misses least.
        name: String,
        /// Why it does not run.
        reason: String,
    },
    /// No variant has the name.
    #[error("unknown variant `{name}`; known here, closest first: {}", backticked(known))]
    UnknownVariant {
        /// The name asked for.
        name: String,
        /// The names there are, closest first.
        known: Vec<String>,
    },
    /// No variant is at the path.
    #[error("no llama.cpp library was found at `{}`; known here: {}", path.display(), backticked(known))]
    UnknownPath {
        /// The path asked for.
        #[serde(serialize_with = "serialize_path")]
        path: PathBuf,
        /// The directories there are.
        known: Vec<String>,
    },
    /// The variant asked for does not run here.
    #[error("variant `{name}` cannot run on this machine: {reason}; ask for `auto` or another variant")]
    Unusable {
        /// The variant.
        name: String,
        /// Why it does not run.
        reason: String,
        /// The features missing.
        missing: Vec<CpuFeature>,
    },
}

fn backticked(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Chooses among verdicts as [`rank`](crate::rank) sorted them. An unusable variant is never chosen, not even by name.
///
/// Where several directories hold a module of the name asked for, the first usable one is taken. For a path, the file system
/// is asked to resolve it as [`discover`](crate::discover) did.
///
/// # Errors
///
/// [`SelectError::NoLibrary`] for no verdicts, [`SelectError::NoneUsable`] for `auto`, [`SelectError::UnknownVariant`],
/// [`SelectError::UnknownPath`] and [`SelectError::Unusable`] for the other requests.
pub fn select(request: &VariantRequest, verdicts: &[Verdict]) -> Result<Choice, SelectError> {
    if verdicts.is_empty() {
        return Err(SelectError::NoLibrary);
    }
    let (verdict, warning) = match request {
        VariantRequest::Auto => {
            let chosen = auto(verdicts)?;
            (chosen, passed_over(verdicts, chosen))
        }
        VariantRequest::Module(name) => {
            let matching = verdicts.iter().filter(|v| v.name.eq_ignore_ascii_case(name));
            (first_usable(matching).ok_or_else(|| unknown(name, verdicts))??, None)
        }
        VariantRequest::Path(path) => {
            let wanted = absolute(path);
            let matching = verdicts.iter().filter(|verdict| is_at(verdict, &wanted));
            (first_usable(matching).ok_or_else(|| nowhere(path, verdicts))??, None)
        }
    };
    Ok(Choice { request: request.clone(), verdict: verdict.clone(), warning })
}

fn auto(verdicts: &[Verdict]) -> Result<&Verdict, SelectError> {
    verdicts.iter().find(|verdict| verdict.usable).ok_or_else(|| {
        let closest =
            verdicts.iter().min_by_key(|verdict| (verdict.missing.is_empty(), verdict.missing.len()));
        SelectError::NoneUsable {
            found: verdicts.len(),
            name: closest.map(|verdict| verdict.name.clone()).unwrap_or_default(),
            reason: closest.map(|verdict| verdict.reason.clone()).unwrap_or_default(),
        }
    })
}

/// The first usable verdict, an error about the first one if none is usable, `None` if there is none.
fn first_usable<'a>(
    mut matching: impl Iterator<Item = &'a Verdict>,
) -> Option<Result<&'a Verdict, SelectError>> {
    let first = matching.next()?;
    if first.usable {
        return Some(Ok(first));
    }
    Some(matching.find(|verdict| verdict.usable).ok_or_else(|| SelectError::Unusable {
        name: first.name.clone(),
        reason: first.reason.clone(),
        missing: first.missing.clone(),
    }))
}

fn unknown(name: &str, verdicts: &[Verdict]) -> SelectError {
    let names: BTreeSet<&str> = verdicts.iter().map(|verdict| verdict.name.as_str()).collect();
    let mut known: Vec<String> = names.into_iter().map(str::to_owned).collect();
    known.sort_by_key(|candidate| distance(name, candidate));
    SelectError::UnknownVariant { name: name.to_owned(), known }
}

fn nowhere(path: &Path, verdicts: &[Verdict]) -> SelectError {
    let known: BTreeSet<String> = verdicts.iter().map(|verdict| verdict.path.display().to_string()).collect();
    SelectError::UnknownPath { path: path.to_owned(), known: known.into_iter().collect() }
}

fn is_at(verdict: &Verdict, wanted: &Path) -> bool {
    let in_tree = verdict.source == LibrarySource::BitnetRelease && verdict.path.starts_with(wanted);
    in_tree
        || verdict.path == wanted
        || (is_library(wanted) && wanted.parent() == Some(&verdict.path))
        || verdict.module.as_deref() == Some(wanted)
}

/// Says that nothing is usable where the user pointed, if something less preferred had to be chosen.
fn passed_over(verdicts: &[Verdict], chosen: &Verdict) -> Option<String> {
    let pointed = [LibrarySource::ExplicitPath, LibrarySource::Environment, LibrarySource::BitnetRelease];
    let first = verdicts
        .iter()
        .filter(|v| pointed.contains(&v.source) && v.source.preference() < chosen.source.preference())
        .min_by_key(|v| v.source.preference())?;
    let (at, source, name, reason) = (first.path.display(), &first.source, &first.name, &first.reason);
    Some(format!(
        "nothing in `{at}` ({source}) runs on this machine (`{name}` {reason}); took `{}` from `{}` ({}) instead",
        chosen.name,
        chosen.path.display(),
        chosen.source
    ))
}
