//! What each field of a `peft` configuration means for merging: the fields of `LoraConfig` and its bases in peft 0.21.

use serde_json::Value;

use crate::convert::json::Object;
use crate::text::shown;

/// How merging treats a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// It takes part in the multiplication of the matrices.
    Honoured,
    /// It says how the adapter was made, chosen or trained, which no longer matters for the stored matrices.
    Harmless,
    /// Whatever it is set to, it asks for something that a product of two matrices cannot express.
    Refused(&'static str),
    /// As [`Meaning::Refused`], except for one value that asks for nothing.
    RefusedUnless(&'static str, &'static str),
    /// How the matrices were initialized; some ways change the model, too.
    Start,
}

use Meaning::{Harmless, Honoured, Refused, RefusedUnless, Start};

const WITH_PEFT: &str = "merge it with the `peft` library";

const FIELDS: [(&str, Meaning); 49] = [
    ("peft_type", Honoured),
    ("r", Honoured),
    ("lora_alpha", Honoured),
    ("use_rslora", Honoured),
    ("rank_pattern", Honoured),
    ("alpha_pattern", Honoured),
    ("base_model_name_or_path", Honoured),
    ("auto_mapping", Harmless),
    ("corda_config", Harmless),
    ("ensure_weight_tying", Harmless),
    ("eva_config", Harmless),
    ("exclude_modules", Harmless),
    ("inference_mode", Harmless),
    ("layers_pattern", Harmless),
    ("layers_to_transform", Harmless),
    ("loftq_config", Harmless),
    ("lora_dropout", Harmless),
    ("lora_ga_config", Harmless),
    ("megatron_core", Harmless),
    ("num_attention_heads", Harmless),
    ("num_layers", Harmless),
    ("num_transformer_submodules", Harmless),
    ("num_virtual_tokens", Harmless),
    ("peft_version", Harmless),
    ("qalora_group_size", Harmless),
    ("revision", Harmless),
    ("runtime_config", Harmless),
    ("target_modules", Harmless),
    ("task_type", Harmless),
    ("token_dim", Harmless),
    // Changes only the backward pass.
    ("velora_config", Harmless),
    ("enable_lora", Refused("only parts of its matrices count")),
    ("merge_weights", Harmless),
    ("init_lora_weights", Start),
    ("bias", RefusedUnless("none", "changed biases are not merged")),
    ("fan_in_fan_out", Refused("its matrices are for weights that are stored the other way round")),
    ("lora_bias", Refused("biases of the factors have no place in the model")),
    ("modules_to_save", Refused("whole modules are not merged")),
    ("trainable_token_indices", Refused("single changed tokens are not merged")),
    ("use_dora", Refused("DoRA scales every row anew")),
    ("use_qalora", Refused("its factors are for groups of columns")),
    ("use_bdlora", Refused("its factors are blocks of larger ones")),
    ("arrow_config", Refused("it chooses among adapters token by token")),
    ("kasa_config", Refused("it has a third factor, and changes the model's own weights")),
    ("monteclora_config", Refused("it draws its factors at random")),
    ("layer_replication", Refused("it is for a model with repeated layers")),
    ("megatron_config", Refused("its factors are for layers that are spread over devices")),
    (
        "target_parameters",
        Refused("it changes parameters that are no modules, such as those of all experts at once"),
    ),
    (
        "alora_invocation_tokens",
        Refused("it works only after some tokens, which a merged model cannot; load it beside the model"),
    ),
];

/// Initializations that leave the model's own weights alone.
const HARMLESS_STARTS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// What the configuration asks for that a product of two matrices does not express, or that nobody here knows.
pub(super) fn refusal(object: &Object) -> Option<String> {
    match object.text("peft_type") {
        Some("LORA") => {}
        Some(other) => {
            let other = shown(other.as_bytes());
            return Some(format!("key `peft_type` is `{other}`, but only `LORA` can be merged"));
        }
        None => return Some("key `peft_type` must be `LORA`, but is missing".to_owned()),
    }
    object.map().iter().find_map(|(key, value)| field_refusal(key, value))
}

fn field_refusal(key: &str, value: &Value) -> Option<String> {
    if is_unset(value) {
        return None;
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text: String = shown(text.as_bytes()).chars().take(80).collect();
    let (shown_key, set) = (shown(key.as_bytes()), format!("is `{text}`"));
    let known = FIELDS.iter().find(|(name, _)| *name == key).map(|(_, meaning)| *meaning);
    match known {
        Some(Harmless) => None,
        Some(Honoured) => (key == "use_rslora" && !value.is_boolean())
            .then(|| format!("key `{key}` must be true or false, but {set}")),
        Some(RefusedUnless(nothing, why)) => (value.as_str() != Some(nothing))
            .then(|| format!("key `{key}` {set}, which cannot be merged: {why}; {WITH_PEFT}")),
        Some(Refused(why)) => {
            let set = if *value == Value::Bool(true) { "is true".to_owned() } else { set };
            Some(format!("key `{key}` {set}, which cannot be merged: {why}; {WITH_PEFT}"))
        }
        Some(Start) => start_refusal(key, value),
        None => Some(format!(
            "key `{shown_key}` {set}, but no field of that name is known, so that it may change what the matrices mean; {WITH_PEFT}, or remove the key"
        )),
    }
}

/// Refuses initializations that change the model's weights; `save_pretrained` can turn the result into a plain adapter.
fn start_refusal(key: &str, value: &Value) -> Option<String> {
    let start = match value {
        Value::Bool(_) => return None,
        Value::String(text) => text.to_ascii_lowercase(),
        other => return Some(format!("key `{key}` must be true, false or a text, but is `{other}`")),
    };
    if HARMLESS_STARTS.contains(&start.as_str()) {
        return None;
    }
    Some(format!(
        "key `{key}` is `{}`, so it belongs to changed weights; save it with `path_initial_model_for_weight_conversion`",
        shown(start.as_bytes())
    ))
}

/// True for the values that `peft` stores for a field that was not set.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_honoured_harmless_or_refused() {
        for (name, meaning) in FIELDS {
            let values = [json!(true), json!("x"), json!([1]), json!({"a": 1}), json!(3)];
            let refused: Vec<bool> =
                values.iter().map(|value| field_refusal(name, value).is_some()).collect();
            match meaning {
                Refused(_) | RefusedUnless(..) => assert_eq!(refused, [true; 5], "{name}"),
                Start => assert_eq!(refused, [false, true, true, true, true], "{name}"),
                Honoured if name == "use_rslora" => {
                    assert_eq!(refused, [false, true, true, true, true], "{name}");
                }
                Harmless | Honoured => assert_eq!(refused, [false; 5], "{name}"),
            }
            for unset in [json!(null), json!(false), json!([]), json!({}), json!("")] {
                assert_eq!(field_refusal(name, &unset), None, "{name}");
            }
        }
        assert_eq!(field_refusal("bias", &json!("none")), None);
        assert!(field_refusal("new_config", &json!({"a": 1})).unwrap().contains("no field of that name"));
        assert_eq!(field_refusal("new_config", &json!(null)), None);
    }

    #[test]
    fn no_field_is_listed_twice() {
        let mut names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIELDS.len());
    }

    #[test]
    fn beginnings_that_change_the_model_are_refused() {
        for start in ["pissa", "pissa_niter_4", "olora", "OLoRA", "corda", "loftq", "lora_ga", "new"] {
            assert!(field_refusal("init_lora_weights", &json!(start)).is_some(), "{start}");
        }
        for start in ["gaussian", "eva", "orthogonal", "mica"] {
            assert_eq!(field_refusal("init_lora_weights", &json!(start)), None, "{start}");
        }
    }
}
