//! GPT-2's words: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.

use super::pattern::spaces;
use super::{Piece, Taker};
use crate::characters::{END, LETTER, NUMBER, SPACE};

/// Splits a piece of text into words.
pub(super) fn split(piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
    let mut at = piece.start;
    while at < piece.end {
        let end = word(&piece, at);
        if !take(at, end) {
            return false;
        }
        at = end;
    }
    true
}

fn word(piece: &Piece<'_>, at: usize) -> usize {
    if let Some(end) = piece.contraction(at, false) {
        return end;
    }
    let first = if piece.byte(at) == b' ' { at + 1 } else { at };
    let (class, next) = piece.step(first);
    match class {
        LETTER => piece.skip(next, LETTER),
        NUMBER => piece.skip(next, NUMBER),
        SPACE | END => spaces(piece, at),
        _ => piece.skip(next, !(SPACE | LETTER | NUMBER)),
    }
}
