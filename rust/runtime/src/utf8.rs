//! Text out of bytes that come in pieces.

/// Turns pieces of bytes into pieces of text without ever cutting a character.
///
/// At most 3 bytes are kept back, the beginning of a character whose end has not come. Invalid bytes become U+FFFD just as
/// [`String::from_utf8_lossy`] of all bytes together has them.
///
/// ```
/// let mut decoder = tabagent_runtime::Utf8Decoder::new();
/// let mut text = String::new();
/// decoder.push(b"caf\xC3", &mut text);
/// assert_eq!(text, "caf");
/// decoder.push(b"\xA9", &mut text);
/// assert_eq!(text, "café");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Utf8Decoder {
    tail: Vec<u8>,
}

impl Utf8Decoder {
    /// A decoder that has seen no bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `bytes` and appends to `out` all text that is certain now.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        if self.tail.is_empty() {
            let kept = append_lossy(bytes, out);
            self.tail.extend_from_slice(kept);
            return;
        }
        self.tail.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.tail);
        let kept = append_lossy(&all, out);
        self.tail.extend_from_slice(kept);
    }

    /// Says that no more bytes come; half a character becomes U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if !self.tail.is_empty() {
            self.tail.clear();
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// How many bytes are kept back: 0 to 3.
    pub fn pending(&self) -> usize {
        self.tail.len()
    }
}

/// Appends the text of `bytes` and returns the beginning of a character at their end.
fn append_lossy<'a>(mut bytes: &'a [u8], out: &mut String) -> &'a [u8] {
    loop {
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => {
                out.push_str(text);
                return &[];
            }
            Err(error) => error,
        };
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        if let Ok(text) = std::str::from_utf8(valid) {
            out.push_str(text);
        }
        let Some(n_invalid) = error.error_len() else { return rest };
        out.push(char::REPLACEMENT_CHARACTER);
        bytes = &rest[n_invalid..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Utf8Decoder;

    /// Pieces of bytes: whole characters, cut characters, lone continuation and impossible bytes.
    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let piece = prop_oneof![
            any::<String>().prop_map(String::into_bytes),
            any::<char>().prop_flat_map(|c| {
                let bytes = c.to_string().into_bytes();
                (0..=bytes.len()).prop_map(move |n| bytes[..n].to_vec())
            }),
            prop::collection::vec(prop_oneof![0x7Fu8..=0xC2, 0xDFu8..=0xFF, any::<u8>()], 0..5),
        ];
        prop::collection::vec(piece, 0..12)
    }

    proptest! {
        #[test]
        fn pieces_join_to_what_lossy_makes_of_all_bytes(pieces in pieces(), size in 1usize..7) {
            let all = pieces.concat();
            let expected = String::from_utf8_lossy(&all).into_owned();
            for splits in [pieces, all.chunks(size).map(<[u8]>::to_vec).collect()] {
                let (mut decoder, mut text) = (Utf8Decoder::new(), String::new());
                for piece in splits {
                    decoder.push(&piece, &mut text);
                    prop_assert!(decoder.pending() <= 3);
                }
                decoder.finish(&mut text);
                prop_assert_eq!(&text, &expected);
            }
        }
    }

    #[test]
    fn character_comes_with_its_last_byte() {
        let (mut decoder, mut text) = (Utf8Decoder::new(), String::new());
        for (i, byte) in "🦀".bytes().enumerate() {
            assert_eq!((text.as_str(), decoder.pending()), ("", i));
            decoder.push(&[byte], &mut text);
        }
        assert_eq!((text.as_str(), decoder.pending()), ("🦀", 0));
    }
}
