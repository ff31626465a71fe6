//! What a grammar is made from.

use super::Frame;
use crate::TokenId;

/// A grammar as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GrammarSource {
    /// A JSON schema as JSON text; drafts 4 to 2020-12 are read, as 2020-12 where `$schema` names none. The output is one JSON value that fits
    /// it, with the properties of an object in the schema's order; what is not enforced is in
    /// [`Grammar::limitations`](super::Grammar::limitations). Names are written without needless escapes, declared ones once (where others may
    /// repeat, a limitation says so); numbers have at
    /// most [`MAX_WHOLE_DIGITS`](super::limits::MAX_WHOLE_DIGITS) digits before the point and
    /// [`MAX_FRACTION_DIGITS`](super::limits::MAX_FRACTION_DIGITS) after it and are below 1e308, so that every reader can read them. A `pattern`
    /// is an expression of ECMA-262: `\d` is `[0-9]`, `\w` is `[0-9A-Za-z_]`.
    JsonSchema(String),
    /// Any JSON object. Its names may repeat, which [`Grammar::limitations`](super::Grammar::limitations) says, too.
    JsonObject,
    /// A regular expression in the syntax of Rust's `regex` crate, without look-around and anchors; it matches the whole output. `\d`, `\w` and
    /// `\s` are those of Unicode; `(?-u:\d)` is `[0-9]`.
    Regex(String),
    /// One of these strings, exactly. One may be the beginning of another.
    Choices(Vec<String>),
    /// A grammar in llguidance's variant of Lark; the rule `start` is where it begins. A token that ends the generation and is named in
    /// a grammar never comes: the end is allowed where the grammar ends.
    Lark(String),
    /// A grammar in llama.cpp's GBNF; the rule `root` is where it begins. The same is true of tokens that end the generation.
    Gbnf(String),
    /// Texts around JSON values.
    Frame(Frame),
}

/// How a source is compiled, and when its grammar applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrammarOptions {
    /// Where JSON may have white space. Only JSON schemas, JSON objects and frames look at it.
    pub whitespace: Whitespace,
    /// What the text must reach before the grammar applies; `None` applies it from the first token.
    pub trigger: Option<Trigger>,
}

/// The white space that JSON may have between its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Whitespace {
    /// Up to 64 spaces, tabs and newlines at each place where JSON allows them, but none at the very beginning.
    #[default]
    Flexible,
    /// None.
    Compact,
}

/// A lazy start: free text until one of `starts` appears, then the construct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trigger {
    /// What ends the free text; the construct begins right after it.
    pub starts: Vec<TriggerStart>,
    /// What comes after the construct.
    pub then: AfterConstruct,
    /// Whether the first construct must come: if set, the end of generation is not allowed in the free text before it.
    pub required: bool,
}

/// What ends free text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TriggerStart {
    /// This text, wherever tokens are cut, such as `</think>`. The text of special tokens counts as well.
    Text(String),
    /// This token.
    Token(TokenId),
}

/// What may follow a construct that a [`Trigger`] started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AfterConstruct {
    /// Nothing but the end of generation.
    #[default]
    Stop,
    /// Free text again, in which a trigger may start the next construct.
    FreeText,
}
