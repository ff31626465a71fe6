//! Looking for what a stream has.

use crate::TokenEvent;

/// What a look at a [`TokenStream`](crate::TokenStream) found.
#[derive(Clone, Debug, PartialEq)]
pub enum Poll {
    /// The next event.
    Event(TokenEvent),
    /// All events were taken and the request has ended; [`TokenStream::finish`](crate::TokenStream::finish) says how.
    Finished,
    /// Nothing yet.
    Pending,
}
