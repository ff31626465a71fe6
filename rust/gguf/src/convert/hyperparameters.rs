//! Converts `config.json` to the keys that llama.cpp reads.

use std::path::Path;

use serde_json::Value;

use crate::owned::OwnedValue;
use crate::writer::GgufWriter;

use super::architecture::{Architecture, Family};
use super::error::ConvertError;
use super::json::Object;
use super::rope::Rope;

/// Where a key's number comes from.
struct Rule {
    key: &'static str,
    /// Names in `config.json`; the first one present counts.
    from: &'static [&'static str],
    form: Form,
    /// True if the model cannot be used without it.
    is_needed: bool,
}

#[derive(Clone, Copy)]
enum Form {
    Count,
    Number,
}

const fn count(key: &'static str, from: &'static [&'static str], is_needed: bool) -> Rule {
    Rule { key, from, form: Form::Count, is_needed }
}

const fn number(key: &'static str, from: &'static [&'static str], is_needed: bool) -> Rule {
    Rule { key, from, form: Form::Number, is_needed }
}

pub(crate) const BLOCK_COUNT: &[&str] = &["num_hidden_layers", "n_layers", "n_layer", "num_layers"];
pub(crate) const HEADS: &[&str] = &["num_attention_heads", "n_head", "n_heads"];
pub(crate) const KV_HEADS: &[&str] = &["num_key_value_heads", "n_kv_heads"];
const HIDDEN: &[&str] = &["hidden_size", "n_embd", "dim"];
const CONTEXT: &[&str] =
    &["max_position_embeddings", "n_ctx", "n_positions", "max_sequence_length", "model_max_length"];

/// Keys of all families.
const COMMON: &[Rule] = &[
    count("block_count", BLOCK_COUNT, true),
    count("context_length", CONTEXT, true),
    count("embedding_length", HIDDEN, true),
    count("feed_forward_length", &["intermediate_size", "n_inner", "hidden_dim"], true),
    count("attention.head_count", HEADS, true),
];

/// Keys of most families.
const GENERAL: &[Rule] = &[
    count("attention.head_count_kv", KV_HEADS, false),
    number("attention.layer_norm_rms_epsilon", &["rms_norm_eps", "norm_eps"], false),
    number("attention.layer_norm_epsilon", &["layer_norm_eps", "layer_norm_epsilon"], false),
    count("attention.key_length", &["head_dim"], false),
    count("attention.value_length", &["head_dim"], false),
];

const GEMMA2: &[Rule] = &[
    count("attention.head_count_kv", &["num_key_value_heads", "num_attention_heads"], true),
    number("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], true),
    count("attention.key_length", &["head_dim"], true),
    count("attention.value_length", &["head_dim"], true),
    number("attn_logit_softcapping", &["attn_logit_softcapping"], true),
    number("final_logit_softcapping", &["final_logit_softcapping"], true),
    count("attention.sliding_window", &["sliding_window"], true),
];

const PHI3: &[Rule] = &[
    count("attention.head_count_kv", &["num_key_value_heads", "num_attention_heads"], true),
    number("attention.layer_norm_rms_epsilon", &["rms_norm_eps"], true),
];

/// Adds the keys of a model to `writer`.
pub(super) struct Hyperparameters<'a> {
    pub(super) architecture: &'static Architecture,
    pub(super) config: &'a Object,
    pub(super) rope: &'a Rope,
    pub(super) folder: &'a Path,
}

impl Hyperparameters<'_> {
    /// All keys of the architecture.
    pub(super) fn add(&self, writer: GgufWriter) -> Result<GgufWriter, ConvertError> {
        let writer = self.rules(writer, COMMON)?;
        match self.architecture.family {
            Family::Gemma2 => self.rules(writer, GEMMA2),
            Family::Phi3 => self.phi3(self.rules(writer, PHI3)?),
            family => {
                let writer = self.rope_keys(self.rules(writer, GENERAL)?)?;
                match family {
                    Family::Llama => self.llama(writer),
                    Family::Gemma3 => self.gemma3(writer),
                    Family::Bert => self.pooling(self.set(writer, "attention.causal", false)),
                    Family::Qwen => self.pooling(writer),
                    _ => {
                        let writer = self.set(writer, "rope.scaling.type", "linear");
                        Ok(self.set(writer, "rope.scaling.factor", 1.0_f32))
                    }
                }
            }
        }
    }

    fn set(&self, writer: GgufWriter, key: &str, value: impl Into<OwnedValue>) -> GgufWriter {
        writer.set(&format!("{}.{key}", self.architecture.name), value)
    }

    fn rules(&self, mut writer: GgufWriter, rules: &[Rule]) -> Result<GgufWriter, ConvertError> {
        for rule in rules {
            let value = match rule.form {
                Form::Count => self.config.count(rule.from)?.map(OwnedValue::U32),
                Form::Number => self.config.number(rule.from)?.map(|value| OwnedValue::F32(value as f32)),
            };
            match value {
                Some(value) => writer = self.set(writer, rule.key, value),
                None if rule.is_needed => return Err(self.config.missing(rule.from)),
                None => {}
            }
        }
        Ok(writer)
    }

    /// Adds the base, the scaling and the scaling's parameters.
    fn rope_keys(&self, mut writer: GgufWriter) -> Result<GgufWriter, ConvertError> {
        let global = &self.rope.global;
        let kind = self.rope.kind();
        if let (kind @ ("linear" | "yarn"), Some(factor)) = (kind.as_str(), global.number(&["factor"])?) {
            writer = self.set(writer, "rope.scaling.type", kind);
            writer = self.set(writer, "rope.scaling.factor", factor as f32);
            if kind == "yarn" {
                let context = global.need_count(&["original_max_position_embeddings"])?;
                writer = self.set(writer, "rope.scaling.original_context_length", context);
                for (key, from) in [
                    ("rope.scaling.yarn_ext_factor", &["extrapolation_factor"][..]),
                    ("rope.scaling.yarn_attn_factor", &["attention_factor", "attn_factor"]),
                    ("rope.scaling.yarn_beta_fast", &["beta_fast"]),
                    ("rope.scaling.yarn_beta_slow", &["beta_slow"]),
                ] {
                    if let Some(value) = global.number(from)? {
                        writer = self.set(writer, key, value as f32);
                    }
                }
            }
        } else if !matches!(kind.as_str(), "" | "default" | "linear" | "yarn" | "llama3") {
            let value = Value::String(kind);
            return Err(global.mistyped("rope_type", &value, "`default`, `linear`, `yarn` or `llama3`"));
        }
        if let Some(base) = global.number(&["rope_theta"])? {
            writer = self.set(writer, "rope.freq_base", base as f32);
        }
        if let Some(base) = self.rope.local_base {
            writer = self.set(writer, "rope.freq_base_swa", base as f32);
        }
        Ok(writer)
    }

    fn llama(&self, writer: GgufWriter) -> Result<GgufWriter, ConvertError> {
        let writer = self.set(writer, "vocab_size", self.config.need_count(&["vocab_size"])?);
        let head_dim = head_dim(self.config)?;
        let writer = self.set(writer, "rope.dimension_count", head_dim);
        let writer = self.set(writer, "attention.key_length", head_dim);
        Ok(self.set(writer, "attention.value_length", head_dim))
    }

    fn gemma3(&self, mut writer: GgufWriter) -> Result<GgufWriter, ConvertError> {
        if let Some(cap) = self.config.number(&["final_logit_softcapping"])?.filter(|cap| *cap != 0.0) {
            writer = self.set(writer, "final_logit_softcapping", cap as f32);
        }
        if let Some((key, value)) = self.config.first(&["attn_logit_softcapping"]) {
            return Err(self.config.mistyped(key, value, "`null`: Gemma 3 has none"));
        }
        if self.config.count(&["sliding_window_pattern"])? != Some(1) {
            let window = self.config.need_count(&["sliding_window"])?;
            writer = self.set(writer, "attention.sliding_window", window);
        }
        Ok(writer)
    }

    fn phi3(&self, mut writer: GgufWriter) -> Result<GgufWriter, ConvertError> {
        let original = self.rope.global.need_count(&["original_max_position_embeddings"])?;
        writer = self.set(writer, "rope.scaling.original_context_length", original);
        writer = self.set(writer, "rope.dimension_count", phi3_rope_dims(self.config, self.rope)?);
        writer = self.set(writer, "rope.freq_base", self.rope.global.need_number(&["rope_theta"])? as f32);
        // A window of 0 tells Phi-4 from the other models of this architecture.
        let window = self.config.count(&["sliding_window"])?.unwrap_or(0);
        writer = self.set(writer, "attention.sliding_window", window);
        if self.rope.global.items("long_factor").is_empty() {
            return Ok(writer);
        }
        let context = f64::from(self.config.need_count(CONTEXT)?);
        let scale = context / f64::from(original);
        let factor = match self.rope.kind().as_str() {
            "su" | "longrope" if scale > 1.0 => (1.0 + scale.ln() / f64::from(original).ln()).sqrt(),
            "yarn" if scale > 1.0 => 0.1 * scale.ln() + 1.0,
            "su" | "longrope" | "yarn" => 1.0,
            kind => {
                let value = Value::String(kind.to_owned());
                return Err(self.rope.global.mistyped("rope_type", &value, "`longrope`, `su` or `yarn`"));
            }
        };
        Ok(self.set(writer, "rope.scaling.attn_factor", factor as f32))
    }

    /// Adds how sentence-transformers pools vectors into one, from `modules.json` and the pooling module's `config.json`.
    fn pooling(&self, writer: GgufWriter) -> Result<GgufWriter, ConvertError> {
        let path = self.folder.join("modules.json");
        let Some(text) = super::json::read_text(&path)? else { return Ok(writer) };
        let modules: Value = super::json::parse(text.as_bytes())
            .map_err(|error| ConvertError::source(&path, format!("it is not valid JSON: {error}")))?;
        let module = modules.as_array().into_iter().flatten().find_map(|module| {
            let is_pooling = module.get("type")?.as_str()?.ends_with("Pooling");
            is_pooling.then_some(module.get("path")?.as_str())?
        });
        let Some(module) = module else { return Ok(writer) };
        let is_inside =
            Path::new(module).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_inside {
            return Err(ConvertError::source(&path, format!("path `{module}` leaves the folder")));
        }
        let config_path = self.folder.join(module).join("config.json");
        let Some(pooling) = Object::read(&config_path)? else {
            return Err(ConvertError::source(&config_path, "`modules.json` names it, but it is not there"));
        };
        // `enum llama_pooling_type` in `include/llama.h`.
        let modes = [
            ("mean", "pooling_mode_mean_tokens", 1),
            ("cls", "pooling_mode_cls_token", 2),
            ("lasttoken", "pooling_mode_lasttoken", 3),
        ];
        let by_flag = modes.iter().find(|(_, flag, _)| pooling.flag(flag) == Some(true));
        let by_name = || modes.iter().find(|(name, _, _)| pooling.text("pooling_mode") == Some(*name));
        match by_flag.or_else(by_name) {
            Some((_, _, id)) => Ok(self.set(writer, "pooling_type", *id as u32)),
            None => {
                Err(ConvertError::source(&config_path, "it names no pooling of mean, first or last token"))
            }
        }
    }
}

/// How many numbers a head has.
pub(super) fn head_dim(config: &Object) -> Result<u32, ConvertError> {
    if let Some(dim) = config.count(&["head_dim"])? {
        return Ok(dim);
    }
    let (hidden, heads) = (config.need_count(HIDDEN)?, config.need_count(HEADS)?);
    hidden
        .checked_div(heads)
        .ok_or_else(|| ConvertError::source(config.path(), "key `num_attention_heads` must not be 0"))
}

/// How many numbers of a Phi-3 head are rotated.
pub(super) fn phi3_rope_dims(config: &Object, rope: &Rope) -> Result<u32, ConvertError> {
    let share = rope.global.number(&["partial_rotary_factor"])?.unwrap_or(1.0);
    let rotated = (share * f64::from(config.need_count(HIDDEN)?)) as u32;
    let heads = config.need_count(HEADS)?;
    rotated
        .checked_div(heads)
        .ok_or_else(|| ConvertError::source(config.path(), "key `num_attention_heads` must not be 0"))
}
