//! Options of a context's memory and attention, which the decode thread's context and others share.

use tabagent_llama::{ContextConfig, ContextError, FlashAttention, KvType};

use crate::error::Error;
use crate::value::{Fields, OptionError, Value, text};

/// How a context keeps keys and values, and how it reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Number formats of keys and values.
    pub kv_types: (KvType, KvType),
    /// Fused attention.
    pub flash_attention: FlashAttention,
    /// Keep what sliding-window layers would forget.
    pub full_sliding_window: bool,
    /// All sequences share one cache; otherwise each has its own part.
    pub unified: bool,
    /// Keep the cache of layers on a GPU there.
    pub offload_kv: bool,
    /// Let GPUs compute with weights in the host's memory.
    pub offload_ops: bool,
}

impl Default for CacheOptions {
    fn default() -> Self {
        let config = ContextConfig::default();
        Self {
            kv_types: config.kv_types(),
            flash_attention: config.flash_attention,
            full_sliding_window: config.full_sliding_window,
            unified: config.unified_cache,
            offload_kv: config.offload_cache,
            offload_ops: config.offload_operations,
        }
    }
}

impl CacheOptions {
    /// Reads the options `kv_type` (a name, or two: of keys and of values), `flash_attention`, `full_sliding_window`, `kv_unified`, `offload_kv` and
    /// `offload_ops`.
    ///
    /// # Errors
    /// [`Error::Option`] names the option that has a wrong type; [`Error::Context`] for an unknown `kv_type`.
    pub(crate) fn read(given: &mut Fields) -> Result<Self, Error> {
        const FLASH_ATTENTION: [(&str, FlashAttention); 3] =
            [("auto", FlashAttention::Auto), ("on", FlashAttention::On), ("off", FlashAttention::Off)];
        let default = Self::default();
        Ok(Self {
            kv_types: given.take("kv_type").map_or(Ok(default.kv_types), kv_types)?,
            flash_attention: given
                .named("flash_attention", &FLASH_ATTENTION)?
                .unwrap_or(default.flash_attention),
            full_sliding_window: given.flag("full_sliding_window")?.unwrap_or(default.full_sliding_window),
            unified: given.flag("kv_unified")?.unwrap_or(default.unified),
            offload_kv: given.flag("offload_kv")?.unwrap_or(default.offload_kv),
            offload_ops: given.flag("offload_ops")?.unwrap_or(default.offload_ops),
        })
    }

    /// The configuration with these options in it.
    pub(crate) fn set(self, config: &ContextConfig) -> ContextConfig {
        let (keys, values) = self.kv_types;
        ContextConfig {
            kv_type: keys,
            value_type: Some(values),
            flash_attention: self.flash_attention,
            full_sliding_window: self.full_sliding_window,
            unified_cache: self.unified,
            offload_cache: self.offload_kv,
            offload_operations: self.offload_ops,
            ..config.clone()
        }
    }
}

fn kv_types(value: Value) -> Result<(KvType, KvType), Error> {
    let parse = |value: Value| -> Result<KvType, Error> {
        Ok(text("kv_type", value)?.parse::<KvType>().map_err(ContextError::from)?)
    };
    match value {
        Value::List(items) => match <[Value; 2]>::try_from(items) {
            Ok([keys, values]) => Ok((parse(keys)?, parse(values)?)),
            Err(items) => {
                let range = "one type, or two: that of keys and that of values";
                Err(OptionError::out_of_range("kv_type", range, &format!("{} types", items.len())).into())
            }
        },
        one => {
            let kind = parse(one)?;
            Ok((kind, kind))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: serde_json::Value) -> Result<CacheOptions, String> {
        let mut given = Fields::new(json.into(), "options").unwrap();
        CacheOptions::read(&mut given).map_err(|error| error.to_string())
    }

    #[test]
    fn one_type_is_for_both_and_two_are_keys_and_values() {
        let types = |json| read(json).map(|options| options.kv_types);
        assert_eq!(types(json!({})), Ok((KvType::F16, KvType::F16)));
        assert_eq!(types(json!({"kv_type": "q8_0"})), Ok((KvType::Q8_0, KvType::Q8_0)));
        assert_eq!(types(json!({"kv_type": ["q8_0", "f16"]})), Ok((KvType::Q8_0, KvType::F16)));
        let text = types(json!({"kv_type": ["q8_0"]})).unwrap_err();
        assert_eq!(
            text,
            "`kv_type` must be one type, or two: that of keys and that of values, got `1 types`"
        );
        assert!(types(json!({"kv_type": ["q8_0", "i8"]})).unwrap_err().starts_with("unknown `kv_type` `i8`"));
        assert_eq!(types(json!({"kv_type": 8})).unwrap_err(), "`kv_type` must be a text, got `int`");
    }

    #[test]
    fn options_reach_the_configuration() {
        let options = read(json!({
            "kv_type": ["f32", "bf16"], "flash_attention": "on", "full_sliding_window": true, "kv_unified": false, "offload_kv": false,
            "offload_ops": false
        }))
        .unwrap();
        let config = options.set(&ContextConfig::new().with_context_size(9));
        let expected = ContextConfig {
            kv_type: KvType::F32,
            value_type: Some(KvType::Bf16),
            flash_attention: FlashAttention::On,
            full_sliding_window: true,
            unified_cache: false,
            offload_cache: false,
            offload_operations: false,
            ..ContextConfig::new().with_context_size(9)
        };
        assert_eq!(config, expected);
        let kept = CacheOptions::default().set(&ContextConfig::new());
        assert_eq!(kept, ContextConfig { value_type: Some(KvType::F16), ..ContextConfig::new() });
    }
}
