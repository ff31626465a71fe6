//! Requests to continue texts.

use std::sync::Arc;

use serde_json::Value;
use tabagent_model::{AbortFlag, GenerateOptions, GrammarRequest, Model, PromptInput, TokenId};

use crate::app::App;
use crate::error::ApiError;
use crate::fields::{mistyped, whole};
use crate::models::Served;
use crate::place::Place;
use crate::running::{Running, varied};

/// A prompt as it is given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GivenPrompt {
    /// A text.
    Text(String),
    /// Texts and tokens, one after another.
    Pieces(Vec<Piece>),
}

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// A text.
    Text(String),
    /// A token.
    Token(TokenId),
}

/// What to continue, and how.
#[derive(Clone, Debug)]
pub(crate) struct TextRequest {
    /// The prompts.
    pub(crate) prompts: Vec<GivenPrompt>,
    /// Texts for each of them.
    pub(crate) n: usize,
    /// What the text must look like.
    pub(crate) structure: Option<GrammarRequest>,
    /// How to generate.
    pub(crate) options: GenerateOptions,
}

/// The prompts of a field: one text, one list of tokens (and texts), or a list of such. `name` is the field's.
pub(crate) fn prompts(name: &str, value: Value) -> Result<Vec<GivenPrompt>, ApiError> {
    match value {
        Value::Array(items) if !items.iter().any(Value::is_number) => {
            if items.is_empty() {
                return Err(ApiError::field(name, format!("`{name}` must not be empty")));
            }
            items.into_iter().enumerate().map(|(at, item)| prompt(&format!("{name}[{at}]"), item)).collect()
        }
        other => Ok(vec![prompt(name, other)?]),
    }
}

/// The text of a part of a message.
fn text_of_part(name: &str, part: &Value) -> Result<String, ApiError> {
    let text = part.get("text").and_then(Value::as_str);
    match (part.get("type").and_then(Value::as_str), text) {
        (Some("text"), Some(text)) => Ok(text.to_owned()),
        _ => Err(ApiError::field(name, format!("`{name}.content`: this server reads texts only"))),
    }
}

fn prompt(name: &str, value: Value) -> Result<GivenPrompt, ApiError> {
    match value {
        Value::String(text) => Ok(GivenPrompt::Text(text)),
        Value::Array(items) => {
            let piece = |(at, item): (usize, Value)| match item {
                Value::String(text) => Ok(Piece::Text(text)),
                other => {
                    let token = whole(&other).and_then(|token| i32::try_from(token).ok());
                    token
                        .map(Piece::Token)
                        .ok_or_else(|| mistyped(&format!("{name}[{at}]"), "a token or a string", &other))
                }
            };
            items.into_iter().enumerate().map(piece).collect::<Result<_, _>>().map(GivenPrompt::Pieces)
        }
        Value::Object(mut fields) => {
            let nothing = |data: &Value| data.is_null() || data.as_array().is_some_and(Vec::is_empty);
            if fields.get("multimodal_data").is_some_and(|data| !nothing(data)) {
                return Err(ApiError::field(
                    name,
                    format!("`{name}.multimodal_data`: this server reads texts only"),
                ));
            }
            if let Some(Value::Array(parts)) = fields.get("content") {
                let texts = parts.iter().map(|part| text_of_part(name, part));
                return texts.collect::<Result<String, _>>().map(GivenPrompt::Text);
            }
            match fields.remove("prompt_string") {
                Some(text) if !text.is_object() => prompt(name, text),
                _ => Err(ApiError::field(name, format!("`{name}` must have a `prompt_string`"))),
            }
        }
        other => Err(mistyped(name, "a string, a list of tokens, or a list of such", &other)),
    }
}

impl GivenPrompt {
    /// A prompt of tokens alone.
    pub(crate) fn of_tokens(tokens: Vec<TokenId>) -> Self {
        Self::Pieces(tokens.into_iter().map(Piece::Token).collect())
    }

    /// Its tokens: texts with the special tokens that the model wants, tokens as they are.
    pub(crate) fn tokens(&self, model: &Model, add_special: bool) -> Result<Vec<TokenId>, ApiError> {
        match self {
            Self::Text(text) => Ok(model.prompt(PromptInput::Text(text), add_special, true)?.tokens),
            Self::Pieces(pieces) => {
                let mut tokens = Vec::with_capacity(pieces.len());
                for (at, piece) in pieces.iter().enumerate() {
                    match piece {
                        Piece::Token(token) => tokens.push(*token),
                        Piece::Text(text) if at == 0 && add_special => {
                            tokens.extend(model.prompt(PromptInput::Text(text), true, true)?.tokens);
                        }
                        Piece::Text(text) => tokens.extend(model.tokenize(text, false, true)?),
                    }
                }
                Ok(tokens)
            }
        }
    }
}

impl TextRequest {
    /// Begins all texts: for each prompt its `n`, one after another. Blocks.
    pub(crate) fn begin(
        &self,
        app: &App,
        served: &Arc<Served>,
        mut place: Place,
    ) -> Result<Running, ApiError> {
        let texts = self.prompts.len().saturating_mul(self.n);
        let most = app.settings.max_choices;
        if texts > most {
            let message = format!(
                "the request asks for {texts} texts, and one may ask for {most}, the limit of this server (`max_choices`)"
            );
            return Err(ApiError::invalid(message));
        }
        let model = &served.model;
        let grammar =
            self.structure.as_ref().map(|structure| model.compile_grammar(structure)).transpose()?;
        let prompts: Vec<Arc<[TokenId]>> = self
            .prompts
            .iter()
            .map(|prompt| Ok(prompt.tokens(model, true)?.into()))
            .collect::<Result<_, ApiError>>()?;
        let mut running = Running::new(app, served, texts);
        for prompt in &prompts {
            for index in 0..self.n {
                let mut options = varied(&self.options, index);
                let most = options.max_tokens;
                let (stream, _) = match place.session(model, &mut options)? {
                    Some(session) => {
                        let stop = AbortFlag::new();
                        session.replace(prompt.to_vec(), options.changes.clone(), &stop)?;
                        let settings = Some(options.sampling.clone());
                        session.generate(options, settings, grammar.as_ref(), false, &stop)?
                    }
                    None => model.generate(prompt.to_vec(), options, grammar.as_ref(), false)?,
                };
                running.push(stream.into(), prompt, most, std::mem::take(&mut place));
            }
        }
        Ok(running)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prompts_come_in_all_forms() {
        let text = |text: &str| GivenPrompt::Text(text.to_owned());
        let tokens =
            |tokens: &[i32]| GivenPrompt::Pieces(tokens.iter().map(|token| Piece::Token(*token)).collect());
        let read = |value| prompts("prompt", value).unwrap();
        assert_eq!(read(json!("a")), [text("a")]);
        assert_eq!(read(json!(["a", "b"])), [text("a"), text("b")]);
        assert_eq!(read(json!([1, 2])), [tokens(&[1, 2])]);
        assert_eq!(read(json!([[1], [2, 3]])), [tokens(&[1]), tokens(&[2, 3])]);
        let mixed = GivenPrompt::Pieces(vec![Piece::Token(1), Piece::Text("a".to_owned())]);
        assert_eq!(read(json!([1, "a"])), std::slice::from_ref(&mixed));
        assert_eq!(read(json!(["b", [1, "a"]])), [text("b"), mixed]);
        assert_eq!(read(json!({"prompt_string": "a"})), [text("a")]);
        assert_eq!(read(json!([{"prompt_string": "a"}, "b"])), [text("a"), text("b")]);
        let parts = json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
        assert_eq!(read(parts.clone()), [text("ab")]);
        assert_eq!(read(json!(["c", parts])), [text("c"), text("ab")]);
        for part in
            [json!({"type": "image_url", "image_url": {"url": "x"}}), json!({"type": "text"}), json!(1)]
        {
            assert!(prompts("input", json!({"content": [part]})).is_err());
        }
        assert!(prompts("input", json!({"content": "a"})).is_err());
        for wrong in
            [json!([]), json!(1.5), json!([1.5]), json!({"a": 1}), json!([[true]]), json!([1_u64 << 40])]
        {
            assert!(prompts("prompt", wrong.clone()).is_err(), "{wrong}");
        }
    }
}
