//! Texts around JSON values: what a model writes that calls tools.

/// What may be written, made of texts, values and other frames. White space may come between its parts where JSON may have it.
///
/// The text of a special token in it stands for that token where the vocabulary has one, and for its characters as well.
///
/// ```
/// use tabagent_sampling::constraint::Frame;
///
/// let call = Frame::Sequence(vec![
///     Frame::Text("<tool_call>".into()),
///     Frame::Value(r#"{"type": "object", "properties": {"name": {"const": "now"}}, "required": ["name"]}"#.into()),
///     Frame::Text("</tool_call>".into()),
/// ]);
/// let calls = Frame::many(call, None, Some(4));
/// # let _ = calls;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// This text.
    Text(String),
    /// Any text up to the first place where this one is, with it.
    Until(String),
    /// A JSON value that fits this schema, given as JSON text. Its references begin at itself.
    Value(String),
    /// A text that this regular expression matches.
    Regex(String),
    /// One after another.
    Sequence(Vec<Frame>),
    /// One of them.
    Choice(Vec<Frame>),
    /// One or more, with another frame between any two.
    Many {
        /// What comes once or more often.
        item: Box<Frame>,
        /// What is between two of them.
        separator: Option<Box<Frame>>,
        /// How many there may be.
        max: Option<u64>,
    },
    /// It or nothing.
    Optional(Box<Frame>),
}

impl Frame {
    /// One or more of `item`.
    pub fn many(item: Self, separator: Option<Self>, max: Option<u64>) -> Self {
        Self::Many { item: Box::new(item), separator: separator.map(Box::new), max }
    }

    /// It or nothing.
    #[must_use]
    pub fn optional(self) -> Self {
        Self::Optional(Box::new(self))
    }

    /// How many bytes its texts and schemas have.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Until(text) | Self::Value(text) | Self::Regex(text) => text.len(),
            Self::Sequence(parts) | Self::Choice(parts) => {
                parts.iter().map(Self::len).sum::<usize>() + parts.len()
            }
            Self::Many { item, separator, .. } => {
                item.len() + separator.as_ref().map_or(0, |frame| frame.len())
            }
            Self::Optional(frame) => frame.len(),
        }
    }

    /// The schemas in it, in order.
    pub(crate) fn schemas<'f>(&'f self, found: &mut Vec<&'f str>) {
        match self {
            Self::Value(schema) => found.push(schema),
            Self::Sequence(parts) | Self::Choice(parts) => parts.iter().for_each(|part| part.schemas(found)),
            Self::Many { item, separator, .. } => {
                item.schemas(found);
                if let Some(separator) = separator {
                    separator.schemas(found);
                }
            }
            Self::Optional(frame) => frame.schemas(found),
            Self::Text(_) | Self::Until(_) | Self::Regex(_) => {}
        }
    }
}
