//! Adapters made ready for llama.cpp: the file that it reads means the same as the adapter's own.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod lora;

use lora::*;
use tabagent_gguf::{
    GgmlType, GgufFile, GgufModel, GgufWriter, LoadableAdapter, LoraOptions, MergeType, merge_lora,
    no_progress,
};

const CHANGED: [&str; 4] =
    ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight", "blk.0.ffn_down.weight"];

/// The model of the other tests with an output matrix of its own.
fn untied() -> GgufWriter {
    let values = noise(WIDTH * VOCAB, 99);
    model(GgmlType::F32).add_tensor(
        "output.weight",
        GgmlType::F32,
        &[WIDTH, VOCAB],
        stored(GgmlType::F32, &values, WIDTH),
    )
}

/// What `adapter` becomes, after the proof that merging either gives the same bytes.
fn loadable(adapter: &GgufWriter) -> (LoadableAdapter, GgufFile) {
    let bench = Bench::new(&untied(), &[adapter]);
    let base = GgufModel::open(&bench.path("base.gguf")).unwrap();
    let loadable = LoadableAdapter::open(&bench.path("adapter0.gguf"), &base).unwrap();
    loadable.write_to(&bench.path("written.gguf")).unwrap();
    let options = LoraOptions::default().with_out_type(MergeType::F32);
    let merged = |adapter: &str, out: &str| {
        let adapters = [(bench.path(adapter), 0.75)];
        merge_lora(&bench.path("base.gguf"), &adapters, &bench.path(out), &options, &no_progress).unwrap();
        bench.open(out)
    };
    let (ours, theirs) = (merged("written.gguf", "a.gguf"), merged("adapter0.gguf", "b.gguf"));
    for tensor in theirs.tensors() {
        let same = ours.tensor_data(ours.tensor(&tensor.name).unwrap()) == theirs.tensor_data(tensor);
        assert!(same, "{}", tensor.name);
    }
    let written = bench.open("written.gguf");
    assert_eq!(written.tensors().iter().map(|tensor| tensor.n_bytes).sum::<u64>(), loadable.n_bytes());
    (loadable, written)
}

#[test]
fn the_written_file_means_the_same_in_every_type() {
    for kind in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
        let (loadable, written) = loadable(&adapter(kind, 8.0, &CHANGED, 1));
        assert_eq!((loadable.rank(), loadable.alpha(), loadable.strength()), (RANK, Some(8.0), 2.0));
        let mut names = CHANGED;
        names.sort_unstable();
        assert!(loadable.changed().eq(names));
        assert_eq!((loadable.name(), loadable.invocation_tokens().len()), ("adapter0.gguf", 0));
        assert!(written.tensors().iter().all(|tensor| tensor.ggml_type == kind), "as it was");
    }
    let (without, _) = loadable(&adapter(GgmlType::F32, 0.0, &CHANGED[1..], 2));
    assert_eq!((without.alpha(), without.strength()), (None, 1.0));
}

#[test]
fn a_matrix_for_all_experts_is_written_for_each() {
    let name = "blk.0.ffn_up_exps.weight";
    let (a, b) = (noise(WIDTH * 2, 5), noise(2 * 8, 6));
    let single = adapter(GgmlType::F32, 1.0, &[], 1)
        .add_tensor(&format!("{name}.lora_a"), GgmlType::F32, &[WIDTH, 2], stored(GgmlType::F32, &a, WIDTH))
        .add_tensor(&format!("{name}.lora_b"), GgmlType::F32, &[2, 8], stored(GgmlType::F32, &b, 2));
    let (_, written) = loadable(&single);
    let dims = |end: &str| written.tensor(&format!("{name}{end}")).unwrap().shape.dims().to_vec();
    assert_eq!((dims(".lora_a"), dims(".lora_b")), (vec![WIDTH, 2, 3], vec![2, 8, 3]));
}

#[test]
fn invocation_tokens_are_kept() {
    let bench = Bench::new(
        &untied(),
        &[&adapter(GgmlType::F32, 8.0, &CHANGED[1..2], 1)
            .add("adapter.alora.invocation_tokens", vec![3_u32, 7])],
    );
    let base = GgufModel::open(&bench.path("base.gguf")).unwrap();
    let loadable = LoadableAdapter::open(&bench.path("adapter0.gguf"), &base).unwrap();
    assert_eq!(loadable.invocation_tokens(), [3, 7]);
    loadable.write_to(&bench.path("written.gguf")).unwrap();
    let again = LoadableAdapter::open(&bench.path("written.gguf"), &base).unwrap();
    assert_eq!(again.invocation_tokens(), [3, 7]);
}

#[test]
fn what_llama_cpp_cannot_change_is_refused() {
    for (model, name, part) in [
        (model(GgmlType::F32), "token_embd.weight", "which is also the output of `base.gguf`"),
        (untied(), "blk.0.attn_norm.weight", "`blk.0.attn_norm.weight`, which is a vector"),
    ] {
        let dims = SHAPES.iter().find(|(known, _)| *known == name).unwrap().1;
        let rows = dims.get(1).copied().unwrap_or(1);
        let (a, b) =
            if name == "token_embd.weight" { ([2, rows], [2, dims[0]]) } else { ([dims[0], 2], [2, rows]) };
        let zeros = |dims: [u64; 2]| vec![0; (4 * dims[0] * dims[1]) as usize];
        let adapter = adapter(GgmlType::F32, 1.0, &[], 1)
            .add_tensor(&format!("{name}.lora_a"), GgmlType::F32, &a, zeros(a))
            .add_tensor(&format!("{name}.lora_b"), GgmlType::F32, &b, zeros(b));
        let bench = Bench::new(&model, &[&adapter]);
        let base = GgufModel::open(&bench.path("base.gguf")).unwrap();
        let text = LoadableAdapter::open(&bench.path("adapter0.gguf"), &base).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
}
