//! The reader of a call, whatever its body is.

use super::json_calls::JsonCalls;
use super::named_json::{NamedJson, Shape};
use super::output_format::{Body, CallFormat};
use super::pieces::first_tag;
use super::sink::{CallSink, Progress};
use super::tagged_call::TaggedCall;
use super::tool_types::ToolTypes;
use super::whole_call::{Form, WholeCall};

/// Reads one call, or a list of calls, after what begins it and up to what ends it.
#[derive(Debug)]
pub(super) enum CallReader {
    Json(Box<JsonCalls>),
    Named(Box<NamedJson>),
    Tagged(Box<TaggedCall>),
    Whole(WholeCall),
}

impl CallReader {
    /// `is_marked` says whether something said for certain that a call comes.
    pub(super) fn new(format: &CallFormat, is_marked: bool) -> Self {
        let end = if format.call.end.trim().is_empty() { &format.section.end } else { &format.call.end };
        match &format.body {
            Body::Json { .. } => Self::Json(Box::new(JsonCalls::new(false, !is_marked))),
            Body::NameKeyed { .. } => Self::Json(Box::new(JsonCalls::new(true, !is_marked))),
            Body::NamedJson { prefix, middle, id_before, id_between, has_index, .. } => {
                Self::Named(Box::new(NamedJson::new(Shape {
                    prefix: prefix.clone(),
                    middle: middle.clone(),
                    id_before: id_before.clone(),
                    id_between: id_between.clone(),
                    has_index: *has_index,
                    call_end: end.clone(),
                    only_known: !is_marked,
                })))
            }
            Body::Tagged(tags) => {
                Self::Tagged(Box::new(TaggedCall::new(tags.clone(), first_tag(end.trim()))))
            }
            Body::Python => Self::Whole(WholeCall::new(Form::Python, end)),
            Body::Gemma => Self::Whole(WholeCall::new(Form::Gemma, end)),
            Body::Elements { prefix } => {
                Self::Whole(WholeCall::new(Form::Elements { prefix: prefix.clone() }, end))
            }
        }
    }

    /// Reads on; how many bytes of the input were the call's, and how far it has come.
    pub(super) fn read(
        &mut self,
        input: &str,
        at_end: bool,
        tools: &ToolTypes,
        sink: &mut CallSink,
    ) -> (usize, Progress) {
        match self {
            Self::Json(reader) => reader.read(input, tools, sink),
            Self::Named(reader) => reader.read(input, at_end, tools, sink),
            Self::Tagged(reader) => reader.read(input, at_end, tools, sink),
            Self::Whole(reader) => reader.read(input, at_end, tools, sink),
        }
    }
}
