//! The one variant that a request leads to.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use crate::catalogue::{absolute, is_library};
use crate::library_dir::LibrarySource;
use crate::request::VariantRequest;
use crate::select_error::SelectError;
use crate::text::distance;
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
pub struct VariantChoice {
    /// The request.
    pub request: VariantRequest,
    /// The chosen variant; always usable.
    pub verdict: Verdict,
    /// Set when the user pointed somewhere (an explicit path, the environment, a companion package that is installed) and nothing there is usable, or
    /// when what fits best turned out not to work, so that something else was chosen.
    pub warning: Option<String>,
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
pub fn select(request: &VariantRequest, verdicts: &[Verdict]) -> Result<VariantChoice, SelectError> {
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
    Ok(VariantChoice { request: request.clone(), verdict: verdict.clone(), warning })
}

fn auto(verdicts: &[Verdict]) -> Result<&Verdict, SelectError> {
    verdicts.iter().find(|verdict| verdict.usable && !verdict.only_named).ok_or_else(|| {
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
    let pointed = |source: &LibrarySource| !matches!(source, LibrarySource::Bundled);
    let first = verdicts
        .iter()
        .filter(|v| pointed(&v.source) && !v.usable && v.source.preference() < chosen.source.preference())
        .min_by_key(|v| v.source.preference())?;
    if !first.backends.is_empty() {
        return Some(format!(
            "{} is not used: `{}` {}; took `{}` instead",
            first.source, first.name, first.reason, chosen.name
        ));
    }
    let (at, source, name, reason) = (first.path.display(), &first.source, &first.name, &first.reason);
    Some(format!(
        "nothing in `{at}` ({source}) runs on this machine (`{name}` {reason}); took `{}` from `{}` ({}) instead",
        chosen.name,
        chosen.path.display(),
        chosen.source
    ))
}
