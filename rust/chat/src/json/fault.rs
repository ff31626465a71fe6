//! Why a text is not JSON.

/// A rule of JSON that a text breaks, with the byte at which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// A byte that cannot come here.
    #[error("the text is not JSON: byte {at} cannot follow what is before it")]
    Unexpected {
        /// Where it is.
        at: usize,
    },
    /// Bytes that are no UTF-8.
    #[error("the text is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Where they are.
        at: usize,
    },
    /// Arrays and objects in one another beyond the limit.
    #[error("the text nests more than {limit} arrays and objects at byte {at}")]
    TooDeep {
        /// Where the first one too many begins.
        at: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The text ends before its value does.
    #[error("the text ends at byte {at} before its JSON value does")]
    Incomplete {
        /// How long the text is.
        at: usize,
    },
}
