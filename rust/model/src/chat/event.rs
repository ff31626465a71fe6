//! What an answer yields: deltas of a message, then how it ended.

use tabagent_chat::format::{Delta, ParsedMessage};
use tabagent_llama::TokenId;
use tabagent_runtime::{Finish, PromptProgress, TokenLogprob};

/// What one event of the model adds to an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatEvent {
    /// What the message has more; nothing where the tokens' text may still become a marker.
    pub deltas: Vec<Delta>,
    /// The tokens, in order, those of markers included.
    pub token_ids: Vec<TokenId>,
    /// One entry for each of `token_ids` when the request asked for them, else empty.
    pub logprobs: Vec<TokenLogprob>,
    /// How far the prompt has come, in events of their own, if the request asked for them.
    pub prompt: Option<PromptProgress>,
}

/// The result of polling a [`ChatStream`](crate::ChatStream).
#[derive(Clone, Debug, PartialEq)]
pub enum ChatPoll {
    /// The next event.
    Event(ChatEvent),
    /// All events were taken and the answer has ended; [`ChatStream::finish`](crate::ChatStream::finish) says how.
    Finished,
    /// Nothing yet.
    Pending,
}

/// A whole answer and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatFinish {
    /// All of the message.
    pub message: ParsedMessage,
    /// Why it ended, what it took, and how long.
    pub finish: Finish,
}
