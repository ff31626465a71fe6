//! JSON schemas as grammars.
//!
//! A schema is checked against the rules of the metaschema; then the sets of values that its parts allow are found ([`values`]), split by
//! type and free of `allOf`, `anyOf`, `oneOf`, `not` and `if`; then these sets are written as rules over regular expressions ([`writer`]). What
//! cannot be said that way is left out or weakened, and each such place becomes a [`Limitation`](super::Limitation) with its JSON pointer and keyword.
//!
//! What is written is a value that fits the schema, but for what the limitations name. Not every text of such a value can be written:
//!
//! - Properties come in the order in which the schema declares them, those that it requires without declaring them next, others last. No name
//!   is written twice but one that is not declared, which a limitation tells where it can happen.
//! - Names of properties and characters of strings are written as they are. A quote, a backslash and a control character have the escapes
//!   that JSON demands: in names the short one where there is one, in strings also `\u00XX`.
//! - Numbers are written plainly, those that the schema does not bound also with an exponent, and with at most
//!   [`MAX_WHOLE_DIGITS`](super::limits::MAX_WHOLE_DIGITS) digits before the point and [`MAX_FRACTION_DIGITS`](super::limits::MAX_FRACTION_DIGITS)
//!   after it, below 1e308. Integers have no point.
//!
//! Regular expressions are those of ECMA-262, as the specification demands: `\d` is `[0-9]`, `\w` is `[0-9A-Za-z_]`, and where they exclude
//! (`\D`, `[^\w]`) they also exclude the digits and letters of other scripts.

mod alternatives;
mod array;
mod assertions;
mod cells;
mod check;
mod containers;
mod decimal;
mod digits;
mod document;
mod format;
mod frames;
mod keywords;
mod meaning;
mod name_sets;
mod number;
mod parts;
mod pattern;
mod repeats;
mod rules;
mod step;
mod text;
mod unevaluated;
mod unique;
mod values;
mod work;
mod write_arrays;
mod write_objects;
mod writer;

pub(crate) use frames::write_frame;
pub(crate) use writer::{Written, write};

/// `parent` with one more reference token (RFC 6901).
pub(crate) fn join(parent: &str, token: impl std::fmt::Display) -> String {
    let token = token.to_string().replace('~', "~0").replace('/', "~1");
    format!("{parent}/{token}")
}
