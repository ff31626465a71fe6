//! An answer while it is written.

use tabagent_chat::format::{Delta, OutputParser, ParsedMessage};
use tabagent_runtime::{Poll, TokenEvent, TokenStream};

use super::event::{ChatEvent, ChatFinish, ChatPoll};

/// The events of one answer, for one consumer. Dropping it cancels the request, as with [`TokenStream`].
///
/// A plain text is an answer, too, all of which is content; see [`From<TokenStream>`](ChatStream::from).
pub struct ChatStream {
    stream: TokenStream,
    /// `None` where the text is the content.
    parser: Option<OutputParser>,
    /// The message, where there is no parser that has it.
    text: ParsedMessage,
    /// The end was read.
    ended: bool,
}

impl From<TokenStream> for ChatStream {
    /// The text of a stream as content.
    fn from(stream: TokenStream) -> Self {
        Self::new(stream, None)
    }
}

impl ChatStream {
    pub(crate) fn new(stream: TokenStream, parser: Option<OutputParser>) -> Self {
        Self { stream, parser, text: ParsedMessage::default(), ended: false }
    }

    /// The next event, if there is one now. Never blocks.
    pub fn try_next(&mut self) -> ChatPoll {
        match self.stream.try_next() {
            Poll::Event(event) => ChatPoll::Event(self.read(event)),
            Poll::Pending => ChatPoll::Pending,
            Poll::Finished => self.end(),
        }
    }

    /// Waits up to `timeout` for the next event.
    pub fn next_timeout(&mut self, timeout: std::time::Duration) -> ChatPoll {
        match self.stream.next_timeout(timeout) {
            Poll::Event(event) => ChatPoll::Event(self.read(event)),
            Poll::Pending => ChatPoll::Pending,
            Poll::Finished => self.end(),
        }
    }

    /// Cancels the request; see [`TokenStream::cancel`].
    pub fn cancel(&self) {
        self.stream.cancel();
    }

    /// Sets the waker; see [`TokenStream::set_waker`].
    pub fn set_waker(&self, waker: Box<dyn Fn() + Send + Sync>) {
        self.stream.set_waker(waker);
    }

    /// The message so far.
    pub fn message(&self) -> &ParsedMessage {
        self.parser.as_ref().map_or(&self.text, OutputParser::message)
    }

    /// The whole answer and how it ended; `None` until [`try_next`](Self::try_next) has said that it is finished.
    pub fn finish(&self) -> Option<ChatFinish> {
        if !self.ended {
            return None;
        }
        Some(ChatFinish { message: self.message().clone(), finish: self.stream.finish()? })
    }

    fn read(&mut self, event: TokenEvent) -> ChatEvent {
        let deltas = match &mut self.parser {
            Some(parser) => parser.feed(&event.text),
            None if event.text.is_empty() => Vec::new(),
            None => {
                self.text.content.push_str(&event.text);
                vec![Delta::Content(event.text)]
            }
        };
        ChatEvent { deltas, token_ids: event.token_ids, logprobs: event.logprobs, prompt: event.prompt }
    }

    /// What the end makes certain, once.
    fn end(&mut self) -> ChatPoll {
        if std::mem::replace(&mut self.ended, true) {
            return ChatPoll::Finished;
        }
        let deltas = self.parser.as_mut().map(OutputParser::finish).unwrap_or_default();
        if deltas.is_empty() {
            return ChatPoll::Finished;
        }
        ChatPoll::Event(ChatEvent { deltas, ..ChatEvent::default() })
    }
}

impl std::fmt::Debug for ChatStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}
