//! A tiny model whose logits are known: whoever computes others is not to be used.

use std::io::Write as _;

use tabagent_gguf::{GgmlType, GgufWriter, quants::quantize};
use tabagent_llama::{
    Batch, ContextConfig, Device, Library, Model as LlamaModel, ModelConfig, Placement, TokenId,
};

#[cfg(test)]
mod reference;

/// Tokens of the vocabulary, and numbers of a token's vector.
const VOCABULARY: u64 = 64;
const WIDTH: u64 = 64;
/// Numbers of a layer's inner vector, and layers.
const INNER: u64 = 128;
const LAYERS: u64 = 2;
/// Attention heads, which share one head of keys and values.
const HEADS: u64 = 2;
const EPSILON: f32 = 1e-5;
/// The tokens that are decoded.
const TOKENS: [TokenId; 6] = [1, 7, 42, 3, 63, 20];
/// The logits after the last three of them, as llama.cpp 0.5.0 computes them on an x86-64 CPU; the tests compare them with plain `f32` arithmetic.
const LOGITS: &str = include_str!("tiny_model/logits.txt");
/// By what part of the largest logit others may differ: they sum in another order, and some in 8 or 16 bits.
const TOLERANCE: f32 = 0.05;

/// The tiny model as a file.
pub(super) struct TinyModel {
    file: tempfile::NamedTempFile,
    expected: Vec<f32>,
}

impl TinyModel {
    /// Writes it.
    ///
    /// # Errors
    /// Words that follow on the name of what is proven.
    pub(super) fn new() -> Result<Self, String> {
        let made = || -> Result<_, Box<dyn std::error::Error>> {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(&image()?)?;
            let expected = LOGITS.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            Ok(Self { file, expected })
        };
        made().map_err(|error| format!("cannot be proven: {error}"))
    }

    /// What is wrong with what a library computes on the CPU; `None` if nothing is.
    pub(super) fn fault_of_cpu(&self, library: &Library) -> Option<String> {
        self.fault(logits(library, &self.file, Placement::default(), 0))
    }

    /// What is wrong with what a device computes; `None` if nothing is.
    pub(super) fn fault_of(&self, library: &Library, device: &Device) -> Option<String> {
        let placement = Placement { devices: Some(vec![device.name.clone()]), ..Placement::default() };
        self.fault(logits(library, &self.file, placement, LAYERS as u32 + 1))
    }

    fn fault(&self, found: Result<Vec<f32>, Box<dyn std::error::Error>>) -> Option<String> {
        match found {
            Ok(found) => difference(&self.expected, &found),
            Err(error) => Some(format!("cannot compute: {error}")),
        }
    }
}

/// What is wrong with `found`, in words; `None` if it is `expected` but for rounding.
fn difference(expected: &[f32], found: &[f32]) -> Option<String> {
    let largest = expected.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    let apart =
        expected.iter().zip(found).fold(0.0_f32, |apart, (one, other)| apart.max((one - other).abs()));
    let is_finite = found.iter().all(|logit| logit.is_finite());
    if is_finite && expected.len() == found.len() && apart <= TOLERANCE * largest {
        return None;
    }
    Some(format!("computes logits that differ from the right ones by {apart} of {largest}"))
}

fn logits(
    library: &Library,
    file: &tempfile::NamedTempFile,
    placement: Placement,
    layers: u32,
) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let config = ModelConfig::new(file.path())?.with_placement(placement).with_gpu_layers(layers);
    let model = LlamaModel::load(library, config)?;
    let mut context = model.create_context_with(&ContextConfig {
        threads: Some(1),
        ..ContextConfig::new().with_context_size(32)
    })?;
    // As a prompt, and the last two tokens one by one, as in generation.
    let (prompt, rest) = TOKENS.split_at(TOKENS.len() - 2);
    context.decode(&Batch::prompt(0, 0, prompt))?;
    let mut all = context.logits(prompt.len() - 1)?.to_vec();
    for (index, token) in rest.iter().enumerate() {
        context.decode(&Batch::prompt(0, (prompt.len() + index) as u32, &[*token]))?;
        all.extend_from_slice(context.logits(0)?);
    }
    Ok(all)
}

/// A weight: its name, its shape (numbers of a row first), its type and its data in it.
struct Tensor {
    name: String,
    dims: Vec<u64>,
    kind: GgmlType,
    data: Vec<u8>,
}

/// The model as a GGUF file.
fn image() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut writer = GgufWriter::new()
        .add("general.architecture", "llama")
        .add("tokenizer.ggml.model", "no_vocab")
        .add("llama.attention.layer_norm_rms_epsilon", EPSILON);
    for (key, value) in [
        ("vocab_size", VOCABULARY),
        ("context_length", 64),
        ("embedding_length", WIDTH),
        ("block_count", LAYERS),
        ("feed_forward_length", INNER),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", WIDTH / HEADS),
    ] {
        writer = writer.add(&format!("llama.{key}"), value as u32);
    }
    for tensor in tensors()? {
        writer = writer.add_tensor(&tensor.name, tensor.kind, &tensor.dims, tensor.data);
    }
    Ok(writer.to_bytes()?)
}

/// Random weights, in the formats that most models have.
fn tensors() -> Result<Vec<Tensor>, Box<dyn std::error::Error>> {
    let mut shapes = vec![
        ("token_embd.weight".to_owned(), vec![WIDTH, VOCABULARY], GgmlType::F16),
        ("output_norm.weight".to_owned(), vec![WIDTH], GgmlType::F32),
        ("output.weight".to_owned(), vec![WIDTH, VOCABULARY], GgmlType::Q8_0),
    ];
    for layer in 0..LAYERS {
        for (name, dims, kind) in [
            ("attn_norm", vec![WIDTH], GgmlType::F32),
            ("attn_q", vec![WIDTH, WIDTH], GgmlType::Q8_0),
            ("attn_k", vec![WIDTH, WIDTH / HEADS], GgmlType::Q8_0),
            ("attn_v", vec![WIDTH, WIDTH / HEADS], GgmlType::F16),
            ("attn_output", vec![WIDTH, WIDTH], GgmlType::Q4_0),
            ("ffn_norm", vec![WIDTH], GgmlType::F32),
            ("ffn_gate", vec![WIDTH, INNER], GgmlType::Q4_0),
            ("ffn_up", vec![WIDTH, INNER], GgmlType::Q8_0),
            ("ffn_down", vec![INNER, WIDTH], GgmlType::F16),
        ] {
            shapes.push((format!("blk.{layer}.{name}.weight"), dims, kind));
        }
    }
    let mut numbers = Numbers(1);
    let mut tensors = Vec::new();
    for (name, dims, kind) in shapes {
        let count = dims.iter().product::<u64>() as usize;
        // Weights of norms are about 1, those of matrices as large as makes vectors keep their length.
        let (middle, spread) =
            if dims.len() == 1 { (1.0, 0.2) } else { (0.0, 3.0 / (dims[0] as f32).sqrt()) };
        let values: Vec<f32> = (0..count).map(|_| middle + spread * numbers.next()).collect();
        let mut data = vec![0; kind.n_bytes(count as u64).unwrap_or(0) as usize];
        quantize(kind, &values, dims[0] as usize, None, &mut data)?;
        tensors.push(Tensor { name, dims, kind, data });
    }
    Ok(tensors)
}

/// Numbers from -1 to 1 that are the same every time (xorshift64, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_more_than_rounding() {
        let expected = [1.0, -4.0, 2.0];
        assert_eq!(difference(&expected, &expected), None);
        assert_eq!(difference(&expected, &[1.1, -4.0, 1.9]), None);
        for wrong in [&[1.0, -4.0, 2.5][..], &[f32::NAN, -4.0, 2.0], &[1.0, f32::INFINITY, 2.0], &[1.0, -4.0]]
        {
            let words = difference(&expected, wrong).unwrap();
            assert!(words.starts_with("computes logits that differ from the right ones by "), "{words}");
        }
    }

    #[test]
    fn the_known_logits_are_those_of_plain_arithmetic() {
        let model = TinyModel::new().unwrap();
        assert_eq!(model.expected.len(), 3 * VOCABULARY as usize);
        let spread = model.expected.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
        assert!(spread > 0.5, "the logits say something: {spread}");
        assert_eq!(difference(&model.expected, &reference::logits(&tensors().unwrap())), None);
    }

    #[test]
    fn the_library_computes_them() {
        let Some(path) = tabagent_material::library() else { return };
        let library = Library::open(path).unwrap();
        assert_eq!(TinyModel::new().unwrap().fault_of_cpu(&library), None);
    }
}
