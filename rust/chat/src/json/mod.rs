//! JSON while it is written: a reader that takes text in any pieces, and a writer of its events.

mod event;
mod fault;
mod number;
mod reader;
mod text;
mod value;
mod writer;

pub use event::JsonEvent;
pub use fault::JsonFault;
pub use reader::{JsonReader, MAX_DEPTH};
pub use value::PartialValue;
pub use writer::JsonWriter;
