//! Chat templates: conversations to prompts, in plain Rust, without an engine.
//!
//! A model's template is a small program in Jinja that turns messages into the text that the model was trained on. [`ChatTemplate`] renders
//! it byte for byte as transformers' `apply_chat_template` does, within limits, and says of every part of the text whether the template wrote
//! it or the conversation brought it in ([`Segment`]), so that only the template's own parts are searched for special tokens.
//!
//! ```
//! use tabagent_chat::{ChatTemplate, Conversation, Message};
//!
//! let template = ChatTemplate::new(
//!     "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}",
//!     "<s>",
//!     "</s>",
//! )?;
//! let conversation = Conversation::new(vec![Message::user("Hello")]);
//! assert_eq!(template.render(&conversation)?, "<|user|>Hello</s>");
//! # Ok::<(), tabagent_chat::ChatTemplateError>(())
//! ```

mod adapt;
mod builtin;
mod capabilities;
mod conversation;
mod error;
pub mod format;
mod interrupt;
mod jinja;
pub mod json;
mod message;
mod prefill;
mod rendering;
mod shape;
mod template;
mod tool;

pub use capabilities::Capabilities;
pub use conversation::Conversation;
pub use error::{ChatTemplateError, Fault};
pub use interrupt::Interrupt;
pub use jinja::{Limits, Moment};
pub use message::{Content, Message, Role};
pub use rendering::{Rendering, Segment};
pub use shape::ShapeError;
pub use template::ChatTemplate;
pub use tool::{ToolCall, ToolDefinition};
