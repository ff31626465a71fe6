//! A tokenizer: text to tokens.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;
use tabagent_gguf::{GgufFile, Metadata};

use crate::bpe::{Bpe, DNA_MARK, Form};
use crate::error::TokenizerError;
use crate::keys::Keys;
use crate::kind::{MODEL, Settings, TokenizerKind};
use crate::output::{Output, TokenId};
use crate::plamo2::Plamo2;
use crate::roles::Roles;
use crate::rwkv::Rwkv;
use crate::sentence_piece::SentencePiece;
use crate::special_texts::SpecialTexts;
use crate::stripping;
use crate::text_table::TextTable;
use crate::unigram::Unigram;
use crate::vocabulary::Vocabulary;
use crate::word_piece::WordPiece;
use crate::work::{NEVER, Stop, Work};

/// Longest text: tokens and bytes are counted in 31 bits, and escaped spaces take three bytes each.
const MAX_TEXT_BYTES: usize = (i32::MAX / 3 - 1024) as usize;

/// A model's tokenizer, made of a file's metadata; it needs no engine. All methods may be called from many threads at once.
///
/// The tokens are those of the pinned llama.cpp, also where it differs from the model's original tokenizer.
///
/// ```
/// use tabagent_gguf::{GgufFile, GgufWriter};
/// use tabagent_tokenizer::Tokenizer;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tokens: Vec<String> = ["a", "b", "Ġ", "Ġa", "ab", "<eos>"].map(String::from).into();
/// let bytes = GgufWriter::new()
///     .add("tokenizer.ggml.model", "gpt2")
///     .add("tokenizer.ggml.pre", "gpt-2")
///     .add("tokenizer.ggml.tokens", tokens)
///     .add("tokenizer.ggml.merges", vec!["Ġ a".to_owned(), "a b".to_owned()])
///     .add("tokenizer.ggml.eos_token_id", 5_u32)
///     .to_bytes()?;
/// let tokenizer = Tokenizer::from_metadata(GgufFile::from_bytes(bytes)?.metadata())?;
/// assert_eq!(tokenizer.tokenize("ab ab", true, false)?, [4, 3, 1]);
/// assert_eq!(tokenizer.detokenize(&[4, 3, 1], false, true)?, "ab ab");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    pub(crate) kind: TokenizerKind,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) roles: Roles,
    pub(crate) algorithm: Algorithm,
    add_bos: bool,
    add_eos: bool,
    add_sep: bool,
    ends: BTreeSet<TokenId>,
    newline: Option<TokenId>,
    /// Special tokens without and with markers.
    special: [OnceLock<SpecialTexts>; 2],
}

/// How text becomes tokens.
#[derive(Debug)]
pub(crate) enum Algorithm {
    SentencePiece(SentencePiece),
    Bpe(Bpe),
    WordPiece(WordPiece),
    Unigram(Unigram),
    Rwkv(Rwkv),
    Plamo2(Plamo2),
}

/// Tokens, and where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// The tokens.
    pub tokens: Vec<TokenId>,
    /// For each token the bytes of the text that it stands for. They are empty for tokens that are added, and may lie inside a character.
    pub spans: Vec<Range<usize>>,
}

impl Tokenizer {
    /// Reads the tokenizer of a GGUF file or of a `tokenizer.json`, in whose folder other files of the tokenizer may lie. Only the metadata is read.
    ///
    /// # Errors
    /// [`TokenizerError`], if the file cannot be read or what it says of its tokenizer cannot be used.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            let bytes = tabagent_gguf::tokenizer_metadata(path)?;
            return Self::from_metadata(GgufFile::from_bytes(bytes)?.metadata());
        }
        Self::from_metadata(GgufFile::open(path)?.metadata())
    }

    /// Reads the tokenizer of a file's metadata.
    ///
    /// # Errors
    /// [`TokenizerError`], if what it says of its tokenizer cannot be used.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let keys = Keys(metadata);
        let settings = Settings::read(keys)?;
        let mut vocabulary = Vocabulary::read(keys)?;
        let mut roles = settings.default_roles().read(keys, vocabulary.len())?;
        let algorithm = Algorithm::read(keys, &vocabulary, &settings, roles)?;
        if settings.model == "hybriddna" {
            remove_dna_marks(&mut vocabulary);
        }
        let ends = roles.find(&mut vocabulary);
        stripping::mark(keys, &mut vocabulary)?;
        let Settings { kind, add_bos, add_eos, add_sep, .. } = settings;
        let special = Default::default();
        let (newline, padding) = (None, settings.roles.padding);
        let mut tokenizer =
            Self { kind, vocabulary, roles, algorithm, add_bos, add_eos, add_sep, ends, newline, special };
        tokenizer.check_additions()?;
        tokenizer.newline = tokenizer.find_newline()?.or(padding);
        Ok(tokenizer)
    }

    /// Its family.
    pub fn kind(&self) -> TokenizerKind {
        self.kind
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether there are no tokens: never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of merges of a BPE tokenizer; 0 for others.
    pub fn n_merges(&self) -> usize {
        if let Algorithm::Bpe(bpe) = &self.algorithm { bpe.n_merges() } else { 0 }
    }

    /// The token with which texts begin.
    pub fn token_bos(&self) -> Option<TokenId> {
        self.roles.bos
    }

    /// The token with which texts end.
    pub fn token_eos(&self) -> Option<TokenId> {
        self.roles.eos
    }

    /// The token of a line break, or the first of several.
    pub fn token_nl(&self) -> Option<TokenId> {
        self.newline
    }

    /// The token for text that has no other.
    pub fn token_unknown(&self) -> Option<TokenId> {
        self.roles.unknown
    }

    /// Whether generation ends with this token; false for ids out of range.
    pub fn is_eog(&self, token: TokenId) -> bool {
        self.ends.contains(&token)
    }

    /// Whether [`Tokenizer::tokenize`] puts BOS in front with `add_special`. `WordPiece` does so always.
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether texts end with EOS with `add_special`.
    pub fn adds_eos(&self) -> bool {
        self.add_eos
    }

    /// Whether a separator belongs between two texts.
    pub fn adds_sep(&self) -> bool {
        self.add_sep
    }

    /// Text to tokens. `add_special` adds what the model wants around a text (BOS, EOS); `parse_special` turns the text of control tokens into those
    /// tokens instead of reading it as plain text.
    ///
    /// # Errors
    /// [`TokenizerError::TextTooLong`]; [`TokenizerError::Invalid`] if a Unigram file's table does not fit the text.
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        self.tokenize_unless(text, add_special, parse_special, NEVER)
    }

    /// [`Tokenizer::tokenize`] that ends soon once `stop` says so.
    ///
    /// # Errors
    /// As for [`Tokenizer::tokenize`]; [`TokenizerError::Stopped`].
    pub fn tokenize_unless(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
        stop: Stop<'_>,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(self.run(text, add_special, parse_special, Output::default(), stop)?.tokens)
    }

    /// Text to tokens, with the place of each.
    ///
    /// # Errors
    /// As for [`Tokenizer::tokenize`].
    pub fn encode(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Encoding, TokenizerError> {
        self.encode_unless(text, add_special, parse_special, NEVER)
    }

    /// [`Tokenizer::encode`] that ends soon once `stop` says so.
    ///
    /// # Errors
    /// As for [`Tokenizer::tokenize`]; [`TokenizerError::Stopped`].
    pub fn encode_unless(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
        stop: Stop<'_>,
    ) -> Result<Encoding, TokenizerError> {
        let Output { tokens, spans } =
            self.run(text, add_special, parse_special, Output::with_spans(), stop)?;
        Ok(Encoding { tokens, spans: spans.unwrap_or_default() })
    }

    /// [`Tokenizer::tokenize`] for many texts, in parallel; results in the order of the texts.
    ///
    /// # Errors
    /// The error of a text that has one; [`TokenizerError::Stopped`] once `stop` says so.
    pub fn tokenize_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        add_special: bool,
        parse_special: bool,
        stop: Stop<'_>,
    ) -> Result<Vec<Vec<TokenId>>, TokenizerError> {
        let tokens = |text: &T| {
            if stop() {
                return Err(TokenizerError::Stopped);
            }
            self.tokenize_unless(text.as_ref(), add_special, parse_special, stop)
        };
        tabagent_gguf::spread(|| texts.par_iter().map(tokens).collect())
    }

    fn run(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
        out: Output,
        stop: Stop<'_>,
    ) -> Result<Output, TokenizerError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenizerError::TextTooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
        }
        let mut work = Work::new(out, stop);
        work.out.tokens.reserve(text.len() / 4 + 2);
        let (front, back) = if add_special { self.added() } else { (None, None) };
        if let Some(token) = front {
            work.out.push(token, 0, 0);
        }
        let special = self.special[usize::from(parse_special)]
            .get_or_init(|| SpecialTexts::new(&self.vocabulary, parse_special));
        let fragments = special.fragments(text.as_bytes(), stop).ok_or(TokenizerError::Stopped)?;
        work.cache.begin(text.len());
        let mut is_first = true;
        for fragment in fragments {
            if let Some(token) = fragment.token {
                work.out.push(token, fragment.span.start, fragment.span.end);
                is_first = true;
            } else if !fragment.span.is_empty() {
                self.algorithm.tokenize(
                    text.as_bytes(),
                    fragment.span,
                    is_first,
                    &self.vocabulary,
                    &mut work,
                )?;
                is_first = false;
            }
            work.goes_on();
            work.check()?;
        }
        if let Some(token) = back {
            work.out.push(token, text.len(), text.len());
        }
        Ok(work.out)
    }

    /// The tokens that `add_special` puts in front of a text and behind it.
    pub(crate) fn added(&self) -> (Option<TokenId>, Option<TokenId>) {
        let bos = self.roles.bos.filter(|_| self.add_bos);
        let eos = self.roles.eos.filter(|_| self.add_eos);
        match self.kind {
            TokenizerKind::WordPiece => (self.roles.bos, self.roles.separator),
            TokenizerKind::SentencePiece | TokenizerKind::Bpe | TokenizerKind::Unigram => (bos, eos),
            TokenizerKind::Rwkv | TokenizerKind::Plamo2 => (None, None),
        }
    }

    /// llama.cpp ends the process if a token that it shall add does not exist.
    fn check_additions(&self) -> Result<(), TokenizerError> {
        let is_word_piece = self.kind == TokenizerKind::WordPiece;
        let adds =
            matches!(self.kind, TokenizerKind::SentencePiece | TokenizerKind::Bpe | TokenizerKind::Unigram);
        for (is_added, token, key) in [
            (is_word_piece || adds && self.add_bos, self.roles.bos, "tokenizer.ggml.bos_token_id"),
            (adds && self.add_eos, self.roles.eos, "tokenizer.ggml.eos_token_id"),
            (is_word_piece, self.roles.separator, "tokenizer.ggml.seperator_token_id"),
        ] {
            if is_added && token.is_none() {
                return Err(TokenizerError::invalid(
                    key,
                    "names no token of the vocabulary, but that token is added to every text",
                ));
            }
        }
        Ok(())
    }

    fn find_newline(&self) -> Result<Option<TokenId>, TokenizerError> {
        match self.kind {
            TokenizerKind::SentencePiece => {
                Ok(self.vocabulary.byte_token(b'\n').or_else(|| self.vocabulary.find(b"\n")))
            }
            TokenizerKind::WordPiece => Ok(None),
            _ => {
                let mut work = Work::new(Output::default(), NEVER);
                self.algorithm.tokenize(b"\n", 0..1, true, &self.vocabulary, &mut work)?;
                Ok(work.out.tokens.first().copied())
            }
        }
    }
}

impl Algorithm {
    fn read(
        keys: Keys<'_>,
        vocabulary: &Vocabulary,
        settings: &Settings<'_>,
        roles: Roles,
    ) -> Result<Self, TokenizerError> {
        Ok(match (settings.kind, settings.pre) {
            (TokenizerKind::Bpe, Some(pre)) => {
                let form = Form::of(settings.model, keys, vocabulary)?;
                Self::Bpe(Bpe::read(keys, vocabulary, pre, form, settings.needs_merges)?)
            }
            (TokenizerKind::Bpe, None) => return Err(TokenizerError::Missing { key: MODEL }),
            (TokenizerKind::SentencePiece, _) => {
                Self::SentencePiece(SentencePiece::new(vocabulary, settings.space_in_front)?)
            }
            (TokenizerKind::WordPiece, _) => {
                Self::WordPiece(WordPiece::read(keys, vocabulary, roles.unknown)?)
            }
            (TokenizerKind::Unigram, _) => {
                Self::Unigram(Unigram::read(keys, vocabulary, roles.unknown, settings.space_in_front)?)
            }
            (TokenizerKind::Rwkv, _) => Self::Rwkv(Rwkv::new(vocabulary)?),
            (TokenizerKind::Plamo2, _) => Self::Plamo2(Plamo2::new(vocabulary)?),
        })
    }

    /// Adds the tokens of `span` of `text`. `is_first` at the start of a text and behind a special token.
    fn tokenize(
        &self,
        text: &[u8],
        span: Range<usize>,
        is_first: bool,
        vocabulary: &Vocabulary,
        work: &mut Work<'_>,
    ) -> Result<(), TokenizerError> {
        match self {
            Self::SentencePiece(model) => model.tokenize(text, span, is_first, work),
            Self::Bpe(model) => model.tokenize(text, span, vocabulary, work),
            Self::WordPiece(model) => model.tokenize(text, span, work),
            Self::Unigram(model) => model.tokenize(text, span, vocabulary, work)?,
            Self::Rwkv(model) => model.tokenize(text, span, work),
            Self::Plamo2(model) => model.tokenize(text, span, work)?,
        }
        work.check()
    }
}

/// Gives tokens for groups of bases their text: they are found by one with a mark, which keeps them apart from words that are equal.
fn remove_dna_marks(vocabulary: &mut Vocabulary) {
    let Some(unknown) = vocabulary.find(b"<oov>") else { return };
    let mut shown = TextTable::with_room(vocabulary.len());
    for id in vocabulary.ids() {
        let text = vocabulary.text(id);
        let has_mark = id > unknown && text.len() > DNA_MARK.len() && text.ends_with(DNA_MARK);
        shown.push(if has_mark { &text[..text.len() - DNA_MARK.len()] } else { text });
    }
    vocabulary.shown = Some(shown);
}
