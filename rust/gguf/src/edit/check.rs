//! Checks that an edit does not break a file.

use std::path::Path;

use crate::check::{check_model, check_parts};
use crate::error::{GgufError, Subject};
use crate::file::GgufFile;
use crate::model::GgufModel;
use crate::owned::OwnedValue;
use crate::split::parse_name;

use super::Edit;
use super::known::{self, Kind};

const ARCHITECTURE: &str = "general.architecture";
const TOKENS: &str = "tokenizer.ggml.tokens";
/// Arrays with an item for each token.
const BESIDE_TOKENS: [&str; 2] = ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"];

/// Proves that `edits` make nothing worse: `after` is `before`, the file at `path`, with them applied.
pub(super) fn check(
    before: &GgufFile,
    after: GgufFile,
    path: &Path,
    edits: &[Edit],
) -> Result<GgufFile, GgufError> {
    // If the parts do not fit together now, this edit may be the repair.
    if before.split() != after.split() && !matches!(GgufModel::open(path), Err(GgufError::Parts { .. })) {
        let key = changed_split_key(before, &after);
        return Err(refused(
            Subject::key(key.as_bytes()),
            "says which files are one model; split or merge it with `tabagent gguf split` or `merge`",
        ));
    }
    for edit in edits {
        if let Edit::Set(key, value) = edit {
            check_type(before, key, value)?;
        }
    }
    if before.architecture().is_some() && after.architecture().is_none_or(str::is_empty) {
        return Err(refused(Subject::key(ARCHITECTURE.as_bytes()), "must stay; readers look at it first"));
    }
    check_lengths(before, &after)?;
    if check_model(before).is_ok() {
        check_model(&after).map_err(as_unwritable)?;
        check_embedding(before, &after, path)?;
    }
    check_among_parts(before, after, path)
}

/// Proves that a changed part fits the others as well as before, and returns it.
fn check_among_parts(before: &GgufFile, after: GgufFile, path: &Path) -> Result<GgufFile, GgufError> {
    let (Some(split), Ok(model)) = (before.split(), GgufModel::open(path)) else { return Ok(after) };
    let mut parts = model.into_parts();
    let no = usize::from(split.no);
    if no >= parts.len() || check_parts(&parts).is_err() {
        return Ok(after);
    }
    parts[no] = after;
    check_parts(&parts).map_err(as_unwritable)?;
    Ok(parts.swap_remove(no))
}

/// Checks that a known key gets the type that readers expect; one that has another type already may keep it.
fn check_type(before: &GgufFile, key: &str, value: &OwnedValue) -> Result<(), GgufError> {
    let Some(problem) = known::problem(key, value) else { return Ok(()) };
    let old = before.metadata().get(key).map(|old| Kind::of(&old));
    if old == Some(Kind::of_owned(value)) {
        return Ok(());
    }
    Err(refused(Subject::key(key.as_bytes()), &problem))
}

/// The first of the `split.*` keys whose value changed.
fn changed_split_key(before: &GgufFile, after: &GgufFile) -> &'static str {
    let number = |file: &GgufFile, key: &str| file.metadata().get(key).and_then(|value| value.as_u64());
    ["split.count", "split.no", "split.tensors.count"]
        .into_iter()
        .find(|key| number(before, key) != number(after, key))
        .unwrap_or("split.count")
}

fn length(file: &GgufFile, key: &str) -> Option<usize> {
    file.metadata().get(key).and_then(|value| value.as_array().map(|array| array.len()))
}

/// Checks that arrays with an item for each token are as long as the list of tokens, unless they were not before.
fn check_lengths(before: &GgufFile, after: &GgufFile) -> Result<(), GgufError> {
    for key in BESIDE_TOKENS {
        let agrees = |file: &GgufFile| match (length(file, TOKENS), length(file, key)) {
            (Some(tokens), Some(items)) => tokens == items,
            (None, Some(items)) => items == 0,
            (_, None) => true,
        };
        if agrees(before) && !agrees(after) {
            let (items, tokens) =
                (length(after, key).unwrap_or_default(), length(after, TOKENS).unwrap_or_default());
            let problem =
                format!("would have `{items}` items beside `{tokens}` tokens; change both in one edit");
            return Err(refused(Subject::key(key.as_bytes()), &problem));
        }
    }
    Ok(())
}

/// Checks the embeddings of a model in several files: they may be in a later part, which the check of the first one does not see.
fn check_embedding(before: &GgufFile, after: &GgufFile, path: &Path) -> Result<(), GgufError> {
    let (old, new) = (length(before, TOKENS), length(after, TOKENS));
    if old == new || before.split().is_none() {
        return Ok(());
    }
    let Ok(model) = GgufModel::open(path) else { return Ok(()) };
    let rows = model.tensor("token_embd.weight").map(|tensor| tensor.info.shape.dim(1));
    match (rows, new) {
        (Some(rows), Some(new)) if rows == new as u64 => Ok(()),
        (None, _) => Ok(()),
        (Some(rows), new) => {
            let problem = format!(
                "would have `{}` items, but the model has embeddings of `{rows}` tokens",
                new.unwrap_or_default()
            );
            Err(refused(Subject::key(TOKENS.as_bytes()), &problem))
        }
    }
}

/// Checks that the copy of a part has the name of that part, because readers find parts by their names.
pub(super) fn check_name(after: &GgufFile, out: &Path) -> Result<(), GgufError> {
    let Some(split) = after.split() else { return Ok(()) };
    let name = out.file_name().and_then(|name| name.to_str());
    if name
        .and_then(parse_name)
        .is_some_and(|(_, no, count)| no == u32::from(split.no) + 1 && count == u32::from(split.count))
    {
        return Ok(());
    }
    let (no, count) = (u32::from(split.no) + 1, split.count);
    let problem = format!(
        "is `{count}`, so the copy is found only as `NAME-{no:05}-of-{count:05}.gguf` beside the other parts; name it so, or merge the model first"
    );
    Err(refused(Subject::key(b"split.count"), &problem))
}

/// The error for an edit that is refused because of what it does to `subject`.
pub(super) fn refused(subject: Subject, problem: &str) -> GgufError {
    GgufError::Unwritable { subject, problem: problem.to_owned() }
}

/// Turns the error for which readers would refuse the changed file into a reason not to write it.
pub(super) fn as_unwritable(error: GgufError) -> GgufError {
    match error {
        GgufError::Invalid { subject, problem, .. } | GgufError::Unusable { subject, problem, .. } => {
            GgufError::Unwritable { subject, problem: format!("{problem}; the edit would break the file") }
        }
        other => other,
    }
}
