//! What characters are: their classes, their lower case, their first part.
//!
//! The facts are those of the pinned llama.cpp (`src/unicode-data.cpp`), whose version of Unicode decides where texts are split.

use std::sync::OnceLock;

/// `\p{N}`.
pub(crate) const NUMBER: u8 = 1;
/// `\p{L}`.
pub(crate) const LETTER: u8 = 1 << 1;
/// `\p{M}`.
pub(crate) const MARK: u8 = 1 << 2;
/// `\p{P}`.
pub(crate) const PUNCTUATION: u8 = 1 << 3;
/// `\p{S}`.
pub(crate) const SYMBOL: u8 = 1 << 4;
/// `\s`; such a character is in no other class.
pub(crate) const SPACE: u8 = 1 << 5;
/// `\p{C}` with an entry in the tables.
pub(crate) const CONTROL: u8 = 1 << 6;
/// What the tables do not know.
pub(crate) const OTHER: u8 = 1 << 7;
/// The class at the end of a text.
pub(crate) const END: u8 = 0;

/// Characters in a block of the table.
const BLOCK: usize = 128;
const N_CHARACTERS: usize = 0x11_0000;

/// The tables, made at first use.
pub(crate) struct Characters {
    ascii: [u8; BLOCK],
    /// The number of each block in `classes`.
    blocks: Vec<u16>,
    classes: Vec<[u8; BLOCK]>,
    /// Characters with a lower case, in order.
    lowercase: Vec<(u32, u32)>,
    /// First and last character of a range, and the character that takes their place, in order.
    decompositions: Vec<(u32, u32, u32)>,
}

impl Characters {
    /// The tables.
    pub(crate) fn get() -> &'static Self {
        static TABLES: OnceLock<Characters> = OnceLock::new();
        TABLES.get_or_init(|| Self::read(include_str!("characters.txt")))
    }

    fn read(text: &str) -> Self {
        let (mut title, mut sections) = ("", [const { Vec::<[u32; 3]>::new() }; 4]);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with('[') {
                title = line;
                continue;
            }
            let mut row = [0; 3];
            for (number, word) in row.iter_mut().zip(line.split(' ')) {
                *number = u32::from_str_radix(word, 16).unwrap_or(0);
            }
            let section = match title {
                "[categories]" => 0,
                "[whitespace]" => 1,
                "[lowercase]" => 2,
                _ => 3,
            };
            sections[section].push(row);
        }
        let [categories, spaces, lowercase, decompositions] = sections;
        let mut all = vec![OTHER; N_CHARACTERS];
        for (index, [start, flags, _]) in categories.iter().enumerate() {
            let end = categories.get(index + 1).map_or(N_CHARACTERS, |[next, ..]| *next as usize);
            all[*start as usize..end].fill(class(*flags));
        }
        for [space, ..] in spaces {
            all[space as usize] = SPACE;
        }
        let (mut blocks, mut classes) = (Vec::new(), Vec::<[u8; BLOCK]>::new());
        for block in all.as_chunks().0 {
            let at = classes.iter().rposition(|known| known == block).unwrap_or_else(|| {
                classes.push(*block);
                classes.len() - 1
            });
            blocks.push(at as u16);
        }
        Self {
            ascii: classes[0],
            blocks,
            classes,
            lowercase: lowercase.iter().map(|[from, to, _]| (*from, *to)).collect(),
            decompositions: decompositions.iter().map(|[first, last, to]| (*first, *last, *to)).collect(),
        }
    }

    /// The class of a character.
    #[inline]
    pub(crate) fn class(&self, character: u32) -> u8 {
        let block = self.blocks.get(character as usize / BLOCK).copied().unwrap_or_default();
        self.classes[usize::from(block)][character as usize % BLOCK]
    }

    /// The class of the character at `at` of UTF-8, and where the next one begins; [`END`] at `end` and beyond.
    #[inline]
    pub(crate) fn step(&self, text: &[u8], at: usize, end: usize) -> (u8, usize) {
        match text.get(at) {
            Some(byte) if at < end => {
                if byte.is_ascii() {
                    (self.ascii[usize::from(*byte)], at + 1)
                } else {
                    let (character, next) = decode(text, at);
                    (self.class(character), next)
                }
            }
            _ => (END, at),
        }
    }

    /// The characters of bytes that need not be UTF-8: U+FFFD for each byte that is part of none.
    pub(crate) fn lossy(bytes: &[u8]) -> impl Iterator<Item = u32> {
        bytes.utf8_chunks().flat_map(|chunk| {
            let bad = std::iter::repeat_n('\u{fffd}', chunk.invalid().len());
            chunk.valid().chars().chain(bad).map(u32::from)
        })
    }

    /// Its lower case, of one character; the character itself if there is none.
    pub(crate) fn lowercase(&self, character: u32) -> u32 {
        if let Ok(byte @ ..0x80) = u8::try_from(character) {
            return byte.to_ascii_lowercase().into();
        }
        let found = self.lowercase.binary_search_by_key(&character, |(from, _)| *from);
        found.map_or(character, |at| self.lowercase[at].1)
    }

    /// The first character of its canonical decomposition (`unicode_cpts_normalize_nfd` in `src/unicode.cpp`, which drops the others).
    pub(crate) fn decomposed(&self, character: u32) -> u32 {
        if character < 0x80 {
            return character;
        }
        let after = self.decompositions.partition_point(|(first, ..)| *first <= character);
        match after.checked_sub(1).map(|at| self.decompositions[at]) {
            Some((_, last, to)) if character <= last => to,
            _ => character,
        }
    }
}

/// A category's class; the bits are `unicode_cpt_flags` in `src/unicode.h`.
fn class(flags: u32) -> u8 {
    match flags {
        0x02 => NUMBER,
        0x04 => LETTER,
        0x10 => MARK,
        0x20 => PUNCTUATION,
        0x40 => SYMBOL,
        0x80 => CONTROL,
        _ => OTHER,
    }
}

/// How many bytes a character has whose first byte is `byte`.
pub(crate) fn width(byte: u8) -> usize {
    match byte {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

/// The character at `at` of UTF-8, and where the next one begins.
#[inline]
pub(crate) fn decode(text: &[u8], at: usize) -> (u32, usize) {
    let first = text[at];
    let width = width(first);
    let start = if width == 1 { u32::from(first) } else { u32::from(first) & (0xff >> (width + 1)) };
    let rest = text.get(at + 1..at + width).unwrap_or_default();
    (rest.iter().fold(start, |character, byte| character << 6 | u32::from(byte & 0x3f)), at + width)
}

/// Appends a character as UTF-8.
pub(crate) fn encode(character: u32, out: &mut Vec<u8>) {
    let character = char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Whether it is one of the Han characters that llama.cpp tells apart (`unicode_cpt_is_han` in `src/unicode.cpp`).
pub(crate) fn is_han(character: u32) -> bool {
    matches!(
        character,
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x2_0000..=0x2_a6df
            | 0x2_a700..=0x2_b73f
            | 0x2_b740..=0x2_ebef
            | 0xf900..=0xfaff
            | 0x2_f800..=0x2_fa1f
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_unicode() {
        let table = Characters::get();
        let class = |c: char| table.class(u32::from(c));
        for (characters, expected) in [
            ("aZéßд日あ\u{aa}", LETTER),
            ("09²½٣Ⅷ", NUMBER),
            ("\u{301}\u{93e}\u{20dd}", MARK),
            ("!_-“。", PUNCTUATION),
            ("$+^`|~€→😀", SYMBOL),
            (" \t\n\r\u{b}\u{85}\u{a0}\u{2028}\u{3000}", SPACE),
            ("\0\u{7f}\u{1c}\u{200b}\u{feff}\u{ad}", CONTROL),
            ("\u{378}\u{10ffff}", OTHER),
        ] {
            for c in characters.chars() {
                assert_eq!(class(c), expected, "{c:?}");
            }
        }
    }

    #[test]
    fn characters_have_one_lower_case_and_one_first_part() {
        let table = Characters::get();
        let lower = |c: char| char::from_u32(table.lowercase(c.into())).unwrap();
        assert_eq!("AÉΣДa1".chars().map(lower).collect::<String>(), "aéσдa1");
        let first = |c: char| char::from_u32(table.decomposed(c.into())).unwrap();
        assert_eq!("éÅộaß1한".chars().map(first).collect::<String>(), "eAoaß1ᄒ");
    }

    #[test]
    fn utf8_is_decoded_as_it_was_encoded() {
        let text = "aé日😀\u{10ffff}\u{7ff}\u{800}";
        let (mut at, mut again) = (0, Vec::new());
        for c in text.chars() {
            let (character, next) = decode(text.as_bytes(), at);
            assert_eq!((character, next), (u32::from(c), at + c.len_utf8()));
            encode(character, &mut again);
            at = next;
        }
        assert_eq!(again, text.as_bytes());
    }
}
