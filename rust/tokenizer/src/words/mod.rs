//! Splitting text into words, which merges do not cross (`unicode_regex_split` in `src/unicode.cpp`).
//!
//! llama.cpp splits by a list of regular expressions: each splits the pieces that the one before left, and sees nothing beyond its piece; what it
//! does not match is a piece, too. Some it runs by functions of its own, the others by `std::regex` over a text in which every character that is not
//! ASCII stands for its class, so that `\p{Lu}` is any letter there. Here each is a [`Stage`], written by hand to give the same pieces in linear time.

mod cased;
mod chameleon;
mod digits;
mod gpt2;
mod kimi;
mod pattern;
mod pre_tokenizer;
mod runs;
mod set;

pub(crate) use pre_tokenizer::PreTokenizer;

use crate::characters::Characters;
use pattern::Pattern;
use runs::Runs;

/// A piece of text and what is needed to read it.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'t> {
    text: &'t [u8],
    start: usize,
    end: usize,
    table: &'static Characters,
}

impl Piece<'_> {
    /// The class of the character at `at`, and where the next one begins.
    #[inline]
    fn step(&self, at: usize) -> (u8, usize) {
        self.table.step(self.text, at, self.end)
    }

    /// The class of the character at `at`.
    #[inline]
    fn class(&self, at: usize) -> u8 {
        self.step(at).0
    }

    /// The byte at `at`; 0 at the end.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        if at < self.end { self.text[at] } else { 0 }
    }

    /// Where the run of characters of the classes in `mask` ends that begins at `at`.
    #[inline]
    fn skip(&self, mut at: usize, mask: u8) -> usize {
        loop {
            let (class, next) = self.step(at);
            if class & mask == 0 {
                return at;
            }
            at = next;
        }
    }

    /// Where the contraction ends that begins at `at`, such as `'s` or `'re`; ASCII letters of either case if `any_case`.
    fn contraction(&self, at: usize, any_case: bool) -> Option<usize> {
        if self.byte(at) != b'\'' {
            return None;
        }
        let letter = |at: usize| {
            let byte = self.byte(at);
            if any_case { byte.to_ascii_lowercase() } else { byte }
        };
        match (letter(at + 1), letter(at + 2)) {
            (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
            (b'r' | b'v', b'e') | (b'l', b'l') => Some(at + 3),
            _ => None,
        }
    }
}

/// One regular expression of a pre-tokenizer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// GPT-2's.
    Gpt2,
    /// One of the family of Llama 3's.
    Pattern(&'static Pattern),
    /// Kimi K2's.
    Kimi,
    /// Runs of characters of one set.
    Runs(Runs),
    /// Runs of the first set that has a character.
    RunsOf(&'static [set::Set]),
    /// Groups of three digits from the end of a run, each with the text before it (`unicode_regex_split_custom_afmoe`).
    DigitsFromEnd,
    /// Before each group of three ASCII digits, counted from the end of a run: `(?=(\d{3})+(?!\d))`.
    BeforeThrees,
    /// `[0-9][0-9][0-9]`.
    Threes,
    /// `[^\n]+|[\n]+`.
    Lines,
    /// `\s+$`.
    SpacesAtEnd,
    /// `<sentinel:[0-9]+>`.
    Sentinels,
    /// `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`.
    Images,
    /// `([\t\n]|    |  )`.
    Indents,
}

/// Takes the pieces of a text, one after another; false to get no more.
pub(crate) type Taker<'a> = dyn FnMut(usize, usize) -> bool + 'a;

/// Gives the words of `start..end` of `text`, which is UTF-8, to `take`, in order. False if it wanted no more.
pub(crate) fn split(stages: &[Stage], text: &[u8], start: usize, end: usize, take: &mut Taker<'_>) -> bool {
    if start == end {
        return true;
    }
    let piece = Piece { text, start, end, table: Characters::get() };
    match stages {
        [] => take(start, end),
        [last] => last.split(piece, take),
        [first, rest @ ..] => first.split(piece, &mut |start, end| split(rest, text, start, end, take)),
    }
}

impl Stage {
    fn split(&self, piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
        match self {
            Self::Gpt2 => gpt2::split(piece, take),
            Self::Pattern(pattern) => pattern.split(piece, take),
            Self::Kimi => kimi::split(piece, take),
            Self::Runs(runs) => runs.split(piece, take),
            Self::RunsOf(sets) => runs::split_by_sets(sets, piece, take),
            Self::DigitsFromEnd => digits::from_end(piece, take),
            Self::BeforeThrees => digits::before_threes(piece, take),
            Self::Threes => by_matches(piece, take, digits::three),
            Self::Lines => lines(piece, take),
            Self::SpacesAtEnd => spaces_at_end(piece, take),
            Self::Sentinels => by_matches(piece, take, chameleon::sentinel),
            Self::Images => by_matches(piece, take, chameleon::image),
            Self::Indents => by_matches(piece, take, chameleon::indent),
        }
    }
}

/// Splits where `find` matches; what lies between two matches is a piece. `find` gets a position and says where its match ends.
fn by_matches(
    piece: Piece<'_>,
    take: &mut Taker<'_>,
    find: impl Fn(&Piece<'_>, usize) -> Option<usize>,
) -> bool {
    let (mut from, mut at) = (piece.start, piece.start);
    while at < piece.end {
        let Some(end) = find(&piece, at) else {
            at = piece.step(at).1;
            continue;
        };
        if (from < at && !take(from, at)) || !take(at, end) {
            return false;
        }
        (from, at) = (end, end);
    }
    from == piece.end || take(from, piece.end)
}

fn lines(piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
    let mut at = piece.start;
    while at < piece.end {
        let rest = &piece.text[at..piece.end];
        let length = if rest[0] == b'\n' {
            rest.iter().position(|byte| *byte != b'\n')
        } else {
            memchr::memchr(b'\n', rest)
        };
        let end = length.map_or(piece.end, |length| at + length);
        if !take(at, end) {
            return false;
        }
        at = end;
    }
    true
}

fn spaces_at_end(piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
    let mut from = piece.end;
    while from > piece.start {
        let mut at = from - 1;
        while at > piece.start && piece.text[at] & 0xc0 == 0x80 {
            at -= 1;
        }
        if piece.class(at) != crate::characters::SPACE {
            break;
        }
        from = at;
    }
    (from == piece.start || take(piece.start, from)) && (from == piece.end || take(from, piece.end))
}
