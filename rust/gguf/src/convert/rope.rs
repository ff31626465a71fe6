//! Rotary position embeddings: their base, scaling and factors in `config.json`.

use serde_json::Value;

use super::error::ConvertError;
use super::json::Object;

/// Contents of `rope_parameters`, or of the older `rope_scaling` and the keys beside it.
pub(super) struct Rope {
    /// Parameters of the layers with full attention.
    pub(super) global: Object,
    /// Base frequency of the layers with a sliding window, where it differs.
    pub(super) local_base: Option<f64>,
}

impl Rope {
    pub(super) fn of(config: &Object) -> Result<Self, ConvertError> {
        let given = config.child("rope_parameters").or_else(|| config.child("rope_scaling"));
        let mut global = given.unwrap_or_else(|| Object::empty(config.path()));
        let local = global.child("sliding_attention");
        if let Some(inner) = global.child("full_attention") {
            global = inner;
        }
        for (key, sources) in [
            ("rope_theta", &["rope_theta"][..]),
            ("partial_rotary_factor", &["partial_rotary_factor"]),
            ("original_max_position_embeddings", &["original_max_position_embeddings"]),
        ] {
            if let (None, Some((_, value))) = (global.get(key), config.first(sources)) {
                global.set(key, value.clone());
            }
        }
        if let (None, Some(kind)) = (global.get("rope_type"), global.get("type").cloned()) {
            global.set("rope_type", kind);
        }
        let local_base = match local {
            Some(local) => local.number(&["rope_theta"])?,
            None => config.number(&["rope_local_base_freq"])?,
        };
        Ok(Self { global, local_base })
    }

    /// The kind of scaling in lower case; empty if there is none.
    pub(super) fn kind(&self) -> String {
        self.global.text("rope_type").unwrap_or_default().to_ascii_lowercase()
    }

    /// Factors for the frequencies of Llama 3.1 and later, one for each pair of a head's `dim` numbers, as
    /// `_compute_llama3_parameters` of `transformers` computes them; `None` for other kinds.
    pub(super) fn llama3_factors(&self, dim: u32) -> Result<Option<Vec<f32>>, ConvertError> {
        if self.kind() != "llama3" {
            return Ok(None);
        }
        let number = |key, default| self.global.number(&[key]).map(|found| found.unwrap_or(default));
        let base = number("rope_theta", 10_000.0)?;
        let factor = number("factor", 8.0)?;
        let low = number("low_freq_factor", 1.0)?;
        let high = number("high_freq_factor", 4.0)?;
        let context = number("original_max_position_embeddings", 8192.0)?;
        let factors = (0..dim / 2).map(|pair| {
            let exponent = (2 * pair) as f32 / dim as f32;
            // In F32, as the library does; the wavelengths are compared in F64.
            let frequency = 1.0 / (base as f32).powf(exponent);
            let wavelength = (2.0 * std::f64::consts::PI) as f32 / frequency;
            if f64::from(wavelength) < context / high {
                1.0
            } else if f64::from(wavelength) > context / low {
                factor as f32
            } else {
                let smooth = (context as f32 / wavelength - low as f32) / (high - low) as f32;
                1.0 / ((1.0 - smooth) / factor as f32 + smooth)
            }
        });
        Ok(Some(factors.collect()))
    }

    /// The list of factors under `key`, which must have `len` items.
    pub(super) fn factors(&self, key: &str, len: u32) -> Result<Vec<f32>, ConvertError> {
        let value = self.global.get(key).ok_or_else(|| self.global.missing(&[key]))?;
        let numbers: Option<Vec<f32>> = value
            .as_array()
            .map(|items| items.iter().filter_map(Value::as_f64).map(|item| item as f32).collect());
        numbers
            .filter(|numbers| numbers.len() == len as usize)
            .ok_or_else(|| self.global.mistyped(key, value, &format!("a list of `{len}` numbers")))
    }
}
