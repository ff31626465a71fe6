//! Tiny random models of the architectures, written with the shapes that llama.cpp's loader asks for.

use std::path::{Path, PathBuf};

use tabagent_gguf::{GgmlType, GgufWriter, OwnedValue, quants};

pub(crate) const WIDTH: u64 = 64;
pub(crate) const HEADS: u64 = 4;
pub(crate) const KV_HEADS: u64 = 2;
pub(crate) const HEAD: u64 = WIDTH / HEADS;
pub(crate) const FEED: u64 = 96;
pub(crate) const EXPERTS: u64 = 4;

/// The tokens of the vocabulary: three special ones, the bytes, and four more.
pub(crate) const N_VOCAB: u64 = 3 + 256 + 4;

/// A model in the making.
#[derive(Clone)]
pub(crate) struct Tiny {
    architecture: &'static str,
    n_layers: u32,
    kv_heads: u64,
    keys: Vec<(String, OwnedValue)>,
    /// Tensors of each layer, with shapes in ggml's order.
    layer: Vec<(&'static str, Vec<u64>)>,
    /// Tensors of the model.
    outer: Vec<(&'static str, Vec<u64>)>,
    ggml_type: GgmlType,
}

impl Tiny {
    /// Metadata and tensors of a Llama-like model of this architecture.
    pub(crate) fn new(architecture: &'static str) -> Self {
        let kv = KV_HEADS * HEAD;
        let mut tiny = Self {
            architecture,
            n_layers: 3,
            kv_heads: KV_HEADS,
            keys: Vec::new(),
            layer: vec![
                ("attn_norm.weight", vec![WIDTH]),
                ("attn_q.weight", vec![WIDTH, WIDTH]),
                ("attn_k.weight", vec![WIDTH, kv]),
                ("attn_v.weight", vec![WIDTH, kv]),
                ("attn_output.weight", vec![WIDTH, WIDTH]),
                ("ffn_norm.weight", vec![WIDTH]),
                ("ffn_gate.weight", vec![WIDTH, FEED]),
                ("ffn_up.weight", vec![WIDTH, FEED]),
                ("ffn_down.weight", vec![FEED, WIDTH]),
            ],
            outer: vec![
                ("token_embd.weight", vec![WIDTH, N_VOCAB]),
                ("output_norm.weight", vec![WIDTH]),
                ("output.weight", vec![WIDTH, N_VOCAB]),
            ],
            ggml_type: GgmlType::F32,
        };
        tiny.keys.push(("general.architecture".to_owned(), architecture.into()));
        tiny.number("context_length", 256)
            .number("embedding_length", WIDTH as u32)
            .number("feed_forward_length", FEED as u32)
            .number("attention.head_count", HEADS as u32)
            .float("attention.layer_norm_rms_epsilon", 1e-5)
            .float("attention.layer_norm_epsilon", 1e-5)
    }

    pub(crate) fn key(mut self, name: &str, value: impl Into<OwnedValue>) -> Self {
        let name = format!("{}.{name}", self.architecture);
        self.keys.retain(|(known, _)| *known != name);
        self.keys.push((name, value.into()));
        self
    }

    pub(crate) fn without_key(mut self, name: &str) -> Self {
        let name = format!("{}.{name}", self.architecture);
        self.keys.retain(|(known, _)| *known != name);
        self
    }

    pub(crate) fn number(self, name: &str, value: u32) -> Self {
        self.key(name, value)
    }

    pub(crate) fn float(self, name: &str, value: f32) -> Self {
        self.key(name, value)
    }

    pub(crate) fn layers(mut self, n: u32) -> Self {
        self.n_layers = n;
        self
    }

    pub(crate) fn of_type(mut self, ggml_type: GgmlType) -> Self {
        self.ggml_type = ggml_type;
        self
    }

    /// Another number of key-value heads.
    pub(crate) fn kv_heads(mut self, n: u64) -> Self {
        self.kv_heads = n;
        self.tensor("attn_k.weight", &[WIDTH, n * HEAD]).tensor("attn_v.weight", &[WIDTH, n * HEAD])
    }

    /// Another size of heads than the row divided by their number.
    pub(crate) fn head(self, head: u64) -> Self {
        let kv = self.kv_heads * head;
        self.number("attention.key_length", head as u32)
            .number("attention.value_length", head as u32)
            .tensor("attn_q.weight", &[WIDTH, HEADS * head])
            .tensor("attn_k.weight", &[WIDTH, kv])
            .tensor("attn_v.weight", &[WIDTH, kv])
            .tensor("attn_output.weight", &[HEADS * head, WIDTH])
    }

    /// A tensor of each layer, in place of one with its name.
    pub(crate) fn tensor(mut self, name: &'static str, shape: &[u64]) -> Self {
        self = self.without(&[name]);
        self.layer.push((name, shape.to_vec()));
        self
    }

    pub(crate) fn outer(mut self, name: &'static str, shape: &[u64]) -> Self {
        self.outer.retain(|(known, _)| *known != name);
        self.outer.push((name, shape.to_vec()));
        self
    }

    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.layer.retain(|(known, _)| !names.contains(known));
        self
    }

    /// Token embeddings in place of an output matrix.
    pub(crate) fn tied(mut self) -> Self {
        self.outer.retain(|(known, _)| *known != "output.weight");
        self
    }

    pub(crate) fn norm_biases(self) -> Self {
        let has_second = self.layer.iter().any(|(name, _)| *name == "ffn_norm.weight");
        let tiny = self.outer("output_norm.bias", &[WIDTH]).tensor("attn_norm.bias", &[WIDTH]);
        if has_second { tiny.tensor("ffn_norm.bias", &[WIDTH]) } else { tiny }
    }

    pub(crate) fn qkv_biases(self) -> Self {
        let kv = self.kv_heads * HEAD;
        self.tensor("attn_q.bias", &[WIDTH]).tensor("attn_k.bias", &[kv]).tensor("attn_v.bias", &[kv])
    }

    pub(crate) fn fused_qkv(self) -> Self {
        let rows = WIDTH + 2 * self.kv_heads * HEAD;
        self.without(&["attn_q.weight", "attn_k.weight", "attn_v.weight"])
            .tensor("attn_qkv.weight", &[WIDTH, rows])
    }

    pub(crate) fn norms_after(self) -> Self {
        self.tensor("post_attention_norm.weight", &[WIDTH]).tensor("post_ffw_norm.weight", &[WIDTH])
    }

    pub(crate) fn experts(self, feed: u64) -> Self {
        self.without(&["ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"])
            .number("expert_count", EXPERTS as u32)
            .number("expert_used_count", 2)
            .tensor("ffn_gate_inp.weight", &[WIDTH, EXPERTS])
            .tensor("ffn_gate_exps.weight", &[WIDTH, feed, EXPERTS])
            .tensor("ffn_up_exps.weight", &[WIDTH, feed, EXPERTS])
            .tensor("ffn_down_exps.weight", &[feed, WIDTH, EXPERTS])
    }

    /// The file's bytes; weights follow from `seed`.
    pub(crate) fn to_bytes(&self, seed: u64) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        for (key, value) in &self.keys {
            writer = writer.add(key, value.clone());
        }
        let own = |name: &str| format!("{}.{name}", self.architecture);
        writer = writer
            .add(&own("block_count"), self.n_layers)
            .add(&own("attention.head_count_kv"), self.kv_heads as u32)
            .add(&own("vocab_size"), N_VOCAB as u32);
        writer = with_vocabulary(writer);
        let mut random = Random(seed + 1);
        let layers = (0..self.n_layers).flat_map(|layer| {
            self.layer.iter().map(move |(name, shape)| (format!("blk.{layer}.{name}"), shape))
        });
        let outer = self.outer.iter().map(|(name, shape)| ((*name).to_owned(), shape));
        for (name, shape) in outer.chain(layers) {
            let numbers = random.tensor(&name, shape);
            let is_matrix = shape.len() > 1 && !name.contains("norm") && !name.contains("position");
            let ggml_type = if is_matrix { self.ggml_type } else { GgmlType::F32 };
            let data = encode(ggml_type, &numbers, shape[0] as usize);
            writer = writer.add_tensor(&name, ggml_type, shape, data);
        }
        writer.to_bytes().unwrap()
    }

    /// Writes the file into a folder.
    pub(crate) fn write(&self, folder: &Path, seed: u64) -> PathBuf {
        let path = folder.join(format!("{}-{seed}.gguf", self.architecture));
        std::fs::write(&path, self.to_bytes(seed)).unwrap();
        path
    }
}

fn encode(ggml_type: GgmlType, numbers: &[f32], n_cols: usize) -> Vec<u8> {
    if ggml_type == GgmlType::F32 {
        return numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    }
    let n_bytes = ggml_type.n_bytes(numbers.len() as u64).unwrap() as usize;
    let mut bytes = vec![0; n_bytes];
    quants::quantize(ggml_type, numbers, n_cols, None, &mut bytes).unwrap();
    bytes
}

/// The vocabulary of `tests/support/tiny_models.py`: SentencePiece with bytes.
fn with_vocabulary(writer: GgufWriter) -> GgufWriter {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "▁a", "ab"].map(str::to_owned));
    assert_eq!(tokens.len() as u64, N_VOCAB);
    let mut types = vec![2_i32, 3, 3];
    types.extend([6; 256]);
    types.extend([1; 4]);
    let mut scores = vec![0.0_f32; 259];
    scores.extend([-1.0, -2.0, -3.0, -4.0]);
    writer
        .add("tokenizer.ggml.model", "llama")
        .add("tokenizer.ggml.tokens", tokens)
        .add("tokenizer.ggml.token_type", types)
        .add("tokenizer.ggml.scores", scores)
        .add("tokenizer.ggml.bos_token_id", 1_u32)
        .add("tokenizer.ggml.eos_token_id", 2_u32)
        .add("tokenizer.ggml.unknown_token_id", 0_u32)
        .add("tokenizer.ggml.add_bos_token", true)
}

/// A sequence of numbers that looks random.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number from -1 to 1.
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// So many tokens of the vocabulary.
    pub(crate) fn tokens(&mut self, n: usize) -> Vec<i32> {
        (0..n).map(|_| 3 + ((self.next() + 1.0) * 130.0) as i32).collect()
    }

    /// Weights of the size that keeps rows at their size; weights of norms around 1.
    fn tensor(&mut self, name: &str, shape: &[u64]) -> Vec<f32> {
        let n = shape.iter().product::<u64>();
        (0..n)
            .map(|_| {
                let number = self.next();
                match name {
                    _ if name.contains("factors") || name.contains("freqs") => 1.5 + number * 0.5,
                    _ if name.contains("norm") && name.ends_with("weight") => 1.0 + number * 0.3,
                    _ if name.ends_with("bias") => number * 0.3,
                    _ if name.ends_with("scale") => 1.2,
                    _ if name.contains("embd") => number,
                    _ => number * 2.0 / (shape[0] as f32).sqrt(),
                }
            })
            .collect()
    }
}
