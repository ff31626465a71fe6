//! A tiny but complete model, and ways to spoil it.

#![allow(dead_code, reason = "each test file uses its own part")]

use tabagent_gguf::{GgmlType, GgufFile, GgufWriter, OwnedArray, OwnedValue, check_model};

pub(crate) const WIDTH: u64 = 32;

/// A model as lists that a test may edit before it is written.
pub(crate) struct Model {
    pub(crate) entries: Vec<(String, OwnedValue)>,
    pub(crate) tensors: Vec<(String, GgmlType, Vec<u64>)>,
}

/// Tokens of a SentencePiece vocabulary: three special ones, 256 bytes, a word.
pub(crate) fn sentencepiece_tokens() -> Vec<String> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    tokens.push("▁word".to_owned());
    tokens
}

impl Model {
    /// A model of architecture `llama` that llama.cpp loads.
    pub(crate) fn llama() -> Self {
        let tokens = sentencepiece_tokens();
        let n = tokens.len();
        let mut types = vec![2, 3, 3];
        types.resize(n - 1, 6);
        types.push(1);
        let mut model = Self { entries: Vec::new(), tensors: Vec::new() };
        model.set("general.architecture", "llama");
        model.set("llama.context_length", 64_u32);
        model.set("llama.embedding_length", WIDTH as u32);
        model.set("llama.block_count", 1_u32);
        model.set("llama.feed_forward_length", 32_u32);
        model.set("llama.attention.head_count", 4_u32);
        model.set("llama.attention.head_count_kv", 2_u32);
        model.set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32);
        model.set("llama.rope.dimension_count", 8_u32);
        model.set("tokenizer.ggml.model", "llama");
        model.set("tokenizer.ggml.tokens", tokens);
        model.set("tokenizer.ggml.scores", vec![0.0_f32; n]);
        model.set("tokenizer.ggml.token_type", vec_i32(types));
        for (name, rows) in [
            ("token_embd.weight", n as u64),
            ("blk.0.attn_q.weight", 32),
            ("blk.0.attn_k.weight", 16),
            ("blk.0.attn_v.weight", 16),
            ("blk.0.attn_output.weight", 32),
            ("blk.0.ffn_gate.weight", 32),
            ("blk.0.ffn_up.weight", 32),
            ("blk.0.ffn_down.weight", 32),
        ] {
            model.tensors.push((name.to_owned(), GgmlType::Q8_0, vec![WIDTH, rows]));
        }
        for name in ["output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"] {
            model.tensors.push((name.to_owned(), GgmlType::F32, vec![WIDTH]));
        }
        model
    }

    /// The same with a byte-pair vocabulary.
    pub(crate) fn byte_pair() -> Self {
        let mut model = Self::llama();
        let tokens: Vec<String> = (0..260).map(|id| format!("token{id}")).collect();
        model.set("tokenizer.ggml.model", "gpt2");
        model.set("tokenizer.ggml.tokens", tokens);
        model.set("tokenizer.ggml.merges", vec!["a b", "c d"]);
        model.remove("tokenizer.ggml.scores");
        model.remove("tokenizer.ggml.token_type");
        model
    }

    /// Adds or replaces an entry.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<OwnedValue>) -> &mut Self {
        let value = value.into();
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key.to_owned(), value)),
        }
        self
    }

    /// Removes an entry, which must be there.
    pub(crate) fn remove(&mut self, key: &str) -> &mut Self {
        let before = self.entries.len();
        self.entries.retain(|(known, _)| known != key);
        assert_eq!(self.entries.len() + 1, before, "{key}");
        self
    }

    /// Gives a tensor, which must be there, another type.
    pub(crate) fn retype(&mut self, name: &str, ggml_type: GgmlType) -> &mut Self {
        let tensor = self.tensors.iter_mut().find(|tensor| tensor.0 == name);
        tensor.unwrap().1 = ggml_type;
        self
    }

    pub(crate) fn writer(&self) -> GgufWriter {
        let mut writer = GgufWriter::new();
        for (key, value) in &self.entries {
            writer = writer.add(key, value.clone());
        }
        for (name, ggml_type, dims) in &self.tensors {
            let size = ggml_type.n_bytes(dims.iter().product()).unwrap();
            writer = writer.add_tensor(name, *ggml_type, dims, vec![0; size as usize]);
        }
        writer
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.writer().to_bytes().unwrap()
    }

    pub(crate) fn file(&self) -> GgufFile {
        GgufFile::from_bytes(self.bytes()).unwrap()
    }

    /// The text with which `check_model` refuses the model.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        check_model(&self.file()).unwrap_err().to_string()
    }

    /// Fails unless the model is accepted.
    #[track_caller]
    pub(crate) fn accept(&self) {
        if let Err(error) = check_model(&self.file()) {
            panic!("{error}");
        }
    }
}

pub(crate) fn vec_i32(items: Vec<i32>) -> OwnedValue {
    OwnedValue::Array(OwnedArray::I32(items))
}

/// Writes the records of the format by hand, in any version and byte order.
pub(crate) struct Raw {
    pub(crate) bytes: Vec<u8>,
    pub(crate) big: bool,
    pub(crate) version: u32,
}

impl Raw {
    pub(crate) fn new(version: u32, big: bool, n_tensors: u64, n_entries: u64) -> Self {
        let mut raw = Self { bytes: b"GGUF".to_vec(), big, version };
        raw.u32(version).length(n_tensors).length(n_entries);
        raw
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    /// A count or length: 32 bits in version 1.
    pub(crate) fn length(&mut self, value: u64) -> &mut Self {
        if self.version == 1 { self.u32(value as u32) } else { self.u64(value) }
    }

    pub(crate) fn string(&mut self, text: &[u8]) -> &mut Self {
        self.length(text.len() as u64);
        self.bytes.extend_from_slice(text);
        self
    }

    /// The head of a tensor record.
    pub(crate) fn tensor(&mut self, name: &str, dims: &[u64], type_id: u32, offset: u64) -> &mut Self {
        self.string(name.as_bytes()).u32(dims.len() as u32);
        for &dim in dims {
            self.length(dim);
        }
        self.u32(type_id).u64(offset)
    }

    /// Zeros up to a multiple of `alignment`, then `n` bytes of data.
    pub(crate) fn data(&mut self, alignment: usize, n: usize) -> &mut Self {
        let start = self.bytes.len().next_multiple_of(alignment);
        self.bytes.resize(start + n, 0);
        self
    }

    pub(crate) fn open(&self) -> Result<GgufFile, tabagent_gguf::GgufError> {
        GgufFile::from_bytes(self.bytes.clone())
    }

    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}
