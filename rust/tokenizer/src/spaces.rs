//! Spaces as `▁`, and where a text with them may be cut.

use std::collections::HashSet;
use std::ops::Range;

use crate::characters::decode;
use crate::output::Output;

/// What stands for a space.
pub(crate) const SPACE: &[u8] = "▁".as_bytes();

/// Appends `text` with `▁` for every space.
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + text.len() / 2);
    let mut from = 0;
    for at in memchr::memchr_iter(b' ', text) {
        out.extend_from_slice(&text[from..at]);
        out.extend_from_slice(SPACE);
        from = at + 1;
    }
    out.extend_from_slice(&text[from..]);
}

/// Appends `text` with a space for every `▁`.
pub(crate) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    for at in memchr::memmem::find_iter(text, SPACE) {
        out.extend_from_slice(&text[from..at]);
        out.push(b' ');
        from = at + SPACE.len();
    }
    out.extend_from_slice(&text[from..]);
}

/// Moves spans of tokens from `first` on from an escaped text to the text itself: `text[span]`, in front of which `added` bytes were put.
pub(crate) fn place(out: &mut Output, first: usize, text: &[u8], span: &Range<usize>, added: usize) {
    // Where both texts are at the same character.
    let (mut escaped, mut plain) = (added, span.start);
    out.place_from(first, |at| {
        while escaped < at && plain < span.end {
            escaped += if text[plain] == b' ' { SPACE.len() } else { 1 };
            plain += 1;
        }
        plain
    });
}

/// The characters in front of which no token has a `▁` behind them: there, nothing merges, and what is on both sides can be tokenized apart.
#[derive(Debug, Default)]
pub(crate) struct Seams {
    ascii: u128,
    others: HashSet<u32>,
}

impl Seams {
    /// Notes all places of `▁` in a text that tokens may merge to.
    pub(crate) fn note(&mut self, text: &[u8]) {
        for at in memchr::memmem::find_iter(text, SPACE).filter(|at| *at > 0) {
            let mut before = at - 1;
            while before > 0 && text[before] & 0xc0 == 0x80 {
                before -= 1;
            }
            if text[before].is_ascii() {
                self.ascii |= 1 << text[before];
            } else {
                self.others.insert(decode(text, before).0);
            }
        }
    }

    /// Gives the pieces of `span` that can be tokenized apart to `take`, until it wants no more.
    pub(crate) fn split(&self, text: &[u8], span: Range<usize>, take: &mut dyn FnMut(usize, usize) -> bool) {
        let (mut from, mut at) = (span.start, span.start + 1);
        // Words are short, so looking at each byte is faster than searching.
        while at + SPACE.len() <= span.end {
            if text[at] == SPACE[0] && text[at..].starts_with(SPACE) {
                if self.is_seam(text, at) {
                    if !take(from, at) {
                        return;
                    }
                    from = at;
                }
                at += SPACE.len();
            } else {
                at += 1;
            }
        }
        if from < span.end {
            take(from, span.end);
        }
    }

    /// Whether nothing merges across the place before the `▁` at `at`.
    #[inline]
    fn is_seam(&self, text: &[u8], at: usize) -> bool {
        let mut before = at - 1;
        if text[before].is_ascii() {
            return self.ascii & 1 << text[before] == 0;
        }
        while text[before] & 0xc0 == 0x80 {
            before -= 1;
        }
        !self.others.contains(&decode(text, before).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_no_token_reaches() {
        let mut seams = Seams::default();
        for token in ["▁the", "a▁b", "é▁", "▁▁"] {
            seams.note(token.as_bytes());
        }
        let text = "▁of▁a▁b▁▁▁cé▁d▁".as_bytes();
        let mut pieces = Vec::new();
        seams.split(text, 0..text.len(), &mut |start, end| {
            pieces.push(String::from_utf8_lossy(&text[start..end]).into_owned());
            true
        });
        assert_eq!(pieces, ["▁of", "▁a▁b", "▁▁▁cé▁d", "▁"]);
    }

    #[test]
    fn spaces_come_back() {
        let (mut escaped, mut plain) = (Vec::new(), Vec::new());
        escape(b"a  b ", &mut escaped);
        assert_eq!(escaped, "a▁▁b▁".as_bytes());
        unescape(&escaped, &mut plain);
        assert_eq!(plain, b"a  b ");
    }
}
