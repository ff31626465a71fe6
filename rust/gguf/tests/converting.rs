//! Folders and BitNet files to GGUF, and what is said of those that cannot be converted.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod safetensors;

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::write_safetensors;
use serde_json::{Value as Json, json};
use tabagent_gguf::{
    ConvertError, ConvertOptions, FileType, GgmlType, GgufError, GgufFile, GgufWriter, OutType,
    QuantizeError, QuantizeOptions, Target, Value, check_model, convert, no_progress, quantize_file, quants,
};
use tempfile::TempDir;

const WIDTH: usize = 32;
const VOCAB: usize = 260;

/// A tensor of a checkpoint: name, shape, numbers.
type Tensor = (String, Vec<usize>, Vec<f32>);

/// A folder that is written when it is complete.
struct Folder {
    config: Json,
    tokenizer: Json,
    tensors: Vec<Tensor>,
}

fn counted(n: usize) -> Vec<f32> {
    (0..n).map(|index| (index % 251) as f32 / 64.0 - 1.0).collect()
}

fn byte_characters() -> Vec<char> {
    let is_plain = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut spare = (256..).filter_map(char::from_u32);
    (0..256)
        .map(|byte| if is_plain(&byte) { char::from_u32(byte).unwrap() } else { spare.next().unwrap() })
        .collect()
}

impl Folder {
    /// A Llama of one block, with a byte-level BPE vocabulary as Llama 3's.
    fn llama() -> Self {
        let vocab: serde_json::Map<String, Json> = byte_characters()
            .into_iter()
            .map(String::from)
            .chain(["ab".to_owned()])
            .enumerate()
            .map(|(id, text)| (text, json!(id)))
            .collect();
        let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let tokenizer = json!({
            "added_tokens": [
                {"id": 257, "content": "<|begin|>", "special": true},
                {"id": 258, "content": "<think>", "special": false},
            ],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            ]},
            "model": {"type": "BPE", "ignore_merges": true, "vocab": vocab, "merges": [["a", "b"]]},
        });
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
            "num_hidden_layers": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "vocab_size": VOCAB,
        });
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![VOCAB, WIDTH]),
            ("model.norm.weight".to_owned(), vec![WIDTH]),
        ];
        for (name, shape) in [
            ("input_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![WIDTH, WIDTH]),
            ("self_attn.k_proj", vec![WIDTH / 2, WIDTH]),
            ("self_attn.v_proj", vec![WIDTH / 2, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, WIDTH]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("mlp.gate_proj", vec![64, WIDTH]),
            ("mlp.up_proj", vec![64, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, 64]),
        ] {
            tensors.push((format!("model.layers.0.{name}.weight"), shape));
        }
        let tensors = tensors
            .into_iter()
            .map(|(name, shape)| (name, shape.clone(), counted(shape.iter().product())))
            .collect();
        Self { config, tokenizer, tensors }
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap()
    }

    fn write(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("config.json"), self.config.to_string()).unwrap();
        fs::write(folder.path().join("tokenizer.json"), self.tokenizer.to_string()).unwrap();
        write_safetensors(&folder.path().join("model.safetensors"), &self.tensors);
        folder
    }
}

fn converted(folder: &Path, out_type: OutType) -> GgufFile {
    // A file of its own for each type, because Windows replaces none that is open.
    let out = folder.join(format!("{out_type:?}.gguf"));
    convert(folder, &out, &ConvertOptions::default().with_out_type(out_type), &no_progress).unwrap();
    GgufFile::open(&out).unwrap()
}

fn failure(folder: &Path) -> String {
    let out = folder.join("out.gguf");
    let error = convert(folder, &out, &ConvertOptions::default(), &no_progress).unwrap_err();
    assert!(!out.exists());
    error.to_string()
}

fn numbers(file: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    let mut numbers = vec![0.0; tensor.shape.n_elements() as usize];
    quants::dequantize(tensor.ggml_type, file.tensor_data(tensor), &mut numbers).unwrap();
    numbers
}

fn text(file: &GgufFile, key: &str) -> String {
    match file.metadata().get(key).unwrap() {
        Value::String(text) => text.to_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn folder_becomes_a_model_that_llama_cpp_accepts() {
    let mut folder = Folder::llama();
    folder.config["bos_token_id"] = json!(257);
    let written = folder.write();
    let file = converted(written.path(), OutType::F16);
    check_model(&file).unwrap();
    assert_eq!(text(&file, "tokenizer.ggml.pre"), "llama-bpe");
    assert_eq!(file.metadata().get("tokenizer.ggml.bos_token_id"), Some(Value::U32(257)));
    assert_eq!(file.metadata().get("llama.rope.dimension_count"), Some(Value::U32(8)));
    assert_eq!(file.tensor("blk.0.attn_norm.weight").unwrap().ggml_type, GgmlType::F32);
    assert_eq!(file.tensor("blk.0.ffn_up.weight").unwrap().ggml_type, GgmlType::F16);
    assert_eq!(file.tensor("token_embd.weight").unwrap().shape.dims(), [WIDTH as u64, VOCAB as u64]);
}

#[test]
fn query_rows_are_sorted_into_pairs() {
    let mut folder = Folder::llama();
    let query = folder.tensor("model.layers.0.self_attn.q_proj.weight");
    query.2 = (0..WIDTH * WIDTH).map(|index| (index / WIDTH) as f32).collect();
    let written = folder.write();
    let rows: Vec<f32> = numbers(&converted(written.path(), OutType::F32), "blk.0.attn_q.weight")
        .chunks(WIDTH)
        .map(|row| row[0])
        .collect();
    assert_eq!(rows[..10], [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0, 8.0, 12.0]);
}

#[test]
fn rows_that_no_block_divides_become_half_precision() {
    let written = Folder::llama().write();
    let file = converted(written.path(), OutType::Tq2_0);
    assert_eq!(file.tensor("blk.0.ffn_up.weight").unwrap().ggml_type, GgmlType::F16);
    let file = converted(written.path(), OutType::Q8_0);
    assert_eq!(file.tensor("blk.0.ffn_up.weight").unwrap().ggml_type, GgmlType::Q8_0);
}

#[test]
fn scores_of_rewritten_sentencepiece_models_follow_the_merges() {
    let mut folder = Folder::llama();
    folder.tokenizer["model"]["byte_fallback"] = json!(true);
    let written = folder.write();
    let file = converted(written.path(), OutType::F32);
    assert_eq!(text(&file, "tokenizer.ggml.model"), "llama");
    let Some(Value::Array(scores)) = file.metadata().get("tokenizer.ggml.scores") else { panic!() };
    assert_eq!(scores.get(256), Some(Value::F32(0.0)), "made by the first merge");
    assert_eq!(scores.get(97), Some(Value::F32(-1.0)), "made by none");
}

/// A change that spoils a folder, and what is said of it.
type Spoiled = (fn(&mut Folder), &'static str);

#[test]
fn errors_name_file_key_and_rule() {
    let cases: &[Spoiled] = &[
        (
            |f| f.config["architectures"] = json!(["MambaForCausalLM"]),
            "architecture `MambaForCausalLM` is not supported; supported are `LlamaForCausalLM`",
        ),
        (|f| f.config["architectures"] = json!(null), "key `architectures` is missing"),
        (|f| f.config["hidden_size"] = json!(null), "key `hidden_size` or `n_embd` or `dim` is missing"),
        (
            |f| f.config["hidden_size"] = json!("wide"),
            "key `hidden_size` must be a whole number below 2^32, but is `\"wide\"`",
        ),
        (
            |f| f.config["vocab_size"] = json!(10),
            "key `vocab_size` is `10`, but the tokenizer has ids up to `258`",
        ),
        (|f| f.config["vocab_size"] = json!(4_000_000_000_u32), "more than any known one"),
        (|f| f.config["num_attention_heads"] = json!(5), "rows, which `5` heads of pairs do not divide"),
        (|f| f.config["num_attention_heads"] = json!(0), "heads"),
        (
            |f| f.config["num_hidden_layers"] = json!(0),
            "has no place in architecture `llama` with `0` blocks",
        ),
        (
            |f| f.config["quantization_config"] = json!({"quant_method": "gptq"}),
            "method `gptq`; only `bitnet` can be unpacked",
        ),
        (|f| f.config["rope_scaling"] = json!({"rope_type": "spiral"}), "key `rope_type` must be"),
        (|f| f.tokenizer["model"]["type"] = json!("Unigram"), "key `model.type` is `Unigram`"),
        (|f| f.tokenizer["model"]["merges"] = json!([["a"]]), "key `model.merges` must be a list of pairs"),
        (|f| f.tokenizer["model"]["vocab"]["ab"] = json!(3), "have the same id `3`"),
        (
            |f| f.tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("x+"),
            "llama.cpp has no name for key `pre_tokenizer`",
        ),
        (
            |f| f.tensors.push(("model.layers.0.mystery.weight".to_owned(), vec![1], vec![0.0])),
            "tensor `model.layers.0.mystery.weight` has no place",
        ),
        (
            |f| {
                f.tensors.push((
                    "model.layers.0.self_attn.q_proj.bias".to_owned(),
                    vec![1, 1, 1, 1, 1],
                    vec![0.0],
                ));
            },
            "which GGUF cannot hold",
        ),
    ];
    for (spoil, expected) in cases {
        let mut folder = Folder::llama();
        spoil(&mut folder);
        let found = failure(folder.write().path());
        assert!(found.contains(expected), "expected {expected:?} in {found:?}");
    }
}

#[test]
fn numbers_that_blocks_cannot_hold_leave_no_file() {
    let mut folder = Folder::llama();
    folder.tensor("model.layers.0.mlp.up_proj.weight").2[7] = f32::NAN;
    let written = folder.write();
    let out = written.path().join("out.gguf");
    let options = ConvertOptions::default().with_out_type(OutType::Q8_0);
    let error = convert(written.path(), &out, &options, &no_progress).unwrap_err().to_string();
    assert!(error.contains("mlp.up_proj.weight"), "{error}");
    assert_eq!(fs::read_dir(written.path()).unwrap().count(), 3);
}

#[test]
fn cancelled_conversion_leaves_no_file() {
    let written = Folder::llama().write();
    let out = written.path().join("out.gguf");
    let error =
        convert(written.path(), &out, &ConvertOptions::default(), &|done, _| done < 5000).unwrap_err();
    assert!(matches!(error, ConvertError::Gguf(GgufError::Cancelled)), "{error}");
    assert_eq!(fs::read_dir(written.path()).unwrap().count(), 3);
}

#[test]
fn damaged_checkpoints_are_refused() {
    let folder = Folder::llama().write();
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for len in [0, 7, 8, 100, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(failure(folder.path()).contains("is not a valid safetensors file"), "{len}");
    }
    fs::remove_file(&path).unwrap();
    assert!(failure(folder.path()).contains("there is no `model.safetensors`"));
}

#[test]
fn index_must_agree_with_its_files_and_stay_in_the_folder() {
    let mut folder = Folder::llama();
    let last = folder.tensors.pop().unwrap();
    let written = folder.write();
    let rename = |name: &str| written.path().join(name);
    fs::rename(rename("model.safetensors"), rename("model-00001-of-00002.safetensors")).unwrap();
    write_safetensors(&rename("model-00002-of-00002.safetensors"), std::slice::from_ref(&last));
    let mut weight_map: serde_json::Map<String, Json> = folder
        .tensors
        .iter()
        .map(|tensor| (tensor.0.clone(), json!("model-00001-of-00002.safetensors")))
        .collect();
    weight_map.insert(last.0.clone(), json!("model-00002-of-00002.safetensors"));
    let index = |map: &serde_json::Map<String, Json>| {
        fs::write(rename("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    };
    index(&weight_map);
    assert_eq!(converted(written.path(), OutType::F32).tensors().len(), 11);
    fs::remove_file(rename("F32.gguf")).unwrap();

    for file in ["../model.safetensors", "/etc/passwd", "..", ""] {
        let mut outside = weight_map.clone();
        outside.insert(last.0.clone(), json!(file));
        index(&outside);
        assert!(failure(written.path()).contains("the name of a file in the same folder"), "{file}");
    }
    let mut more = weight_map.clone();
    more.insert("model.extra.weight".to_owned(), json!("model-00001-of-00002.safetensors"));
    index(&more);
    assert!(failure(written.path()).contains("tensor `model.extra.weight` is not in"));
    weight_map.remove("model.norm.weight");
    index(&weight_map);
    assert!(failure(written.path()).contains("tensor `model.norm.weight` of the files is not listed"));
}

/// A GGUF file with an `I2_S` matrix of `rows` × `row` and its weights.
fn bitnet_file(architecture: &str, name: &str, row: usize, rows: usize) -> (TempDir, PathBuf, Vec<f32>) {
    const SCALE: f32 = 0.012_345_679;
    let weights: Vec<u8> = (0..row * rows).map(|index| ((index * 7 + index / 5) % 3) as u8).collect();
    let mut packed = Vec::new();
    for group in weights.chunks(128) {
        packed
            .extend((0..32).map(|p| group[p] << 6 | group[32 + p] << 4 | group[64 + p] << 2 | group[96 + p]));
    }
    packed.extend(SCALE.to_le_bytes());
    packed.extend([0; 28]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("bitnet.gguf");
    GgufWriter::new()
        .add("general.architecture", architecture)
        .add("general.file_type", 40_u32)
        .add(&format!("{architecture}.context_length"), 64_u32)
        .add(&format!("{architecture}.embedding_length"), row as u32)
        .add(&format!("{architecture}.block_count"), 1_u32)
        .add(&format!("{architecture}.feed_forward_length"), row as u32)
        .add(&format!("{architecture}.attention.head_count"), 1_u32)
        .add("tokenizer.ggml.model", "no_vocab")
        .add(&format!("{architecture}.vocab_size"), 8_u32)
        .add_tensor("output_norm.weight", GgmlType::F32, &[4], vec![0; 16])
        .add_tensor(name, GgmlType::I2_S, &[row as u64, rows as u64], packed)
        .write_to(&path)
        .unwrap();
    (folder, path, weights.iter().map(|weight| f32::from(*weight) - 1.0).collect())
}

#[test]
fn bitnet_files_keep_weights_and_scales_exactly() {
    for (row, expected) in [(512, GgmlType::TQ2_0), (384, GgmlType::Q4_0)] {
        let (folder, path, weights) = bitnet_file("bitnet", "blk.0.attn_q.weight", row, 4);
        let out = folder.path().join("out.gguf");
        let done = convert(&path, &out, &ConvertOptions::default(), &no_progress).unwrap();
        assert_eq!((done.n_tensors, done.architecture.as_str()), (3, "bitnet"));
        let file = GgufFile::open(&out).unwrap();
        assert_eq!(file.tensor("blk.0.attn_q.weight").unwrap().ggml_type, expected);
        assert_eq!(numbers(&file, "blk.0.attn_q.weight"), weights, "{row}");
        assert_eq!(numbers(&file, "blk.0.attn_q.scale"), [0.012_345_679]);
        assert_eq!(file.metadata().get("general.file_type"), Some(Value::U32(37)));
    }
}

#[test]
fn bitnet_files_that_cannot_be_kept_exactly_are_refused() {
    let convert = |path: &Path, out_type| {
        let options = ConvertOptions::default().with_out_type(out_type);
        convert(path, &path.with_extension("out"), &options, &no_progress).unwrap_err().to_string()
    };
    let (_folder, path, _) = bitnet_file("bitnet-b1.58", "blk.0.attn_q.weight", 256, 1);
    assert!(convert(&path, OutType::Auto).contains("architecture `bitnet-b1.58` is not supported"));
    let (_folder, path, _) = bitnet_file("bitnet", "token_embd.weight", 256, 1);
    assert!(convert(&path, OutType::Auto).contains("llama.cpp reads no scale for it"));
    let (_folder, path, _) = bitnet_file("bitnet", "blk.0.attn_q.weight", 256, 1);
    assert!(convert(&path, OutType::F16).contains("can be converted to `tq2_0` only"));
    let mut bytes = fs::read(&path).unwrap();
    let data = GgufFile::open(&path).unwrap();
    let start = bytes.len() - data.tensor_data(data.tensor("blk.0.attn_q.weight").unwrap()).len();
    drop(data);
    bytes[start] = 0b11;
    fs::write(&path, &bytes).unwrap();
    assert!(convert(&path, OutType::Auto).contains("a weight that is none of -1, 0 and 1"));
    assert!(!path.with_extension("out").exists());
}

/// A file with a matrix of `before`'s size, 256 × 256, that names its number type `id`, and a norm after it.
fn file_of_type(before: GgmlType, id: u32) -> (TempDir, PathBuf) {
    const NAME: &str = "blk.0.attn_q.weight";
    let n_bytes = before.n_bytes(256 * 256).unwrap() as usize;
    let mut bytes = GgufWriter::new()
        .add("general.architecture", "bitnet")
        .add_tensor(NAME, before, &[256, 256], vec![0; n_bytes])
        .add_tensor("output_norm.weight", GgmlType::F32, &[4], vec![0; 16])
        .to_bytes()
        .unwrap();
    let at = bytes.windows(NAME.len()).position(|window| window == NAME.as_bytes()).unwrap();
    let at = at + NAME.len() + 4 + 2 * 8;
    bytes[at..at + 4].copy_from_slice(&id.to_le_bytes());
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fork.gguf");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn types_of_the_fork_are_told_by_sizes_and_have_a_way_out() {
    let convert = |before, id| {
        let (_folder, path) = file_of_type(before, id);
        let done = convert(&path, &path.with_extension("out"), &ConvertOptions::default(), &no_progress);
        done.map_err(|error| error.to_string())
    };
    assert!(convert(GgmlType::I2_S, 36).is_ok());
    let removed = convert(GgmlType::IQ4_NL, 36).unwrap_err();
    assert!(
        removed.contains("has number type 36 and `36,864` bytes, but as `I2_S` it takes `16,416`"),
        "{removed}"
    );
    for (id, name) in [(37, "I8_S"), (38, "TL1"), (39, "TL2")] {
        let refused = convert(GgmlType::I2_S, id).unwrap_err();
        assert!(refused.contains(&format!("that is `{name}` of Microsoft's BitNet fork")), "{refused}");
        assert!(refused.contains("tabagent convert FOLDER OUT.gguf --outtype tq2_0"), "{refused}");
    }
    let (_folder, path) = file_of_type(GgmlType::MXFP4, 39);
    assert!(GgufFile::open(&path).is_ok());
}

#[test]
fn damaged_bitnet_files_are_errors() {
    let (_folder, path, _) = bitnet_file("bitnet", "blk.0.attn_q.weight", 256, 1);
    let whole = fs::read(&path).unwrap();
    let out = path.with_extension("out");
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = convert(&path, &out, &ConvertOptions::default(), &no_progress).unwrap_err().to_string();
        assert!(!out.exists());
        error
    };
    for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = whole.clone();
        let at = bytes.len() - 32;
        bytes[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        let error = refused(&bytes);
        assert!(error.contains(&format!("has the scale `{scale}` after its weights")), "{error}");
    }
    let error = refused(&whole[..whole.len() - 1]);
    assert!(error.contains("it is cut off"), "{error}");
}

#[test]
fn quantizing_bitnet_files_to_their_own_kind_keeps_them_exactly() {
    let (folder, path, weights) = bitnet_file("bitnet", "blk.0.attn_q.weight", 512, 4);
    let out = folder.path().join("out.gguf");
    let options = QuantizeOptions::new(Target::FileType(FileType::TQ2_0));
    quantize_file(&path, &out, &options, &no_progress).unwrap();
    let file = GgufFile::open(&out).unwrap();
    assert_eq!(file.tensor("blk.0.attn_q.weight").unwrap().ggml_type, GgmlType::TQ2_0);
    assert_eq!(numbers(&file, "blk.0.attn_q.weight"), weights);
    assert_eq!(numbers(&file, "blk.0.attn_q.scale"), [0.012_345_679]);
    // No graph multiplies the scale of another architecture, so that would round.
    let (folder, path, _) = bitnet_file("falcon", "blk.0.attn_q.weight", 512, 4);
    let out = folder.path().join("out.gguf");
    let refused = quantize_file(&path, &out, &options, &no_progress).unwrap_err();
    assert!(matches!(refused, QuantizeError::ForkType { .. }), "{refused}");
    assert!(!out.exists());
}
