//! What can be wrong with a configuration or with a row of logits.

use crate::TokenId;

/// A [`SamplerConfig`](crate::SamplerConfig) that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A real-valued field is NaN or outside its range.
    #[error("`{field}` must be {range}, got `{got}`")]
    Number {
        /// The field's name.
        field: &'static str,
        /// The range in words, such as `in (0, 1]`.
        range: &'static str,
        /// The value as given.
        got: f32,
    },
    /// An integer field is outside its range.
    #[error("`{field}` must be {range}, got `{got}`")]
    Integer {
        /// The field's name.
        field: &'static str,
        /// The range in words, such as `0, 1 or 2`.
        range: &'static str,
        /// The value as given.
        got: i64,
    },
    /// A bias is NaN or positive infinity.
    #[error("`logit_bias` of token `{token}` must be finite, or `-inf` to ban the token, got `{got}`")]
    Bias {
        /// The token.
        token: TokenId,
        /// The bias as given.
        got: f32,
    },
    /// A field names a token that the vocabulary does not have.
    #[error("`{field}` names token `{token}`; the vocabulary has tokens `0` to `{}`", .n_vocab.saturating_sub(1))]
    UnknownToken {
        /// The field's name.
        field: &'static str,
        /// The token.
        token: TokenId,
        /// The number of tokens in the vocabulary.
        n_vocab: usize,
    },
    /// `allowed_tokens` is there but empty.
    #[error("`allowed_tokens` must name at least one token; leave it out to allow all")]
    NothingAllowed,
    /// [`Stage::Infill`](crate::Stage::Infill) is listed and there are no pieces.
    #[error("`order` names `infill`, which needs the vocabulary; give `pieces`, or a model")]
    NeedsPieces,
    /// The pieces are of another vocabulary.
    #[error(
        "`pieces` are of `{got}` tokens and the vocabulary has `{n_vocab}`; take those of the same model"
    )]
    WrongPieces {
        /// How many pieces there are.
        got: usize,
        /// The number of tokens in the vocabulary.
        n_vocab: usize,
    },
    /// The vocabulary is empty or has more tokens than a [`TokenId`] can number.
    #[error("`n_vocab` must be in [1, 2147483647], got `{n_vocab}`")]
    Vocabulary {
        /// The number of tokens as given.
        n_vocab: usize,
    },
    /// No seed was given and the operating system gave none.
    #[error("cannot draw a seed from the operating system: {source}; set `seed`")]
    Seed {
        /// What the operating system said.
        source: getrandom::Error,
    },
}

/// A row of logits that no token can be taken from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The row does not have one logit a token.
    #[error("expected `{expected}` logits, one a token of the vocabulary, got `{got}`")]
    WrongLength {
        /// The vocabulary's size.
        expected: usize,
        /// The row's length.
        got: usize,
    },
    /// The mask is for a vocabulary of another size.
    #[error(
        "expected a mask for `{expected}` tokens, got one for `{got}`; make it for the vocabulary of the sampler"
    )]
    WrongMask {
        /// The vocabulary's size.
        expected: usize,
        /// The size of the vocabulary that the mask is for.
        got: usize,
    },
    /// The mask allows no token.
    #[error(
        "mask or grammar and allowed tokens leave none of the `{n_vocab}` tokens; allow one, or end the text where nothing may follow"
    )]
    EmptyMask {
        /// The vocabulary's size.
        n_vocab: usize,
    },
    /// No token has a logit above negative infinity after bias and penalties, so there is nothing to choose.
    #[error(
        "none of the `{n_vocab}` tokens can be chosen: their logits are negative infinity or, `{n_nan}` of them, NaN; check that bans, bias, grammar and hooks together leave a token, and the model's weights if there is NaN"
    )]
    NoFiniteLogit {
        /// The row's length.
        n_vocab: usize,
        /// How many logits of the row are NaN.
        n_nan: usize,
    },
}
