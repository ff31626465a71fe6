//! Converts Hugging Face folders to GGUF.
//!
//! Reads `config.json`, safetensors files and the tokenizer's files, and writes what the pinned tree's `convert_hf_to_gguf.py` would,
//! a piece of a tensor at a time. Nothing in the folder is executed.

pub(crate) mod architecture;
pub(crate) mod bitnet_file;
pub(crate) mod checkpoint;
mod encode;
mod error;
mod general;
pub(crate) mod hyperparameters;
pub(crate) mod json;
mod model_card;
mod model_name;
mod out_type;
mod rope;
pub(crate) mod tensor_plan;
pub(crate) mod tensors;
mod tokenizer;
mod yaml;

use std::path::Path;

use crate::ggml_type::GgmlType;
use crate::input::Inputs;
use crate::progress::{Progress, go_on};
use crate::writer::GgufWriter;

use architecture::{Architecture, Family};
use checkpoint::Checkpoint;
use hyperparameters::{BLOCK_COUNT, Hyperparameters};
use json::Object;
use rope::Rope;
use tensor_plan::TensorPlan;
use tokenizer::{Tokenizer, TokenizerFiles};

pub use error::ConvertError;
pub use out_type::OutType;
pub use tokenizer::tokenizer_metadata;

/// How a model is converted.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// The type of the matrices.
    pub out_type: OutType,
    /// llama.cpp's name of the pre-tokenizer, which splits text before byte-pair encoding, for folders whose definition is not recognized.
    pub pre_tokenizer: Option<String>,
}

impl ConvertOptions {
    /// Sets the type of the matrices.
    #[must_use]
    pub fn with_out_type(mut self, out_type: OutType) -> Self {
        self.out_type = out_type;
        self
    }

    /// Sets the name of the pre-tokenizer, one of those in `src/llama-vocab.cpp`.
    #[must_use]
    pub fn with_pre_tokenizer(mut self, name: Option<String>) -> Self {
        self.pre_tokenizer = name;
        self
    }
}

/// What was converted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// llama.cpp's name of the architecture.
    pub architecture: String,
    /// The type that most matrices have.
    pub ggml_type: GgmlType,
    /// How many tensors were written.
    pub n_tensors: usize,
    /// How many numbers they have in all.
    pub n_params: u64,
}

/// Converts the model in `folder` to the GGUF file `out`, which appears whole or not at all.
///
/// In place of a folder it takes a GGUF file of Microsoft's BitNet fork: its `I2_S` tensors become `TQ2_0` with their scales kept
/// exactly, so that an unmodified llama.cpp can use them.
///
/// Memory holds the vocabulary and a piece of one tensor. `progress` gets the bytes of tensors written.
///
/// ```no_run
/// use tabagent_gguf::{ConvertOptions, OutType, convert, no_progress};
/// # fn main() -> Result<(), tabagent_gguf::ConvertError> {
/// let options = ConvertOptions::default().with_out_type(OutType::Q8_0);
/// convert("SmolLM2-135M".as_ref(), "smollm2.gguf".as_ref(), &options, &no_progress)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ConvertError::Read`] where a file cannot be read, [`ConvertError::Architecture`] for a model without rules,
/// [`ConvertError::Source`] for files that break one, [`ConvertError::Gguf`] where writing fails or `progress` says stop.
pub fn convert(
    folder: &Path,
    out: &Path,
    options: &ConvertOptions,
    progress: Progress<'_>,
) -> Result<Converted, ConvertError> {
    if folder.is_file() {
        return bitnet_file::rewrite(folder, out, options, progress);
    }
    let mut inputs = Inputs::default();
    inputs.add_path(folder);
    inputs.refuse(out)?;
    let config = config(folder)?;
    let architecture = Architecture::of(&config)?;
    let config = with_defaults(config, architecture);
    refuse_wrong_graph(&config, architecture)?;
    let rope = Rope::of(&config)?;
    let checkpoint = Checkpoint::open(folder, progress)?;
    let file_type = options.out_type.file_type(&checkpoint);
    let files = TokenizerFiles::read(folder)?;
    go_on(progress)?;
    let tokenizer = Tokenizer::read(files, &config, architecture.family, options.pre_tokenizer.as_deref())?;
    go_on(progress)?;
    let plans = tensors::plan(architecture, &config, &checkpoint, tokenizer.len())?;
    let extra = extra_tensors(architecture, &config, &rope)?;
    let n_params = plans.iter().map(TensorPlan::n_elements).sum::<u64>()
        + extra.iter().map(|(_, data)| data.len() as u64).sum::<u64>();
    let n_tensors = plans.len() + extra.len();

    let mut writer = GgufWriter::new()
        .with_inputs(&inputs)
        .set("general.architecture", architecture.name)
        .set("general.type", "model");
    writer = general::add(writer, folder, &config, n_params)?;
    let hyperparameters = Hyperparameters { architecture, config: &config, rope: &rope, folder };
    writer = hyperparameters.add(writer)?;
    writer = writer.set("general.file_type", file_type.id());
    // `GGML_QNT_VERSION` in `ggml/include/ggml.h`.
    writer = writer.set("general.quantization_version", 2_u32);
    writer = tokenizer.add(writer, &config)?;
    for (name, factors) in extra {
        let data: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        writer = writer.add_tensor(name, GgmlType::F32, &[factors.len() as u64], data);
    }
    for plan in plans {
        let (ggml_type, name, dims) = (plan.ggml_type(file_type), plan.name.clone(), plan.dims());
        let path = plan.source.path.clone();
        let data = plan.data(ggml_type).ok_or_else(|| {
            ConvertError::source(
                &path,
                format!("tensor `{name}` has rows that type `{ggml_type}` cannot hold"),
            )
        })?;
        writer = writer.add_tensor(&name, ggml_type, &dims, data);
    }
    writer.write_with(out, progress)?;
    Ok(Converted {
        architecture: architecture.name.to_owned(),
        ggml_type: file_type.default_type(),
        n_tensors,
        n_params,
    })
}

/// The model's `config.json`, with the entries of its text part copied to the top level.
fn config(folder: &Path) -> Result<Object, ConvertError> {
    let path = folder.join("config.json");
    let Some(mut config) = Object::read(&path)? else {
        return Err(ConvertError::source(
            folder,
            "there is no `config.json`; name the folder of a Hugging Face model",
        ));
    };
    config.raise("text_config");
    Ok(config)
}

/// `config` with the library's defaults for the values that it leaves out.
fn with_defaults(mut config: Object, architecture: &Architecture) -> Object {
    for (key, value) in architecture.defaults {
        if config.get(key).is_none() {
            config.set(key, (*value).into());
        }
    }
    config
}

/// Refuses models for which llama.cpp's graph of the architecture would compute another function.
fn refuse_wrong_graph(config: &Object, architecture: &Architecture) -> Result<(), ConvertError> {
    let activation = config.first(&["hidden_act", "hidden_activation"]);
    if let (Family::BitNet, Some((key, value))) = (architecture.family, activation)
        && value.as_str() != Some("silu")
    {
        return Err(config.mistyped(key, value, "`silu`, the only one that llama.cpp computes for `bitnet`"));
    }
    Ok(())
}

/// Tensors of `RoPE` factors that `config.json` holds or implies.
fn extra_tensors(
    architecture: &Architecture,
    config: &Object,
    rope: &Rope,
) -> Result<Vec<(&'static str, Vec<f32>)>, ConvertError> {
    match architecture.family {
        Family::Llama => {
            let factors = rope.llama3_factors(hyperparameters::head_dim(config)?)?;
            Ok(factors.into_iter().map(|factors| ("rope_freqs.weight", factors)).collect())
        }
        Family::Phi3 if !rope.global.items("long_factor").is_empty() => {
            let len = hyperparameters::phi3_rope_dims(config, rope)? / 2;
            Ok(vec![
                ("rope_factors_long.weight", rope.factors("long_factor", len)?),
                ("rope_factors_short.weight", rope.factors("short_factor", len)?),
            ])
        }
        _ => {
            config.need_count(BLOCK_COUNT)?;
            Ok(Vec::new())
        }
    }
}
