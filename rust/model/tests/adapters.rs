//! Sets of adapters as keys.
//!
//! Needs `TABAGENT_LIBRARY_PATH`, the directory of the built library. `make test` provides it.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;

use tabagent_gguf::{GgmlType, GgufWriter, OwnedArray, OwnedValue};
use tabagent_llama::{Library, ModelConfig};
use tabagent_model::{Adapter, AdapterSet, LlamaModel};

const WIDTH: u64 = 32;
const TOKENS: u64 = 259;

/// Numbers that are not all the same.
fn numbers(count: u64) -> Vec<u8> {
    (0..count).flat_map(|index| (((index * 7919) % 101) as f32 / 101.0 - 0.5).to_le_bytes()).collect()
}

fn write_model(path: &Path) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255_u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut types = vec![2, 3, 3];
    types.resize(tokens.len(), 6);
    let mut writer =
        GgufWriter::new().add("general.architecture", "llama").add("tokenizer.ggml.model", "llama");
    for (key, value) in [
        ("context_length", 64_u32),
        ("embedding_length", WIDTH as u32),
        ("block_count", 1),
        ("feed_forward_length", WIDTH as u32),
        ("attention.head_count", 4),
        ("rope.dimension_count", 8),
    ] {
        writer = writer.add(&format!("llama.{key}"), value);
    }
    writer = writer
        .add("llama.attention.layer_norm_rms_epsilon", 1e-5_f32)
        .add("tokenizer.ggml.tokens", tokens)
        .add("tokenizer.ggml.token_type", OwnedValue::Array(OwnedArray::I32(types)))
        .add("tokenizer.ggml.scores", vec![0.0_f32; TOKENS as usize]);
    let square = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    for name in square {
        let name = format!("blk.0.{name}.weight");
        writer = writer.add_tensor(&name, GgmlType::F32, &[WIDTH, WIDTH], numbers(WIDTH * WIDTH));
    }
    for name in ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"] {
        writer = writer.add_tensor(name, GgmlType::F32, &[WIDTH], numbers(WIDTH));
    }
    let table = numbers(WIDTH * TOKENS);
    writer.add_tensor("token_embd.weight", GgmlType::F32, &[WIDTH, TOKENS], table).write_to(path).unwrap();
}

fn write_adapter(path: &Path) {
    GgufWriter::new()
        .add("general.architecture", "llama")
        .add("general.type", "adapter")
        .add("adapter.type", "lora")
        .add_tensor("blk.0.attn_q.weight.lora_a", GgmlType::F32, &[WIDTH, 2], numbers(2 * WIDTH))
        .add_tensor("blk.0.attn_q.weight.lora_b", GgmlType::F32, &[2, WIDTH], numbers(2 * WIDTH))
        .write_to(path)
        .unwrap();
}

fn set(model: &LlamaModel, adapters: &[(&Adapter, f32)]) -> AdapterSet {
    let adapters: Vec<_> = adapters.iter().map(|(adapter, scale)| ((*adapter).clone(), *scale)).collect();
    AdapterSet::new(model, &adapters).unwrap()
}

#[test]
#[expect(
    clippy::mutable_key_type,
    reason = "a set is hashed by the numbers of its adapters and their scales, which never change"
)]
fn sets_are_equal_where_they_change_the_model_alike() {
    let Some(library) = tabagent_material::library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (model_path, adapter_path) = (folder.path().join("m.gguf"), folder.path().join("a.gguf"));
    write_model(&model_path);
    write_adapter(&adapter_path);
    let library = Library::open(library).unwrap();
    let load = || LlamaModel::load(&library, ModelConfig::new(&model_path).unwrap()).unwrap();
    let (model, other) = (load(), load());
    let (one, two) = (model.load_adapter(&adapter_path).unwrap(), model.load_adapter(&adapter_path).unwrap());
    assert_ne!(one, two, "the same file makes two adapters");

    let both = set(&model, &[(&one, 0.5), (&two, 1.0)]);
    assert_eq!(both, set(&model, &[(&two, 1.0), (&one, 0.5)]));
    assert_eq!(set(&model, &[(&one, 0.0)]), AdapterSet::default());
    assert!(set(&model, &[(&one, -0.0)]).is_empty());
    let different = [
        AdapterSet::default(),
        set(&model, &[(&one, 1.0)]),
        set(&model, &[(&two, 1.0)]),
        set(&model, &[(&one, 0.5)]),
        set(&model, &[(&one, 1.0), (&two, 0.5)]),
        both.clone(),
    ];
    let keys: HashSet<_> = different.iter().chain([&both]).cloned().collect();
    assert_eq!(keys.len(), different.len());

    let foreign = AdapterSet::new(&other, &[(one.clone(), 1.0)]).unwrap_err().to_string();
    assert!(foreign.contains("`a.gguf` belongs to another model"), "{foreign}");
    let twice = AdapterSet::new(&model, &[(one.clone(), 1.0), (one.clone(), 2.0)]).unwrap_err().to_string();
    assert!(twice.contains("given twice"), "{twice}");
    assert!(AdapterSet::new(&model, &[(one.clone(), f32::NAN)]).is_err());

    let mut context = model.create_context().unwrap();
    context.set_adapters(both.as_slice()).unwrap();
    assert_eq!(context.adapters(), both.as_slice());
    // They live in the context.
    drop((one, two, both, different, keys));
    assert_eq!(context.adapters().len(), 2);
    context.set_adapters(&[]).unwrap();
    assert!(context.adapters().is_empty());
}

#[test]
fn adapters_are_loaded_and_freed_while_contexts_decode() {
    let Some(library) = tabagent_material::library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (model_path, adapter_path) = (folder.path().join("m.gguf"), folder.path().join("a.gguf"));
    write_model(&model_path);
    write_adapter(&adapter_path);
    let library = Library::open(library).unwrap();
    let model = LlamaModel::load(&library, ModelConfig::new(&model_path).unwrap()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let adapter = model.load_adapter(&adapter_path).unwrap();
                    let mut context = model.create_context().unwrap();
                    context.set_adapters(&[(adapter, 1.0)]).unwrap();
                    context.decode(&tabagent_model::Batch::prompt(0, 0, &[1, 40])).unwrap();
                }
            });
        }
    });
}
