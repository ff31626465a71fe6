//! Prompts that are given back with their completions.

use std::time::Duration;

use serde_json::{Value, json};
use tabagent_model::{AbortFlag, Changes, Model, Poll, ScoreRequest, TokenId, TokenLogprob};

use crate::error::ApiError;
use crate::numbers::finite;

/// How often a score looks whether the client is still there.
const SLICE: Duration = Duration::from_millis(50);

/// A prompt that is given back.
#[derive(Debug)]
pub(super) struct Echo {
    /// Its text, without special tokens that the model's texts have anyway.
    pub(super) text: String,
    /// How probable its tokens are; empty where that was not asked for. Nothing tells of the first one of a text.
    scores: Vec<Score>,
}

#[derive(Debug)]
struct Score {
    text: String,
    token: TokenId,
    bytes: Vec<u8>,
    logprob: Option<f32>,
}

impl Echo {
    /// A prompt without probabilities.
    pub(super) fn plain(text: String) -> Self {
        Self { text, scores: Vec::new() }
    }

    /// A prompt with the probabilities of its tokens. Blocks, until `stop` is raised.
    pub(super) fn scored(
        model: &Model,
        text: String,
        tokens: &[TokenId],
        changes: &Changes,
        stop: &AbortFlag,
    ) -> Result<Self, ApiError> {
        let mut scores = Vec::with_capacity(tokens.len());
        if let Some((first, rest)) = tokens.split_first() {
            let llama = model.llama()?;
            if Some(*first) != llama.vocab().token_bos() || rest.is_empty() {
                let bytes = llama.vocab().token_bytes(*first, true).map_err(tabagent_model::Error::from)?;
                scores.push(Score::of(*first, bytes, None));
            }
            for TokenLogprob { token, logprob, bytes, .. } in
                probabilities(model, *first, rest, changes, stop)?
            {
                scores.push(Score::of(token, bytes, Some(logprob)));
            }
        }
        Ok(Self { text, scores })
    }

    /// The probabilities as OpenAI has them; null where there are none. Offsets count characters from 0 on.
    pub(super) fn logprobs(&self) -> Value {
        if self.scores.is_empty() {
            return Value::Null;
        }
        let mut offset = 0;
        let offsets = self.scores.iter().map(|score| {
            let begins = offset;
            offset += score.text.chars().count();
            begins
        });
        let offsets: Vec<usize> = offsets.collect();
        let value = |score: &Score| score.logprob.map(finite);
        let content = |score: &Score| json!({"id": score.token, "token": score.text, "bytes": score.bytes, "logprob": value(score), "top_logprobs": []});
        // Of what a prompt might have said instead, nothing is known.
        let top = |score: &Score| value(score).map_or(Value::Null, |value| json!({&score.text: value}));
        json!({
            "content": self.scores.iter().map(content).collect::<Vec<_>>(),
            "tokens": self.scores.iter().map(|score| score.text.as_str()).collect::<Vec<_>>(),
            "token_logprobs": self.scores.iter().map(value).collect::<Vec<_>>(),
            "top_logprobs": self.scores.iter().map(top).collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }
}

impl Score {
    fn of(token: TokenId, bytes: Vec<u8>, logprob: Option<f32>) -> Self {
        Self { text: String::from_utf8_lossy(&bytes).into_owned(), token, bytes, logprob }
    }
}

/// The log-probabilities of `rest`, each after all before it.
fn probabilities(
    model: &Model,
    first: TokenId,
    rest: &[TokenId],
    changes: &Changes,
    stop: &AbortFlag,
) -> Result<Vec<TokenLogprob>, ApiError> {
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let request =
        ScoreRequest { prompt: vec![first], continuations: vec![rest.to_vec()], ..ScoreRequest::default() };
    let stream = model.score(request, changes)?;
    let mut scored = Vec::new();
    loop {
        match stream.next_timeout(SLICE) {
            Poll::Event(event) => scored.extend(event.logprobs),
            Poll::Pending if stop.is_raised() => return Err(crate::stop::stopping()),
            Poll::Pending => {}
            Poll::Finished => {
                return match stream.finish().map(|finish| finish.reason) {
                    Some(tabagent_model::FinishReason::Error(error)) => Err(error.into()),
                    Some(tabagent_model::FinishReason::Cancelled) => Err(crate::stop::stopping()),
                    _ => Ok(scored),
                };
            }
        }
    }
}

/// `before` and `after` as the probabilities of one text.
pub(super) fn joined(before: Value, after: Value) -> Value {
    match (before, after) {
        (Value::Object(mut before), Value::Object(after)) => {
            for (name, value) in after {
                if let (Some(Value::Array(items)), Value::Array(more)) = (before.get_mut(&name), value) {
                    items.extend(more);
                }
            }
            before.into()
        }
        (Value::Null, only) | (only, _) => only,
    }
}
