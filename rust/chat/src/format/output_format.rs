//! How the messages of a model are written.

use super::marker::is_name_char;

/// How a model writes reasoning, content and calls, derived from its template or written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputFormat {
    /// What begins and ends reasoning, as pairs of markers.
    pub reasoning: Vec<Pair>,
    /// Whether the template's prompt for an answer leaves the model inside of its reasoning.
    pub begins_in_reasoning: bool,
    /// Whether a call ends the reasoning that it comes in. Other models write calls in their thoughts that they do not mean.
    pub calls_end_reasoning: bool,
    /// Markers that begin content, also where the reasoning before was not ended.
    pub content_starts: Vec<String>,
    /// Markers around content and at the end of a message, which say nothing themselves.
    pub dropped: Vec<String>,
    /// What ends a turn of the model, as the template writes it; empty where it writes no marker.
    pub turn_ends: Vec<String>,
    /// Around the name of whom a part of the message is for, where that says nothing more.
    pub recipient: Option<Pair>,
    /// Whether the template writes white space before content.
    pub has_space_before_content: bool,
    /// White space that the template writes after content.
    pub space_after_content: String,
    /// Whether the template writes white space between content and a call.
    pub has_space_before_calls: bool,
    /// How calls are written, if the model can call.
    pub calls: Option<CallFormat>,
    /// What the prompt's last line is written in, where that is already inside of a header: `>>>` in Functionary 3.2.
    pub begins_in_call: bool,
}

/// A beginning and an end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The beginning.
    pub start: String,
    /// The end.
    pub end: String,
}

impl Pair {
    /// A pair of two texts.
    pub fn new(start: impl Into<String>, end: impl Into<String>) -> Self {
        Self { start: start.into(), end: end.into() }
    }
}

/// How calls are written. White space at the ends of markers does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFormat {
    /// Around all calls of a message; empty if there is nothing.
    pub section: Pair,
    /// Around each call; empty if there is nothing.
    pub call: Pair,
    /// Other texts that begin a call: what models write beside the template's own form.
    pub other_starts: Vec<String>,
    /// Between two calls.
    pub separator: String,
    /// What is inside.
    pub body: Body,
    /// Whether more than one call may come in a message.
    pub is_parallel: bool,
}

impl CallFormat {
    /// Whether nothing says that a call begins but its own text.
    pub fn is_bare(&self) -> bool {
        self.section.start.trim().is_empty() && self.call.start.trim().is_empty()
    }

    /// Whether a text begins as the body of a call does; `None` if there is no text.
    pub(super) fn begins_body(&self, text: &str) -> Option<bool> {
        let first = text.chars().next()?;
        Some(match self.body {
            Body::Json { .. } | Body::NameKeyed { .. } => matches!(first, '{' | '['),
            Body::Python => first == '[' || is_name_char(first),
            _ => is_name_char(first),
        })
    }
}

/// What a call consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A JSON object with the name and the arguments under keys, or a list of them.
    Json {
        /// The key of the name.
        name: String,
        /// The key of the arguments.
        arguments: String,
        /// The key of the id.
        id: Option<String>,
        /// The key of an object around both.
        wrapper: Option<String>,
        /// Whether the template writes a list.
        is_list: bool,
    },
    /// A JSON object whose only key is the name, or a list of them.
    NameKeyed {
        /// Whether the template writes a list.
        is_list: bool,
    },
    /// The name, something after it, and the arguments as JSON.
    NamedJson {
        /// What comes before the name and is no part of it: `functions.`
        prefix: String,
        /// What is between name and arguments.
        middle: String,
        /// The id between two texts, before the name.
        id_before: Option<String>,
        /// The id after the name, between two texts.
        id_between: Option<Pair>,
        /// Whether a colon and a number follow the name, and all of it is the id.
        has_index: bool,
        /// The name that stands for content.
        content_name: Option<String>,
    },
    /// The name, then each argument between tags.
    Tagged(Tagged),
    /// `name(key=value, …)`, in a list.
    Python,
    /// `call:name{key:value, …}` with strings in markers of their own.
    Gemma,
    /// Elements in elements, each tag after a marker.
    Elements {
        /// The marker.
        prefix: String,
    },
}

/// Arguments between tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// After the name.
    pub name_end: String,
    /// Before an argument's name.
    pub key_start: String,
    /// After an argument's name.
    pub key_end: String,
    /// Before its value, if something is between that and the end of the name.
    pub value_start: String,
    /// After its value.
    pub value_end: String,
    /// What is between the end of the name and the value of strings, and of other values, where these differ.
    pub type_marks: Option<Pair>,
    /// A line break that belongs to the tags before and after a value.
    pub has_line_breaks: bool,
    /// Whether strings may be in `<![CDATA[`.
    pub has_cdata: bool,
    /// Whether values that are no strings are written as Python writes them.
    pub is_python: bool,
}
