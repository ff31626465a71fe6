//! What is told of a route.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// What is told of a route.
#[derive(Clone, Copy)]
pub(crate) struct About {
    /// What it does.
    pub(super) summary: &'static str,
    /// What its body may have.
    pub(super) body: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// What may stand after the `?`, and what it means.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// The media types of its answers, the first that of a plain request.
    pub(super) answers: &'static [&'static str],
}

impl About {
    /// A route that answers in JSON and reads nothing.
    pub(crate) const fn new(summary: &'static str) -> Self {
        Self { summary, body: None, query: &[], answers: &["application/json"] }
    }

    /// It reads a body.
    pub(crate) fn reads<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// It reads these names after the `?`.
    pub(crate) const fn asks(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    /// It answers in JSON, or in server-sent events.
    pub(crate) const fn or_events(self) -> Self {
        self.answers(&["application/json", "text/event-stream"])
    }

    /// It answers in JSON, or in lines of JSON.
    pub(crate) const fn or_lines(self) -> Self {
        self.answers(&["application/json", "application/x-ndjson"])
    }

    /// It answers in these media types.
    pub(crate) const fn answers(mut self, types: &'static [&'static str]) -> Self {
        self.answers = types;
        self
    }
}
