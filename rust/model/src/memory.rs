//! Whether a model and its context fit into memory, known before either is loaded, and what to change so that they do.

use serde::{Deserialize, Serialize};
use tabagent_llama::{
    ContextConfig, ContextError, DryModel, FlashAttention, KvType, Library, MemoryNeed, ModelConfig,
    ModelError, ModelOutline, available_memory,
};

use crate::error::Error;

/// What a model and its context would take, and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPrediction {
    /// Bytes needed.
    pub need: MemoryNeed,
    /// Bytes free for it; `None` where the system does not tell, or where a part of the model goes to GPUs.
    pub available: Option<u64>,
    /// Tokens of the context.
    pub context_size: u32,
    /// Number formats of keys and values.
    pub kv_types: (KvType, KvType),
}

impl MemoryPrediction {
    fn of(dry: &DryModel, config: &ContextConfig) -> Result<Self, Error> {
        let train = dry.model().facts().context_train_size;
        let need = dry.need(config)?;
        let on_host = dry.model().facts().layers_on_gpu == 0;
        Ok(Self {
            need,
            available: available_memory(need.mapped).filter(|_| on_host),
            context_size: config.tokens(train)?,
            kv_types: config.kv_types(),
        })
    }

    /// Whether it fits, as far as the system tells.
    pub fn fits(&self) -> bool {
        self.available.is_none_or(|available| self.need.allocated() <= available)
    }
}

/// A model and its context need more memory than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "model and context need about {} MiB (weights {}, context of {} tokens in {} {}, computation {}, vocabulary {}) and {} MiB are free; {hint}",
    mib(self.prediction.need.allocated()), mib(self.prediction.need.weights), self.prediction.context_size, self.kv_names(),
    mib(self.prediction.need.cache), mib(self.prediction.need.compute), mib(self.prediction.need.vocabulary),
    self.prediction.available.unwrap_or(0) >> 20
)]
pub struct MemoryShortage {
    /// What would be needed; of a load that may fit itself, the least.
    pub prediction: MemoryPrediction,
    /// What to do.
    pub hint: &'static str,
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl MemoryShortage {
    fn kv_names(&self) -> String {
        let (keys, values) = self.prediction.kv_types;
        if keys == values { keys.name().to_owned() } else { format!("{} and {}", keys.name(), values.name()) }
    }
}

/// What a load changes so that it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fitted {
    /// What was asked for.
    pub asked: MemoryPrediction,
    /// What is loaded.
    pub taken: MemoryPrediction,
}

/// Context sizes are tried in steps of so many tokens, in which llama.cpp rounds them (`GGML_PAD` in `src/llama-context.cpp`).
const STEP: u32 = 256;
/// Memory that must be left beside a rough upper estimate, in which case nothing is counted exactly.
const AMPLE: u64 = 2 << 30;

/// What the model of `config` and a context would take.
///
/// # Errors
/// As for loading it.
pub(crate) fn predict(
    library: &Library,
    config: &ModelConfig,
    context: &ContextConfig,
) -> Result<MemoryPrediction, Error> {
    MemoryPrediction::of(&DryModel::load(library, config)?, context)
}

/// The context to make: `context`, if it fits beside the model, or where that is allowed (`least` tokens) one with keys and values in `q8_0` or with
/// fewer tokens. Counts exactly only where it may matter.
///
/// # Errors
/// [`Error::Memory`] when it does not fit; as for loading the model.
pub(crate) fn fitted(
    library: &Library,
    config: &mut ModelConfig,
    context: ContextConfig,
    least: Option<u32>,
) -> Result<(ContextConfig, Option<Fitted>), Error> {
    if surely_fits(&config.outline()?, &context) {
        return Ok((context, None));
    }
    let dry = match DryModel::load(library, config) {
        // A build that cannot count; `create_context_with` then estimates the cache.
        Err(ModelError::Unsupported(_)) => return Ok((context, None)),
        dry => dry?,
    };
    let asked = match MemoryPrediction::of(&dry, &context) {
        // A model that only embeds has no context of this kind; those that it has are checked when they are made.
        Err(Error::Context(ContextError::NotGenerative { .. })) => return Ok((context, None)),
        asked => asked?,
    };
    if asked.fits() {
        return Ok((context, None));
    }
    let Some(least) = least else {
        let hint = "lower `context_size`, take a smaller model, or load with `fit=True`";
        return Err(MemoryShortage { prediction: asked, hint }.into());
    };
    let (context, taken) = shrunk(&dry, &context, asked.context_size, least)?;
    Ok((context, Some(Fitted { asked, taken })))
}

/// The largest context that fits, of at least `least` tokens: with keys and values in 8 bits where they have more and the model allows it.
fn shrunk(
    dry: &DryModel,
    context: &ContextConfig,
    asked: u32,
    least: u32,
) -> Result<(ContextConfig, MemoryPrediction), Error> {
    let narrow = narrowed(context);
    let narrow = narrow.filter(|config| dry.need(&config.clone().with_context_size(STEP.min(asked))).is_ok());
    let config = narrow.as_ref().unwrap_or(context);
    let sized = |tokens: u32| config.clone().with_context_size(tokens);
    let whole = sized(asked);
    let prediction = MemoryPrediction::of(dry, &whole)?;
    if prediction.fits() {
        return Ok((whole, prediction));
    }
    let least = least.min(asked);
    let smallest = MemoryPrediction::of(dry, &sized(least))?;
    if !smallest.fits() {
        let hint = "this is the least that `fit` may take; take a smaller model, or lower `min_context_size`";
        return Err(MemoryShortage { prediction: smallest, hint }.into());
    }
    // Steps of `STEP` tokens above `least`: the first fits, the last is known not to.
    let (mut low, mut high, mut best) = (0, (asked - least).div_ceil(STEP), smallest);
    while low + 1 < high {
        let middle = low.midpoint(high);
        let prediction = MemoryPrediction::of(dry, &sized(least + middle * STEP))?;
        if prediction.fits() {
            (low, best) = (middle, prediction);
        } else {
            high = middle;
        }
    }
    Ok((sized(least + low * STEP), best))
}

/// The configuration with keys and values in 8 bits; `None` if they have no more already, or values in blocks cannot be read.
fn narrowed(context: &ContextConfig) -> Option<ContextConfig> {
    let wide = |kind| matches!(kind, KvType::F32 | KvType::F16 | KvType::Bf16);
    let (keys, values) = context.kv_types();
    let narrow = |kind| if wide(kind) { KvType::Q8_0 } else { kind };
    let values_may = context.flash_attention != FlashAttention::Off;
    let types = (narrow(keys), if values_may { narrow(values) } else { values });
    (types != (keys, values)).then(|| ContextConfig {
        kv_type: types.0,
        value_type: Some(types.1),
        ..context.clone()
    })
}

/// Whether a rough upper estimate leaves so much memory that nothing needs to be counted.
fn surely_fits(outline: &ModelOutline, context: &ContextConfig) -> bool {
    let Ok(tokens) = context.tokens(outline.context_train_size) else { return false };
    if outline.layers == 0 {
        return false;
    }
    let rounding = u64::from(STEP).saturating_mul(u64::from(context.max_sequences));
    let tokens = u64::from(tokens).saturating_add(rounding);
    // Numbers of 32 bits, and what is kept about each cell.
    let cell = outline.layers.saturating_mul(outline.cache_row).saturating_mul(4).saturating_add(64);
    let micro_batch = u64::from(context.micro_batch_size.unwrap_or(512).max(context.max_sequences));
    let scores = outline.heads.saturating_add(2).saturating_mul(4).saturating_mul(micro_batch);
    let context = cell.saturating_add(scores).saturating_mul(tokens);
    let upper = outline.file_bytes.saturating_mul(2).saturating_add(context).saturating_add(AMPLE);
    available_memory(outline.file_bytes).is_some_and(|available| upper <= available)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_types_become_narrow_and_others_stay() {
        let types = |keys, values, flash_attention| {
            let config = ContextConfig {
                kv_type: keys,
                value_type: Some(values),
                flash_attention,
                ..ContextConfig::new()
            };
            narrowed(&config).map(|config| config.kv_types())
        };
        let (auto, off) = (FlashAttention::Auto, FlashAttention::Off);
        assert_eq!(types(KvType::F16, KvType::F16, auto), Some((KvType::Q8_0, KvType::Q8_0)));
        assert_eq!(types(KvType::F16, KvType::Q4_0, auto), Some((KvType::Q8_0, KvType::Q4_0)));
        assert_eq!(types(KvType::F32, KvType::Bf16, off), Some((KvType::Q8_0, KvType::Bf16)));
        assert_eq!(types(KvType::Q8_0, KvType::Q4_0, auto), None);
        assert_eq!(types(KvType::Q8_0, KvType::F16, off), None);
    }

    #[test]
    fn only_what_is_far_from_the_limit_is_not_counted() {
        let small = ModelOutline { file_bytes: 1, layers: 1, heads: 1, cache_row: 1, context_train_size: 64 };
        let context = ContextConfig::new().with_context_size(8);
        let ample = available_memory(0).is_some_and(|bytes| bytes > 2 * AMPLE);
        assert_eq!(surely_fits(&small, &context), ample);
        for large in [
            ModelOutline { file_bytes: 1 << 60, ..small },
            ModelOutline { cache_row: 1 << 50, ..small },
            ModelOutline { layers: 0, ..small },
            ModelOutline { heads: u64::MAX, ..small },
        ] {
            assert!(!surely_fits(&large, &context), "{large:?}");
        }
    }

    #[test]
    fn a_shortage_says_what_is_needed_by_kind() {
        let need = MemoryNeed {
            mapped: 100 << 20,
            weights: 40 << 20,
            cache: 30 << 20,
            compute: 20 << 20,
            vocabulary: (8 << 20) + 1,
        };
        let prediction = MemoryPrediction {
            need,
            available: Some(64 << 20),
            context_size: 4096,
            kv_types: (KvType::F16, KvType::Q8_0),
        };
        assert!(!prediction.fits());
        assert!(MemoryPrediction { available: None, ..prediction }.fits());
        assert!(MemoryPrediction { available: Some(100 << 20), ..prediction }.fits());
        let text = MemoryShortage { prediction, hint: "do something" }.to_string();
        assert_eq!(
            text,
            "model and context need about 99 MiB (weights 40, context of 4096 tokens in f16 and q8_0 30, computation 20, vocabulary 9) and \
             64 MiB are free; do something"
        );
    }
}
