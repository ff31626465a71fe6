//! The options of a request as llama.cpp writes them back.

use serde_json::{Value, json};
use tabagent_model::{Breaker, GenerateOptions, LogprobsMode, Stage};

/// The name that llama.cpp has for a stage.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Typical => "typ_p",
        other => other.name(),
    }
}

/// `generation_settings` of `/completion` and `params` of `/props` and `/slots` (`task_params::to_json` of the pinned tree).
pub(crate) fn settings(options: &GenerateOptions) -> Value {
    let config = &options.sampling.config;
    let most = options.max_tokens.map_or(-1, |most| most as i64);
    let breakers: Vec<&str> = options
        .sampling
        .breakers
        .iter()
        .filter_map(|breaker| if let Breaker::Text(text) = breaker { Some(text.as_str()) } else { None })
        .collect();
    // JSON has no infinity; llama-server writes null for a token that is ruled out.
    let bias = |(token, bias): &(i32, f32)| json!({"token": token, "bias": bias});
    json!({
        "seed": config.seed.unwrap_or(u64::from(u32::MAX)),
        "temperature": config.temperature,
        "dynatemp_range": config.dynatemp_range,
        "dynatemp_exponent": config.dynatemp_exponent,
        "top_k": config.top_k,
        "top_p": config.top_p,
        "min_p": config.min_p,
        "top_n_sigma": config.top_n_sigma,
        "xtc_probability": config.xtc_probability,
        "xtc_threshold": config.xtc_threshold,
        "typical_p": config.typical_p,
        "repeat_last_n": config.repeat_window,
        "repeat_penalty": config.repeat_penalty,
        "presence_penalty": config.presence_penalty,
        "frequency_penalty": config.frequency_penalty,
        "dry_multiplier": config.dry_multiplier,
        "dry_base": config.dry_base,
        "dry_allowed_length": config.dry_allowed_length,
        "dry_penalty_last_n": config.dry_window,
        "dry_sequence_breakers": breakers,
        "mirostat": config.mirostat,
        "mirostat_tau": config.mirostat_tau,
        "mirostat_eta": config.mirostat_eta,
        "adaptive_target": config.adaptive_target,
        "adaptive_decay": config.adaptive_decay,
        "stop": options.stop,
        "max_tokens": most,
        "n_predict": most,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": options.ignore_eos,
        "stream": !options.collect,
        "logit_bias": config.logit_bias.iter().map(bias).collect::<Vec<_>>(),
        "n_probs": options.logprobs.unwrap_or(0),
        "min_keep": config.min_keep,
        "samplers": config.order.iter().map(|stage| stage_name(*stage)).collect::<Vec<_>>(),
        "post_sampling_probs": options.logprobs_mode == LogprobsMode::Sampled,
        "lora": [],
    })
}
