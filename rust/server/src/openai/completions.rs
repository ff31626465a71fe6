//! `/v1/completions`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::{
    AbortFlag, ChatEvent, DetokenizeOptions, FinishReason, GenerateOptions, InfillRequest, LogprobsMode,
    Model, TokenId, TokenLogprob, Usage,
};

use super::chat::so_far;
use super::chat_chunk::FINGERPRINT;
use super::echo::{Echo, joined};
use super::embeddings::StopOnDrop;
use super::error;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped};
use crate::models::Served;
use crate::numbers::{finite, logprobs, now, timings, usage};
use crate::place::Place;
use crate::random;
use crate::running::{Running, Step, Whole};
use crate::sampler_fields;
use crate::stream_body::{Kind, Pieces, json as json_response, streamed};
use crate::text_request::{GivenPrompt, TextRequest, prompts};

/// Most tokens whose probabilities are given at each place.
const MOST_LOGPROBS: i64 = 1000;

/// What all parts of a response have, and what the client wants of them.
struct Envelope {
    id: String,
    model: String,
    created: u64,
    stream: bool,
    include_usage: bool,
    timings_per_token: bool,
    sampled: bool,
    /// The prompts, to begin the choices with.
    echo: Option<Vec<Echo>>,
    /// Choices for each prompt.
    n: usize,
    /// Texts that are made for each prompt, of which the best are choices.
    best_of: usize,
    /// Probabilities were asked for, not only needed to find the best.
    shows_logprobs: bool,
}

/// What a body asks for.
struct Asked {
    request: TextRequest,
    envelope: Envelope,
}

fn read(mut fields: JsonFields, app: &App, served: &Served) -> Result<Asked, ApiError> {
    let prompt = fields.take("prompt").ok_or_else(|| ApiError::field("prompt", "`prompt` is missing"))?;
    let prompts = prompts("prompt", prompt)?;
    let most = i64::try_from(app.settings.max_choices).unwrap_or(i64::MAX);
    let n = fields.integer_of(&["n_cmpl", "n"], 1..=most)?.unwrap_or(1);
    let best_of = fields.integer("best_of", 1..=most)?.unwrap_or(n);
    let stream = fields.flag("stream")?.unwrap_or_default();
    if best_of < n {
        return Err(ApiError::field(
            "best_of",
            format!("`best_of` must be at least `n`, {n}, got `{best_of}`"),
        ));
    }
    if stream && best_of > n {
        return Err(ApiError::field("best_of", "`best_of` cannot be streamed: the best is known at the end"));
    }
    let suffix = fields.text("suffix")?.filter(|suffix| !suffix.is_empty());
    let echo = fields.flag("echo")?.unwrap_or_default();
    let stream_options = fields.object("stream_options")?;
    let include_usage =
        stream_options.map(|mut options| options.flag("include_usage")).transpose()?.flatten();
    let timings_per_token = fields.flag("timings_per_token")?.unwrap_or_default();
    let return_progress = fields.flag("return_progress")?.unwrap_or_default();
    let structure = sampler_fields::structure(&mut fields)?;
    let mut options = sampler_fields::read(&mut fields, served)?;
    let prompts = match suffix {
        Some(suffix) => with_suffix(prompts, &suffix, &options, &served.model)?,
        None => prompts,
    };
    let wanted = match fields.take("logprobs") {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(0),
        Some(value) => {
            let n =
                crate::fields::whole(&value).ok_or_else(|| mistyped("logprobs", "a whole number", &value))?;
            if !(0..=MOST_LOGPROBS).contains(&n) {
                return Err(ApiError::field(
                    "logprobs",
                    format!("`logprobs` must be between 0 and {MOST_LOGPROBS}, got `{n}`"),
                ));
            }
            Some(n as usize)
        }
    };
    let own = fields.integer("n_probs", 0..=MOST_LOGPROBS)?.filter(|n| *n > 0).map(|n| n as usize);
    options.logprobs = own.or(wanted);
    let shows_logprobs = options.logprobs.is_some();
    if best_of > n && options.logprobs.is_none() {
        options.logprobs = Some(0);
    }
    if fields.flag("post_sampling_probs")?.unwrap_or_default() {
        options.logprobs_mode = LogprobsMode::Sampled;
    }
    options.collect = !stream;
    options.progress = stream && return_progress;
    let sampled = options.logprobs_mode == LogprobsMode::Sampled;
    let envelope = Envelope {
        id: random::id("cmpl-"),
        model: served.name.clone(),
        created: now(),
        stream,
        include_usage: include_usage.unwrap_or_default(),
        timings_per_token,
        sampled,
        echo: echo.then(Vec::new),
        n: n as usize,
        best_of: best_of as usize,
        shows_logprobs,
    };
    Ok(Asked { request: TextRequest { prompts, n: best_of as usize, structure, options }, envelope })
}

/// The prompts after which the model writes what is between each of `prompts` and `suffix`.
fn with_suffix(
    prompts: Vec<GivenPrompt>,
    suffix: &str,
    options: &GenerateOptions,
    model: &Model,
) -> Result<Vec<GivenPrompt>, ApiError> {
    let between = |prompt: GivenPrompt| match prompt {
        GivenPrompt::Text(prefix) => {
            let request = InfillRequest {
                prefix,
                suffix: suffix.to_owned(),
                max_tokens: options.max_tokens,
                ..InfillRequest::default()
            };
            Ok(GivenPrompt::of_tokens(model.infill_prompt(&request)?))
        }
        GivenPrompt::Pieces(_) => {
            Err(ApiError::field("suffix", "`suffix` needs a `prompt` that is a text, not tokens"))
        }
    };
    prompts.into_iter().map(between).collect()
}

/// Continues texts.
pub(crate) async fn complete(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let place = Place::read(&mut fields, &served).await?;
    let shared = app.clone();
    let stop = AbortFlag::new();
    let _stops = StopOnDrop(stop.clone());
    let (running, envelope) = app
        .work(move || {
            let Asked { request, mut envelope } = read(fields, &shared, &served)?;
            let running = request.begin(&shared, &served, place)?;
            if envelope.echo.is_some() {
                let echo = |index: usize| {
                    let tokens = &running.part(index).prompt;
                    let text = text_of(&served.model, tokens)?;
                    if envelope.shows_logprobs {
                        Echo::scored(&served.model, text, tokens, &request.options.changes, &stop)
                    } else {
                        Ok(Echo::plain(text))
                    }
                };
                let prompts = (0..running.len()).step_by(envelope.best_of);
                envelope.echo = Some(prompts.map(echo).collect::<Result<_, _>>()?);
            }
            Ok((running, envelope))
        })
        .await?;
    if envelope.stream {
        let kind = Kind::Events { ping: app.settings.ping };
        return Ok(streamed(kind, move |pieces| write(pieces, running, envelope)));
    }
    Ok(json_response(&envelope.whole(running.collect().await?)))
}

/// The text of a prompt, special tokens left out that the model's texts have anyway.
pub(crate) fn text_of(model: &Model, tokens: &Arc<[TokenId]>) -> Result<String, ApiError> {
    let options =
        DetokenizeOptions { remove_special: true, unparse_special: true, ..DetokenizeOptions::default() };
    Ok(model.detokenize(tokens, options)?)
}

async fn write(mut pieces: Pieces, mut running: Running, envelope: Envelope) {
    let mut offsets = vec![0; running.len()];
    let mut begun = vec![false; running.len()];
    let mut usages = vec![Usage::default(); running.len()];
    let mut last_timings = Value::Null;
    while let Some(step) = running.next().await {
        let (index, step) = match step {
            Ok(step) => step,
            Err(problem) => {
                pieces.event(&error(&problem)).await;
                return;
            }
        };
        if !std::mem::replace(&mut begun[index], true)
            && let Some(echoes) = &envelope.echo
        {
            let echo = &echoes[index / envelope.n];
            offsets[index] += echo.text.chars().count();
            pieces.event(&envelope.chunk(index, &echo.text, echo.logprobs(), Value::Null)).await;
        }
        match step {
            Step::Event(ChatEvent { prompt: Some(now), .. }) => {
                for (progress, timings) in running.note_progress(index, now) {
                    let mut chunk = envelope.chunk(index, "", Value::Null, Value::Null);
                    chunk["prompt_progress"] = progress;
                    if envelope.timings_per_token {
                        chunk["timings"] = timings;
                    }
                    pieces.event(&chunk).await;
                }
            }
            Step::Event(event) => {
                let text = text_in(&event);
                let probabilities = envelope.logprobs(&event.logprobs, &mut offsets[index]);
                let mut chunk = envelope.chunk(index, &text, probabilities, Value::Null);
                if envelope.timings_per_token {
                    chunk["timings"] = so_far(&running, index);
                }
                pieces.event(&chunk).await;
            }
            Step::End(finish) => {
                let reason = finish_reason(&finish.finish.reason);
                let mut chunk = envelope.chunk(index, "", Value::Null, reason.into());
                last_timings = timings(&finish.finish.usage, &finish.finish.timings);
                chunk["timings"] = last_timings.clone();
                usages[index] = finish.finish.usage;
                pieces.event(&chunk).await;
            }
        }
    }
    if envelope.include_usage {
        let mut chunk = envelope.wrap(json!([]));
        chunk["usage"] = envelope.usage(&usages);
        chunk["timings"] = last_timings;
        pieces.event(&chunk).await;
    }
    pieces.write("data: [DONE]\n\n").await;
}

/// The text that an event adds.
pub(crate) fn text_in(event: &tabagent_model::ChatEvent) -> String {
    let texts = event.deltas.iter().filter_map(|delta| match delta {
        tabagent_model::Delta::Content(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn finish_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::Timeout => "length",
        FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error(_) => "stop",
    }
}

/// How probable a text's tokens are, on average.
fn mean(logprobs: &[TokenLogprob]) -> f32 {
    if logprobs.is_empty() {
        return f32::NEG_INFINITY;
    }
    logprobs.iter().map(|token| token.logprob).sum::<f32>() / logprobs.len() as f32
}

impl Envelope {
    fn wrap(&self, choices: Value) -> Value {
        let mut response = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        });
        response["choices"] = choices;
        response
    }

    fn chunk(&self, index: usize, text: &str, logprobs: Value, reason: Value) -> Value {
        let mut choice = json!({"index": index, "text": text});
        choice["logprobs"] = logprobs;
        choice["finish_reason"] = reason;
        let mut chunk = self.wrap(Value::Array(vec![choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    /// Probabilities in llama.cpp's form (`content`) and in OpenAI's, whose offsets count characters from `offset` on.
    fn logprobs(&self, tokens: &[TokenLogprob], offset: &mut usize) -> Value {
        if tokens.is_empty() || !self.shows_logprobs {
            return Value::Null;
        }
        let mut offsets = Vec::with_capacity(tokens.len());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for token in tokens {
            offsets.push(*offset);
            *offset += text(&token.bytes).chars().count();
        }
        let top = |token: &TokenLogprob| -> Value {
            let pairs = token.top.iter().map(|top| (text(&top.bytes), finite(top.logprob).into()));
            Value::Object(pairs.collect())
        };
        json!({
            "content": logprobs(tokens, self.sampled),
            "tokens": tokens.iter().map(|token| text(&token.bytes)).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|token| finite(token.logprob)).collect::<Vec<_>>(),
            "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }

    /// Tokens of all texts; each prompt counts once.
    fn usage(&self, usages: &[Usage]) -> Value {
        let mut counted = usages.to_vec();
        for (index, other) in counted.iter_mut().enumerate() {
            if index % self.best_of != 0 {
                (other.prompt_tokens, other.cached_tokens) = (0, 0);
            }
        }
        usage(&counted)
    }

    fn whole(&self, texts: Vec<Whole>) -> Value {
        let usages: Vec<Usage> = texts.iter().map(|text| text.finish.finish.usage).collect();
        let first = texts.first().map(|text| timings(&text.finish.finish.usage, &text.finish.finish.timings));
        let mut choices = Vec::new();
        let mut rest = texts.into_iter();
        for prompt in 0.. {
            let mut made: Vec<Whole> = rest.by_ref().take(self.best_of).collect();
            if made.is_empty() {
                break;
            }
            if self.best_of > self.n {
                made.sort_by(|a, b| mean(&b.logprobs).total_cmp(&mean(&a.logprobs)));
            }
            for whole in made.into_iter().take(self.n) {
                let echo = self.echo.as_ref().map(|echoes| &echoes[prompt]);
                let echoed = echo.map(|echo| echo.text.as_str()).unwrap_or_default();
                let mut offset = echoed.chars().count();
                let before = echo.map_or(Value::Null, Echo::logprobs);
                choices.push(json!({
                    "index": choices.len(),
                    "text": format!("{echoed}{}", whole.finish.message.content),
                    "logprobs": joined(before, self.logprobs(&whole.logprobs, &mut offset)),
                    "finish_reason": finish_reason(&whole.finish.finish.reason),
                }));
            }
        }
        let mut response = self.wrap(choices.into());
        response["usage"] = self.usage(&usages);
        if let Some(timings) = first {
            response["timings"] = timings;
        }
        response
    }
}
