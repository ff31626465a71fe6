//! Conversations: from messages to the model's answer, as it comes.

mod event;
mod prepared;
mod prompt;
mod request;
mod stream;
mod turn_ends;

pub use event::{ChatEvent, ChatFinish, ChatPoll};
pub use prepared::PreparedChat;
pub use prompt::{CallGrammar, ChatPrompt};
pub use request::{ChatRequest, ThinkingBudget};
pub use stream::ChatStream;
