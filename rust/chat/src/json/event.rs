//! What a reader finds.

use std::borrow::Cow;

/// One step in a JSON text. The events of a text in order say all that it says, except for its white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonEvent<'a> {
    /// `{`.
    BeginObject,
    /// The name of a property, complete; its value follows.
    Key(Cow<'a, str>),
    /// `}`.
    EndObject,
    /// `[`.
    BeginArray,
    /// `]`.
    EndArray,
    /// The opening quote of a string that is a value.
    BeginString,
    /// More of the string, decoded.
    Text(&'a str),
    /// The closing quote.
    EndString,
    /// A number, complete, as it is written.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}
