//! Replaced metadata values (`struct llama_model_kv_override`).

use crate::model_error::ModelError;
use tabagent_gguf::{GgufFile, MetadataOverride, ValueType};
use tabagent_sys::{KvOverrideValue, llama_model_kv_override, llama_model_kv_override_type};

/// The values with the types that llama.cpp expects: it ignores a value whose type differs from the key's (`validate_override` in
/// `src/llama-model-loader.cpp`). An integer in the place of a float becomes one.
pub(crate) fn fitted(
    file: &GgufFile,
    overrides: &[(String, MetadataOverride)],
) -> Result<Vec<(String, MetadataOverride)>, ModelError> {
    let fit = |(key, value): &(String, MetadataOverride)| {
        let Some(own) = file.metadata().get(key) else { return Ok((key.clone(), value.clone())) };
        let kind = own.value_type();
        let is_float = matches!(kind, ValueType::F32 | ValueType::F64);
        let fits = match value {
            MetadataOverride::Int(int) if is_float => {
                return Ok((key.clone(), MetadataOverride::Float(*int as f64)));
            }
            MetadataOverride::Int(_) => !matches!(kind, ValueType::Bool | ValueType::String),
            MetadataOverride::Float(_) => is_float || kind == ValueType::Array,
            MetadataOverride::Bool(_) => matches!(kind, ValueType::Bool | ValueType::Array),
            MetadataOverride::Str(_) => matches!(kind, ValueType::String | ValueType::Array),
        };
        if fits {
            return Ok((key.clone(), value.clone()));
        }
        let reason = format!("the file has a value of type `{kind}` there; give one of that type");
        Err(ModelError::BadOverride { key: key.clone(), reason })
    };
    overrides.iter().map(fit).collect()
}

/// Maximum size in bytes of a key or string value, its NUL included (`include/llama.h`, `llama_model_kv_override`).
const TEXT_BYTES: usize = 128;

/// The C array, ended by an entry with an empty key as `llama_model_params.kv_overrides` demands.
pub(crate) fn to_c(
    overrides: &[(String, MetadataOverride)],
) -> Result<Vec<llama_model_kv_override>, ModelError> {
    let mut out = Vec::with_capacity(overrides.len() + 1);
    for (key, value) in overrides {
        let refuse = |reason: &str| ModelError::BadOverride { key: key.clone(), reason: reason.to_owned() };
        if key.is_empty() {
            return Err(refuse("the key is empty"));
        }
        let c_key = text(key).ok_or_else(|| refuse("keys have at most 127 bytes and no NUL"))?;
        let mut bytes = [0_u8; TEXT_BYTES];
        let tag = match value {
            MetadataOverride::Int(int) => {
                bytes[..8].copy_from_slice(&int.to_ne_bytes());
                llama_model_kv_override_type::INT
            }
            MetadataOverride::Float(float) if float.is_finite() => {
                bytes[..8].copy_from_slice(&float.to_ne_bytes());
                llama_model_kv_override_type::FLOAT
            }
            MetadataOverride::Float(_) => return Err(refuse("the number is not finite")),
            MetadataOverride::Bool(bool) => {
                bytes[0] = u8::from(*bool);
                llama_model_kv_override_type::BOOL
            }
            MetadataOverride::Str(string) => {
                bytes =
                    text(string).ok_or_else(|| refuse("text values have at most 127 bytes and no NUL"))?;
                llama_model_kv_override_type::STR
            }
        };
        out.push(llama_model_kv_override { tag, key: c_key, value: KvOverrideValue(bytes) });
    }
    let end = KvOverrideValue([0; TEXT_BYTES]);
    out.push(llama_model_kv_override {
        tag: llama_model_kv_override_type::INT,
        key: [0; TEXT_BYTES],
        value: end,
    });
    Ok(out)
}

fn text(value: &str) -> Option<[u8; TEXT_BYTES]> {
    let mut bytes = [0_u8; TEXT_BYTES];
    if value.len() >= TEXT_BYTES || value.contains('\0') {
        return None;
    }
    bytes[..value.len()].copy_from_slice(value.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_array_ends_with_an_empty_key() {
        let c = to_c(&[("a.b".to_owned(), MetadataOverride::Int(-2))]).unwrap();
        assert_eq!(c.len(), 2);
        assert_eq!(&c[0].key[..4], b"a.b\0");
        assert_eq!(c[0].value.0[..8], (-2_i64).to_ne_bytes());
        assert_eq!(c[1].key[0], 0);
    }

    #[test]
    fn what_does_not_fit_the_c_struct_is_refused() {
        for (key, value) in [
            ("k".repeat(128), MetadataOverride::Bool(true)),
            (String::new(), MetadataOverride::Bool(true)),
            ("k".to_owned(), MetadataOverride::Str("v".repeat(128))),
            ("k".to_owned(), MetadataOverride::Str("a\0b".to_owned())),
            ("k".to_owned(), MetadataOverride::Float(f64::NAN)),
        ] {
            assert!(matches!(to_c(&[(key, value)]), Err(ModelError::BadOverride { .. })));
        }
    }
}
