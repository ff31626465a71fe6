//! `/completion`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tabagent_model::{
    ChatEvent, ChatFinish, DetokenizeOptions, FinishReason, GenerateOptions, LogprobsMode, StopMatch, TokenId,
};

use super::settings_json::settings;
use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::models::Served;
use crate::numbers::{logprobs, timings};
use crate::openai::{error, so_far, text_in};
use crate::place::Place;
use crate::running::{Running, Step, Whole};
use crate::sampler_fields;
use crate::stream_body::{Kind, Pieces, json as json_response, streamed};
use crate::text_request::{TextRequest, prompts};

/// Most tokens whose probabilities are given at each place.
const MOST_LOGPROBS: i64 = 1000;

/// What llama-server tells of a text at its end. Settings are written then: as JSON they take a multiple.
pub(crate) struct Told {
    model: String,
    stream: bool,
    options: GenerateOptions,
    /// What is ignored, and so ruled out.
    ignored: Vec<TokenId>,
    /// Tokens that a request may have.
    context: usize,
}

impl Told {
    /// Of texts that these options make.
    pub(crate) fn new(served: &Served, options: GenerateOptions, stream: bool) -> Result<Self, ApiError> {
        let ignored = if options.ignore_eos { served.model.end_tokens()? } else { Vec::new() };
        let context = served.model.sizes()?.sequence_size as usize;
        Ok(Self { model: served.name.clone(), stream, options, ignored, context })
    }
}

/// What the client wants of a response.
struct Wanted {
    told: Told,
    stream: bool,
    return_tokens: bool,
    timings_per_token: bool,
    sampled: bool,
    /// Names of fields, those inside of others after a slash; all if there are none.
    fields: Vec<String>,
    /// The texts of the prompts, one for each stream.
    prompts: Vec<Arc<str>>,
}

fn read(
    fields: &mut JsonFields,
    app: &App,
    served: &Served,
) -> Result<(TextRequest, Wanted, Option<Duration>), ApiError> {
    let prompt = fields.take("prompt").ok_or_else(|| ApiError::field("prompt", "`prompt` is missing"))?;
    let prompts = prompts("prompt", prompt)?;
    let most = i64::try_from(app.settings.max_choices).unwrap_or(i64::MAX);
    let n = fields.integer_of(&["n_cmpl", "n"], 1..=most)?.unwrap_or(1) as usize;
    let stream = fields.flag("stream")?.unwrap_or_default();
    let structure = sampler_fields::structure(fields)?;
    let mut options = sampler_fields::read(fields, served)?;
    let probabilities = fields.integer_of(&["n_probs", "logprobs"], 0..=MOST_LOGPROBS)?.filter(|n| *n > 0);
    options.logprobs = probabilities.map(|n| n as usize);
    if fields.flag("post_sampling_probs")?.unwrap_or_default() {
        options.logprobs_mode = LogprobsMode::Sampled;
    }
    let limit = fields.integer("t_max_predict_ms", -1..=i64::MAX)?.filter(|limit| *limit > 0);
    let limit = limit.map(|limit| Duration::from_millis(limit as u64));
    let return_progress = fields.flag("return_progress")?.unwrap_or_default();
    options.progress = return_progress && stream;
    options.collect = !stream && limit.is_none();
    let wanted = Wanted {
        told: Told::new(served, options.clone(), stream)?,
        stream,
        return_tokens: fields.flag("return_tokens")?.unwrap_or_default(),
        timings_per_token: fields.flag("timings_per_token")?.unwrap_or_default(),
        sampled: options.logprobs_mode == LogprobsMode::Sampled,
        fields: fields.texts("response_fields")?.unwrap_or_default(),
        prompts: Vec::new(),
    };
    Ok((TextRequest { prompts, n, structure, options }, wanted, limit))
}

/// Continues texts.
pub(crate) async fn complete(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let place = Place::read(&mut fields, &served).await?;
    let shared = app.clone();
    // In a box, since a future has what it is given twice, and streams may wait long.
    let (running, wanted) = app
        .work(move || {
            let (request, mut wanted, limit) = read(&mut fields, &shared, &served)?;
            let mut running = request.begin(&shared, &served, place)?;
            running.time_limit = limit;
            wanted.prompts = texts_of(&served, &running)?;
            Ok((running, Box::new(wanted)))
        })
        .await?;
    if wanted.stream {
        let kind = Kind::Events { ping: app.settings.ping };
        return Ok(streamed(kind, move |pieces| write(pieces, running, wanted)));
    }
    let slots: Vec<usize> = (0..running.len()).map(|index| running.part(index).slot()).collect();
    let texts = running.collect().await?;
    let mut written: Vec<Value> = texts
        .iter()
        .zip(slots)
        .enumerate()
        .map(|(index, (text, slot))| wanted.whole(index, slot, text))
        .collect();
    match written.len() {
        1 => Ok(json_response(&written.swap_remove(0))),
        _ => Ok(json_response(&written.into())),
    }
}

/// The text of each stream's prompt, special tokens included.
pub(crate) fn texts_of(served: &Served, running: &Running) -> Result<Vec<Arc<str>>, ApiError> {
    let mut texts: Vec<Arc<str>> = Vec::with_capacity(running.len());
    for index in 0..running.len() {
        let tokens = &running.part(index).prompt;
        let same = index.checked_sub(1).filter(|before| Arc::ptr_eq(&running.part(*before).prompt, tokens));
        let text = if let Some(before) = same {
            Arc::clone(&texts[before])
        } else {
            let options = DetokenizeOptions { unparse_special: true, ..DetokenizeOptions::default() };
            served.model.detokenize(tokens, options)?.into()
        };
        texts.push(text);
    }
    Ok(texts)
}

async fn write(mut pieces: Pieces, mut running: Running, wanted: Box<Wanted>) {
    let mut contents = vec![String::new(); running.len()];
    while let Some(step) = running.next().await {
        match step {
            Err(problem) => {
                pieces.event(&error(&problem)).await;
                return;
            }
            Ok((index, Step::Event(ChatEvent { prompt: Some(now), .. }))) => {
                for (progress, timings) in running.note_progress(index, now) {
                    let part = running.part(index);
                    let mut chunk = json!({
                        "index": index, "content": "", "tokens": [], "stop": false, "id_slot": part.slot(),
                        "tokens_predicted": 0, "tokens_evaluated": part.prompt.len(), "prompt_progress": progress,
                    });
                    if wanted.timings_per_token {
                        chunk["timings"] = timings;
                    }
                    pieces.event(&chunk).await;
                }
            }
            Ok((index, Step::Event(event))) => {
                let part = running.part(index);
                let text = text_in(&event);
                contents[index].push_str(&text);
                // Of a stream, llama-server gives them whatever `return_tokens` says (`server_task_result_cmpl_partial` in tools/server/server-task.cpp).
                let tokens: &[TokenId] = &event.token_ids;
                let mut chunk = json!({
                    "index": index,
                    "content": text,
                    "tokens": tokens,
                    "stop": false,
                    "id_slot": part.slot(),
                    "tokens_predicted": part.decoded,
                    "tokens_evaluated": part.prompt.len(),
                });
                if wanted.timings_per_token {
                    chunk["timings"] = so_far(&running, index);
                }
                if !event.logprobs.is_empty() {
                    chunk["completion_probabilities"] = logprobs(&event.logprobs, wanted.sampled);
                }
                pieces.event(&chunk).await;
            }
            Ok((index, Step::End(finish))) => {
                // What came is with the client already.
                let place = (index, running.part(index).slot());
                let mut last = wanted.told.last(place, &wanted.prompts[index], &finish, &contents[index]);
                last["content"] = "".into();
                last["tokens"] = json!([]);
                pieces.event(&wanted.chosen(last)).await;
            }
        }
    }
}

fn stop_type(finish: &ChatFinish) -> &'static str {
    match (&finish.finish.reason, &finish.finish.stop_match) {
        (FinishReason::Length | FinishReason::Timeout, _) => "limit",
        (_, Some(StopMatch::String(_))) => "word",
        (FinishReason::Stop, _) => "eos",
        _ => "none",
    }
}

impl Told {
    /// `generation_settings`.
    fn settings(&self) -> Value {
        let mut shown = settings(&self.options);
        shown["stream"] = self.stream.into();
        if let Some(biases) = shown["logit_bias"].as_array_mut() {
            biases.extend(self.ignored.iter().map(|token| json!({"token": token, "bias": null})));
        }
        shown
    }

    /// Whether tokens left the context, or the text ended because it was full.
    fn is_truncated(&self, finish: &ChatFinish) -> bool {
        let usage = &finish.finish.usage;
        let is_full = usage.prompt_tokens + usage.completion_tokens >= self.context;
        usage.dropped_tokens > 0 || (is_full && finish.finish.reason == FinishReason::Length)
    }

    /// A text that has ended.
    pub(crate) fn last(
        &self,
        (index, slot): (usize, usize),
        prompt: &str,
        finish: &ChatFinish,
        content: &str,
    ) -> Value {
        let usage = &finish.finish.usage;
        let word = match &finish.finish.stop_match {
            Some(StopMatch::String(text)) => text.as_str(),
            _ => "",
        };
        json!({
            "index": index,
            "content": content,
            "tokens": [],
            "id_slot": slot,
            "stop": true,
            "model": self.model,
            "tokens_predicted": usage.completion_tokens,
            "tokens_evaluated": usage.prompt_tokens,
            "generation_settings": self.settings(),
            "prompt": prompt,
            "has_new_line": content.contains('\n'),
            "truncated": self.is_truncated(finish),
            "stop_type": stop_type(finish),
            "stopping_word": word,
            "tokens_cached": usage.prompt_tokens + usage.completion_tokens,
            "timings": timings(usage, &finish.finish.timings),
        })
    }
}

impl Wanted {
    fn whole(&self, index: usize, slot: usize, text: &Whole) -> Value {
        let content = &text.finish.message.content;
        let mut written = self.told.last((index, slot), &self.prompts[index], &text.finish, content);
        if self.return_tokens {
            written["tokens"] = text.tokens.as_slice().into();
        }
        if !text.logprobs.is_empty() {
            written["completion_probabilities"] = logprobs(&text.logprobs, self.sampled);
        }
        self.chosen(written)
    }

    /// The fields that the client wants, those inside of others under their whole names.
    fn chosen(&self, written: Value) -> Value {
        if self.fields.is_empty() {
            return written;
        }
        let find = |name: &String| {
            let found = name.split('/').try_fold(&written, |value, key| value.as_object()?.get(key))?;
            Some((name.clone(), found.clone()))
        };
        Value::Object(self.fields.iter().filter_map(find).collect::<Map<_, _>>())
    }
}
