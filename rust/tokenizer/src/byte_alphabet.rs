//! GPT-2's alphabet: a character for every byte, none of them white space (`unicode_byte_to_utf8_map` in `src/unicode.cpp`).

/// The character for a byte.
pub(crate) fn character(byte: u8) -> char {
    let code = u32::from(byte);
    let code = match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => code,
        0..=b' ' => 256 + code,
        0x7f..=0xa0 => 256 + 33 + code - 0x7f,
        0xad => 256 + 33 + 34,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte for a character; `None` if it is not in the alphabet.
pub(crate) fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        256..=288 => u8::try_from(code - 256).ok(),
        289..=322 => u8::try_from(code - 289 + 0x7f).ok(),
        323 => Some(0xad),
        _ => None,
    }
}

/// Appends the bytes that a text in this alphabet stands for; false, and perhaps some of them, if a character is none of its.
pub(crate) fn decode(text: &[u8], bytes: &mut Vec<u8>) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    for c in text.chars() {
        let Some(byte) = byte(c) else { return false };
        bytes.push(byte);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        for value in 0..=u8::MAX {
            assert_eq!(byte(character(value)), Some(value));
            assert!(!character(value).is_whitespace());
        }
        assert_eq!((character(b' '), character(b'\n'), character(b'a')), ('Ġ', 'Ċ', 'a'));
        assert_eq!((byte(' '), byte('ń'), byte('\u{144}')), (None, None, None));
    }
}
