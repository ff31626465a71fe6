//! How long a model may think before it answers.

use crate::TokenId;

/// How many tokens a model may spend on its thoughts, and how it is made to end one.
///
/// All thoughts of a text share the budget. Where it is used up inside of a thought, the tokens of [`Thought::closing`] are put into the text and the
/// generation goes on after them. What may become a character or the end of the thought within a few tokens comes first, and so does what a constraint demands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThoughtBudget {
    /// Maximum number of tokens in all thoughts together, without the markers around them and without `closing`.
    pub max_tokens: usize,
    /// The kinds of thoughts that there are.
    pub kinds: Vec<Thought>,
    /// The kind of thought that the prompt leaves the model in.
    pub inside: Option<usize>,
    /// Texts that end a thought of any kind without its own end, such as what begins content.
    pub interrupts: Vec<String>,
    /// What is no thought whatever is in it, such as calls of tools.
    pub opaque: Vec<Opaque>,
}

/// Something in which no thought begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opaque {
    /// What begins it.
    pub start: String,
    /// What ends it; empty if it lasts to the end of the text.
    pub end: String,
    /// Whether its beginning ends a thought.
    pub interrupts: bool,
}

/// A kind of thought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thought {
    /// What begins it; empty if only a prompt can.
    pub start: String,
    /// What ends it.
    pub end: String,
    /// The tokens to end it with, `end` among them.
    pub closing: Vec<TokenId>,
}
