//! The consumer's end of a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::Channel;
use crate::{AbortFlag, EngineError, Finish, Poll};

/// The events of one request, for one consumer.
///
/// Dropping it cancels the request. It may outlive its engine: it then ends with an error. In a forked child every poll returns
/// [`Poll::Finished`] at once, with [`EngineError::Forked`] in [`finish`](Self::finish).
pub struct TokenStream {
    channel: Arc<Channel>,
    id: StreamId,
}

/// Which request of an engine a stream is of; see [`Fork`](crate::Fork).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(pub(crate) u64);

impl TokenStream {
    pub(crate) fn new(channel: Arc<Channel>, id: StreamId) -> Self {
        Self { channel, id }
    }

    /// Which request it is of.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// The next event, if there is one now. Never blocks.
    pub fn try_next(&self) -> Poll {
        if self.is_forked() { Poll::Finished } else { self.channel.take() }
    }

    /// Waits up to `timeout` for the next event.
    pub fn next_timeout(&self, timeout: Duration) -> Poll {
        if self.is_forked() { Poll::Finished } else { self.channel.take_timeout(timeout) }
    }

    /// Cancels the request. The running micro-batch is aborted, and the request's sequence is free within one micro-batch.
    ///
    /// Events that are already there can still be taken, then the stream ends with [`FinishReason::Cancelled`](crate::FinishReason::Cancelled).
    /// Does nothing when the request has ended.
    pub fn cancel(&self) {
        if !self.is_forked() && !self.channel.abort.is_raised_itself() {
            self.channel.abort.raise();
            self.channel.bell.ring();
        }
    }

    /// The flag that [`cancel`](Self::cancel), or dropping the stream, raises.
    pub fn cancelled(&self) -> AbortFlag {
        self.channel.abort.clone()
    }

    /// How the request ended, or `None` while it runs. There may still be events to take.
    pub fn finish(&self) -> Option<Finish> {
        if self.is_forked() { Some(Finish::from_error(EngineError::Forked)) } else { self.channel.finish() }
    }

    /// Sets the waker, which is called whenever there is something to take where there was nothing, and at the end; replaces the one before.
    ///
    /// It is called on the decode thread, and by this call itself if there is something to take already. It must be quick and must not block, and it must
    /// own what it uses: a call may still be running when the stream is dropped. After a call, take events until [`Poll::Pending`] or [`Poll::Finished`].
    pub fn set_waker(&self, waker: Box<dyn Fn() + Send + Sync>) {
        if self.is_forked() {
            waker();
        } else {
            self.channel.set_waker(Some(waker));
        }
    }

    fn is_forked(&self) -> bool {
        !self.channel.bell.home.is_here()
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        if !self.is_forked() {
            self.cancel();
            self.channel.discard();
        }
    }
}

impl fmt::Debug for TokenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStream").field("finish", &self.finish()).finish_non_exhaustive()
    }
}
