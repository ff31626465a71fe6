//! The result of polling a stream.

use crate::TokenEvent;

/// The result of polling a [`TokenStream`](crate::TokenStream).
#[derive(Clone, Debug, PartialEq)]
pub enum Poll {
    /// The next event.
    Event(TokenEvent),
    /// All events were taken and the request has ended; [`TokenStream::finish`](crate::TokenStream::finish) says how.
    Finished,
    /// Nothing yet.
    Pending,
}
