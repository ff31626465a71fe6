//! The table by which a Unigram tokenizer normalizes text: a trie of byte sequences as an XOR-compressed double array (Kanda et al., 2018), and what
//! takes their places (`llm_tokenizer_ugm_session::normalize_prefix` in `src/llama-vocab.cpp`).

use crate::error::TokenizerError;

const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
/// Bytes of the longest sequence that is replaced: that of real tables has 30.
const LONGEST: usize = 1024;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Charsmap {
    nodes: Vec<u32>,
    /// Texts, each ended by a zero byte.
    replacements: Vec<u8>,
}

/// The text does not fit the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadStep;

impl From<BadStep> for TokenizerError {
    fn from(_: BadStep) -> Self {
        Self::invalid(KEY, "leads out of its array for a part of this text; the file is damaged")
    }
}

impl Charsmap {
    /// Reads a table; an empty one replaces nothing.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, TokenizerError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let too_short =
            || TokenizerError::invalid(KEY, "is shorter than its own size says; the file is damaged");
        let (head, rest) = bytes.split_first_chunk().ok_or_else(too_short)?;
        let size = u32::from_le_bytes(*head) as usize;
        if size >= rest.len() {
            return Err(too_short());
        }
        let (array, replacements) = rest.split_at(size);
        let nodes = array.as_chunks().0.iter().map(|node| u32::from_le_bytes(*node)).collect();
        Ok(Self { nodes, replacements: replacements.to_vec() })
    }

    /// The longest sequence that `text` begins with: its length, and what takes its place; `None` if there is none.
    pub(crate) fn find(&self, text: &[u8]) -> Result<Option<(usize, &[u8])>, BadStep> {
        if self.nodes.is_empty() {
            return Ok(None);
        }
        let node = |index: usize| self.nodes.get(index).copied().ok_or(BadStep);
        let base = |packed: u32| ((packed >> 10) << ((packed & (1 << 9)) >> 6)) as usize;
        let (mut longest, mut index) = (None, base(node(0)?));
        for (at, byte) in text.iter().enumerate().take(LONGEST) {
            if *byte == 0 {
                break;
            }
            index ^= usize::from(*byte);
            let packed = node(index)?;
            if packed & (1 << 31 | 0xff) != u32::from(*byte) {
                break;
            }
            index ^= base(packed);
            if packed & (1 << 8) != 0 {
                longest = Some((at + 1, node(index)? & !(1 << 31)));
            }
        }
        let Some((length, place)) = longest else { return Ok(None) };
        let rest = self.replacements.get(place as usize..).ok_or(BadStep)?;
        let end = memchr::memchr(0, rest).ok_or(BadStep)?;
        Ok(Some((length, &rest[..end])))
    }
}
