//! What models write: the format of their messages, derived from a template, and the parser of it.

mod analysis;
mod answer_start;
mod call_analysis;
mod call_frame;
mod call_reader;
mod constraint;
mod json_calls;
mod literal;
mod marker;
mod message;
mod named_json;
mod output_format;
mod parser;
mod parsing;
mod pieces;
mod probe;
mod sink;
mod tagged_call;
mod thoughts;
mod tool_types;
mod turn_end;
mod whole_call;
mod written;

pub use answer_start::AnswerStart;
pub use constraint::{OutputConstraint, ToolChoice, ToolChoiceError, Unenforced};
pub use message::{Delta, ParsedCall, ParsedMessage};
pub use output_format::{Body, CallFormat, OutputFormat, Pair, Tagged};
pub use parser::OutputParser;
pub use thoughts::Thoughts;
pub use tool_types::ToolTypes;
