//! Converts adapters of the `peft` library to GGUF.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::ggml_type::GgmlType;
use crate::input::Inputs;
use crate::progress::Progress;
use crate::quants;
use crate::writer::{GgufWriter, TensorData};

use super::adapter::is_looked_up;
use super::base::Names;
use super::error::LoraError;
use super::out_type::ADAPTER_TYPES;
use super::peft;
use super::peft_config::{CONFIG, PeftConfig};

/// What was converted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertedAdapter {
    /// llama.cpp's name of the model's architecture.
    pub architecture: String,
    /// How many tensors were written, two for each tensor of the model that the adapter changes.
    pub n_tensors: usize,
    /// How many numbers they have in all.
    pub n_params: u64,
    /// Tensors that were passed over: those of norms and of parts that llama.cpp does not use.
    pub ignored: Vec<String>,
}

/// True if `path` is the folder of an adapter of the `peft` library.
pub fn is_adapter_folder(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// Converts the adapter in `folder` to the GGUF file `out`, as `convert_lora_to_gguf.py` of the pinned tree does: matrices of F32 with the
/// names and the order of rows of the model's converted tensors.
///
/// `base` is the Hugging Face folder of the model; only its `config.json` is read. Without it, the folder is looked for where the adapter says that
/// its model is. Unlike that script, this function keeps strengths that differ between modules, or that go with the root of the rank: GGUF has one
/// alpha for all modules, so that the rest is multiplied into the matrices.
///
/// # Errors
/// As for [`merge_lora`](super::merge_lora).
pub fn convert_adapter(
    folder: &Path,
    base: Option<&Path>,
    out: &Path,
    out_type: GgmlType,
    progress: Progress<'_>,
) -> Result<ConvertedAdapter, LoraError> {
    if !ADAPTER_TYPES.contains(&out_type) {
        return Err(LoraError::OutType { found: out_type });
    }
    let config = PeftConfig::read(folder)?;
    let base = base_folder(folder, base, &config)?;
    let mut inputs = Inputs::default();
    inputs.add_path(folder);
    inputs.add_path(&base);
    inputs.refuse(out)?;
    let names = Names::of_folder(&base)?;
    let adapter = peft::open(folder, &names)?;
    let alpha = config.alpha() as f32;
    let mut writer = GgufWriter::new()
        .with_inputs(&inputs)
        .add("general.architecture", names.architecture.name)
        .add("general.type", "adapter")
        .add("adapter.type", "lora")
        .add("general.name", adapter.name.as_str())
        .add("adapter.lora.alpha", alpha)
        // `GGML_QNT_VERSION` in `ggml/include/ggml.h`.
        .add("general.quantization_version", 2_u32);
    let (n_tensors, mut n_params) = (2 * adapter.changes.len(), 0);
    for (name, change) in adapter.changes {
        if change.left.n_matrices.max(change.right.n_matrices) > 1 {
            let problem = format!(
                "tensor `{}` is for several experts, which cannot be converted yet",
                change.right.name
            );
            return Err(LoraError::adapter(folder, problem));
        }
        // What a reader multiplies the product with.
        let expected = f64::from(alpha) / change.rank() as f64;
        let factor = (change.strength / expected) as f32;
        let looked_up = is_looked_up(&name);
        let (rows, rank, columns) =
            (change.left.rows() as u64, change.rank() as u64, change.right.columns() as u64);
        n_params += rank * (rows + columns);
        let second = change.clone();
        let left = move |out: &mut dyn Write| {
            let mut numbers = change.left_numbers(0);
            for number in &mut numbers {
                *number *= factor;
            }
            write(&numbers, out_type, out)
        };
        let right = move |out: &mut dyn Write| {
            let factor = second.right.clone();
            write(&if looked_up { factor.transposed() } else { factor }.numbers(0), out_type, out)
        };
        let n_bytes = |n: u64| out_type.n_bytes(n).unwrap_or_default();
        let left = TensorData::made(n_bytes(rows * rank), left);
        let right = TensorData::made(n_bytes(rank * columns), right);
        let (name_a, name_b) = (format!("{name}.lora_a"), format!("{name}.lora_b"));
        writer = if looked_up {
            writer.add_tensor(&name_a, out_type, &[rank, rows], left).add_tensor(
                &name_b,
                out_type,
                &[rank, columns],
                right,
            )
        } else {
            writer.add_tensor(&name_a, out_type, &[columns, rank], right).add_tensor(
                &name_b,
                out_type,
                &[rank, rows],
                left,
            )
        };
    }
    writer.write_with(out, progress)?;
    Ok(ConvertedAdapter {
        architecture: names.architecture.name.to_owned(),
        n_tensors,
        n_params,
        ignored: adapter.ignored,
    })
}

/// The folder of the model that the adapter is for.
fn base_folder(folder: &Path, base: Option<&Path>, config: &PeftConfig) -> Result<PathBuf, LoraError> {
    if let Some(base) = base {
        return Ok(base.to_owned());
    }
    let named = config.base_model().unwrap_or_default();
    // The path as given, then relative to the adapter's folder.
    let found = [PathBuf::from(named), folder.join(named)]
        .into_iter()
        .find(|path| path.join("config.json").is_file());
    found.filter(|_| !named.is_empty()).ok_or_else(|| {
        let problem = format!("its model `{named}` is no folder here; give the folder of the model, of which `config.json` is read");
        LoraError::adapter(folder, problem)
    })
}

fn write(numbers: &[f32], kind: GgmlType, out: &mut dyn Write) -> io::Result<()> {
    let mut bytes = vec![0; kind.n_bytes(numbers.len() as u64).unwrap_or_default() as usize];
    quants::quantize_parallel(kind, numbers, numbers.len(), None, &mut bytes).map_err(io::Error::other)?;
    out.write_all(&bytes)
}
