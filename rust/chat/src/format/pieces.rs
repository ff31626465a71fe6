//! Texts cut into tags and characters, so that what two of them share ends where a tag does.

/// How long a tag may be.
const MAX_TAG: usize = 80;

/// The tags (`<…>`, `[CAPITALS]`) and single characters that a text consists of.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = tag_length(rest).unwrap_or(first.len_utf8());
        found.push(&rest[..length]);
        rest = &rest[length..];
    }
    found
}

/// The length of the tag that a text begins with.
pub(super) fn tag_length(text: &str) -> Option<usize> {
    let inner = text.get(1..)?;
    match text.as_bytes()[0] {
        b'<' => {
            let end = inner.find(['>', '<', '\n'])?;
            (inner.as_bytes()[end] == b'>' && end > 0 && end < MAX_TAG).then_some(end + 2)
        }
        b'[' => {
            let end = inner.find(']')?;
            let is_word = end > 1
                && inner[..end].chars().all(|c| c.is_ascii_uppercase() || matches!(c, '_' | '/' | ' '));
            is_word.then_some(end + 2)
        }
        _ => None,
    }
}

/// Whether the text is one tag.
pub(super) fn is_tag(text: &str) -> bool {
    tag_length(text) == Some(text.len())
}

/// The tags in a text.
pub(super) fn tags(text: &str) -> impl Iterator<Item = &str> {
    pieces(text).into_iter().filter(|piece| is_tag(piece))
}

/// A text up to the end of its first tag; all of it if it does not begin with one.
pub(super) fn first_tag(text: &str) -> &str {
    tag_length(text).map_or(text, |length| &text[..length])
}

/// How long the beginning is that two texts share.
pub(super) fn common_prefix(one: &str, other: &str) -> usize {
    pieces(one).iter().zip(pieces(other)).take_while(|(a, b)| **a == *b).map(|(a, _)| a.len()).sum()
}

/// How long the end is that two texts share.
pub(super) fn common_suffix(one: &str, other: &str) -> usize {
    let (one, other) = (pieces(one), pieces(other));
    one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| **a == **b).map(|(a, _)| a.len()).sum()
}

/// What is around calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Around {
    pub(super) section_start: String,
    pub(super) call_start: String,
    pub(super) call_end: String,
    pub(super) separator: String,
    pub(super) rest: String,
}

/// Finds what belongs to each call and what to all, in the texts before the first call, between two, and after the last one.
pub(super) fn around(before: &str, between: Option<&str>, after: &str) -> Around {
    let Some(between) = between else {
        return Around {
            section_start: before.trim().to_owned(),
            rest: after.to_owned(),
            ..Around::default()
        };
    };
    let start = from_tag(&before[before.len() - common_suffix(before, between)..], before);
    let inner = &between[..between.len() - start.len()];
    let end = &inner[..common_prefix(inner, after)];
    Around {
        section_start: before[..before.len() - start.len()].trim().to_owned(),
        call_start: start.trim().to_owned(),
        call_end: end.trim().to_owned(),
        separator: inner[end.len()..].trim().to_owned(),
        rest: after[end.len()..].to_owned(),
    }
}

/// A shared end from its first tag on, unless it is all there is.
fn from_tag<'a>(shared: &'a str, whole: &str) -> &'a str {
    if shared.trim() == whole.trim() {
        return shared;
    }
    let mut place = 0;
    for piece in pieces(shared) {
        if is_tag(piece) || piece == "<" || piece == "[" || piece == ">" {
            break;
        }
        place += piece.len();
    }
    if place == shared.len() && !shared.trim().is_empty() { shared } else { &shared[place..] }
}
