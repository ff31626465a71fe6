//! Words that begin where upper case follows lower case: Tekken's and GPT-4o's.
//!
//! The original expressions tell upper from lower case in all scripts. llama.cpp's tell them apart in ASCII alone: a letter that is not ASCII is both.

use super::Piece;

/// Where the word ends that begins at `at`, or behind one other character at `after`: the first that matches of `X?U*L+`, with and without `X`, and
/// `X?U+L*`, with and without it.
pub(super) fn cased(piece: &Piece<'_>, at: usize, after: Option<usize>, mask: u8) -> Option<usize> {
    let starts = [after, Some(at)];
    let starts_of = |find: fn(&Piece<'_>, usize, u8) -> Option<usize>| {
        starts.iter().flatten().find_map(|start| find(piece, *start, mask))
    };
    starts_of(ends_low).or_else(|| starts_of(begins_high))
}

/// `U*L+`, which gives back letters that are both.
fn ends_low(piece: &Piece<'_>, start: usize, mask: u8) -> Option<usize> {
    let (mut at, mut both) = (start, None);
    loop {
        let (class, next) = piece.step(at);
        if class & mask == 0 {
            return both;
        }
        let byte = piece.text[at];
        if byte.is_ascii_lowercase() {
            return Some(skip_low(piece, at, mask));
        }
        if !byte.is_ascii_uppercase() {
            both = Some(next);
        }
        at = next;
    }
}

/// `U+L*`.
fn begins_high(piece: &Piece<'_>, start: usize, mask: u8) -> Option<usize> {
    let mut at = start;
    loop {
        let (class, next) = piece.step(at);
        if class & mask == 0 || piece.text[at].is_ascii_lowercase() {
            break;
        }
        at = next;
    }
    (at > start).then(|| skip_low(piece, at, mask))
}

fn skip_low(piece: &Piece<'_>, mut at: usize, mask: u8) -> usize {
    loop {
        let (class, next) = piece.step(at);
        if class & mask == 0 || piece.text[at].is_ascii_uppercase() {
            return at;
        }
        at = next;
    }
}
