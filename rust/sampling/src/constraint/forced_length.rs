//! Texts that leave no choice for very long.
//!
//! The engine parses such a text to its end, one state for each byte, before it says which tokens may come; that takes seconds for a hundred
//! thousand bytes. The length of the longest one can be read off an expression.

use regex_syntax::hir::{Hir, HirKind};

use super::GrammarError;
use super::limits::MAX_FORCED_BYTES;

/// Refuses an expression that leaves no choice for too long. One that cannot be parsed is left to the engine.
pub(crate) fn check_expression(regex: &str) -> Result<(), GrammarError> {
    let parsed = regex_syntax::ParserBuilder::new().nest_limit(2_000).build().parse(regex);
    parsed.map_or(Ok(()), |hir| check(ForcedLength::of(&hir).longest))
}

/// Refuses a text that is longer than what may be forced.
pub(crate) fn check_text(bytes: usize) -> Result<(), GrammarError> {
    check(bytes as u64)
}

fn check(bytes: u64) -> Result<(), GrammarError> {
    if bytes <= MAX_FORCED_BYTES {
        return Ok(());
    }
    Err(GrammarError::too_large(format!(
        "`{bytes}` bytes of text leave no choice, at most `{MAX_FORCED_BYTES}` are allowed; make it shorter"
    )))
}

/// How many bytes of an expression leave no choice.
#[derive(Clone, Copy)]
struct ForcedLength {
    /// Whether there is no choice at all.
    whole: bool,
    /// From its beginning on.
    head: u64,
    /// Up to its end.
    tail: u64,
    /// At most, anywhere.
    longest: u64,
}

impl ForcedLength {
    fn text(bytes: u64) -> Self {
        Self { whole: true, head: bytes, tail: bytes, longest: bytes }
    }

    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::text(0),
            HirKind::Literal(literal) => Self::text(literal.0.len() as u64),
            HirKind::Class(_) => Self { whole: false, ..Self::text(0) },
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => {
                let (least, most) = (u64::from(repetition.min), repetition.max.map(u64::from));
                Self::of(&repetition.sub).repeated(least, most)
            }
            HirKind::Concat(parts) => parts.iter().map(Self::of).fold(Self::text(0), Self::then),
            // What its branches have in common is not looked for: the longest one counts.
            HirKind::Alternation(parts) => {
                let parts: Vec<Self> = parts.iter().map(Self::of).collect();
                let most = |bytes: fn(&Self) -> u64| parts.iter().map(bytes).max().unwrap_or(0);
                let longest = most(|part| part.longest);
                Self { whole: false, head: 0, tail: most(|part| part.tail), longest }
            }
        }
    }

    fn then(self, next: Self) -> Self {
        Self {
            whole: self.whole && next.whole,
            head: if self.whole { self.head.saturating_add(next.head) } else { self.head },
            tail: if next.whole { self.tail.saturating_add(next.tail) } else { next.tail },
            longest: self.longest.max(next.longest).max(self.tail.saturating_add(next.head)),
        }
    }

    fn repeated(self, least: u64, most: Option<u64>) -> Self {
        if self.whole {
            let certain = self.head.saturating_mul(least);
            let whole = most == Some(least);
            return Self {
                whole,
                head: certain,
                tail: if whole { certain } else { self.head },
                longest: certain,
            };
        }
        let twice = if most == Some(1) { 0 } else { self.tail.saturating_add(self.head) };
        Self { head: if least == 0 { 0 } else { self.head }, longest: self.longest.max(twice), ..self }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_text_without_a_choice() {
        for (regex, longest) in [
            ("", 0),
            ("abc", 3),
            ("[ab]cd[ef]", 2),
            ("a{1000}", 1000),
            ("(?:a{1000}){1000}b", 1_000_001),
            ("(ab){3}c?", 6),
            ("x(ab|c)de", 4),
            ("[xy](?:ab){5}", 10),
            ("a{5,}b", 5),
            ("(?:[xy]abc){9}", 3),
            ("(?:ab[xy]cd)+", 4),
            ("é{3}", 6),
        ] {
            let hir = regex_syntax::parse(regex).unwrap();
            assert_eq!(ForcedLength::of(&hir).longest, longest, "{regex}");
        }
    }
}
