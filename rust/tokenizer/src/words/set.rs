//! Sets of characters in the expressions of pre-tokenizers.

use super::Piece;
use crate::characters::{NUMBER, PUNCTUATION, SPACE, SYMBOL, decode};

/// A set of characters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Set {
    /// These classes.
    Classes(u8),
    /// `[\r\n]`
    Newlines,
    /// `[\p{P}\$\+<=>\^~\|]`, with the backtick if it is true.
    Punctuation(bool),
    /// ``[\p{P}!-/:-@\[-`{-~]``
    PunctuationAndAscii,
    /// Everything but white space and these.
    NoneOf(&'static [char]),
    /// These ranges, in the order of their first characters.
    Ranges(&'static [(u32, u32)]),
}

/// `\p{N}`
pub(super) const NUMBERS: Set = Set::Classes(NUMBER);

impl Set {
    /// Where the run of at most `most` characters of the set ends that begins at `at`.
    pub(super) fn skip(self, piece: &Piece<'_>, mut at: usize, most: usize) -> usize {
        for _ in 0..most {
            let (class, next) = piece.step(at);
            if at == next || !self.has(piece, at, class) {
                break;
            }
            at = next;
        }
        at
    }

    fn has(self, piece: &Piece<'_>, at: usize, class: u8) -> bool {
        let byte = piece.text[at];
        match self {
            Self::Classes(classes) => class & classes != 0,
            Self::Newlines => matches!(byte, b'\r' | b'\n'),
            Self::Punctuation(has_backtick) => {
                class == PUNCTUATION
                    || matches!(byte, b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'~' | b'|')
                    || has_backtick && byte == b'`'
            }
            Self::PunctuationAndAscii => class == PUNCTUATION || byte.is_ascii() && class == SYMBOL,
            Self::NoneOf(characters) => {
                let (character, _) = decode(piece.text, at);
                class != SPACE && !characters.iter().any(|c| u32::from(*c) == character)
            }
            // White space that is not ASCII is a vertical tab there (`unicode_regex_split`).
            Self::Ranges(ranges) => {
                let (character, _) = decode(piece.text, at);
                let mut below = ranges.iter().take_while(|(first, _)| *first <= character);
                class != SPACE && below.any(|(_, last)| character <= *last)
            }
        }
    }
}

/// `[一-龥ࠀ-一가-퟿]`: of `DeepSeek`'s first tokenizers.
pub(super) const DEEPSEEK_CJK: Set = Set::Ranges(&[(0x800, 0x4e00), (0x4e00, 0x9fa5), (0xac00, 0xd7ff)]);

/// `[一-龥぀-ゟ゠-ヿ]`
pub(super) const CJK: Set = Set::Ranges(&[(0x3040, 0x309f), (0x30a0, 0x30ff), (0x4e00, 0x9fa5)]);

/// `DeepSeek`'s punctuation.
pub(super) const DEEPSEEK_PUNCTUATION: Set = Set::Ranges(&[
    (0x21, 0x2f),
    (0x3a, 0x7e),
    (0x2018, 0x201f),
    (0x3000, 0x3002),
    (0xff01, 0xff0f),
    (0xff1a, 0xff5e),
]);

/// Youtu's sets: Korean, punctuation, Bopomofo, Chinese and Japanese.
pub(super) const YOUTU: &[Set] = &[
    Set::Ranges(&[(0x3131, 0x318e), (0xac00, 0xd7a3)]),
    Set::Ranges(&[
        (0x2014, 0x2014),
        (0x2018, 0x2019),
        (0x201c, 0x201d),
        (0x2026, 0x2026),
        (0x3001, 0x303f),
        (0xfe30, 0xfe4f),
        (0xff01, 0xff01),
        (0xff0c, 0xff0c),
        (0xff1a, 0xff1b),
    ]),
    Set::Ranges(&[(0x3105, 0x312f)]),
    CJK,
];

/// `AFMoE`'s Asian scripts. llama.cpp writes U+8C48 for U+F900, so that the third range is longer than the original's.
pub(super) const AFMOE: Set = Set::Ranges(&[
    (0x0e40, 0x0eff),
    (0x1000, 0x109f),
    (0x1100, 0x11ff),
    (0x1780, 0x17ff),
    (0x2f00, 0x2fdf),
    (0x3040, 0x30ff),
    (0x3400, 0x4dbf),
    (0x4e00, 0x9fff),
    (0x8c48, 0xfaff),
    (0xa9e0, 0xa9ff),
    (0xaa60, 0xaa7f),
    (0xac00, 0xd7af),
    (0xff65, 0xff9f),
]);

/// What ends BLOOM's words, besides white space.
pub(super) const BLOOM: Set =
    Set::NoneOf(&['(', '|', '.', ',', '!', '?', '…', '。', '，', '、', '।', '۔', '،', ')']);

/// Letters of alphabets with upper and lower case, of `DeepSeek`'s first tokenizer.
pub(super) const DEEPSEEK_LETTERS: Set = Set::Ranges(&[
    (0x41, 0x5a),
    (0x61, 0x7a),
    (0xb5, 0xb5),
    (0xc0, 0xd6),
    (0xd8, 0xf6),
    (0xf8, 0x1ba),
    (0x1bc, 0x1bf),
    (0x1c4, 0x293),
    (0x295, 0x2af),
    (0x370, 0x373),
    (0x376, 0x377),
    (0x37b, 0x37d),
    (0x37f, 0x37f),
    (0x386, 0x386),
    (0x388, 0x38a),
    (0x38c, 0x38c),
    (0x38e, 0x3a1),
    (0x3a3, 0x3f5),
    (0x3f7, 0x481),
    (0x48a, 0x52f),
    (0x531, 0x556),
    (0x10a0, 0x10c5),
    (0x13a0, 0x13f5),
    (0x13f8, 0x13fd),
    (0x1c90, 0x1cba),
    (0x1cbd, 0x1cbf),
    (0x1d00, 0x1d2b),
    (0x1d6b, 0x1d77),
    (0x1d79, 0x1d9a),
    (0x1e00, 0x1f15),
    (0x1f18, 0x1f1d),
    (0x1f20, 0x1f45),
    (0x1f48, 0x1f4d),
    (0x1f50, 0x1f57),
    (0x1f59, 0x1f59),
    (0x1f5b, 0x1f5b),
    (0x1f5d, 0x1f5d),
    (0x1f5f, 0x1f7d),
    (0x1f80, 0x1fb4),
    (0x1fb6, 0x1fbc),
    (0x1fbe, 0x1fbe),
    (0x1fc2, 0x1fc4),
    (0x1fc6, 0x1fcc),
    (0x1fd0, 0x1fd3),
    (0x1fd6, 0x1fdb),
    (0x1fe0, 0x1fec),
    (0x1ff2, 0x1ff4),
    (0x1ff6, 0x1ffc),
    (0x2102, 0x2102),
    (0x2107, 0x2107),
    (0x210a, 0x2113),
    (0x2115, 0x2115),
    (0x2119, 0x211d),
    (0x2124, 0x2124),
    (0x2126, 0x2126),
    (0x2128, 0x2128),
    (0x212a, 0x212d),
    (0x212f, 0x2134),
    (0x2139, 0x2139),
    (0x213c, 0x213f),
    (0x2145, 0x2149),
    (0x214e, 0x214e),
    (0x2183, 0x2184),
    (0x2c00, 0x2c7b),
    (0x2c7e, 0x2ce4),
    (0x2ceb, 0x2cee),
    (0x2cf2, 0x2cf3),
    (0xa640, 0xa66d),
    (0xa680, 0xa69b),
    (0xa722, 0xa76f),
    (0xa771, 0xa787),
    (0xa78b, 0xa78e),
    (0xab70, 0xabbf),
    (0xfb00, 0xfb06),
    (0xfb13, 0xfb17),
    (0xff21, 0xff3a),
    (0xff41, 0xff5a),
    (0x10400, 0x1044f),
    (0x104b0, 0x104d3),
    (0x104d8, 0x104fb),
    (0x10c80, 0x10cb2),
    (0x10cc0, 0x10cf2),
    (0x118a0, 0x118df),
    (0x1e900, 0x1e943),
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order() {
        let sets = [DEEPSEEK_CJK, CJK, DEEPSEEK_PUNCTUATION, AFMOE, DEEPSEEK_LETTERS];
        for set in sets.iter().chain(YOUTU) {
            let Set::Ranges(ranges) = set else { panic!("{set:?}") };
            assert!(ranges.is_sorted() && ranges.iter().all(|(first, last)| first <= last), "{ranges:x?}");
        }
    }
}
