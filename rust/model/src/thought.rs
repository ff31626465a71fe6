//! How long a model may think, as users ask for it.

use tabagent_chat::format::{Pair, Thoughts};
use tabagent_llama::{TokenId, Vocab, VocabError};
use tabagent_runtime::{Opaque, Thought, ThoughtBudget};

use crate::value::{Fields, OptionError, Value};

/// How many tokens a model may spend on its thoughts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThoughtOptions {
    /// Maximum number of tokens.
    pub max_tokens: usize,
    /// What is put in front of the marker that ends a thought whose budget is used up; nothing is where there was no budget at all.
    pub message: String,
    /// Where thoughts are; see [`OutputFormat::thoughts`](tabagent_chat::format::OutputFormat::thoughts).
    pub thoughts: Thoughts,
}

impl ThoughtOptions {
    /// Reads options by their names: `max_tokens`, `message`, `kinds` (lists of a beginning and an end), `inside`, `interrupts` and `calls` (lists of a
    /// beginning, an end, and whether the beginning ends a thought).
    ///
    /// # Errors
    /// [`OptionError`] names the option that is missing, unknown or of a wrong type.
    pub fn read(options: Value) -> Result<Self, OptionError> {
        let mut given = Fields::new(options, "reasoning_budget")?;
        let max_tokens = given.integer("max_tokens", "an integer of at least 0")?;
        let pairs = given.list("kinds")?.ok_or(OptionError::Missing { name: "kinds" })?;
        let kinds = pairs.into_iter().map(|item| Ok(pair("kinds", item)?.0)).collect::<Result<_, _>>()?;
        let calls = given.list("calls")?.unwrap_or_default();
        let read = Self {
            max_tokens: max_tokens.ok_or(OptionError::Missing { name: "max_tokens" })?,
            message: given.text("message")?.unwrap_or_default(),
            thoughts: Thoughts {
                kinds,
                is_inside: given.flag("inside")?.unwrap_or_default(),
                interrupts: given.texts("interrupts")?.unwrap_or_default(),
                calls: calls.into_iter().map(|item| pair("calls", item)).collect::<Result<_, _>>()?,
            },
        };
        given.finish()?;
        read.checked()
    }

    /// A budget.
    ///
    /// # Errors
    /// [`OptionError::OutOfRange`] if a thought has no end, or if the message contains one.
    pub fn new(max_tokens: usize, message: String, thoughts: Thoughts) -> Result<Self, OptionError> {
        Self { max_tokens, message, thoughts }.checked()
    }

    fn checked(self) -> Result<Self, OptionError> {
        if let Some(kind) = self.thoughts.kinds.iter().find(|kind| kind.end.is_empty()) {
            return Err(OptionError::out_of_range("end", "a text that ends a thought", &kind.end));
        }
        if let Some(kind) = self.thoughts.kinds.iter().find(|kind| self.message.contains(&kind.end)) {
            let range = format!("a text without `{}`, which ends a thought", kind.end);
            return Err(OptionError::out_of_range("reasoning_budget_message", range, &self.message));
        }
        Ok(self)
    }

    /// The budget as the decode thread takes it, with the tokens that end a thought.
    pub(crate) fn budget(self, vocab: &Vocab) -> Result<ThoughtBudget, VocabError> {
        let message = if self.max_tokens == 0 { "" } else { self.message.as_str() };
        let kinds = self.thoughts.kinds.into_iter().map(|Pair { start, end }| {
            let mut closing = within(vocab, message)?;
            closing.extend(marker(vocab, &end)?);
            Ok(Thought { start, end, closing })
        });
        let calls = self.thoughts.calls.into_iter();
        Ok(ThoughtBudget {
            max_tokens: self.max_tokens,
            inside: self.thoughts.is_inside.then_some(0),
            kinds: kinds.collect::<Result<_, VocabError>>()?,
            interrupts: self.thoughts.interrupts,
            opaque: calls
                .map(|(Pair { start, end }, interrupts)| Opaque { start, end, interrupts })
                .collect(),
        })
    }
}

/// A beginning and an end, and what follows them.
fn pair(name: &'static str, value: Value) -> Result<(Pair, bool), OptionError> {
    const WANTED: &str = "lists of a beginning and an end";
    match value {
        Value::List(items) => match items.as_slice() {
            [Value::Text(start), Value::Text(end)] => Ok((Pair::new(start, end), false)),
            [Value::Text(start), Value::Text(end), Value::Bool(flag)] => Ok((Pair::new(start, end), *flag)),
            _ => Err(OptionError::wrong_type(name, WANTED, &Value::List(Vec::new()))),
        },
        other => Err(OptionError::wrong_type(name, WANTED, &other)),
    }
}

/// The tokens of a text in the middle of another one.
fn within(vocab: &Vocab, text: &str) -> Result<Vec<TokenId>, VocabError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    match vocab.tokenize_within(text)? {
        Some(tokens) => Ok(tokens),
        None => vocab.tokenize(text, false, false),
    }
}

/// The tokens of a marker, which may be special ones.
fn marker(vocab: &Vocab, text: &str) -> Result<Vec<TokenId>, VocabError> {
    let tokens = vocab.tokenize(text, false, true)?;
    let is_special = match tokens.first() {
        Some(token) => vocab.token_attributes(*token)?.is_special(),
        None => false,
    };
    if is_special { Ok(tokens) } else { within(vocab, text) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_are_read_by_name() {
        let read = |json: serde_json::Value| ThoughtOptions::read(json.into());
        let options = read(json!({
            "max_tokens": 5, "message": "Enough.", "kinds": [["<t>", "</t>"]], "inside": true, "calls": [["<c>", "</c>", true]]
        }));
        let options = options.unwrap();
        assert_eq!((options.max_tokens, options.message.as_str()), (5, "Enough."));
        assert_eq!(options.thoughts.kinds, [Pair::new("<t>", "</t>")]);
        assert_eq!(options.thoughts.calls, [(Pair::new("<c>", "</c>"), true)]);
        assert!(options.thoughts.is_inside);
        let error = |json| read(json).unwrap_err().to_string();
        assert_eq!(error(json!({"kinds": []})), "`max_tokens` is missing");
        assert_eq!(
            error(json!({"max_tokens": 1, "kinds": [["<t>"]]})),
            "`kinds` must be lists of a beginning and an end, got `list`"
        );
        assert_eq!(
            error(json!({"max_tokens": 1, "kinds": [["<t>", "</t>"]], "message": "a</t>"})),
            "`reasoning_budget_message` must be a text without `</t>`, which ends a thought, got `a</t>`"
        );
    }
}
