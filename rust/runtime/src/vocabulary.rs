//! What the decode thread asks of a vocabulary.

/// A token's number in the vocabulary, as llama.cpp's `llama_token` (a 32-bit signed integer).
pub type TokenId = i32;

/// The tokens of a model. Any thread may ask, at any time while the engine or one of its requests lives.
pub trait Vocabulary: Send + Sync {
    /// Number of tokens: ids go from 0 to one less. A row of logits has as many values.
    fn n_tokens(&self) -> usize;

    /// Appends the bytes of text that `token` stands for, which need not be whole characters. A control token has a text, its marker, only with `special`.
    fn push_token_bytes(&self, token: TokenId, special: bool, out: &mut Vec<u8>);

    /// Whether `token` ends a generation.
    fn is_eog(&self, token: TokenId) -> bool;
}

/// The bytes of `token`, its marker if it is a control token.
pub(crate) fn bytes_of(vocabulary: &dyn Vocabulary, token: TokenId) -> Vec<u8> {
    let mut bytes = Vec::new();
    vocabulary.push_token_bytes(token, true, &mut bytes);
    bytes
}
