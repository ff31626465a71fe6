//! Numbers in groups of three.

use super::{Piece, Taker};
use crate::characters::NUMBER;

/// `[0-9][0-9][0-9]`
pub(super) fn three(piece: &Piece<'_>, at: usize) -> Option<usize> {
    let digits = piece.text[at..piece.end].first_chunk::<3>()?;
    digits.iter().all(u8::is_ascii_digit).then_some(at + 3)
}

/// Ends a piece behind every group of three, counted from the end of a run of numbers. Text before a run belongs to its first group, as in
/// `unicode_regex_split_custom_afmoe`; the original expression, `\d{1,3}(?=(?:\d{3})*\b)`, separates it.
pub(super) fn from_end(piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
    let (mut from, mut at) = (piece.start, piece.start);
    while at < piece.end {
        let (class, next) = piece.step(at);
        if class != NUMBER {
            at = next;
            continue;
        }
        let (mut n, mut end) = (1, next);
        loop {
            let (class, next) = piece.step(end);
            if class != NUMBER {
                break;
            }
            (n, end) = (n + 1, next);
        }
        while at < end {
            at = piece.step(at).1;
            n -= 1;
            if n % 3 == 0 {
                if !take(from, at) {
                    return false;
                }
                from = at;
            }
        }
    }
    from == piece.end || take(from, piece.end)
}

/// Begins a piece before every group of three ASCII digits, counted from the end of a run of them.
pub(super) fn before_threes(piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
    let (mut from, mut at) = (piece.start, piece.start);
    while at < piece.end {
        let n = piece.text[at..piece.end].iter().take_while(|byte| byte.is_ascii_digit()).count();
        for left in (1..=n).rev() {
            let start = at + n - left;
            if left % 3 == 0 && from < start {
                if !take(from, start) {
                    return false;
                }
                from = start;
            }
        }
        at = if n == 0 { piece.step(at).1 } else { at + n };
    }
    from == piece.end || take(from, piece.end)
}
