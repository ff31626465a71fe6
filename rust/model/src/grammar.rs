//! A model's compiler of grammars, and grammars as users ask for them.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tabagent_llama::Model as LlamaModel;
use tabagent_sampling::constraint::{
    AfterConstruct, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, Trigger, TriggerStart,
    Whitespace,
};

use crate::token_table::token_table;
use crate::value::{Fields, OptionError, Value, integer};

/// A grammar that a user asks for: its source, and how and when it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarRequest {
    /// As its author wrote it.
    pub source: GrammarSource,
    /// White space and trigger.
    pub options: GrammarOptions,
}

impl GrammarRequest {
    /// Reads a request by the names of its fields: `kind` (`json_schema`, `json_object`, `regex`, `choices`, `lark` or `gbnf`), `source` (a text; for
    /// `choices` a list of them), `compact` (no white space in JSON), and for a trigger `starts` (texts and token ids), `free_after` (free text
    /// follows the construct) and `required` (the construct must come).
    ///
    /// # Errors
    /// [`OptionError`] names the field that is missing, unknown or of a wrong type.
    pub fn read(request: Value) -> Result<Self, OptionError> {
        type Make = fn(String) -> GrammarSource;
        const KINDS: [(&str, Option<Make>); 6] = [
            ("json_schema", Some(GrammarSource::JsonSchema)),
            ("json_object", Some(|_| GrammarSource::JsonObject)),
            ("regex", Some(GrammarSource::Regex)),
            ("choices", None),
            ("lark", Some(GrammarSource::Lark)),
            ("gbnf", Some(GrammarSource::Gbnf)),
        ];
        let mut given = Fields::new(request, "grammar")?;
        let kind = given.named("kind", &KINDS)?.ok_or(OptionError::Missing { name: "kind" })?;
        let missing = OptionError::Missing { name: "source" };
        let source = match kind {
            Some(make) => make(given.text("source")?.ok_or(missing)?),
            None => GrammarSource::Choices(given.texts("source")?.ok_or(missing)?),
        };
        let compact = given.flag("compact")?.unwrap_or_default();
        let starts = given.list("starts")?.unwrap_or_default().into_iter().map(start);
        let starts = starts.collect::<Result<Vec<_>, _>>()?;
        let free_after = given.flag("free_after")?.unwrap_or_default();
        let required = given.flag("required")?.unwrap_or_default();
        given.finish()?;
        let whitespace = if compact { Whitespace::Compact } else { Whitespace::Flexible };
        let then = if free_after { AfterConstruct::FreeText } else { AfterConstruct::Stop };
        let trigger = (!starts.is_empty()).then_some(Trigger { starts, then, required });
        Ok(Self { source, options: GrammarOptions { whitespace, trigger } })
    }
}

fn start(value: Value) -> Result<TriggerStart, OptionError> {
    match value {
        Value::Text(text) => Ok(TriggerStart::Text(text)),
        other => integer("trigger", "texts and token ids", &other).map(TriggerStart::Token),
    }
}

/// A model's compiler of grammars, made when it is first needed.
#[derive(Default)]
pub(crate) struct Compiler {
    made: OnceLock<Result<GrammarCompiler, GrammarError>>,
    /// The model whose tokenizer writes forced texts; taken away when the model closes, so that grammars do not keep the weights.
    model: Arc<RwLock<Option<LlamaModel>>>,
}

impl Compiler {
    /// The compiler. Takes a fraction of a second the first time, while other threads that need it wait.
    pub(crate) fn get(
        &self,
        model: &LlamaModel,
        end_tokens: &[i32],
    ) -> Result<&GrammarCompiler, GrammarError> {
        let made = self.made.get_or_init(|| {
            *self.model.write().unwrap_or_else(PoisonError::into_inner) = Some(model.clone());
            let asked = Arc::clone(&self.model);
            let tokenizer = Arc::new(move |bytes: &[u8]| {
                let model = asked.read().unwrap_or_else(PoisonError::into_inner).clone();
                match (model, std::str::from_utf8(bytes)) {
                    (Some(model), Ok(text)) => {
                        model.vocab().tokenize_within(text).ok().flatten().unwrap_or_default()
                    }
                    _ => Vec::new(),
                }
            });
            token_table(model.vocab(), end_tokens, tokenizer).map(GrammarCompiler::new)
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// Drops the model.
    pub(crate) fn close(&self) {
        self.model.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_read_by_name() {
        let read = |json: serde_json::Value| GrammarRequest::read(json.into());
        let request = read(json!({"kind": "choices", "source": ["a", "b"]})).unwrap();
        assert_eq!(request.source, GrammarSource::Choices(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(request.options, GrammarOptions::default());
        let request = read(json!({
            "kind": "json_schema", "source": "{}", "compact": true, "starts": ["<", 7], "required": true
        }));
        let options = request.unwrap().options;
        assert_eq!(options.whitespace, Whitespace::Compact);
        let trigger = options.trigger.unwrap();
        assert_eq!(trigger.starts, [TriggerStart::Text("<".to_owned()), TriggerStart::Token(7)]);
        assert!(trigger.required && trigger.then == AfterConstruct::Stop);
        let text = read(json!({"kind": "ebnf", "source": ""})).unwrap_err().to_string();
        assert_eq!(
            text,
            "`kind` must be `json_schema`, `json_object`, `regex`, `choices`, `lark` or `gbnf`, got `ebnf`"
        );
        let text = read(json!({"kind": "regex"})).unwrap_err().to_string();
        assert_eq!(text, "`source` is missing");
        let text = read(json!({"kind": "regex", "source": "a", "starts": [1.5]})).unwrap_err().to_string();
        assert_eq!(text, "`trigger` must be an integer, got `float`");
    }
}
