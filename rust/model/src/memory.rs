//! Whether a model and its context fit into memory, known before either is loaded, and what to change so that they do.

use serde::{Deserialize, Serialize};
use tabagent_llama::{
    ContextConfig, ContextError, Device, DeviceNeed, DryModel, FlashAttention, KvType, Library, MemoryNeed,
    ModelConfig, ModelError, ModelOutline, available_memory,
};

use crate::error::Error;

/// What a model and its context would take, and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPrediction {
    /// Bytes needed in the memory of the host.
    pub need: MemoryNeed,
    /// Bytes free for it; `None` where the system does not tell.
    pub available: Option<u64>,
    /// What is needed on each device that the model may use, and what is free there.
    pub devices: Vec<DeviceNeed>,
    /// Layers that go to devices, with the output as one of them.
    pub gpu_layers: u32,
    /// Tokens of the context.
    pub context_size: u32,
    /// Number formats of keys and values.
    pub kv_types: (KvType, KvType),
}

impl MemoryPrediction {
    /// With so many layers on devices; `None` for as many as fit there.
    fn of(dry: &DryModel, config: &ContextConfig, layers: Option<u32>) -> Result<Self, Error> {
        let facts = dry.model().facts();
        let counted = dry.count(config)?;
        let gpu_layers = match layers {
            _ if !dry.model().devices().iter().any(Device::is_gpu) => 0,
            Some(layers) => layers.min(facts.layers.saturating_add(1)),
            None => dry.most_layers(&counted),
        };
        let (need, devices) = dry.shared(&counted, gpu_layers);
        Ok(Self {
            need,
            available: available_memory(need.mapped),
            devices,
            gpu_layers,
            context_size: config.tokens(facts.context_train_size)?,
            kv_types: config.kv_types(),
        })
    }

    /// Whether it fits, as far as the system and the devices tell.
    pub fn fits(&self) -> bool {
        self.available.is_none_or(|available| self.need.allocated() <= available)
            && self.full_device().is_none()
    }

    /// A device that has less free memory than would be needed there.
    fn full_device(&self) -> Option<&DeviceNeed> {
        self.devices.iter().find(|need| need.free > 0 && need.total() > need.free)
    }
}

/// A model and its context need more memory than there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; {hint}", self.needs())]
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
    /// What is needed and what is free, where it is not enough.
    fn needs(&self) -> String {
        let prediction = &self.prediction;
        let context = format!("context of {} tokens in {}", prediction.context_size, self.kv_names());
        if let Some(need) = prediction.full_device() {
            return format!(
                "{} layers of the model need about {} MiB on `{}` (weights {}, {context} {}, computation {}) and {} MiB are free",
                need.layers,
                mib(need.total()),
                need.device,
                mib(need.weights),
                mib(need.cache),
                mib(need.compute),
                need.free >> 20
            );
        }
        let need = &prediction.need;
        format!(
            "model and context need about {} MiB (weights {}, {context} {}, computation {}, vocabulary {}) and {} MiB are free",
            mib(need.allocated()),
            mib(need.weights),
            mib(need.cache),
            mib(need.compute),
            mib(need.vocabulary),
            prediction.available.unwrap_or(0) >> 20
        )
    }

    fn kv_names(&self) -> String {
        let (keys, values) = self.prediction.kv_types;
        if keys == values { keys.name().to_owned() } else { format!("{} and {}", keys.name(), values.name()) }
    }
}

/// What a load changes so that it fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fitted {
    /// What was asked for.
    pub asked: MemoryPrediction,
    /// What is loaded.
    pub taken: MemoryPrediction,
}

/// What a model is loaded with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The context.
    pub(crate) context: ContextConfig,
    /// What was changed so that it fits beside the model.
    pub(crate) fitted: Option<Fitted>,
    /// Layers that go to devices, where fewer than all do.
    pub(crate) gpu_layers: Option<u32>,
    /// Why not all do.
    pub(crate) why_fewer: Option<String>,
}

/// Context sizes are tried in steps of so many tokens, in which llama.cpp rounds them (`GGML_PAD` in `src/llama-context.cpp`).
const STEP: u32 = 256;
/// Memory that must be left beside a rough upper estimate, in which case nothing is counted exactly.
const AMPLE: u64 = 2 << 30;

/// What the model of `config` and a context would take with so many layers on devices; `None` for as many as fit there.
///
/// # Errors
/// As for loading it.
pub(crate) fn predict(
    library: &Library,
    config: &ModelConfig,
    context: &ContextConfig,
    layers: Option<u32>,
) -> Result<MemoryPrediction, Error> {
    MemoryPrediction::of(&DryModel::load(library, config)?, context, layers)
}

/// What to load: so many layers on devices (`None`: as many as fit there, in the last place none) and `context`, if it fits beside the model, or
/// where that is allowed (`least` tokens) one with keys and values in `q8_0` or with fewer tokens. Counts exactly only where it may matter.
///
/// # Errors
/// [`Error::Memory`] when it does not fit; as for loading the model.
pub(crate) fn fitted(
    library: &Library,
    config: &mut ModelConfig,
    context: ContextConfig,
    layers: Option<u32>,
    least: Option<u32>,
) -> Result<Plan, Error> {
    let gpus: Vec<Device> = config.placement().devices(library)?.into_iter().filter(Device::is_gpu).collect();
    let whole = |context| Plan { context, ..Plan::default() };
    if surely_fits(&config.outline()?, &context, if layers == Some(0) { &[] } else { &gpus }) {
        return Ok(whole(context));
    }
    let dry = match DryModel::load(library, config) {
        // A build that cannot count; `create_context_with` then estimates the cache.
        Err(ModelError::Unsupported(_)) => return Ok(whole(context)),
        dry => dry?,
    };
    let asked = match MemoryPrediction::of(&dry, &context, layers) {
        // A model that only embeds has no context of this kind; those that it has are checked when they are made.
        Err(Error::Context(ContextError::NotGenerative { .. })) => return Ok(whole(context)),
        asked => asked?,
    };
    let all = dry.model().facts().layers.saturating_add(1);
    let (context, taken, fitted) = if asked.fits() {
        (context, asked, None)
    } else if let Some(least) = least {
        let (context, taken) = shrunk(&dry, &context, layers, asked.context_size, least)?;
        let fitted = Fitted { asked, taken: taken.clone() };
        (context, taken, Some(fitted))
    } else {
        let hint = "lower `context_size`, take a smaller model, or load with `fit=True`";
        return Err(MemoryShortage { prediction: asked, hint }.into());
    };
    if gpus.is_empty() || layers.is_some() || taken.gpu_layers >= all {
        return Ok(Plan { context, fitted, ..Plan::default() });
    }
    let counted = dry.count(&context)?;
    let (_, needs) = dry.shared(&counted, all);
    let words = needs.iter().filter(|need| !need.fits()).map(|need| {
        let (total, free) = (mib(need.total().saturating_add(need.margin)), need.free >> 20);
        format!("all would need {total} MiB on `{}`, and {free} MiB are free", need.device)
    });
    let why_fewer = words.collect::<Vec<_>>().join("; ");
    Ok(Plan { context, fitted, gpu_layers: Some(taken.gpu_layers), why_fewer: Some(why_fewer) })
}

/// The largest context that fits, of at least `least` tokens: with keys and values in 8 bits where they have more and the model allows it.
fn shrunk(
    dry: &DryModel,
    context: &ContextConfig,
    layers: Option<u32>,
    asked: u32,
    least: u32,
) -> Result<(ContextConfig, MemoryPrediction), Error> {
    let narrow = narrowed(context);
    let narrow = narrow.filter(|config| dry.need(&config.clone().with_context_size(STEP.min(asked))).is_ok());
    let config = narrow.as_ref().unwrap_or(context);
    let sized = |tokens: u32| config.clone().with_context_size(tokens);
    let whole = sized(asked);
    let prediction = MemoryPrediction::of(dry, &whole, layers)?;
    if prediction.fits() {
        return Ok((whole, prediction));
    }
    let least = least.min(asked);
    let smallest = MemoryPrediction::of(dry, &sized(least), layers)?;
    if !smallest.fits() {
        let hint = "this is the least that `fit` may take; take a smaller model, or lower `min_context_size`";
        return Err(MemoryShortage { prediction: smallest, hint }.into());
    }
    // Steps of `STEP` tokens above `least`: the first fits, the last is known not to.
    let (mut low, mut high, mut best) = (0, (asked - least).div_ceil(STEP), smallest);
    while low + 1 < high {
        let middle = low.midpoint(high);
        let prediction = MemoryPrediction::of(dry, &sized(least + middle * STEP), layers)?;
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
fn surely_fits(outline: &ModelOutline, context: &ContextConfig, gpus: &[Device]) -> bool {
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
    // On each of several devices, as none says what it gets.
    gpus.iter().all(|gpu| upper <= gpu.memory_free)
        && available_memory(outline.file_bytes).is_some_and(|available| upper <= available)
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
        assert_eq!(surely_fits(&small, &context, &[]), ample);
        for large in [
            ModelOutline { file_bytes: 1 << 60, ..small },
            ModelOutline { cache_row: 1 << 50, ..small },
            ModelOutline { layers: 0, ..small },
            ModelOutline { heads: u64::MAX, ..small },
        ] {
            assert!(!surely_fits(&large, &context, &[]), "{large:?}");
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
            devices: Vec::new(),
            gpu_layers: 0,
            context_size: 4096,
            kv_types: (KvType::F16, KvType::Q8_0),
        };
        assert!(!prediction.fits());
        assert!(MemoryPrediction { available: None, ..prediction.clone() }.fits());
        let enough = MemoryPrediction { available: Some(100 << 20), ..prediction.clone() };
        assert!(enough.fits());
        let mut device = DeviceNeed {
            device: "cuda:0".to_owned(),
            layers: 12,
            weights: 40 << 20,
            cache: 30 << 20,
            compute: 20 << 20,
            free: 64 << 20,
            margin: 8 << 20,
        };
        let full = MemoryPrediction { devices: vec![device.clone()], ..enough.clone() };
        assert!(!full.fits());
        let text = MemoryShortage { prediction: full, hint: "do something" }.to_string();
        assert_eq!(
            text,
            "12 layers of the model need about 90 MiB on `cuda:0` (weights 40, context of 4096 tokens in f16 and q8_0 30, computation 20) and \
             64 MiB are free; do something"
        );
        // One that does not tell how much is free is not in the way.
        device.free = 0;
        assert!(MemoryPrediction { devices: vec![device], ..enough }.fits());
        let text = MemoryShortage { prediction, hint: "do something" }.to_string();
        assert_eq!(
            text,
            "model and context need about 99 MiB (weights 40, context of 4096 tokens in f16 and q8_0 30, computation 20, vocabulary 9) and \
             64 MiB are free; do something"
        );
    }
}
