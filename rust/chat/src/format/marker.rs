//! Markers in text that comes in pieces.

/// Where a marker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The marker with this number is at this place.
    At { place: usize, marker: usize },
    /// None is there, but from this place on one may begin.
    Maybe { place: usize },
    /// None is there.
    None,
}

/// The first marker in the text; of several at one place, the longest. Where the text ends none goes on.
pub(super) fn find_marker(text: &str, markers: &[String], at_end: bool) -> Found {
    let bytes = text.as_bytes();
    for place in 0..bytes.len() {
        let rest = &bytes[place..];
        let mut found: Option<usize> = None;
        let mut may_grow = false;
        for (index, marker) in markers.iter().enumerate() {
            let marker = marker.as_bytes();
            if marker.is_empty() || marker[0] != rest[0] {
                continue;
            }
            if rest.starts_with(marker) {
                if found.is_none_or(|best| markers[best].len() < marker.len()) {
                    found = Some(index);
                }
            } else if marker.starts_with(rest) {
                may_grow = true;
            }
        }
        if may_grow && !at_end {
            return Found::Maybe { place };
        }
        if let Some(marker) = found {
            return Found::At { place, marker };
        }
    }
    Found::None
}

/// How the beginning of a text compares with a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loose {
    /// The text begins with it; so many bytes of it.
    Is(usize),
    /// The text is shorter and may become it.
    Maybe,
    /// It does not.
    Not,
}

/// Compares without white space: models do not always write that of the template.
pub(super) fn loose_match(text: &str, marker: &str) -> Loose {
    let mut wanted = marker.chars().filter(|c| !c.is_whitespace());
    let mut next = wanted.next();
    for (place, found) in text.char_indices() {
        let Some(expected) = next else { return Loose::Is(place) };
        if found.is_whitespace() {
            continue;
        }
        if found != expected {
            return Loose::Not;
        }
        next = wanted.next();
    }
    if next.is_none() { Loose::Is(text.len()) } else { Loose::Maybe }
}

/// Whether a character may be part of a tool's name.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-' | '$')
}
