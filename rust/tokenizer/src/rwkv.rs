//! RWKV's tokenizer: the longest token, again and again (`llm_tokenizer_rwkv_session` in `src/llama-vocab.cpp`).

use std::ops::Range;

use crate::error::TokenizerError;
use crate::trie::Trie;
use crate::vocabulary::{TOKENS, Vocabulary};
use crate::work::Work;

/// A tokenizer that takes the longest token that a text begins with.
#[derive(Debug)]
pub(crate) struct Rwkv {
    trie: Trie,
}

impl Rwkv {
    /// For a vocabulary, whose tokens are written with escapes.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let texts: Vec<Vec<u8>> = vocabulary.ids().map(|id| unescaped(vocabulary.text(id))).collect();
        let trie = Trie::new(texts.iter().zip(vocabulary.ids()).map(|(text, id)| (text.as_slice(), id)));
        // Without a token for every byte, llama.cpp does not come to an end.
        for byte in (0..=u8::MAX).filter(|byte| !matches!(byte, 0xc0 | 0xc1 | 0xf5..)) {
            if trie.longest(&[byte]).is_none() {
                let problem =
                    format!("has no token for the byte `0x{byte:02X}`, which an RWKV vocabulary needs");
                return Err(TokenizerError::invalid(TOKENS, problem));
            }
        }
        Ok(Self { trie })
    }

    /// Adds the tokens of `span` of `text`.
    pub(crate) fn tokenize(&self, text: &[u8], span: Range<usize>, work: &mut Work<'_>) {
        let mut at = span.start;
        while at < span.end {
            let Some((length, id)) = self.trie.longest(&text[at..span.end]) else {
                at += 1;
                continue;
            };
            work.out.push(id, at, at + length);
            at += length;
            if !work.goes_on() {
                return;
            }
        }
    }
}

/// The bytes of a token that is written with escapes (`llama_unescape_rwkv_token`).
pub(crate) fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let Some((escape, after)) = rest.split_first() else { break };
        rest = after;
        match escape {
            b't' => bytes.push(b'\t'),
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b'x' => {
                let Some(digits) = rest.get(..2) else { break };
                let digit = |c: u8| if c >= b'a' { c.wrapping_sub(b'a' - 10) } else { c.wrapping_sub(b'0') };
                bytes.push(digit(digits[0]).wrapping_shl(4).wrapping_add(digit(digits[1])));
                rest = &rest[2..];
            }
            other => bytes.push(*other),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(unescaped(br"a\n\t\r\\\x0a\xffb\'"), b"a\n\t\r\\\n\xffb'");
        assert_eq!(unescaped(br"a\"), b"a");
        assert_eq!(unescaped(br"a\xf"), b"a");
    }
}
