//! A model's vocabulary: tokenizing, and what each token is. Detokenizing is in `detokenize.rs`.

use crate::abort::{NEVER, Stop};
use crate::additions::Additions;
use crate::batch::TokenId;
use crate::beginnings::Beginnings;
use crate::elsewhere::{Elsewhere, VocabCopy};
use crate::guard::guarded;
use crate::parts::Markers;
use crate::slow_text::SlowText;
use crate::token_attributes::TokenAttributes;
use crate::vocab_error::VocabError;
use crate::vocab_kind::VocabKind;
use crate::vocab_table::VocabTable;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Arc, OnceLock};
use tabagent_sys::{Api, llama_vocab, llama_vocab_type};

/// A model's tokenizer. All methods may be called from many threads at once.
pub struct Vocab {
    pub(crate) seat: Seat,
    kind: VocabKind,
    len: usize,
    pub(crate) additions: OnceLock<Additions>,
    pub(crate) markers: OnceLock<Option<Markers>>,
    /// Of texts in parts.
    pub(crate) beginnings: Beginnings,
    slow: SlowText,
}

/// Where a vocabulary is.
pub(crate) enum Seat {
    Here {
        ptr: *const llama_vocab,
        api: Box<Api>,
    },
    /// In another process, which tokenizes; what is known of each token is here, too.
    Elsewhere {
        owner: Arc<dyn Elsewhere>,
        copy: Box<VocabCopy>,
    },
}

// SAFETY: tokenizers only read the vocabulary (every function of llama.h used here takes `const llama_vocab *`), and it lives as
// long as the model that owns this value and hands out only references bound to itself.
unsafe impl Send for Vocab {}
// SAFETY: as above.
unsafe impl Sync for Vocab {}

/// Longest text: llama.cpp counts bytes and tokens in `int32_t`, and adds a few tokens itself.
pub(crate) const MAX_TEXT_BYTES: usize = (i32::MAX - 1024) as usize;

impl Vocab {
    /// The vocabulary of a model whose pre-tokenizer is `pre`.
    ///
    /// # Safety
    /// `ptr` belongs to a model of the library of `api`, and that model outlives the result.
    pub(crate) unsafe fn new(api: &Api, ptr: *const llama_vocab, pre: Option<&str>) -> Self {
        // SAFETY: the caller's contract.
        let kind = match unsafe { (api.llama_vocab_type)(ptr) } {
            llama_vocab_type::NONE => VocabKind::None,
            llama_vocab_type::SPM => VocabKind::SentencePiece,
            llama_vocab_type::BPE => VocabKind::Bpe,
            llama_vocab_type::WPM => VocabKind::WordPiece,
            llama_vocab_type::UGM => VocabKind::Unigram,
            llama_vocab_type::RWKV => VocabKind::Rwkv,
            llama_vocab_type::PLAMO2 => VocabKind::Plamo2,
            other => VocabKind::Other(other.0),
        };
        // SAFETY: the caller's contract.
        let len = usize::try_from(unsafe { (api.llama_vocab_n_tokens)(ptr) }).unwrap_or(0);
        Self::at(Seat::Here { ptr, api: Box::new(api.clone()) }, kind, len, pre)
    }

    /// The vocabulary of another process.
    pub(crate) fn of_copy(copy: VocabCopy, pre: Option<&str>, owner: Arc<dyn Elsewhere>) -> Self {
        let (kind, len) = (copy.kind, copy.table.len());
        Self::at(Seat::Elsewhere { owner, copy: Box::new(copy) }, kind, len, pre)
    }

    fn at(seat: Seat, kind: VocabKind, len: usize, pre: Option<&str>) -> Self {
        let slow = SlowText::new(pre);
        let (additions, markers, beginnings) = Default::default();
        Self { seat, kind, len, additions, markers, beginnings, slow }
    }

    /// What is known of it, for another process.
    pub(crate) fn copy(&self) -> VocabCopy {
        VocabCopy {
            kind: self.kind,
            adds_bos: self.adds_bos(),
            adds_eos: self.adds_eos(),
            adds_sep: self.adds_sep(),
            special: self.special_tokens(),
            table: VocabTable::of(self),
        }
    }

    /// Its family.
    pub fn kind(&self) -> VocabKind {
        self.kind
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Text to tokens. `add_special` adds what the model wants around a text (BOS, EOS); `parse_special` turns the text of
    /// control tokens into those tokens instead of reading it as plain text.
    ///
    /// # Errors
    /// [`VocabError::NoTokenizer`], [`VocabError::TextTooLong`], [`VocabError::TooSlow`], [`VocabError::NoStack`] or
    /// [`VocabError::Failed`].
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, VocabError> {
        self.require_tokenizer()?;
        if text.len() > MAX_TEXT_BYTES {
            return Err(VocabError::TextTooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
        }
        if let Seat::Elsewhere { owner, .. } = &self.seat {
            return Ok(owner.tokenize(text, add_special, parse_special)?);
        }
        let pieces = self.slow.pieces(self, text, parse_special)?;
        let [text] = pieces[..] else { return self.tokenize_pieces(&pieces, add_special, parse_special) };
        self.tokenize_piece(text, add_special, parse_special)
    }

    /// Tokenizes the pieces of one text.
    fn tokenize_pieces(
        &self,
        pieces: &[&str],
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, VocabError> {
        let around = if add_special { Some(self.additions()?) } else { None };
        let mut tokens = around.map(|around| around.front.clone()).unwrap_or_default();
        for piece in pieces {
            tokens.extend(self.tokenize_piece(piece, false, parse_special)?);
        }
        tokens.extend(around.iter().flat_map(|around| &around.back));
        Ok(tokens)
    }

    fn tokenize_piece(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, VocabError> {
        crate::big_stack::run(text.len(), || self.tokenize_here(text, add_special, parse_special))
            .unwrap_or(Err(VocabError::NoStack { bytes: text.len() }))
    }

    /// A lower bound of the number of tokens of `text`, found without tokenizing; 0 for vocabularies whose tokenizers may leave text out.
    ///
    /// No token stands for more text than the vocabulary's longest one, apart from white space, which some special tokens swallow. Reads the whole
    /// vocabulary. For a `SentencePiece` vocabulary, the time that llama.cpp takes to tokenize grows with the square of the number of characters that the
    /// vocabulary does not have (`llm_tokenizer_spm_session::resegment` in `src/llama-vocab.cpp` makes room for each exactly).
    pub fn fewest_tokens(&self, text: &str) -> usize {
        if self.kind != VocabKind::SentencePiece {
            return 0;
        }
        let (mut longest, mut piece) = (1, Vec::new());
        for token in 0..self.len as TokenId {
            piece.clear();
            if self.push_token_bytes(token, true, &mut piece).is_ok() {
                longest = longest.max(piece.len());
            }
        }
        let solid: usize = text.chars().filter(|c| !c.is_whitespace()).map(char::len_utf8).sum();
        solid.div_ceil(longest)
    }

    /// [`Vocab::tokenize`] for many texts, in parallel; results in the order of the texts.
    ///
    /// # Errors
    /// The error of the first text that has one.
    pub fn tokenize_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<Vec<TokenId>>, VocabError> {
        self.tokenize_batch_unless(texts, add_special, parse_special, NEVER)
    }

    /// [`Vocab::tokenize_batch`] that begins no further text once `stop` is raised.
    ///
    /// # Errors
    /// The error of the first text that has one, [`VocabError::Stopped`] for those that were not begun.
    pub fn tokenize_batch_unless<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        add_special: bool,
        parse_special: bool,
        stop: Stop<'_>,
    ) -> Result<Vec<Vec<TokenId>>, VocabError> {
        let tokens = |text: &T| {
            unless(stop)?;
            self.tokenize(text.as_ref(), add_special, parse_special)
        };
        tabagent_gguf::spread(|| texts.par_iter().map(tokens).collect())
    }

    /// Appends the bytes that one token adds to a text. Control tokens add their text only with `special`.
    ///
    /// # Errors
    /// [`VocabError::NoTokenizer`], [`VocabError::TokenOutOfRange`] or [`VocabError::Failed`].
    pub fn push_token_bytes(
        &self,
        token: TokenId,
        special: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), VocabError> {
        self.require_tokenizer()?;
        self.check_tokens(&[token])?;
        let (ptr, api) = match &self.seat {
            Seat::Here { ptr, api } => (*ptr, api),
            Seat::Elsewhere { copy, .. } => {
                let bytes = copy.table.bytes(token, special);
                out.extend_from_slice(bytes.ok_or(VocabError::Failed { task: "detokenize", code: 0 })?);
                return Ok(());
            }
        };
        let start = out.len();
        let mut room = 64_usize;
        loop {
            out.resize(start + room, 0);
            let buffer = out[start..].as_mut_ptr().cast::<c_char>();
            // SAFETY: the id is in range; `buffer` has `room` writable bytes; nothing is stripped.
            let written = guarded(|| unsafe {
                (api.llama_token_to_piece)(ptr, token, buffer, room as i32, 0, special)
            });
            let written =
                written.map_err(|thrown| VocabError::Threw { task: "detokenize", words: thrown.words })?;
            if let Ok(length) = usize::try_from(written) {
                out.truncate(start + length);
                return Ok(());
            }
            match written.checked_neg().and_then(|n| usize::try_from(n).ok()) {
                Some(needed) if needed > room => room = needed,
                _ => {
                    out.truncate(start);
                    return Err(VocabError::Failed { task: "detokenize", code: written });
                }
            }
        }
    }

    /// The bytes that one token adds to a text.
    ///
    /// # Errors
    /// As for [`Vocab::push_token_bytes`].
    pub fn token_bytes(&self, token: TokenId, special: bool) -> Result<Vec<u8>, VocabError> {
        let mut bytes = Vec::new();
        self.push_token_bytes(token, special, &mut bytes)?;
        Ok(bytes)
    }

    /// The token as the vocabulary writes it, such as `▁Once` or `<0x0A>`.
    ///
    /// # Errors
    /// [`VocabError::NoTokenizer`] or [`VocabError::TokenOutOfRange`].
    pub fn token_text(&self, token: TokenId) -> Result<String, VocabError> {
        self.check_token(token)?;
        let (ptr, api) = match &self.seat {
            Seat::Here { ptr, api } => (*ptr, api),
            Seat::Elsewhere { copy, .. } => return Ok(copy.table.text(token)),
        };
        // SAFETY: the id is in range and there is a tokenizer.
        let text = unsafe { (api.llama_vocab_get_text)(ptr, token) };
        // SAFETY: a NUL-terminated string that lives as long as the vocabulary.
        Ok(unsafe { crate::strings::copy(text) }.unwrap_or_default())
    }

    /// The score of a token (log-probability or rank, by family).
    ///
    /// # Errors
    /// [`VocabError::NoTokenizer`] or [`VocabError::TokenOutOfRange`].
    pub fn token_score(&self, token: TokenId) -> Result<f32, VocabError> {
        self.check_token(token)?;
        Ok(match &self.seat {
            // SAFETY: the id is in range and there is a tokenizer.
            Seat::Here { ptr, api } => unsafe { (api.llama_vocab_get_score)(*ptr, token) },
            Seat::Elsewhere { copy, .. } => copy.table.score(token),
        })
    }

    /// What kind of token it is.
    ///
    /// # Errors
    /// [`VocabError::NoTokenizer`] or [`VocabError::TokenOutOfRange`].
    pub fn token_attributes(&self, token: TokenId) -> Result<TokenAttributes, VocabError> {
        self.check_token(token)?;
        Ok(match &self.seat {
            Seat::Here { ptr, api } => {
                // SAFETY: the id is in range and there is a tokenizer.
                let bits = unsafe { (api.llama_vocab_get_attr)(*ptr, token) };
                TokenAttributes(bits.cast_unsigned())
            }
            Seat::Elsewhere { copy, .. } => copy.table.attributes(token),
        })
    }

    /// Whether generation ends with this token; false for ids out of range.
    pub fn is_eog(&self, token: TokenId) -> bool {
        self.check_token(token).is_ok()
            && match &self.seat {
                // SAFETY: the id is in range and there is a tokenizer.
                Seat::Here { ptr, api } => unsafe { (api.llama_vocab_is_eog)(*ptr, token) },
                Seat::Elsewhere { copy, .. } => copy.table.ends(token),
            }
    }

    /// Whether it is a control token; false for ids out of range.
    pub fn is_control(&self, token: TokenId) -> bool {
        self.check_token(token).is_ok()
            && match &self.seat {
                // SAFETY: the id is in range and there is a tokenizer.
                Seat::Here { ptr, api } => unsafe { (api.llama_vocab_is_control)(*ptr, token) },
                Seat::Elsewhere { copy, .. } => copy.table.is_control(token),
            }
    }

    /// Whether texts begin with BOS.
    pub fn adds_bos(&self) -> bool {
        match &self.seat {
            // SAFETY: a live vocabulary.
            Seat::Here { ptr, api } => unsafe { (api.llama_vocab_get_add_bos)(*ptr) },
            Seat::Elsewhere { copy, .. } => copy.adds_bos,
        }
    }

    /// Whether texts end with EOS.
    pub fn adds_eos(&self) -> bool {
        match &self.seat {
            // SAFETY: a live vocabulary.
            Seat::Here { ptr, api } => unsafe { (api.llama_vocab_get_add_eos)(*ptr) },
            Seat::Elsewhere { copy, .. } => copy.adds_eos,
        }
    }

    /// Whether SEP follows the first of two texts.
    pub fn adds_sep(&self) -> bool {
        let (ptr, api) = match &self.seat {
            Seat::Here { ptr, api } => (*ptr, api),
            Seat::Elsewhere { copy, .. } => return copy.adds_sep,
        };
        // Builds without this function know no other vocabulary that does (`llama_vocab::impl::load` in `src/llama-vocab.cpp`).
        // SAFETY: a live vocabulary.
        let told = api.llama_vocab_get_add_sep.map(|ask| unsafe { ask(ptr) });
        told.unwrap_or(self.kind == VocabKind::WordPiece)
    }

    /// Checks that every id is one of this vocabulary.
    ///
    /// # Errors
    /// [`VocabError::TokenOutOfRange`] with the first that is not.
    pub fn check_tokens(&self, tokens: &[TokenId]) -> Result<(), VocabError> {
        let bad = tokens.iter().position(|t| usize::try_from(*t).map_or(true, |id| id >= self.len));
        match bad {
            None => Ok(()),
            Some(index) => {
                Err(VocabError::TokenOutOfRange { index, token: tokens[index], vocab_size: self.len })
            }
        }
    }

    fn check_token(&self, token: TokenId) -> Result<(), VocabError> {
        self.require_tokenizer()?;
        self.check_tokens(&[token])
    }

    pub(crate) fn require_tokenizer(&self) -> Result<(), VocabError> {
        if self.kind == VocabKind::None { Err(VocabError::NoTokenizer) } else { Ok(()) }
    }

    fn tokenize_here(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, VocabError> {
        let (ptr, api) = match &self.seat {
            Seat::Here { ptr, api } => (*ptr, api),
            Seat::Elsewhere { owner, .. } => return Ok(owner.tokenize(text, add_special, parse_special)?),
        };
        let length = text.len() as i32;
        // A byte becomes at most one token, and pages that are not written take no memory.
        let mut tokens: Vec<TokenId> = vec![0; text.len().min(MAX_TEXT_BYTES) + 16];
        loop {
            let room = tokens.len() as i32;
            // SAFETY: `text` has `length` readable bytes, `tokens` has room for `room` ids.
            let count = guarded(|| unsafe {
                (api.llama_tokenize)(
                    ptr,
                    text.as_ptr().cast::<c_char>(),
                    length,
                    tokens.as_mut_ptr(),
                    room,
                    add_special,
                    parse_special,
                )
            });
            let count =
                count.map_err(|thrown| VocabError::Threw { task: "tokenize", words: thrown.words })?;
            if let Ok(count) = usize::try_from(count) {
                tokens.truncate(count);
                return Ok(tokens);
            }
            match count.checked_neg() {
                Some(needed) if needed > room => tokens.resize(needed as usize, 0),
                _ => return Err(VocabError::Failed { task: "tokenize", code: count }),
            }
        }
    }
}

pub(crate) fn unless(stop: Stop<'_>) -> Result<(), VocabError> {
    if stop() { Err(VocabError::Stopped) } else { Ok(()) }
}

/// A function that gives a special token; older builds lack some.
type SpecialToken = unsafe extern "C-unwind" fn(*const llama_vocab) -> TokenId;

macro_rules! special_tokens {
    ($($(#[$doc:meta])* $name:ident: $function:ident;)*) => {
        impl Vocab {
            $(
                $(#[$doc])*
                /// `None` when the vocabulary has none.
                pub fn $name(&self) -> Option<TokenId> {
                    match &self.seat {
                        Seat::Here { ptr, api } => {
                            let ask: Option<SpecialToken> = api.$function.into();
                            // SAFETY: a live vocabulary.
                            let token = unsafe { ask?(*ptr) };
                            (token >= 0).then_some(token)
                        }
                        Seat::Elsewhere { copy, .. } => copy.special.get(stringify!($name)).copied(),
                    }
                }
            )*

            /// The special tokens that there are, by the names of the methods that give them.
            fn special_tokens(&self) -> BTreeMap<String, TokenId> {
                let all = [$((stringify!($name), self.$name())),*];
                all.into_iter().filter_map(|(name, token)| Some((name.to_owned(), token?))).collect()
            }
        }
    };
}

special_tokens! {
    /// Beginning of sequence.
    token_bos: llama_vocab_bos;
    /// End of sequence.
    token_eos: llama_vocab_eos;
    /// End of turn.
    token_eot: llama_vocab_eot;
    /// Line break.
    token_nl: llama_vocab_nl;
    /// Padding.
    token_pad: llama_vocab_pad;
    /// Separator.
    token_sep: llama_vocab_sep;
    /// Mask.
    token_mask: llama_vocab_mask;
    /// Fill in the middle: prefix.
    token_fim_pre: llama_vocab_fim_pre;
    /// Fill in the middle: suffix.
    token_fim_suf: llama_vocab_fim_suf;
    /// Fill in the middle: middle.
    token_fim_mid: llama_vocab_fim_mid;
    /// Fill in the middle: padding.
    token_fim_pad: llama_vocab_fim_pad;
    /// Fill in the middle: repository.
    token_fim_rep: llama_vocab_fim_rep;
    /// Fill in the middle: file separator.
    token_fim_sep: llama_vocab_fim_sep;
}
