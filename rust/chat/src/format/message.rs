//! What a model's text says: a message, whole or as it grows.

/// A message of the assistant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedMessage {
    /// What is meant for the user.
    pub content: String,
    /// What the model thought before; `None` if it did not.
    pub reasoning: Option<String>,
    /// The tools that it calls, in order.
    pub tool_calls: Vec<ParsedCall>,
    /// What could not be read as it seems to have been meant. The text of it is in `content`.
    pub warnings: Vec<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedCall {
    /// The id that the model wrote, if its format has one.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// The arguments: a JSON object as text, complete once the message is.
    pub arguments: String,
}

/// What a message has more than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// More content.
    Content(String),
    /// More reasoning.
    Reasoning(String),
    /// A call begins: its place among the calls, the tool, and the id if it came before.
    CallBegin {
        /// Its place among the calls.
        index: usize,
        /// The tool.
        name: String,
        /// The id that the model wrote.
        id: Option<String>,
    },
    /// The id of a call, which came after its name.
    CallId {
        /// The call's place.
        index: usize,
        /// The id.
        id: String,
    },
    /// More of the JSON text of a call's arguments.
    CallArguments {
        /// The call's place.
        index: usize,
        /// The text.
        text: String,
    },
    /// The call is complete.
    CallEnd {
        /// Its place.
        index: usize,
    },
    /// The calls from this place on could not be read to their end and are none; their text follows as content.
    CallsDropped {
        /// The place of the first one.
        from: usize,
    },
}

impl ParsedMessage {
    /// Adds what is new.
    pub fn apply(&mut self, delta: &Delta) {
        match delta {
            Delta::Content(text) => self.content.push_str(text),
            Delta::Reasoning(text) => self.reasoning.get_or_insert_default().push_str(text),
            Delta::CallBegin { name, id, .. } => {
                self.tool_calls.push(ParsedCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                });
            }
            Delta::CallId { index, id } => {
                if let Some(call) = self.tool_calls.get_mut(*index) {
                    call.id = Some(id.clone());
                }
            }
            Delta::CallArguments { index, text } => {
                if let Some(call) = self.tool_calls.get_mut(*index) {
                    call.arguments.push_str(text);
                }
            }
            Delta::CallEnd { .. } => {}
            Delta::CallsDropped { from } => self.tool_calls.truncate(*from),
        }
    }
}
