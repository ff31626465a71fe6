//! The options of sampling and generating under llama.cpp's names, which most clients share.

use serde_json::Value;
use tabagent_model::{
    AfterConstruct, Breaker, GenerateOptions, GrammarOptions, GrammarRequest, GrammarSource, Lookup, Model,
    SamplerConfig, Stage, Trigger, TriggerStart,
};

use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped, whole};
use crate::models::Served;

/// The range of 32-bit numbers that llama.cpp has for counts.
const COUNT: i64 = i32::MAX as i64;
/// Stop strings and biases of a request.
const MANY: usize = 4096;

/// Reads what `fields` has of options; the others are those of the model that is served. Takes the fields out.
pub(crate) fn read(fields: &mut JsonFields, served: &Served) -> Result<GenerateOptions, ApiError> {
    let mut options = served.defaults().clone();
    if let Some(most) =
        fields.integer_of(&["n_predict", "max_completion_tokens", "max_tokens"], -1..=COUNT)?
    {
        options.max_tokens = usize::try_from(most).ok();
    }
    if let Some(stop) = fields.texts("stop")? {
        let stop: Vec<String> = stop.into_iter().filter(|text| !text.is_empty()).collect();
        limit("stop", stop.len())?;
        if !stop.is_empty() {
            options.stop = stop;
        }
    }
    if let Some(ignore) = fields.flag("ignore_eos")? {
        options.ignore_eos = ignore;
    }
    if let Some(cache) = fields.flag("cache_prompt")? {
        options.cache_prompt = Some(cache);
    }
    if fields.integer("n_indent", 0..=COUNT)?.is_some_and(|indent| indent > 0) {
        return Err(ApiError::field("n_indent", "`n_indent` is not supported by this server; leave it out"));
    }
    read_drafts(&mut options, fields, served)?;
    options.changes = served.state.adapters.changes(&served.model, fields.list("lora")?)?;
    read_sampler(&mut options.sampling.config, fields)?;
    if let Some(breakers) = fields.list("dry_sequence_breakers")? {
        if breakers.is_empty() {
            return Err(ApiError::field(
                "dry_sequence_breakers",
                "`dry_sequence_breakers` must be a list with at least one string",
            ));
        }
        let text = |(at, value): (usize, Value)| match value {
            Value::String(text) => Ok(Breaker::Text(text)),
            other => Err(mistyped(&format!("dry_sequence_breakers[{at}]"), "a string", &other)),
        };
        options.sampling.breakers = breakers.into_iter().enumerate().map(text).collect::<Result<_, _>>()?;
    }
    if let Some(bias) = fields.take("logit_bias") {
        options.sampling.config.logit_bias = logit_bias(bias, &served.model)?;
    }
    Ok(options)
}

/// Whether and how tokens are guessed ahead, in llama-server's fields; no guess is made where at most 0 tokens may be guessed.
fn read_drafts(
    options: &mut GenerateOptions,
    fields: &mut JsonFields,
    served: &Served,
) -> Result<(), ApiError> {
    let most = Lookup::MOST as i64;
    let size = |value: i64| value.clamp(0, most) as usize;
    let (max, min) = (
        fields.integer("speculative.n_max", i64::MIN..=COUNT)?.map(size),
        fields.integer("speculative.n_min", i64::MIN..=COUNT)?.map(size),
    );
    let probable = fields.number("speculative.p_min")?.map(|p| p.clamp(0.0, 1.0));
    if max == Some(0) {
        options.lookup = None;
        return Ok(());
    }
    if let (Some(lookup), Some(max)) = (&mut options.lookup, max) {
        lookup.max_draft = max;
    }
    options.draft = served.state.draft.clone().map(|mut draft| {
        let limits = &mut draft.limits;
        set(&mut limits.max_draft, max);
        set(&mut limits.min_draft, min);
        limits.min_draft = limits.min_draft.min(limits.max_draft);
        set(&mut limits.min_probability, probable);
        draft
    });
    Ok(())
}

fn limit(name: &str, given: usize) -> Result<(), ApiError> {
    if given <= MANY {
        return Ok(());
    }
    Err(ApiError::field(name, format!("`{name}` has {given} entries and may have {MANY}; leave some out")))
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn read_sampler(config: &mut SamplerConfig, fields: &mut JsonFields) -> Result<(), ApiError> {
    // llama.cpp takes 0 as the smallest share; ours must be above it, and keeps one token then as well.
    let share = |value: f64| (value.clamp(0.0, 1.0) as f32).max(f32::MIN_POSITIVE);
    let part = |value: f64| value.clamp(0.0, 1.0) as f32;
    let least = |value: f64| value.max(0.0) as f32;
    let plain = |value: f64| value as f32;
    set(&mut config.temperature, fields.number("temperature")?.map(least));
    set(&mut config.dynatemp_range, fields.number("dynatemp_range")?.map(least));
    set(&mut config.dynatemp_exponent, fields.number("dynatemp_exponent")?.map(plain));
    set(&mut config.top_k, fields.integer("top_k", i64::MIN..=COUNT)?.map(|k| u32::try_from(k).unwrap_or(0)));
    set(&mut config.top_p, fields.number("top_p")?.map(share));
    set(&mut config.min_p, fields.number("min_p")?.map(part));
    set(&mut config.top_n_sigma, fields.number("top_n_sigma")?.map(plain));
    set(&mut config.typical_p, fields.number("typical_p")?.map(share));
    set(&mut config.xtc_probability, fields.number("xtc_probability")?.map(part));
    set(&mut config.xtc_threshold, fields.number("xtc_threshold")?.map(part));
    set(&mut config.min_keep, fields.integer("min_keep", 0..=COUNT)?.map(|keep| keep.max(1) as usize));
    set(&mut config.repeat_window, fields.integer("repeat_last_n", -1..=COUNT)?.map(|n| n as i32));
    set(&mut config.repeat_penalty, fields.number("repeat_penalty")?.map(plain));
    set(&mut config.frequency_penalty, fields.number("frequency_penalty")?.map(plain));
    set(&mut config.presence_penalty, fields.number("presence_penalty")?.map(plain));
    set(&mut config.dry_multiplier, fields.number("dry_multiplier")?.map(plain));
    set(&mut config.dry_base, fields.number("dry_base")?.filter(|base| *base >= 1.0).map(plain));
    set(&mut config.dry_allowed_length, fields.integer("dry_allowed_length", 0..=COUNT)?.map(|n| n as u32));
    set(&mut config.dry_window, fields.integer("dry_penalty_last_n", -1..=COUNT)?.map(|n| n as i32));
    set(
        &mut config.mirostat,
        fields.integer("mirostat", i64::MIN..=i64::MAX)?.map(|kind| kind.clamp(0, 2) as u8),
    );
    set(&mut config.mirostat_tau, fields.number("mirostat_tau")?.map(plain));
    set(&mut config.mirostat_eta, fields.number("mirostat_eta")?.map(plain));
    set(&mut config.adaptive_target, fields.number("adaptive_target")?.map(plain));
    set(&mut config.adaptive_decay, fields.number("adaptive_decay")?.map(plain));
    if let Some(seed) = fields.integer("seed", i64::MIN..=i64::MAX)? {
        config.seed = (seed != -1 && seed != i64::from(u32::MAX)).then_some(seed as u64);
    }
    if let Some(order) = fields.take("samplers") {
        config.order = stages(order)?;
    }
    if config.mirostat != 0 && !config.order.contains(&Stage::Mirostat) {
        config.order.push(Stage::Mirostat);
    }
    if config.adaptive_target >= 0.0 && !config.order.contains(&Stage::AdaptiveP) {
        config.order.push(Stage::AdaptiveP);
    }
    Ok(())
}

/// llama.cpp's stages by their names, other spellings of them, and their letters.
const STAGES: [(&str, char, Stage); 16] = [
    ("penalties", 'e', Stage::Penalties),
    ("dry", 'd', Stage::Dry),
    ("top_n_sigma", 's', Stage::TopNSigma),
    ("top_k", 'k', Stage::TopK),
    ("typ_p", 'y', Stage::Typical),
    ("top_p", 'p', Stage::TopP),
    ("min_p", 'm', Stage::MinP),
    ("xtc", 'x', Stage::Xtc),
    ("temperature", 't', Stage::Temperature),
    ("infill", 'i', Stage::Infill),
    ("adaptive_p", 'a', Stage::AdaptiveP),
    ("typical_p", 'y', Stage::Typical),
    ("typical", 'y', Stage::Typical),
    ("top-k", 'k', Stage::TopK),
    ("top-p", 'p', Stage::TopP),
    ("temp", 't', Stage::Temperature),
];

/// A list of names, or a string of letters.
pub(crate) fn stages(order: Value) -> Result<Vec<Stage>, ApiError> {
    let unknown = |name: &dyn std::fmt::Display| {
        let known: Vec<_> = STAGES[..11].iter().map(|(name, _, _)| format!("`{name}`")).collect();
        ApiError::field("samplers", format!("`samplers` names `{name}`, but there are {}", known.join(", ")))
    };
    match order {
        Value::Array(names) => {
            let named = |(at, name): (usize, Value)| {
                let text =
                    name.as_str().ok_or_else(|| mistyped(&format!("samplers[{at}]"), "a string", &name))?;
                let found = STAGES.iter().find(|(known, _, _)| *known == text);
                found.map(|(_, _, stage)| *stage).ok_or_else(|| unknown(&text))
            };
            names.into_iter().enumerate().map(named).collect()
        }
        Value::String(letters) => {
            let lettered = |letter: char| {
                let found = STAGES.iter().find(|(_, known, _)| *known == letter);
                found.map(|(_, _, stage)| *stage).ok_or_else(|| unknown(&letter))
            };
            letters.chars().map(lettered).collect()
        }
        other => Err(mistyped("samplers", "a list of names or a string of letters", &other)),
    }
}

/// Pairs of a token or text and its bias: a list of pairs, or an object.
fn logit_bias(given: Value, model: &Model) -> Result<Vec<(i32, f32)>, ApiError> {
    const NAME: &str = "logit_bias";
    let pairs: Vec<(Value, Value)> = match given {
        Value::Object(fields) => {
            fields.into_iter().map(|(token, bias)| (Value::String(token), bias)).collect()
        }
        Value::Array(items) => {
            let pair = |item: Value| match item {
                Value::Array(pair) => <[Value; 2]>::try_from(pair).ok().map(|[token, bias]| (token, bias)),
                // The form that `/completion` gives back.
                Value::Object(mut fields) => fields.remove("token").zip(fields.remove("bias")),
                _ => None,
            };
            let wrong = || {
                ApiError::field(
                    NAME,
                    "`logit_bias` must be a list of pairs of a token and its bias, or an object",
                )
            };
            items.into_iter().map(|item| pair(item).ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
        other => return Err(mistyped(NAME, "a list of pairs or an object", &other)),
    };
    limit(NAME, pairs.len())?;
    let mut biases = Vec::with_capacity(pairs.len());
    for (token, bias) in pairs {
        let bias = match bias {
            // Null is what `generation_settings` say of such a token.
            Value::Bool(false) | Value::Null => f32::NEG_INFINITY,
            Value::Number(number) => number.as_f64().unwrap_or_default() as f32,
            other => return Err(mistyped(NAME, "numbers, or false to ban a token", &other)),
        };
        let id = match &token {
            Value::String(text) => text.parse::<i64>().ok(),
            other => whole(other),
        };
        match (id, token) {
            (Some(id), token) => {
                let vocabulary = model.llama()?.vocab().len();
                let known = usize::try_from(id).ok().filter(|id| *id < vocabulary);
                let known = known.ok_or_else(|| {
                    let last = vocabulary.saturating_sub(1);
                    ApiError::field(
                        NAME,
                        format!(
                            "`logit_bias` names token {token}, but the vocabulary has tokens 0 to {last}"
                        ),
                    )
                })?;
                biases.push((known as i32, bias));
            }
            (None, Value::String(text)) => {
                biases.extend(model.tokenize(&text, false, false)?.into_iter().map(|token| (token, bias)));
                limit(NAME, biases.len())?;
            }
            (None, other) => return Err(mistyped(NAME, "token ids or texts", &other)),
        }
    }
    Ok(biases)
}

/// What the text must look like: `json_schema` or `grammar`, with `grammar_lazy` and its triggers.
pub(crate) fn structure(fields: &mut JsonFields) -> Result<Option<GrammarRequest>, ApiError> {
    let schema = fields.take("json_schema");
    let grammar = fields.text("grammar")?.filter(|grammar| !grammar.is_empty());
    let lazy = fields.flag("grammar_lazy")?.unwrap_or_default();
    let triggers = fields.list("grammar_triggers")?.unwrap_or_default();
    let source = match (schema, grammar) {
        (Some(_), Some(_)) => {
            return Err(ApiError::field(
                "grammar",
                "`json_schema` and `grammar` exclude each other; leave one of them out",
            ));
        }
        (Some(schema), None) => schema_source(&schema),
        (None, Some(grammar)) => GrammarSource::Gbnf(grammar),
        (None, None) => return Ok(None),
    };
    let starts = triggers.into_iter().map(trigger).collect::<Result<Vec<_>, _>>()?;
    if lazy && starts.is_empty() {
        return Err(ApiError::field(
            "grammar_triggers",
            "`grammar_lazy` needs `grammar_triggers`, which say when the grammar begins",
        ));
    }
    let trigger = lazy.then_some(Trigger { starts, then: AfterConstruct::Stop, required: false });
    Ok(Some(GrammarRequest { source, options: GrammarOptions { trigger, ..GrammarOptions::default() } }))
}

/// The grammar of a schema; an empty one is any object.
pub(crate) fn schema_source(schema: &Value) -> GrammarSource {
    match schema {
        Value::Object(fields) if fields.is_empty() => GrammarSource::JsonObject,
        other => GrammarSource::JsonSchema(other.to_string()),
    }
}

/// A trigger as llama.cpp has it: an object of a type (0 a token, 1 a word) and a value.
fn trigger(given: Value) -> Result<TriggerStart, ApiError> {
    const NAME: &str = "grammar_triggers[]";
    let mut fields = JsonFields::inside(NAME, given)?;
    match fields.integer("type", 0..=3)? {
        Some(0) => {
            let token = fields.integer("token", 0..=COUNT)?;
            let token =
                token.ok_or_else(|| ApiError::field(NAME, "a trigger of type 0 must have a `token`"))?;
            Ok(TriggerStart::Token(token as i32))
        }
        Some(1) => match fields.text("value")?.filter(|text| !text.is_empty()) {
            Some(text) => Ok(TriggerStart::Text(text)),
            None => Err(ApiError::field(NAME, "a trigger of type 1 must have a `value`")),
        },
        _ => Err(ApiError::field(
            NAME,
            "`grammar_triggers` can be tokens (type 0) and words (type 1); patterns are not supported",
        )),
    }
}
