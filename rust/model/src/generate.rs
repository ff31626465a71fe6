//! Requests for text, as users make them.

use std::time::Duration;

use tabagent_runtime::{ContextShift, LogprobsMode, Lookup, Overflow};

use crate::changes::Changes;
use crate::draft::Draft;
use crate::settings::SamplerSettings;
use crate::thought::ThoughtOptions;
use crate::value::{Fields, OptionError, Value};

/// Where a request does not say whether its prompt is to be cached, so many tokens at least must be saved. Reuse changes the last bits of logits, and with them what a seed
/// leads to; a shorter prompt takes no longer than a few tokens of the text, and does not change so.
pub const WORTH_CACHING: usize = 64;

/// How to continue a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateOptions {
    /// Maximum number of tokens; `None` generates until the model ends the text or the context is full.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub sampling: SamplerSettings,
    /// Texts that end the generation; they are not part of its text.
    pub stop: Vec<String>,
    /// Texts that must not come; see [`Request::ban`](tabagent_runtime::Request::ban).
    pub ban: Vec<String>,
    /// Tokens that end the generation, besides the model's own.
    pub stop_tokens: Vec<i32>,
    /// Never choose a token that ends the text.
    pub ignore_eos: bool,
    /// Give the log-probability of each token and of this many most probable ones.
    pub logprobs: Option<usize>,
    /// The distribution that the log-probabilities are taken from.
    pub logprobs_mode: LogprobsMode,
    /// Draft tokens from the text itself; see [`Request::lookup`](tabagent_runtime::Request::lookup).
    pub lookup: Option<Lookup>,
    /// How long the model may think.
    pub thought: Option<ThoughtOptions>,
    /// Draft tokens with a smaller model; see [`Request::drafter`](tabagent_runtime::Request::drafter).
    pub draft: Option<Draft>,
    /// What to do when the text does not fit the context.
    pub overflow: Overflow,
    /// Begin with what other requests that do so have decoded, and leave this one's tokens for others; `None`: where that saves [`WORTH_CACHING`] tokens.
    pub cache_prompt: Option<bool>,
    /// Show control tokens as their text.
    pub show_special: bool,
    /// Hand the whole text over in one event, at the end.
    pub collect: bool,
    /// Tell how far the prompt has come; see [`Request::progress`](tabagent_runtime::Request::progress).
    pub progress: bool,
    /// Requests of higher priority are served first.
    pub priority: i32,
    /// How long the request may take, in the queue and at work.
    pub timeout: Option<Duration>,
    /// The adapters and control vectors that it is computed with. Requests of equal ones are decoded together, and share beginnings.
    pub changes: Changes,
}

impl GenerateOptions {
    /// Reads options by their names; missing ones have their defaults. `sampling` is a map of a sampler's settings. `changes` and `draft` have no names here: no value
    /// stands for what is loaded.
    ///
    /// # Errors
    /// [`OptionError`] names the option that is unknown or has a wrong type.
    pub fn read(options: Value) -> Result<Self, OptionError> {
        const COUNT: &str = "an integer of at least 0";
        const MODES: [(&str, LogprobsMode); 2] =
            [("raw", LogprobsMode::Raw), ("sampled", LogprobsMode::Sampled)];
        let mut given = Fields::new(options, "options")?;
        let read = Self {
            max_tokens: given.integer("max_tokens", COUNT)?,
            sampling: given.take("sampling").map(SamplerSettings::read).transpose()?.unwrap_or_default(),
            stop: given.texts("stop")?.unwrap_or_default(),
            ban: given.texts("ban")?.unwrap_or_default(),
            stop_tokens: given.tokens("stop_tokens")?.unwrap_or_default(),
            ignore_eos: given.flag("ignore_eos")?.unwrap_or_default(),
            logprobs: given.integer("logprobs", COUNT)?,
            logprobs_mode: given.named("logprobs_mode", &MODES)?.unwrap_or_default(),
            lookup: given.take("speculative").map(lookup).transpose()?,
            thought: given.take("reasoning_budget").map(ThoughtOptions::read).transpose()?,
            draft: None,
            overflow: given.take("overflow").map(overflow).transpose()?.unwrap_or_default(),
            cache_prompt: given.flag("cache_prompt")?,
            show_special: given.flag("show_special")?.unwrap_or_default(),
            collect: given.flag("collect")?.unwrap_or_default(),
            progress: given.flag("progress")?.unwrap_or_default(),
            priority: given.integer("priority", "a 32-bit integer")?.unwrap_or_default(),
            timeout: given.seconds("timeout")?,
            changes: Changes::default(),
        };
        given.finish()?;
        Ok(read)
    }
}

/// Reads what to do when the text does not fit: `error`, `stop`, or how the context is shifted.
fn overflow(options: Value) -> Result<Overflow, OptionError> {
    if let Value::Text(word) = &options {
        return match word.as_str() {
            "error" => Ok(Overflow::Error),
            "stop" => Ok(Overflow::Stop),
            "shift" => Ok(Overflow::Shift(ContextShift::default())),
            _ => Err(OptionError::out_of_range("overflow", "`error`, `stop` or `shift`", word)),
        };
    }
    let mut given = Fields::new(options, "overflow")?;
    let keep = given.integer("keep", "an integer of at least 0")?.unwrap_or(ContextShift::default().keep);
    let discard: Option<usize> = given.integer("discard", "an integer of at least 1")?;
    given.finish()?;
    if discard == Some(0) {
        return Err(OptionError::out_of_range("discard", "an integer of at least 1", &0));
    }
    Ok(Overflow::Shift(ContextShift { keep, discard }))
}

/// Reads how drafts are looked up.
fn lookup(options: Value) -> Result<Lookup, OptionError> {
    const COUNT: &str = "an integer of at least 1";
    let mut given = Fields::new(options, "speculative")?;
    let default = Lookup::default();
    let lookup = Lookup {
        min_match: given.integer("min_match", COUNT)?.unwrap_or(default.min_match),
        max_match: given.integer("max_match", COUNT)?.unwrap_or(default.max_match),
        max_draft: given.integer("max_draft", COUNT)?.unwrap_or(default.max_draft),
        shared: given.flag("shared")?.unwrap_or(default.shared),
    };
    given.finish()?;
    let most = Lookup::MOST;
    for (name, value, least) in [
        ("min_match", lookup.min_match, 1),
        ("max_match", lookup.max_match, lookup.min_match),
        ("max_draft", lookup.max_draft, 1),
    ] {
        if !(least..=most).contains(&value) {
            return Err(OptionError::out_of_range(name, format!("between {least} and {most}"), &value));
        }
    }
    Ok(lookup)
}
