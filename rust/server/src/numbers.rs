//! Tokens counted and times measured, as OpenAI and llama.cpp write them.

use serde_json::{Value, json};
use tabagent_model::{Timings, TokenLogprob, TopLogprob, Usage};

/// `usage` of a response with several texts of one prompt.
pub(crate) fn usage<'a>(of: impl IntoIterator<Item = &'a Usage>) -> Value {
    let (mut prompt, mut cached, mut completion, mut accepted, mut drafted) = (0, 0, 0, 0, 0);
    for usage in of {
        prompt += usage.prompt_tokens;
        cached += usage.cached_tokens;
        completion += usage.completion_tokens;
        accepted += usage.accepted_tokens;
        drafted += usage.drafted_tokens;
    }
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": drafted.saturating_sub(accepted),
        },
    })
}

/// llama.cpp's `timings` (`server_slot_stats::to_json` of the pinned tree).
pub(crate) fn timings(usage: &Usage, timings: &Timings) -> Value {
    let prompt = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    let mut written = json!({"cache_n": usage.cached_tokens});
    rate(&mut written, "prompt", prompt, timings.prompt.as_secs_f64());
    predicted(&mut written, usage.completion_tokens, timings.decode.as_secs_f64());
    if usage.drafted_tokens > 0 {
        written["draft_n"] = usage.drafted_tokens.into();
        written["draft_n_accepted"] = usage.accepted_tokens.into();
    }
    written
}

/// So many generated tokens in the seconds since the first of them, which came with the prompt.
pub(crate) fn predicted(into: &mut Value, tokens: usize, seconds: f64) {
    rate(into, "predicted", tokens.saturating_sub(1), seconds);
    into["predicted_n"] = tokens.into();
}

/// So many tokens in so many seconds.
pub(crate) fn rate(into: &mut Value, name: &str, tokens: usize, seconds: f64) {
    let each = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
    into[format!("{name}_n")] = tokens.into();
    into[format!("{name}_ms")] = (seconds * 1e3).into();
    into[format!("{name}_per_token_ms")] = each(seconds * 1e3, tokens as f64).into();
    into[format!("{name}_per_second")] = each(tokens as f64, seconds).into();
}

/// A log-probability that JSON can have.
pub(crate) fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { f32::MIN }
}

/// One of the most probable tokens, its probability under `logprob`, or with `sampled` under `prob`.
fn top_entry(top: &TopLogprob, sampled: bool) -> Value {
    let (name, value) = probability(top.logprob, sampled);
    let mut entry =
        json!({"id": top.token, "token": String::from_utf8_lossy(&top.bytes), "bytes": top.bytes});
    entry[name] = value.into();
    entry
}

fn probability(logprob: f32, sampled: bool) -> (&'static str, f32) {
    if sampled { ("prob", logprob.exp()) } else { ("logprob", finite(logprob)) }
}

/// The probabilities of tokens and of the most probable ones, as llama.cpp and OpenAI's chat have them. With `sampled` they are probabilities after sampling.
pub(crate) fn logprobs(tokens: &[TokenLogprob], sampled: bool) -> Value {
    let entry = |token: &TokenLogprob| {
        let (name, value) = probability(token.logprob, sampled);
        let mut entry =
            json!({"id": token.token, "token": String::from_utf8_lossy(&token.bytes), "bytes": token.bytes});
        entry[name] = value.into();
        let top: Value = token.top.iter().map(|top| top_entry(top, sampled)).collect();
        entry[if sampled { "top_probs" } else { "top_logprobs" }] = top;
        entry
    };
    tokens.iter().map(entry).collect()
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
