//! Kimi K2's words (`unicode_regex_split_custom_kimi_k2` in `src/unicode.cpp`): as GPT-4o's, but Han characters are words apart, marks are no part of
//! words, and upper case is not told from lower case.

use super::pattern::{newlines, spaces_by_lines};
use super::{Piece, Taker};
use crate::characters::{END, LETTER, NUMBER, SPACE, decode, is_han};

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
    let (class, next) = piece.step(at);
    if is_han_at(piece, at) {
        return skip_while(piece, next, |at| is_han_at(piece, at));
    }
    let is_letter = |at: usize| piece.class(at) == LETTER && !is_han_at(piece, at);
    let may_lead = class != NUMBER && class != LETTER && !matches!(piece.byte(at), b'\r' | b'\n');
    if is_letter(at) || may_lead && is_letter(next) {
        let end = skip_while(piece, next, is_letter);
        return piece.contraction(end, true).unwrap_or(end);
    }
    if class == NUMBER {
        let mut end = next;
        for _ in 0..2 {
            let (class, next) = piece.step(end);
            end = if class == NUMBER { next } else { end };
        }
        return end;
    }
    let first = if piece.byte(at) == b' ' { at + 1 } else { at };
    let class = piece.class(first);
    if class & (SPACE | LETTER | NUMBER) == 0 && class != END {
        return newlines(piece, piece.skip(first, !(SPACE | LETTER | NUMBER)));
    }
    spaces_by_lines(piece, at)
}

fn is_han_at(piece: &Piece<'_>, at: usize) -> bool {
    at < piece.end && !piece.text[at].is_ascii() && is_han(decode(piece.text, at).0)
}

fn skip_while(piece: &Piece<'_>, mut at: usize, holds: impl Fn(usize) -> bool) -> usize {
    while holds(at) {
        at = piece.step(at).1;
    }
    at
}
