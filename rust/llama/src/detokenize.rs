//! Tokens back to text.

use crate::abort::{NEVER, Stop};
use crate::batch::TokenId;
use crate::guard::guarded;
use crate::vocab::{MAX_TEXT_BYTES, Seat, unless};
use crate::{Vocab, VocabError, VocabKind};
use rayon::prelude::*;
use std::ffi::c_char;

/// How many tokens, of some 100 ns each, are done between two checks of whether to stop.
const TOKENS_BETWEEN_LOOKS: usize = 4096;

/// How tokens are written as text.
///
/// ```
/// use tabagent_llama::DetokenizeOptions;
///
/// let options = DetokenizeOptions { remove_special: true, ..DetokenizeOptions::default() };
/// assert!(options.unparse_special && !options.clean_up_tokenization_spaces && !options.continuation);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetokenizeOptions {
    /// Leave out the special tokens at the ends that [`Vocab::tokenize`] adds with `add_special`.
    pub remove_special: bool,
    /// Write control and unknown tokens as their markers; else they have no text.
    pub unparse_special: bool,
    /// Leave out spaces before punctuation and contractions as llama.cpp does for some vocabularies (`clean_spaces` in `src/llama-vocab.cpp`); a
    /// tokenized text then does not come back unchanged.
    pub clean_up_tokenization_spaces: bool,
    /// The tokens continue a text, as generated ones do. The tokenizer then put no space at their beginning or after a special token, so every
    /// byte of every token is written.
    pub continuation: bool,
}

impl Default for DetokenizeOptions {
    fn default() -> Self {
        Self {
            remove_special: false,
            unparse_special: true,
            clean_up_tokenization_spaces: false,
            continuation: false,
        }
    }
}

impl Vocab {
    /// Tokens to the bytes of their text, which need not be whole characters: the bytes of all tokens, without the spaces that the
    /// tokenizer puts in front of texts (see [`Additions`](crate::Additions)). `remove_special` leaves out the special tokens at the ends that
    /// it adds; `unparse_special` writes control tokens as text.
    ///
    /// # Errors
    /// [`VocabError::NoTokenizer`], [`VocabError::TokenOutOfRange`] or [`VocabError::Failed`].
    pub fn detokenize_bytes(
        &self,
        tokens: &[TokenId],
        remove_special: bool,
        unparse_special: bool,
    ) -> Result<Vec<u8>, VocabError> {
        let options = DetokenizeOptions { remove_special, unparse_special, ..DetokenizeOptions::default() };
        self.detokenize_bytes_with(tokens, options)
    }

    /// [`Vocab::detokenize_bytes`] with all options.
    ///
    /// # Errors
    /// As for [`Vocab::detokenize_bytes`].
    pub fn detokenize_bytes_with(
        &self,
        tokens: &[TokenId],
        options: DetokenizeOptions,
    ) -> Result<Vec<u8>, VocabError> {
        self.bytes_unless(tokens, options, NEVER)
    }

    fn bytes_unless(
        &self,
        tokens: &[TokenId],
        options: DetokenizeOptions,
        stop: Stop<'_>,
    ) -> Result<Vec<u8>, VocabError> {
        self.require_tokenizer()?;
        self.check_tokens(tokens)?;
        let tokens = if options.remove_special { self.without_special(tokens)? } else { tokens };
        // llama.cpp cleans up only texts of these kinds.
        let may_clean = matches!(self.kind(), VocabKind::Bpe | VocabKind::WordPiece);
        if options.clean_up_tokenization_spaces && may_clean {
            self.cleaned_up(tokens, options)
        } else {
            self.exactly(tokens, options, stop)
        }
    }

    /// [`Vocab::detokenize_bytes`] as text; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// As for [`Vocab::detokenize_bytes`].
    pub fn detokenize(
        &self,
        tokens: &[TokenId],
        remove_special: bool,
        unparse_special: bool,
    ) -> Result<String, VocabError> {
        let options = DetokenizeOptions { remove_special, unparse_special, ..DetokenizeOptions::default() };
        self.detokenize_with(tokens, options)
    }

    /// [`Vocab::detokenize`] with all options.
    ///
    /// # Errors
    /// As for [`Vocab::detokenize_bytes`].
    pub fn detokenize_with(
        &self,
        tokens: &[TokenId],
        options: DetokenizeOptions,
    ) -> Result<String, VocabError> {
        self.detokenize_unless(tokens, options, NEVER)
    }

    /// [`Vocab::detokenize_with`] that ends soon once `stop` is raised, except while llama.cpp itself cleans up the text.
    ///
    /// # Errors
    /// As for [`Vocab::detokenize_bytes`]; [`VocabError::Stopped`].
    pub fn detokenize_unless(
        &self,
        tokens: &[TokenId],
        options: DetokenizeOptions,
        stop: Stop<'_>,
    ) -> Result<String, VocabError> {
        let bytes = self.bytes_unless(tokens, options, stop)?;
        unless(stop)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    /// [`Vocab::detokenize`] for many token lists, in parallel; results in the order of the lists.
    ///
    /// # Errors
    /// The error of the first list that has one.
    pub fn detokenize_batch<T: AsRef<[TokenId]> + Sync>(
        &self,
        lists: &[T],
        remove_special: bool,
        unparse_special: bool,
    ) -> Result<Vec<String>, VocabError> {
        let options = DetokenizeOptions { remove_special, unparse_special, ..DetokenizeOptions::default() };
        self.detokenize_batch_with(lists, options)
    }

    /// [`Vocab::detokenize_batch`] with all options.
    ///
    /// # Errors
    /// The error of the first list that has one.
    pub fn detokenize_batch_with<T: AsRef<[TokenId]> + Sync>(
        &self,
        lists: &[T],
        options: DetokenizeOptions,
    ) -> Result<Vec<String>, VocabError> {
        self.detokenize_batch_unless(lists, options, NEVER)
    }

    /// [`Vocab::detokenize_batch_with`] that ends soon once `stop` is raised.
    ///
    /// # Errors
    /// The error of the first list that has one, [`VocabError::Stopped`] for those that were not done.
    pub fn detokenize_batch_unless<T: AsRef<[TokenId]> + Sync>(
        &self,
        lists: &[T],
        options: DetokenizeOptions,
        stop: Stop<'_>,
    ) -> Result<Vec<String>, VocabError> {
        let text = |tokens: &T| {
            unless(stop)?;
            self.detokenize_unless(tokens.as_ref(), options, stop)
        };
        tabagent_gguf::spread(|| lists.par_iter().map(text).collect())
    }

    /// The tokens without the special ones that the tokenizer adds at the ends.
    fn without_special<'a>(&self, tokens: &'a [TokenId]) -> Result<&'a [TokenId], VocabError> {
        let added = self.additions()?;
        let tokens = tokens.strip_prefix(added.front.as_slice()).unwrap_or(tokens);
        Ok(tokens.strip_suffix(added.back.as_slice()).unwrap_or(tokens))
    }

    /// The bytes of all tokens, without the spaces that the tokenizer added.
    fn exactly(
        &self,
        tokens: &[TokenId],
        options: DetokenizeOptions,
        stop: Stop<'_>,
    ) -> Result<Vec<u8>, VocabError> {
        let mut bytes = Vec::with_capacity(tokens.len() * 6);
        let spaces = self.added_spaces(tokens, options)?;
        let mut start = 0;
        for (index, token) in tokens.iter().enumerate() {
            if index % TOKENS_BETWEEN_LOOKS == 0 {
                unless(stop)?;
            }
            let divides = spaces.any() && self.token_attributes(*token)?.is_special();
            if divides {
                spaces.trim(&mut bytes, start);
            }
            self.push_token_bytes(*token, options.unparse_special, &mut bytes)?;
            if divides {
                // A `WordPiece` vocabulary begins every word with a space, so a space after a special token may belong to the text.
                start = if self.kind() == VocabKind::WordPiece { usize::MAX } else { bytes.len() };
            }
        }
        spaces.trim(&mut bytes, start);
        Ok(bytes)
    }

    fn added_spaces(&self, tokens: &[TokenId], options: DetokenizeOptions) -> Result<Spaces, VocabError> {
        if options.continuation || tokens.is_empty() {
            return Ok(Spaces::default());
        }
        let added = self.additions()?;
        let is_unigram = self.kind() == VocabKind::Unigram;
        Ok(Spaces { in_front: added.space_in_front, behind: added.space_behind, is_unigram })
    }

    /// The text as llama.cpp writes it, without a space that the tokenizer puts in front.
    fn cleaned_up(&self, tokens: &[TokenId], options: DetokenizeOptions) -> Result<Vec<u8>, VocabError> {
        let spaces = self.added_spaces(tokens, options)?;
        let mut bytes = self.as_llama_cpp(tokens, options.unparse_special)?;
        if let Some(first) = tokens.first()
            && !self.token_attributes(*first)?.is_special()
        {
            spaces.trim(&mut bytes, 0);
        }
        Ok(bytes)
    }

    /// As llama.cpp itself writes them, spaces cleaned up, for [`Elsewhere`](crate::Elsewhere).
    ///
    /// # Errors
    /// As for [`Vocab::detokenize_bytes`].
    pub fn detokenize_as_llama_cpp(
        &self,
        tokens: &[TokenId],
        unparse_special: bool,
    ) -> Result<Vec<u8>, VocabError> {
        self.require_tokenizer()?;
        self.check_tokens(tokens)?;
        self.as_llama_cpp(tokens, unparse_special)
    }

    fn as_llama_cpp(&self, tokens: &[TokenId], unparse_special: bool) -> Result<Vec<u8>, VocabError> {
        let (ptr, api) = match &self.seat {
            Seat::Here { ptr, api } => (*ptr, api),
            Seat::Elsewhere { owner, .. } => return Ok(owner.detokenize(tokens, unparse_special)?),
        };
        let count = i32::try_from(tokens.len())
            .map_err(|_| VocabError::TextTooLong { bytes: tokens.len(), limit: i32::MAX as usize })?;
        let mut bytes = vec![0_u8; (tokens.len() * 6).clamp(64, MAX_TEXT_BYTES)];
        loop {
            let room = bytes.len() as i32;
            // SAFETY: all ids are in range; `bytes` has `room` writable bytes.
            let written = guarded(|| unsafe {
                (api.llama_detokenize)(
                    ptr,
                    tokens.as_ptr(),
                    count,
                    bytes.as_mut_ptr().cast::<c_char>(),
                    room,
                    false,
                    unparse_special,
                )
            });
            let written =
                written.map_err(|thrown| VocabError::Threw { task: "detokenize", words: thrown.words })?;
            if let Ok(length) = usize::try_from(written) {
                bytes.truncate(length);
                return Ok(bytes);
            }
            match written.checked_neg() {
                Some(needed) if needed > room => bytes.resize(needed as usize, 0),
                _ => return Err(VocabError::Failed { task: "detokenize", code: written }),
            }
        }
    }
}

/// The spaces that a tokenizer adds around each piece of text between special tokens.
#[derive(Clone, Copy, Default)]
struct Spaces {
    in_front: bool,
    behind: bool,
    is_unigram: bool,
}

impl Spaces {
    fn any(self) -> bool {
        self.in_front || self.behind
    }

    /// Removes these spaces from the piece between `start` and the end; `start` may lie beyond the end.
    fn trim(self, bytes: &mut Vec<u8>, start: usize) {
        if self.behind && bytes.len() > start && bytes.ends_with(b" ") {
            bytes.pop();
        }
        let Some(piece) = bytes.get(start..) else { return };
        // Unigram puts its space in front of the first character that is not a space (`normalize` in src/llama-vocab.cpp), others always.
        let has_front = !self.is_unigram || piece.iter().any(|byte| *byte != b' ');
        if self.in_front && has_front && piece.starts_with(b" ") {
            bytes.remove(start);
        }
    }
}
