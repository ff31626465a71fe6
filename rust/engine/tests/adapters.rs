//! Adapters beside llama.cpp.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::tiny::{FEED, HEAD, KV_HEADS, Random, Tiny, WIDTH};
use common::{
    batch, context, decoder, distance, library, our_logits, ours, their_logits, their_logits_singly, theirs,
};
use tabagent_engine::{Cpu, LoadError, LoraAdapter, LoraMix};
use tabagent_gguf::{GgmlType, GgufModel, GgufWriter};
use tabagent_runtime::{Decoder, DecoderError, Group};

const RANK: u64 = 4;

/// An adapter for tensors of these columns and rows.
fn write_adapter(path: &Path, tensors: &[(&str, u64, u64)], seed: u64) {
    let mut random = Random(seed);
    let mut matrix =
        |n: u64| -> Vec<u8> { (0..n).flat_map(|_| (random.next() * 0.4).to_le_bytes()).collect() };
    let mut writer = GgufWriter::new()
        .add("general.architecture", "llama")
        .add("general.type", "adapter")
        .add("adapter.type", "lora")
        .add("adapter.lora.alpha", 6.0_f32);
    for (name, n_cols, n_rows) in tensors {
        writer = writer
            .add_tensor(&format!("{name}.lora_a"), GgmlType::F32, &[*n_cols, RANK], matrix(n_cols * RANK))
            .add_tensor(&format!("{name}.lora_b"), GgmlType::F32, &[RANK, *n_rows], matrix(n_rows * RANK));
    }
    writer.write_to(path).unwrap();
}

#[test]
fn adapters_change_what_they_change_in_llama_cpp() {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = Tiny::new("llama").write(folder.path(), 1);
    let (first, second) = (folder.path().join("first.gguf"), folder.path().join("second.gguf"));
    let kv = KV_HEADS * HEAD;
    write_adapter(
        &first,
        &[("blk.0.attn_q.weight", WIDTH, WIDTH), ("blk.1.ffn_down.weight", FEED, WIDTH)],
        1,
    );
    write_adapter(&second, &[("blk.0.attn_q.weight", WIDTH, WIDTH), ("blk.2.attn_v.weight", WIDTH, kv)], 2);
    // So many that llama.cpp attends in F32; it sums the values of fewer in F16.
    let tokens = Random(1).tokens(70);
    let model = theirs(&library, &path);
    let mut context = context(&model, 128);
    let bare = their_logits(&mut context, &tokens);
    let adapters = [&first, &second].map(|file| model.load_adapter(file).unwrap());
    let [one, two] = adapters;
    context.set_adapters(&[(one, 0.7), (two, -1.5)]).unwrap();
    let expected = their_logits(&mut context, &tokens);
    // As far apart as llama.cpp's own are in batches of other shapes.
    let noise = distance(&their_logits_singly(&mut context, &tokens), &expected).relative;
    assert!(distance(&bare, &expected).relative > 0.05, "the adapters change nothing");
    let (loaded, file) = (ours(&path), GgufModel::open(&path).unwrap());
    let cpu = Cpu::new(1).unwrap();
    let load = |path: &Path| Arc::new(LoraAdapter::open(path, &file, &loaded, &cpu).unwrap());
    let mix = LoraMix::new(vec![(load(&first), 0.7), (load(&second), -1.5)]);
    let group = Group::new([1], mix);
    let mut decoder = decoder(&loaded, 128);
    decoder.enter(&group).unwrap();
    let found = our_logits(&mut decoder, 0, &tokens);
    let error = distance(&found, &expected);
    assert!(error.relative <= noise, "{error:?}, llama.cpp's own noise {noise}");
    decoder.enter(&Group::default()).unwrap();
    let found = our_logits(&mut decoder, 1, &tokens);
    assert!(distance(&found, &bare).relative <= noise);
    // Those of another model, and what are no adapters of this engine, are refused.
    let mut other = common::decoder(&ours(&path), 128);
    assert!(matches!(other.enter(&group), Err(DecoderError::Failed(_))));
    assert!(matches!(other.enter(&Group::new([2], "something else")), Err(DecoderError::Failed(_))));
    other.decode(&batch(0, 0, &tokens), &|| false).unwrap();
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = Tiny::new("llama").write(folder.path(), 1);
    let (loaded, file) = (ours(&path), GgufModel::open(&path).unwrap());
    let adapter = folder.path().join("adapter.gguf");
    for tensor in [("blk.0.attn_q.weight", WIDTH, WIDTH + 1), ("blk.9.attn_q.weight", WIDTH, WIDTH)] {
        write_adapter(&adapter, &[tensor], 3);
        let refused = LoraAdapter::open(&adapter, &file, &loaded, &Cpu::new(1).unwrap());
        assert!(matches!(refused, Err(LoadError::Adapter(_))), "{:?}", tensor.0);
    }
}
