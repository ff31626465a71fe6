//! JSON schemas: checked against the rules of the metaschema, then rewritten with only what the grammar engine knows.
//!
//! What the engine cannot enforce is left out or weakened, and each such place becomes a [`Limitation`](super::Limitation). The rewritten
//! schema accepts at least what the original accepts, up to the order of properties, the spelling of numbers and strings, and
//! numbers beyond 2^53, where it is narrower.

mod check;
mod combine;
mod document;
mod format;
mod integer;
mod lower;
mod object;
mod pattern;
mod scalar;

pub(crate) use lower::{Effort, Lowered, lower};

/// `parent` with one more reference token (RFC 6901).
pub(crate) fn join(parent: &str, token: impl std::fmt::Display) -> String {
    let token = token.to_string().replace('~', "~0").replace('/', "~1");
    format!("{parent}/{token}")
}
