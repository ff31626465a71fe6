//! Adapters that llama.cpp applies while it computes, beside a model that stays as it is.

use std::io::{self, Write};
use std::path::Path;

use crate::ggml_type::GgmlType;
use crate::mmap::SharedBytes;
use crate::model::GgufModel;
use crate::reader::ByteOrder;
use crate::text::shown;
use crate::writer::{GgufWriter, TensorData};

use super::adapter::is_looked_up;
use super::error::LoraError;
use super::factor::Factor;
use super::gguf_adapter::INVOCATION_TOKENS;
use super::low_rank::LowRank;
use super::opening;

/// The table in which tokens are looked up. Models without [`OUTPUT`] also multiply with it.
const TOKENS: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

/// An adapter of either form, of which everything was checked that llama.cpp would abort on or pass over in silence: names, shapes, types and
/// ranks against the tensors of the model, and all numbers for being finite.
///
/// What llama.cpp reads is not the adapter's own file but one that [`write_to`](Self::write_to) makes of it.
#[derive(Debug)]
pub struct LoadableAdapter {
    name: String,
    architecture: String,
    alpha: Option<f64>,
    /// The alpha that llama.cpp reads: an F32 that is not 0, which would stand for the rank.
    stored_alpha: Option<f32>,
    rank: u64,
    strength: f64,
    invocation_tokens: Vec<i32>,
    ignored: Vec<String>,
    tensors: Vec<Pair>,
}

/// The two matrices for one tensor of the model.
#[derive(Debug)]
struct Pair {
    name: String,
    a: Matrix,
    b: Matrix,
}

/// A matrix, or one for each expert, as llama.cpp reads it.
#[derive(Debug)]
struct Matrix {
    kind: GgmlType,
    dims: Vec<u64>,
    numbers: Numbers,
    /// How many times the numbers are written: a single matrix may serve for all experts.
    copies: u64,
}

#[derive(Debug)]
enum Numbers {
    Stored(SharedBytes),
    Computed(Vec<f32>),
}

impl LoadableAdapter {
    /// Opens the adapter at `path` for `model`: a GGUF file, a folder of the `peft` library, or the `.safetensors` file in one.
    ///
    /// # Errors
    /// [`LoraError::Read`] where it cannot be read, [`LoraError::Adapter`] where it breaks a rule or is for another model, [`LoraError::Model`]
    /// where the names of Hugging Face are not known for the model, [`LoraError::Gguf`] where the file is damaged.
    pub fn open(path: &Path, model: &GgufModel) -> Result<Self, LoraError> {
        let adapter = opening::open(path, model)?;
        let stored_alpha = adapter.alpha.map(|alpha| alpha as f32).filter(|alpha| alpha.is_normal());
        let (mut rank, mut strength, mut tensors) = (0, 0.0_f64, Vec::new());
        for (name, change) in adapter.changes {
            if let Some(problem) = unused(&name, model) {
                return Err(LoraError::adapter(path, problem));
            }
            let experts = model.tensor(&name).map_or(1, |tensor| tensor.info.shape.dim(2));
            rank = rank.max(change.rank() as u64);
            strength = strength.max(change.strength.abs());
            // What llama.cpp multiplies the product with (`get_scale` in `src/llama-adapter.h`).
            let theirs = stored_alpha.map_or(1.0, |alpha| f64::from(alpha) / change.rank() as f64);
            let pair = Pair::new(name, &change, theirs, experts);
            tensors.push(pair.map_err(|problem| LoraError::adapter(path, problem))?);
        }
        Ok(Self {
            name: adapter.name,
            architecture: model.first().architecture().unwrap_or_default().to_owned(),
            alpha: adapter.alpha,
            stored_alpha,
            rank,
            strength,
            invocation_tokens: adapter.invocation_tokens,
            ignored: adapter.ignored,
            tensors,
        })
    }

    /// The name of the file or folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the product of the matrices is multiplied with, before it is divided by the rank; `None` where it equals the rank.
    pub fn alpha(&self) -> Option<f64> {
        self.alpha
    }

    /// The largest rank of its tensors.
    pub fn rank(&self) -> u64 {
        self.rank
    }

    /// The most that a product of matrices is multiplied with when the adapter's scale is 1.
    pub fn strength(&self) -> f64 {
        self.strength
    }

    /// The tokens from which on it works; empty for an adapter that always works.
    pub fn invocation_tokens(&self) -> &[i32] {
        &self.invocation_tokens
    }

    /// Tensors of the adapter that are passed over: those of norms, and of parts that llama.cpp does not use.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The model's tensors that it changes, in the order of their names.
    pub fn changed(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.iter().map(|pair| pair.name.as_str())
    }

    /// Bytes of all matrices.
    pub fn n_bytes(&self) -> u64 {
        self.tensors.iter().map(|pair| pair.a.n_bytes() + pair.b.n_bytes()).sum()
    }

    /// Writes the GGUF file that llama.cpp reads.
    ///
    /// # Errors
    /// [`LoraError::Gguf`] where the system refuses.
    pub fn write_to(&self, out: &Path) -> Result<(), LoraError> {
        let mut writer = GgufWriter::new()
            .add("general.architecture", self.architecture.as_str())
            .add("general.type", "adapter")
            .add("adapter.type", "lora")
            .add("adapter.lora.alpha", self.stored_alpha.unwrap_or_default());
        if !self.invocation_tokens.is_empty() {
            let tokens: Vec<u32> = self.invocation_tokens.iter().map(|token| token.cast_unsigned()).collect();
            writer = writer.add(INVOCATION_TOKENS, tokens);
        }
        for Pair { name, a, b } in &self.tensors {
            for (mark, matrix) in [("lora_a", a), ("lora_b", b)] {
                writer =
                    writer.add_tensor(&format!("{name}.{mark}"), matrix.kind, &matrix.dims, matrix.data());
            }
        }
        Ok(writer.write_to(out)?)
    }
}

impl Pair {
    /// The matrices of `change` for the tensor called `name`, whose product llama.cpp will multiply with `theirs`; or the problem with them.
    fn new(name: String, change: &LowRank, theirs: f64, experts: u64) -> Result<Self, String> {
        let factor = (change.strength / theirs) as f32;
        let (rows, rank, columns) =
            (change.left.rows() as u64, change.rank() as u64, change.right.columns() as u64);
        #[expect(clippy::float_cmp, reason = "a factor of exactly 1 changes no number")]
        let as_stored = factor == 1.0 && change.permuted_heads.is_none();
        let left = if let Some(stored) = change.left.stored().filter(|_| as_stored) {
            Matrix::stored(stored, change.left.n_matrices, &[rank, rows], experts)
        } else {
            let numbers = |index: usize| {
                let mut numbers = change.left_numbers(index);
                for number in &mut numbers {
                    *number *= factor;
                }
                numbers
            };
            Matrix::computed(numbers, change.left.n_matrices, &[rank, rows], experts)
        };
        let looked_up = is_looked_up(&name);
        let (right, dims) = if looked_up {
            (change.right.clone().transposed(), [rank, columns])
        } else {
            (change.right.clone(), [columns, rank])
        };
        let right = right.stored().map_or_else(
            || Matrix::computed(|index| right.numbers(index), right.n_matrices, &dims, experts),
            |stored| Matrix::stored(stored, right.n_matrices, &dims, experts),
        );
        for (matrix, of) in [(&left, &change.left), (&right, &change.right)] {
            matrix.check(of, factor)?;
        }
        let (a, b) = if looked_up { (left, right) } else { (right, left) };
        Ok(Self { name, a, b })
    }
}

impl Matrix {
    fn stored(found: (GgmlType, &SharedBytes), matrices: usize, dims: &[u64], experts: u64) -> Self {
        let (kind, bytes) = found;
        let (dims, copies) = for_experts(dims, matrices, experts);
        Self { kind, dims, numbers: Numbers::Stored(bytes.clone()), copies }
    }

    fn computed(numbers: impl Fn(usize) -> Vec<f32>, matrices: usize, dims: &[u64], experts: u64) -> Self {
        let (dims, copies) = for_experts(dims, matrices, experts);
        let numbers = Numbers::Computed((0..matrices).flat_map(numbers).collect());
        Self { kind: GgmlType::F32, dims, numbers, copies }
    }

    /// The numbers of stored matrices were checked when they were read.
    fn check(&self, source: &Factor, factor: f32) -> Result<(), String> {
        match &self.numbers {
            Numbers::Computed(numbers) if numbers.iter().any(|number| !number.is_finite()) => Err(format!(
                "tensor `{}` times `{factor}`, which its configuration asks for, is not finite",
                shown(source.name.as_bytes())
            )),
            Numbers::Computed(_) | Numbers::Stored(_) => Ok(()),
        }
    }

    fn n_bytes(&self) -> u64 {
        let once = match &self.numbers {
            Numbers::Stored(bytes) => bytes.len() as u64,
            Numbers::Computed(numbers) => 4 * numbers.len() as u64,
        };
        once * self.copies
    }

    fn data(&self) -> TensorData {
        match &self.numbers {
            Numbers::Stored(bytes) if self.copies == 1 => {
                TensorData::Shared(bytes.clone(), ByteOrder::Little)
            }
            Numbers::Stored(bytes) => {
                let (bytes, copies) = (bytes.clone(), self.copies);
                TensorData::made(self.n_bytes(), move |out| {
                    (0..copies).try_for_each(|_| out.write_all(&bytes))
                })
            }
            Numbers::Computed(numbers) => {
                let (numbers, copies) = (numbers.clone(), self.copies);
                TensorData::made(self.n_bytes(), move |out| {
                    (0..copies).try_for_each(|_| write(&numbers, out))
                })
            }
        }
    }
}

/// The dimensions for a tensor of so many experts, and how many times `matrices` are needed for that.
fn for_experts(dims: &[u64], matrices: usize, experts: u64) -> (Vec<u64>, u64) {
    let mut dims = dims.to_vec();
    if experts > 1 {
        dims.push(experts);
    }
    (dims, if matrices == 1 { experts.max(1) } else { 1 })
}

fn write(numbers: &[f32], out: &mut dyn Write) -> io::Result<()> {
    numbers.chunks(4096).try_for_each(|numbers| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        out.write_all(&bytes)
    })
}

/// Why llama.cpp cannot change the tensor called `name`, whatever the architecture.
fn unused(name: &str, model: &GgufModel) -> Option<String> {
    let tensor = model.tensor(name)?.info;
    if tensor.shape.dims().len() < 2 {
        return Some(format!(
            "it changes `{name}`, which is a vector, but llama.cpp changes only matrices; merge the adapter into the model"
        ));
    }
    // `build_ffn` in `src/llama-graph.cpp` aborts.
    if tensor.ggml_type == GgmlType::NVFP4 {
        return Some(format!(
            "it changes `{name}`, which has type `NVFP4`, but llama.cpp cannot change tensors of that type; use the model in another type"
        ));
    }
    // Its matrices are stored the other way round, and multiplying with them as they are aborts (`build_lora_mm` in `src/llama-graph.cpp`).
    if name == TOKENS && model.tensor(OUTPUT).is_none() {
        return Some(format!(
            "it changes `{TOKENS}`, which is also the output of `{}`, and llama.cpp cannot change a table that is used for both; merge the adapter into the model, or leave the embeddings out of it",
            model.first().file_name()
        ));
    }
    None
}
