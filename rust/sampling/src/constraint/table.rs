//! The bytes of a model's tokens.

use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use llguidance::earley::BiasComputer;
use llguidance::toktrie::{INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

use super::engine::{Fault, guard};
use super::slicer::Slicer;
use super::spelling::{can_spell, longest_tokens};
use super::{GrammarError, limits};
use crate::TokenId;

/// Turns bytes into the tokens the model's tokenizer would make of them in the middle of a text: no begin-of-text token, no added
/// space, no special tokens. Where the tokens returned do not spell the bytes, the answer is not used.
pub type Tokenizer = Arc<dyn Fn(&[u8]) -> Vec<TokenId> + Send + Sync>;

/// The longest token, in bytes, that a grammar can produce; longer ones are never allowed.
const MAX_TOKEN_BYTES: usize = 1_000;
/// The largest vocabulary: the trie numbers its tokens in 24 bits and its nodes in 22.
const MAX_TOKENS: usize = 1 << 20;

/// The bytes of every token of a vocabulary as a trie, which of them are special, and which end the generation.
///
/// Building one takes time in proportion to the vocabulary (a fraction of a second for 262,144 tokens), so build it once a model.
pub struct TokenTable {
    factory: ParserFactory,
    slicer: Arc<Slicer>,
    texts: Texts,
    eos: Vec<TokenId>,
    free: Vec<u32>,
    free_without_eos: Vec<u32>,
    canonical: bool,
    /// See [`TokenTable::has_gaps`].
    has_gaps: bool,
}

impl std::fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenTable")
            .field("n_vocab", &self.n_vocab())
            .field("eos", &self.eos)
            .finish_non_exhaustive()
    }
}

impl TokenTable {
    /// A table of `tokens` in the order of their ids: the bytes of each and whether it is special (control tokens and the like: no
    /// text grammar produces them). The tokens of `eos` are special whatever is said. A token without bytes is never allowed.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Argument`] if there is no token or more than 1,048,576, or if a token of `eos` does not exist.
    pub fn new(
        tokens: impl Iterator<Item = (Vec<u8>, bool)>,
        eos: &[TokenId],
    ) -> Result<Arc<Self>, GrammarError> {
        Self::build(tokens, eos, None)
    }

    /// A table that also knows the model's tokenizer, which [`Constraint::forced`](super::Constraint::forced) needs: forced bytes
    /// become the tokens that the model would see in a text of its own.
    ///
    /// # Errors
    ///
    /// As [`TokenTable::new`].
    pub fn with_tokenizer(
        tokens: impl Iterator<Item = (Vec<u8>, bool)>,
        eos: &[TokenId],
        tokenizer: Tokenizer,
    ) -> Result<Arc<Self>, GrammarError> {
        Self::build(tokens, eos, Some(tokenizer))
    }

    fn build(
        tokens: impl Iterator<Item = (Vec<u8>, bool)>,
        eos: &[TokenId],
        tokenizer: Option<Tokenizer>,
    ) -> Result<Arc<Self>, GrammarError> {
        let mut texts = Texts::default();
        let mut words = Vec::with_capacity(tokens.size_hint().0.min(MAX_TOKENS));
        for (mut word, special) in tokens.take(MAX_TOKENS + 1) {
            texts.push(&word);
            if word.len() > MAX_TOKEN_BYTES {
                word.clear();
            } else if !word.is_empty() && (special || eos.contains(&(words.len() as TokenId))) {
                word.insert(0, TokTrie::SPECIAL_TOKEN_MARKER);
            }
            words.push(word);
        }
        let n = words.len();
        if n == 0 || n > MAX_TOKENS {
            let at_least = if n == 0 { "" } else { "at least " };
            return Err(GrammarError::argument(format!(
                "a vocabulary must have 1 to {MAX_TOKENS} tokens, got {at_least}`{n}`"
            )));
        }
        if let Some(token) = eos.iter().find(|&&token| usize::try_from(token).map_or(true, |id| id >= n)) {
            return Err(GrammarError::argument(format!(
                "the end-of-generation token `{token}` is not in the vocabulary of `{n}` tokens"
            )));
        }
        let canonical = tokenizer.is_some();
        let has_gaps = has_gaps(&words);
        let free = bits(n, &[]);
        let free_without_eos = bits(n, eos);
        let eos_ids: Vec<u32> = eos.iter().map(|&token| token as u32).collect();
        let (factory, slicer) = guard(|| {
            let env = Arc::new(Env::new(tokenizer));
            let capabilities =
                InferenceCapabilities { ff_tokens: canonical, ..InferenceCapabilities::default() };
            let engine_env: TokEnv = Arc::clone(&env) as TokEnv;
            let mut factory = ParserFactory::new(&engine_env, capabilities, &Slicer::expressions())?;
            factory.quiet();
            *factory.limits_mut() = limits::parser_limits();
            let info = TokRxInfo::new(n as u32, eos_ids.first().copied().unwrap_or(INVALID_TOKEN));
            let mut trie = TokTrie::from(&info, &words);
            if !eos_ids.is_empty() {
                trie = trie.with_eos_tokens(&eos_ids);
            }
            env.fill(trie);
            Ok::<_, Fault>((factory, Slicer::new(engine_env)?))
        })?;
        Ok(Arc::new(Self {
            factory,
            slicer,
            texts,
            eos: eos.to_vec(),
            free,
            free_without_eos,
            canonical,
            has_gaps,
        }))
    }

    /// The number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.texts.len()
    }

    /// The tokens that end the generation.
    pub fn eos(&self) -> &[TokenId] {
        &self.eos
    }

    pub(crate) fn factory(&self) -> &ParserFactory {
        &self.factory
    }

    /// What computes the masks of the factory's parsers.
    pub(crate) fn masks(&self) -> Arc<dyn BiasComputer> {
        Arc::clone(&self.slicer) as Arc<dyn BiasComputer>
    }

    /// The bytes of all tokens as text, in the order of their ids.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.n_vocab()).map(|id| self.texts.get(id))
    }

    /// The bytes of `token` as text, special or not; empty for a token that does not exist.
    pub(crate) fn text(&self, token: TokenId) -> &[u8] {
        usize::try_from(token).map_or(&[], |id| self.texts.get(id))
    }

    pub(crate) fn is_eos(&self, token: TokenId) -> bool {
        self.eos.contains(&token)
    }

    pub(crate) fn is_canonical(&self) -> bool {
        self.canonical
    }

    /// Whether tokens can write exactly `bytes`.
    pub(crate) fn spells(&self, bytes: &[u8]) -> bool {
        let trie = self.factory.tok_env().tok_trie();
        trie.decode_raw(&longest_tokens(trie, bytes)) == bytes
    }

    /// Whether tokens can write `bytes`, or come to their end with some token's beginning.
    pub(crate) fn can_spell(&self, bytes: &[u8]) -> bool {
        can_spell(self.factory.tok_env().tok_trie(), bytes)
    }

    /// Whether some bytes of texts are not tokens by themselves, so that there may be texts that tokens cannot write.
    pub(crate) fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// The words of a mask that allows every token, or every token but the ends.
    pub(crate) fn free_words(&self, with_eos: bool) -> &[u32] {
        if with_eos { &self.free } else { &self.free_without_eos }
    }

    /// The token whose text is exactly `text`, special ones first, the lowest id of several.
    pub(crate) fn find(&self, text: &[u8]) -> Option<TokenId> {
        let trie = self.factory.tok_env().tok_trie();
        let mut special = vec![TokTrie::SPECIAL_TOKEN_MARKER];
        special.extend_from_slice(text);
        trie.token_id_at_bytes(&special).or_else(|| trie.token_id_at_bytes(text)).map(|id| id as TokenId)
    }

    /// The special token of this text, unless it ends the generation.
    pub(crate) fn find_special(&self, text: &str) -> Option<TokenId> {
        let mut special = vec![TokTrie::SPECIAL_TOKEN_MARKER];
        special.extend_from_slice(text.as_bytes());
        let token = self.factory.tok_env().tok_trie().token_id_at_bytes(&special)? as TokenId;
        (!self.is_eos(token)).then_some(token)
    }

    /// An error that names `token` and its text.
    pub(crate) fn outside(&self, token: TokenId) -> GrammarError {
        let text = String::from_utf8_lossy(self.text(token)).escape_debug().take(40).collect();
        GrammarError::Token { token, text }
    }
}

/// Texts, one after another in one piece of memory.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    /// Where each one ends.
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    /// A text; empty if there is none of this number.
    fn get(&self, index: usize) -> &[u8] {
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }
}

/// All of `n` tokens but `without`, 32 a word.
fn bits(n: usize, without: &[TokenId]) -> Vec<u32> {
    let mut words = vec![u32::MAX; n.div_ceil(32)];
    if let (Some(last), rest @ 1..) = (words.last_mut(), n % 32) {
        *last = (1 << rest) - 1;
    }
    for &token in without {
        words[token as usize / 32] &= !(1 << (token % 32));
    }
    words
}

/// Whether a byte that UTF-8 can have is no token.
fn has_gaps(words: &[Vec<u8>]) -> bool {
    let mut is_token = [false; 256];
    for word in words {
        if let [byte] = word.as_slice() {
            is_token[usize::from(*byte)] = true;
        }
    }
    (0..=0xF4).any(|byte| !matches!(byte, 0xC0 | 0xC1) && !is_token[byte])
}

/// What the engine knows of the vocabulary.
///
/// The engine's factory builds slices of the vocabulary that it finds when it is made. Since a [`Slicer`] is used instead of those, it
/// finds a vocabulary of one token, and the model's afterwards.
struct Env {
    placeholder: TokTrie,
    trie: OnceLock<TokTrie>,
    tokenizer: Option<Tokenizer>,
}

impl Env {
    fn new(tokenizer: Option<Tokenizer>) -> Self {
        let placeholder = TokTrie::from(&TokRxInfo::new(1, INVALID_TOKEN), &[vec![b'a']]);
        Self { placeholder, trie: OnceLock::new(), tokenizer }
    }

    /// The tokenizer's tokens of `text`, if they spell it.
    fn written(&self, text: &[u8]) -> Option<Vec<u32>> {
        let tokens = self.tokenizer.as_ref()?(text).into_iter().map(u32::try_from);
        let tokens: Vec<u32> = tokens.collect::<Result<_, _>>().ok()?;
        let trie = self.tok_trie();
        let exist = tokens.iter().all(|&token| (token as usize) < trie.vocab_size());
        (exist && trie.decode_raw(&tokens) == text).then_some(tokens)
    }

    /// Gives the vocabulary, once.
    fn fill(&self, trie: TokTrie) {
        let _ = self.trie.set(trie);
    }
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        self.trie.get().unwrap_or(&self.placeholder)
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let trie = self.tok_trie();
        // The engine asks for what follows the last token together with that token, which may be the end of a character.
        let mut tokens = Vec::new();
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid().as_bytes();
            tokens.extend(self.written(valid).unwrap_or_else(|| longest_tokens(trie, valid)));
            tokens.extend(longest_tokens(trie, chunk.invalid()));
        }
        if trie.decode_raw(&tokens) == bytes { tokens } else { longest_tokens(trie, bytes) }
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.tokenizer.is_some()
    }
}
