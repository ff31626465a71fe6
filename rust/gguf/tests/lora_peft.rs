//! Adapters of the `peft` library merged into models and converted, and hostile ones.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod lora;
mod safetensors;

use std::fs;
use std::path::Path;

use lora::*;
use proptest::prelude::*;
use safetensors::write_safetensors;
use serde_json::{Value as Json, json};
use tabagent_gguf::{
    GgmlType, GgufFile, GgufModel, LoraOptions, convert_adapter, is_adapter_folder, no_progress,
};

/// A tensor of a checkpoint: name, shape (rows first), numbers.
type Tensor = (String, Vec<u64>, Vec<f32>);

const Q: &str = "model.layers.0.self_attn.q_proj";

/// A PEFT adapter of queries, values and embeddings.
struct Peft {
    config: Json,
    tensors: Vec<Tensor>,
}

impl Peft {
    fn new() -> Self {
        let config = json!({
            "peft_type": "LORA", "r": RANK, "lora_alpha": 8, "bias": "none", "use_dora": false, "fan_in_fan_out": false,
            "modules_to_save": null, "rank_pattern": {}, "alpha_pattern": {}, "base_model_name_or_path": "none/here",
        });
        let mut tensors = Vec::new();
        for (module, end, a, b) in [
            (Q, ".weight", vec![RANK, WIDTH], vec![WIDTH, RANK]),
            ("model.layers.0.self_attn.v_proj", ".weight", vec![RANK, WIDTH], vec![WIDTH / 2, RANK]),
            ("model.embed_tokens", "", vec![RANK, VOCAB], vec![WIDTH, RANK]),
        ] {
            let kind = if end.is_empty() { "embedding_" } else { "" };
            for (letter, shape) in [("A", a), ("B", b)] {
                let numbers = noise(shape.iter().product(), tensors.len() as u64 + 50);
                tensors.push((format!("base_model.model.{module}.lora_{kind}{letter}{end}"), shape, numbers));
            }
        }
        Self { config, tensors }
    }

    fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        write_safetensors(&folder.join("adapter_model.safetensors"), &self.tensors);
    }

    fn numbers(&self, end: &str) -> &[f32] {
        &self.tensors.iter().find(|tensor| tensor.0.ends_with(end)).unwrap().2
    }

    /// The error of merging it.
    fn refusal(&self) -> String {
        let bench = Bench::new(&model(GgmlType::F32), &[]);
        self.write(&bench.path("peft"));
        bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap_err().to_string()
    }

    /// What `B · A` times `strength` adds to the queries: rows of heads of 16 in pairs, which the adapter has as halves.
    fn query_change(&self, strength: f64) -> Vec<f64> {
        let (a, b) = (self.numbers("q_proj.lora_A.weight"), self.numbers("q_proj.lora_B.weight"));
        let (width, rank, head) = (WIDTH as usize, a.len() / WIDTH as usize, 16);
        let mut change = Vec::new();
        for row in 0..width {
            let within = row % head;
            let from = row / head * head + within % 2 * (head / 2) + within / 2;
            for column in 0..width {
                let product: f64 =
                    (0..rank).map(|k| f64::from(b[from * rank + k]) * f64::from(a[k * width + column])).sum();
                change.push(strength * product);
            }
        }
        change
    }
}

fn sums(base: &[f32], change: &[f64]) -> Vec<f64> {
    base.iter().zip(change).map(|(base, change)| f64::from(*base) + change).collect()
}

#[test]
fn peft_adapters_are_named_and_sorted_as_the_model() {
    let peft = Peft::new();
    let bench = Bench::new(&model(GgmlType::F32), &[]);
    peft.write(&bench.path("peft"));
    let merged = bench.merge(&[("peft", 0.5)], &LoraOptions::default()).unwrap();
    assert_eq!(merged.n_changed, 3);
    let (base, out) = (bench.open("base.gguf"), bench.open("out.gguf"));
    let expected = sums(&numbers(&base, "blk.0.attn_q.weight"), &peft.query_change(0.5 * 8.0 / 4.0));
    assert_near(&numbers(&out, "blk.0.attn_q.weight"), &expected, 1e-6);
    // Embeddings: columns of A are tokens.
    let (a, b) = (peft.numbers("lora_embedding_A"), peft.numbers("lora_embedding_B"));
    let (rank, vocab) = (RANK as usize, VOCAB as usize);
    let change: Vec<f64> = (0..vocab * WIDTH as usize)
        .map(|index| {
            let (token, column) = (index / WIDTH as usize, index % WIDTH as usize);
            (0..rank).map(|k| f64::from(b[column * rank + k]) * f64::from(a[k * vocab + token])).sum()
        })
        .collect();
    let expected = sums(&numbers(&base, "token_embd.weight"), &change);
    assert_near(&numbers(&out, "token_embd.weight"), &expected, 1e-6);
    // The file of the weights is the same adapter.
    drop(out);
    let whole = fs::read(bench.path("out.gguf")).unwrap();
    bench.merge(&[("peft/adapter_model.safetensors", 0.5)], &LoraOptions::default()).unwrap();
    assert_eq!(bench.open("out.gguf").tensors().len(), GgufFile::from_bytes(whole).unwrap().tensors().len());
}

#[test]
fn strengths_follow_patterns_and_roots() {
    for (key, value, strength) in [
        ("use_rslora", json!(true), 8.0 / 2.0),
        ("alpha_pattern", json!({"q_proj": 2, "v_proj": 3}), 2.0 / 4.0),
        ("alpha_pattern", json!({r"model\.layers\.\d+\.self_attn\.[qk]_proj": 12.0}), 12.0 / 4.0),
        ("alpha_pattern", json!({"_proj": 3, "attn.q_proj": 3}), 8.0 / 4.0),
        ("rank_pattern", json!({"v_proj|q_proj": 4, "q_proj": 4}), 8.0 / 4.0),
    ] {
        let mut peft = Peft::new();
        peft.config[key] = value.clone();
        let bench = Bench::new(&model(GgmlType::F32), &[]);
        peft.write(&bench.path("peft"));
        bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap();
        let name = "blk.0.attn_q.weight";
        let expected = sums(&numbers(&bench.open("base.gguf"), name), &peft.query_change(strength));
        assert_near(&numbers(&bench.open("out.gguf"), name), &expected, 1e-6);
    }
}

#[test]
fn peft_configurations_that_cannot_be_merged_say_why() {
    for (key, value, expected) in [
        ("peft_type", json!("IA3"), "key `peft_type` is `IA3`"),
        ("peft_type", json!(null), "key `peft_type` must be `LORA`"),
        ("use_dora", json!(true), "DoRA scales every row anew"),
        ("lora_bias", json!(true), "biases of the factors"),
        ("bias", json!("lora_only"), "key `bias` is `lora_only`"),
        ("modules_to_save", json!(["lm_head"]), "whole modules are not merged"),
        ("alora_invocation_tokens", json!([1, 2]), "load it beside the model"),
        ("init_lora_weights", json!("pissa_niter_16"), "path_initial_model_for_weight_conversion"),
        ("r", json!(5), "has rank `4`, but the configuration says `5`"),
        ("r", json!(0), "key `r` must be above 0"),
        ("r", json!("4"), "key `r` must be a number"),
        ("lora_alpha", json!(0), "key `lora_alpha` must be above 0"),
        ("lora_alpha", json!(null), "key `lora_alpha` is missing"),
        ("rank_pattern", json!({"q_proj": 8}), "the configuration says `8`"),
        ("rank_pattern", json!([1]), "key `rank_pattern` must be an object"),
        ("alpha_pattern", json!({"q_proj": -1}), "numbers above 0"),
        ("alpha_pattern", json!({"(": 1}), "pattern `(` of `alpha_pattern` is no regular expression"),
        ("alpha_pattern", json!({"q_proj": 1, ".*": 2}), "different numbers"),
    ] {
        let mut peft = Peft::new();
        peft.config[key] = value.clone();
        let text = peft.refusal();
        assert!(text.contains(expected), "{key} {value}: {text}");
    }
}

#[test]
fn peft_tensors_that_cannot_be_merged_are_named() {
    let with = |name: &str, shape: &[u64], value: f32| {
        let mut peft = Peft::new();
        let numbers = vec![value; shape.iter().product::<u64>() as usize];
        peft.tensors.retain(|tensor| tensor.0 != name);
        peft.tensors.push((name.to_owned(), shape.to_vec(), numbers));
        peft.refusal()
    };
    let q = format!("base_model.model.{Q}");
    for (name, shape, expected) in [
        ("base_model.model.lm_head.weight".to_owned(), &[1, 1][..], "is no factor of a low-rank change"),
        (format!("{q}.lora_magnitude_vector"), &[1], "is of DoRA"),
        (format!("{q}.lora_B.bias"), &[1], "is no factor"),
        (format!("{q}.lora_A.default.weight"), &[1, 1], "is there twice"),
        (
            "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight".to_owned(),
            &[1, 1],
            "has no place",
        ),
        (
            "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight".to_owned(),
            &[1, 1],
            "matrix `B` of module",
        ),
        (format!("{q}.lora_A.weight"), &[3, 64], "have ranks `3` and `4`"),
        (format!("{q}.lora_A.weight"), &[4, 63], "make shape `[63, 64]`"),
        (format!("{q}.lora_B.weight"), &[62, 4], "which `4` heads of pairs do not divide"),
        (format!("{q}.lora_A.weight"), &[256], "but a factor is a matrix"),
        (format!("{q}.lora_A.weight"), &[0, 64], "but a factor is a matrix"),
    ] {
        let text = with(&name, shape, 0.0);
        assert!(text.contains(expected), "{name}: {text}");
    }
    let text = with(&format!("{q}.lora_A.weight"), &[4, 64], f32::INFINITY);
    assert!(text.contains("not finite"), "{text}");
}

#[test]
fn peft_folders_that_lack_a_file_say_which() {
    let bench = Bench::new(&model(GgmlType::F32), &[]);
    let text = || bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap_err().to_string();
    fs::create_dir(bench.path("peft")).unwrap();
    assert!(text().contains("there is no `adapter_model.safetensors`"));
    Peft::new().write(&bench.path("peft"));
    fs::remove_file(bench.path("peft/adapter_config.json")).unwrap();
    assert!(text().contains("there is no `adapter_config.json`"));
    assert!(!is_adapter_folder(&bench.path("peft")));
    let unknown = model(GgmlType::F32).set("general.architecture", "mamba");
    let bench = Bench::new(&unknown, &[]);
    Peft::new().write(&bench.path("peft"));
    let text = bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap_err().to_string();
    assert!(text.contains("not known for architecture `mamba`") && text.contains("`llama`"), "{text}");
}

#[test]
fn converted_adapters_merge_as_the_original() {
    let mut peft = Peft::new();
    peft.config["alpha_pattern"] = json!({"v_proj": 2});
    peft.config["use_rslora"] = json!(true);
    peft.config["base_model_name_or_path"] = json!("../model");
    let bench = Bench::new(&model(GgmlType::F32), &[]);
    peft.write(&bench.path("peft"));
    fs::create_dir(bench.path("model")).unwrap();
    let config = json!({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2});
    fs::write(bench.path("model/config.json"), config.to_string()).unwrap();
    assert!(is_adapter_folder(&bench.path("peft")));
    let done =
        convert_adapter(&bench.path("peft"), None, &bench.path("adapter.gguf"), GgmlType::F32, &no_progress)
            .unwrap();
    assert_eq!((done.architecture.as_str(), done.n_tensors), ("llama", 6));
    assert_eq!(done.n_params, 4 * (64 + 64 + 64 + 32 + 64 + 12));
    let file = bench.open("adapter.gguf");
    let dims = |name: &str| file.tensor(name).unwrap().shape.dims().to_vec();
    assert_eq!(
        (dims("token_embd.weight.lora_a"), dims("token_embd.weight.lora_b")),
        (vec![4, 12], vec![4, 64])
    );
    assert_eq!(
        (dims("blk.0.attn_v.weight.lora_a"), dims("blk.0.attn_v.weight.lora_b")),
        (vec![64, 4], vec![4, 32])
    );
    bench.merge(&[("peft", 1.0)], &LoraOptions::default()).unwrap();
    // In memory, because Windows replaces no file that is mapped.
    let original = GgufFile::from_bytes(fs::read(bench.path("out.gguf")).unwrap()).unwrap();
    let merged = GgufModel::from_parts(vec![original]).unwrap();
    bench.merge(&[("adapter.gguf", 1.0)], &LoraOptions::default()).unwrap();
    let again = bench.open("out.gguf");
    for (name, _) in SHAPES {
        let expected: Vec<f64> = numbers(merged.first(), name).into_iter().map(f64::from).collect();
        assert_near(&numbers(&again, name), &expected, 1e-6);
    }
    peft.config["base_model_name_or_path"] = json!("someone/model");
    peft.write(&bench.path("peft"));
    let out = bench.path("adapter.gguf");
    let text = convert_adapter(&bench.path("peft"), None, &out, GgmlType::F16, &no_progress)
        .unwrap_err()
        .to_string();
    assert!(text.contains("`someone/model` is no folder here"), "{text}");
    convert_adapter(&bench.path("peft"), Some(&bench.path("model")), &out, GgmlType::F16, &no_progress)
        .unwrap();
    let text = convert_adapter(&bench.path("peft"), None, &out, GgmlType::Q8_0, &no_progress)
        .unwrap_err()
        .to_string();
    assert!(text.contains("cannot be written as `Q8_0`"), "{text}");
}

#[test]
fn cut_off_adapters_are_refused() {
    let bench =
        Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.attn_k.weight"], 1)]);
    let whole = fs::read(bench.path("adapter0.gguf")).unwrap();
    for length in 0..whole.len() {
        fs::write(bench.path("adapter0.gguf"), &whole[..length]).unwrap();
        assert!(bench.merge(&[("adapter0.gguf", 1.0)], &LoraOptions::default()).is_err(), "{length}");
    }
    let peft = Peft::new();
    peft.write(&bench.path("peft"));
    let whole = fs::read(bench.path("peft/adapter_model.safetensors")).unwrap();
    for length in (0..whole.len()).step_by(7) {
        fs::write(bench.path("peft/adapter_model.safetensors"), &whole[..length]).unwrap();
        assert!(bench.merge(&[("peft", 1.0)], &LoraOptions::default()).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_adapters_merge_or_are_refused(at in any::<usize>(), with in proptest::collection::vec(any::<u8>(), 1..9)) {
        let bench = Bench::new(&model(GgmlType::F16), &[&adapter(GgmlType::F16, 1.0, &["blk.0.attn_k.weight"], 1)]);
        Peft::new().write(&bench.path("peft"));
        for name in ["adapter0.gguf", "peft/adapter_model.safetensors", "peft/adapter_config.json"] {
            let whole = fs::read(bench.path(name)).unwrap();
            let mut bytes = whole.clone();
            // Mostly in what is not data.
            let at = at % bytes.len().min(1000);
            let end = (at + with.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&with[..end - at]);
            fs::write(bench.path(name), bytes).unwrap();
            let adapter = name.split('/').next().unwrap();
            if bench.merge(&[(adapter, 1.0)], &LoraOptions::default()).is_ok() {
                prop_assert_eq!(bench.open("out.gguf").tensors().len(), SHAPES.len());
            }
            fs::write(bench.path(name), whole).unwrap();
        }
    }
}
