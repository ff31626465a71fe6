//! The family of Llama 3's expression, whose alternatives differ from model to model.

use super::cased::cased;
use super::{Piece, Taker, by_matches};
use crate::characters::{LETTER, MARK, NUMBER, SPACE};

/// An expression of the form
/// `contraction|[^\r\n…]?letters|\p{N}{1,n}| ?symbols[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)` as a word of its own.
    pub(super) contractions: bool,
    /// The same as the end of a word of letters.
    pub(super) ends_in_contraction: bool,
    /// ``[!-/:-@\[-`{-~][A-Za-z]+`` before the letters.
    pub(super) ascii_words: bool,
    pub(super) letters: Letters,
    /// Classes that may not stand before letters as part of their word.
    pub(super) not_before: u8,
    /// How many numbers are a word at most; 0 for none.
    pub(super) numbers: usize,
    /// Classes of symbols.
    pub(super) symbols: u8,
    pub(super) tail: Tail,
    pub(super) spaces: Spaces,
}

/// What a word of letters is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Letters {
    /// A run of these classes.
    Of(u8),
    /// Upper case before lower case: `U*L+|U+L*` of these classes.
    Cased(u8),
    /// Letters with marks and single spaces between them: `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+`.
    Phrases,
}

/// What follows symbols as part of their word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tail {
    /// Nothing.
    None,
    /// `[\r\n]*`
    Newlines,
    /// `[\r\n/]*`
    NewlinesAndSlashes,
    /// `[\r\n/]?`
    OneOfThem,
}

/// How white space is split.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spaces {
    /// `\s*[\r\n]+|\s+(?!\S)|\s+`
    ByLines,
    /// `[\r\n]|\s+(?!\S)|\s+`
    EachNewline,
    /// `\s*[\r\n]+`, then powers of two from 512 on.
    Halving,
}

/// Everything but these.
const fn but(classes: u8) -> u8 {
    !classes
}

/// Llama 3's.
pub(super) static LLAMA3: Pattern = Pattern {
    contractions: true,
    ends_in_contraction: false,
    ascii_words: false,
    letters: Letters::Of(LETTER),
    not_before: LETTER | NUMBER,
    numbers: 3,
    symbols: but(SPACE | LETTER | NUMBER),
    tail: Tail::Newlines,
    spaces: Spaces::ByLines,
};

impl Pattern {
    /// Splits a piece of text into words.
    pub(super) fn split(&self, piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
        if matches!(self.spaces, Spaces::Halving) {
            return self.split_halving(piece, take);
        }
        // One that matches every character leaves nothing between its words.
        if !self.matches_all() {
            return by_matches(piece, take, |piece, at| self.word(piece, at));
        }
        let mut at = piece.start;
        while at < piece.end {
            let end = self.word(&piece, at).unwrap_or_else(|| piece.step(at).1);
            if !take(at, end) {
                return false;
            }
            at = end;
        }
        true
    }

    fn matches_all(&self) -> bool {
        self.numbers > 0 && self.symbols | LETTER | NUMBER | MARK | SPACE == u8::MAX
    }

    /// Where the word ends that begins at `at`.
    #[inline]
    fn word(&self, piece: &Piece<'_>, at: usize) -> Option<usize> {
        let end = self.solid(piece, at);
        if end.is_some() {
            return end;
        }
        if piece.class(at) != SPACE {
            return None;
        }
        Some(match self.spaces {
            Spaces::EachNewline if matches!(piece.byte(at), b'\r' | b'\n') => at + 1,
            Spaces::EachNewline => spaces(piece, at),
            Spaces::ByLines | Spaces::Halving => spaces_by_lines(piece, at),
        })
    }

    /// A word that is not just white space.
    #[inline]
    fn solid(&self, piece: &Piece<'_>, at: usize) -> Option<usize> {
        let byte = piece.byte(at);
        if self.contractions
            && byte == b'\''
            && let Some(end) = piece.contraction(at, true)
        {
            return Some(end);
        }
        if self.ascii_words && byte.is_ascii_punctuation() {
            let rest = &piece.text[at + 1..piece.end];
            let n = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            if n > 0 {
                return Some(at + 1 + n);
            }
        }
        let (class, next) = piece.step(at);
        let may_lead = class & self.not_before == 0 && byte != b'\r' && byte != b'\n';
        if let Some(end) = self.letters(piece, at, class, may_lead.then_some(next)) {
            let contraction = if self.ends_in_contraction { piece.contraction(end, true) } else { None };
            return Some(contraction.unwrap_or(end));
        }
        if class == NUMBER && self.numbers > 0 {
            let (mut end, mut left) = (next, self.numbers - 1);
            while left > 0 {
                let (class, next) = piece.step(end);
                if class != NUMBER {
                    break;
                }
                (end, left) = (next, left - 1);
            }
            return Some(end);
        }
        let first = if byte == b' ' { at + 1 } else { at };
        if piece.class(first) & self.symbols != 0 {
            let end = piece.skip(first, self.symbols);
            return Some(self.tail.end(piece, end));
        }
        None
    }

    /// Where the word of letters ends that begins at `at`, or behind one other character at `after`.
    #[inline]
    fn letters(&self, piece: &Piece<'_>, at: usize, class: u8, after: Option<usize>) -> Option<usize> {
        match self.letters {
            Letters::Of(mask) => {
                if class & mask != 0 {
                    return Some(piece.skip(at, mask));
                }
                let (next, behind) = piece.step(after?);
                (next & mask != 0).then(|| piece.skip(behind, mask))
            }
            Letters::Cased(mask) => cased(piece, at, after, mask),
            Letters::Phrases => {
                let first = after.filter(|after| piece.class(*after) == LETTER).unwrap_or(at);
                (piece.class(first) == LETTER).then(|| phrase(piece, first))
            }
        }
    }

    fn split_halving(&self, piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
        let mut at = piece.start;
        while at < piece.end {
            if let Some(end) = self.solid(&piece, at) {
                if !take(at, end) {
                    return false;
                }
                at = end;
                continue;
            }
            let run = run(&piece, at);
            if let Some(line) = run.line {
                if !take(at, line) {
                    return false;
                }
                at = line;
                continue;
            }
            // The last space before a word may be part of it.
            let is_last = run.end == piece.end;
            let mut left = run.n;
            while left > usize::from(!is_last) || left == run.n && left > 0 {
                let fits = |n: usize| n < left || n == left && is_last;
                let n = [512, 256, 128, 64, 32, 16, 8, 4, 2].into_iter().find(|n| fits(*n)).unwrap_or(1);
                let mut end = at;
                for _ in 0..n {
                    end = piece.step(end).1;
                }
                if !take(at, end) {
                    return false;
                }
                (at, left) = (end, left - n);
            }
        }
        true
    }
}

impl Tail {
    #[inline]
    fn end(self, piece: &Piece<'_>, at: usize) -> usize {
        let is_one = |byte: u8| matches!(byte, b'\r' | b'\n' | b'/');
        match self {
            Self::None => at,
            Self::Newlines => newlines(piece, at),
            Self::OneOfThem => at + usize::from(is_one(piece.byte(at))),
            Self::NewlinesAndSlashes => {
                at + piece.text[at..piece.end].iter().take_while(|byte| is_one(**byte)).count()
            }
        }
    }
}

/// Where the run of `[\r\n]` ends that begins at `at`.
pub(super) fn newlines(piece: &Piece<'_>, at: usize) -> usize {
    at + piece.text[at..piece.end].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn phrase(piece: &Piece<'_>, first: usize) -> usize {
    let mut end = first;
    loop {
        let (class, next) = piece.step(end);
        end = match class {
            LETTER => piece.skip(next, MARK),
            _ if piece.byte(end) == b' ' && piece.class(end + 1) == LETTER => end + 1,
            _ => return end,
        };
    }
}

/// A run of white space.
struct Run {
    /// How many characters it has.
    n: usize,
    end: usize,
    /// Where its last character begins.
    last: usize,
    /// Where its last newline ends.
    line: Option<usize>,
}

fn run(piece: &Piece<'_>, start: usize) -> Run {
    let mut run = Run { n: 0, end: start, last: start, line: None };
    loop {
        let (class, next) = piece.step(run.end);
        if class != SPACE {
            return run;
        }
        if matches!(piece.byte(run.end), b'\r' | b'\n') {
            run.line = Some(next);
        }
        run = Run { n: run.n + 1, last: run.end, end: next, ..run };
    }
}

/// `\s+(?!\S)|\s+`: all white space but the last one, which may be part of the next word.
pub(super) fn spaces(piece: &Piece<'_>, at: usize) -> usize {
    let run = run(piece, at);
    if run.n > 1 && run.end < piece.end { run.last } else { run.end }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`.
pub(super) fn spaces_by_lines(piece: &Piece<'_>, at: usize) -> usize {
    let run = run(piece, at);
    match run.line {
        Some(line) => line,
        None if run.n > 1 && run.end < piece.end => run.last,
        None => run.end,
    }
}
