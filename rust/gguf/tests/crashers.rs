//! Files on which llama.cpp aborts, crashes or hangs: each is refused with a text that names the key and the rule.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod common;

use common::{Model, Raw, sentencepiece_tokens, vec_i32};
use tabagent_gguf::{
    GgmlType, GgufFile, GgufWriter, OwnedArray, OwnedValue, check_model, check_model_with, check_parts,
};

/// Spoils the good model with one entry and returns the refusal.
#[track_caller]
fn refusal_with(key: &str, value: impl Into<OwnedValue>) -> String {
    Model::llama().set(key, value).refusal()
}

const START: &str = "`memory.gguf` cannot be loaded: ";

#[test]
fn the_good_models_are_accepted() {
    Model::llama().accept();
    Model::byte_pair().accept();
}

#[test]
fn alignment_1_is_refused() {
    let text = refusal_with("general.alignment", 1_u32);
    assert!(text.contains("tensor `token_embd.weight` starts at byte"), "{text}");
    assert!(text.ends_with("but mapping a file needs multiples of `32` (alignment is `1`)"), "{text}");
}

#[test]
fn block_count_0_is_refused() {
    let text = refusal_with("llama.block_count", 0_u32);
    assert_eq!(text, format!("{START}key `llama.block_count` is `0`, but it must be at least `1`"));
}

#[test]
fn rotations_of_half_a_pair_or_of_none_are_refused() {
    for key in ["llama.rope.dimension_count", "llama.rope.dimension_count_swa"] {
        for rotated in [0_u32, 1, 7] {
            let text = refusal_with(key, rotated);
            let rule = "but a head rotates pairs of its values, so it must be even and at least `2`";
            assert_eq!(text, format!("{START}key `{key}` is `{rotated}`, {rule}"));
        }
    }
    // An architecture whose heads are not rotated.
    let mut model = Model::llama();
    for (key, _) in &mut model.entries {
        *key = key.replace("llama.", "jais.");
    }
    model.set("general.architecture", "jais").set("jais.rope.dimension_count", 7_u32).accept();
}

#[test]
fn block_count_above_512_is_refused() {
    let text = refusal_with("llama.block_count", 513_u32);
    assert_eq!(text, format!("{START}key `llama.block_count` is `513`, but llama.cpp allows `512` layers"));
}

#[test]
fn head_count_kv_0_is_refused() {
    let text = refusal_with("llama.attention.head_count_kv", 0_u32);
    let rule = "is `0` for layer `0`, but every layer of this architecture has heads";
    assert_eq!(text, format!("{START}key `llama.attention.head_count_kv` {rule}"));
}

#[test]
fn head_count_kv_with_a_0_among_layers_is_refused() {
    let mut model = Model::llama();
    model.set("llama.block_count", 3_u32).set("llama.attention.head_count_kv", vec![2_u32, 0, 2]);
    let text = model.refusal();
    assert!(text.contains("`llama.attention.head_count_kv` is `0` for layer `1`"), "{text}");
}

#[test]
fn layers_without_heads_are_accepted_in_hybrid_architectures() {
    let mut model = Model::llama();
    for (key, _) in &mut model.entries {
        *key = key.replace("llama.", "lfm2.");
    }
    model.set("general.architecture", "lfm2");
    model.set("lfm2.block_count", 3_u32).set("lfm2.attention.head_count_kv", vec_i32(vec![0, 2, 0]));
    model.accept();
}

#[test]
fn head_count_0_is_refused() {
    let text = refusal_with("llama.attention.head_count", 0_u32);
    assert!(text.contains("key `llama.attention.head_count` is `0` for layer `0`"), "{text}");
}

#[test]
fn heads_that_do_not_divide_are_refused() {
    let text = refusal_with("llama.attention.head_count_kv", 3_u32);
    assert!(text.ends_with(
        "`llama.attention.head_count_kv` is `3` for layer `0`, which does not divide its `4` heads"
    ));
    let text = refusal_with("llama.attention.head_count", 6_u32);
    assert!(
        text.ends_with("`llama.attention.head_count` is `6`, which does not divide the embedding of `32`"),
        "{text}"
    );
}

#[test]
fn rms_epsilon_nan_is_refused() {
    let text = refusal_with("llama.attention.layer_norm_rms_epsilon", f32::NAN);
    let rule = "is `NaN`, but it must be finite and not negative";
    assert_eq!(text, format!("{START}key `llama.attention.layer_norm_rms_epsilon` {rule}"));
}

#[test]
fn rms_epsilon_negative_is_refused() {
    let text = refusal_with("llama.attention.layer_norm_rms_epsilon", -1e-5_f32);
    assert!(text.ends_with("is `-0.00001`, but it must be finite and not negative"), "{text}");
}

#[test]
fn expert_count_above_the_maximum_is_refused() {
    let mut model = Model::llama();
    model.set("llama.expert_count", 1025_u32).set("llama.expert_used_count", 2_u32);
    let text = model.refusal();
    assert_eq!(
        text,
        format!("{START}key `llama.expert_count` is `1025`, but llama.cpp allows `1024` experts")
    );
}

#[test]
fn more_experts_used_than_experts_is_refused() {
    let mut model = Model::llama();
    model.set("llama.expert_count", 4_u32).set("llama.expert_used_count", 5_u32);
    let text = model.refusal();
    assert_eq!(text, format!("{START}key `llama.expert_used_count` is `5`, but the model has `4` experts"));
    model.set("llama.expert_used_count", 0_u32);
    assert!(model.refusal().contains("`llama.expert_used_count` is `0` or missing"));
    model.set("llama.expert_used_count", vec![4_u32]);
    model.accept();
}

#[test]
fn expert_groups_that_do_not_fit_are_refused() {
    let mut model = Model::llama();
    model.set("llama.expert_count", 8_u32).set("llama.expert_used_count", 2_u32);
    model.set("llama.expert_group_count", 8_u32);
    assert!(model.refusal().contains("`llama.expert_group_count` is `8`, but the model has `8` experts"));
    model.set("llama.expert_group_count", 3_u32);
    assert!(model.refusal().contains("`3`, which does not divide the `8` experts"));
    model.set("llama.expert_group_count", 4_u32);
    assert!(
        model.refusal().contains("`llama.expert_group_used_count` is `0`, but it must be from `1` to `3`")
    );
    model.set("llama.expert_group_used_count", 2_u32);
    model.accept();
}

#[test]
fn unknown_rope_scaling_is_refused() {
    let text = refusal_with("llama.rope.scaling.type", "su");
    let rule = "is `su`, but it must be `none`, `linear`, `yarn` or `longrope`";
    assert_eq!(text, format!("{START}key `llama.rope.scaling.type` {rule}"));
}

#[test]
fn more_predicting_layers_than_layers_is_refused() {
    let text = refusal_with("llama.nextn_predict_layers", 2_u32);
    assert_eq!(text, format!("{START}key `llama.nextn_predict_layers` is `2`, but the model has `1` layers"));
}

#[test]
fn tokens_that_differ_only_after_a_zero_byte_are_refused() {
    let mut tokens = sentencepiece_tokens();
    *tokens.last_mut().unwrap() = "<s>\0b".to_owned();
    let text = refusal_with("tokenizer.ggml.tokens", tokens);
    let rule = "has `<s>` twice, the second time as token `259`, but tokens must be unique";
    assert_eq!(text, format!("{START}key `tokenizer.ggml.tokens` {rule}"));
}

#[test]
fn token_with_the_name_of_an_empty_one_is_refused() {
    let mut tokens = sentencepiece_tokens();
    tokens[0] = String::new();
    let last = tokens.len() - 1;
    tokens[last] = "[EMPTY_00]".to_owned();
    Model::llama().set("tokenizer.ggml.tokens", tokens.clone()).accept();
    tokens[last] = "[EMPTY_0]".to_owned();
    let text = refusal_with("tokenizer.ggml.tokens", tokens);
    let rule = "has `[EMPTY_0]` as token `259`, but llama.cpp gives this name to the empty token `0`";
    assert_eq!(text, format!("{START}key `tokenizer.ggml.tokens` {rule}"));
}

#[test]
fn duplicate_tokens_are_refused() {
    let mut tokens = sentencepiece_tokens();
    *tokens.last_mut().unwrap() = "<s>".to_owned();
    let text = refusal_with("tokenizer.ggml.tokens", tokens);
    let rule = "has `<s>` twice, the second time as token `259`, but tokens must be unique";
    assert_eq!(text, format!("{START}key `tokenizer.ggml.tokens` {rule}"));
}

#[test]
fn repeated_empty_tokens_are_accepted_because_they_are_renamed() {
    let mut model = Model::byte_pair();
    let mut tokens: Vec<String> = (0..258).map(|id| format!("token{id}")).collect();
    tokens.extend([String::new(), String::new()]);
    model.set("tokenizer.ggml.tokens", tokens).accept();
}

#[test]
fn sentencepiece_without_byte_tokens_is_refused() {
    let mut model = Model::byte_pair();
    let text = model.set("tokenizer.ggml.model", "llama").refusal();
    let rule =
        "lacks the byte token `<0x00>`, but this kind of tokenizer needs all 256; is it of another kind?";
    assert_eq!(text, format!("{START}key `tokenizer.ggml.tokens` {rule}"));
}

#[test]
fn rwkv_tokenizer_over_other_tokens_is_refused() {
    let mut model = Model::byte_pair();
    let text = model.set("tokenizer.ggml.model", "rwkv").refusal();
    let rule = "has no token for the single byte `0x74`, with which token `0` starts; an `rwkv` tokenizer needs one, \
                so the tokens are of another kind";
    assert_eq!(text, format!("{START}key `tokenizer.ggml.tokens` {rule}"));
    let mut tokens: Vec<String> = (1..=255_u8).map(|byte| format!("\\x{byte:02x}")).collect();
    tokens.extend(["<s>", "word", "\\n\\n", "\\\\x", "\\xe2\\x96"].map(str::to_owned));
    model.set("tokenizer.ggml.tokens", tokens).accept();
}

#[test]
fn integer_norm_is_refused() {
    let mut model = Model::llama();
    let text = model.retype("blk.0.attn_norm.weight", GgmlType::I32).refusal();
    let rule = "has type `I32`, but norms must be `F32`";
    assert_eq!(text, format!("{START}tensor `blk.0.attn_norm.weight` {rule}"));
}

#[test]
fn half_precision_norm_is_refused() {
    let text = Model::llama().retype("output_norm.weight", GgmlType::F16).refusal();
    assert!(text.ends_with("tensor `output_norm.weight` has type `F16`, but norms must be `F32`"), "{text}");
}

#[test]
fn weights_without_a_kernel_are_refused() {
    for kind in [GgmlType::I8, GgmlType::I32, GgmlType::F64, GgmlType::Q8_1] {
        for name in ["token_embd.weight", "blk.0.attn_q.weight"] {
            let text = Model::llama().retype(name, kind).refusal();
            let rule = format!("has type `{kind}`, but llama.cpp cannot compute with weights of that type");
            assert_eq!(text, format!("{START}tensor `{name}` {rule}"));
        }
    }
}

#[test]
fn i2_s_of_the_bitnet_fork_is_readable_but_refused() {
    let mut model = Model::llama();
    model.tensors = vec![("blk.0.attn_q.weight".to_owned(), GgmlType::I2_S, vec![128, 2])];
    let file = model.file();
    assert_eq!(file.tensors()[0].n_bytes, 64 + 32);
    let text = model.refusal();
    assert!(
        text.contains("has type `I2_S` of Microsoft's BitNet fork, which llama.cpp does not know"),
        "{text}"
    );
}

#[test]
fn byte_tokens_in_wordpiece_are_refused() {
    let mut model = Model::llama();
    let text = model.set("tokenizer.ggml.model", "bert").refusal();
    assert!(text.contains("`tokenizer.ggml.token_type` marks token `3` as a byte"), "{text}");
}

#[test]
fn a_token_to_add_that_is_not_there_is_refused() {
    let mut model = Model::byte_pair();
    let tokens: Vec<String> = (0..5).map(|id| format!("token{id}")).collect();
    model.set("tokenizer.ggml.tokens", tokens).set("tokenizer.ggml.add_bos_token", true);
    model.tensors.clear();
    let text = model.refusal();
    assert!(
        text.contains("`tokenizer.ggml.bos_token_id` names no token of the `5` in the vocabulary"),
        "{text}"
    );
    model.set("tokenizer.ggml.bos_token_id", 4_u32).accept();
}

#[test]
fn merges_of_one_part_and_missing_merges_are_refused() {
    let mut model = Model::byte_pair();
    let text = model.set("tokenizer.ggml.merges", vec!["a b", "ab"]).refusal();
    assert!(text.ends_with("has `ab` as item `1`, but a merge is two parts with a space between"), "{text}");
    let text = model.remove("tokenizer.ggml.merges").refusal();
    assert!(text.contains("key `tokenizer.ggml.merges` is missing"), "{text}");
}

#[test]
fn values_of_another_type_than_llama_cpp_reads_are_refused() {
    let cases: Vec<(&str, OwnedValue, &str)> = vec![
        ("general.architecture", 1_u32.into(), "has type `u32`, but llama.cpp reads it as `str`"),
        ("llama.block_count", 1_u64.into(), "has type `u64`, but llama.cpp reads it as `u32`"),
        ("llama.context_length", 64_i32.into(), "has type `i32`, but llama.cpp reads it as `u32`"),
        (
            "llama.attention.layer_norm_rms_epsilon",
            1e-5_f64.into(),
            "has type `f64`, but llama.cpp reads it as `f32`",
        ),
        (
            "tokenizer.ggml.tokens",
            vec![1_u32].into(),
            "has type `arr of u32`, but llama.cpp reads it as `arr of str`",
        ),
        ("tokenizer.ggml.tokens", "a".into(), "has type `str`, but llama.cpp reads it as `arr of str`"),
        ("tokenizer.ggml.scores", vec![1.0_f64].into(), "reads it as `arr of f32 or i32`"),
        ("tokenizer.ggml.token_type", vec![1_u32].into(), "reads it as `arr of i32`"),
        ("tokenizer.ggml.scores", vec![1.0_f32].into(), "has `1` items, but the vocabulary has `260` tokens"),
        ("tokenizer.ggml.bos_token_id", 1_i32.into(), "reads it as `u32`"),
        ("tokenizer.ggml.add_bos_token", 1_u32.into(), "reads it as `bool`"),
        ("llama.attention.head_count", vec![4_u32, 4].into(), "has `2` items, but the model has `1` layers"),
        ("llama.attention.head_count", vec![4.0_f32].into(), "reads it as `arr of u32 or i32`"),
        ("split.no", 0_u32.into(), "reads it as `u16`"),
        ("llama.pooling_type", 9_u32.into(), "is `9`, but llama.cpp knows `0` to `4`"),
        ("llama.full_attention_interval", 0_u32.into(), "is `0`, but llama.cpp divides by it"),
        (
            "llama.rope.dimension_count",
            4_u32.into(),
            "is `4`, but a head of this architecture rotates all its `8` values",
        ),
        ("tokenizer.ggml.model", "banana".into(), "is `banana`, a tokenizer that llama.cpp does not know"),
        (
            "llama.embedding_length",
            64_u32.into(),
            "is `8`, but a head of this architecture rotates all its `16` values",
        ),
    ];
    for (key, value, rule) in cases {
        let text = refusal_with(key, value);
        assert!(text.ends_with(rule), "{text}");
    }
}

#[test]
fn missing_keys_are_named() {
    for key in [
        "general.architecture",
        "llama.context_length",
        "llama.embedding_length",
        "llama.block_count",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
    ] {
        let text = Model::llama().remove(key).refusal();
        assert!(text.contains(&format!("key `{key}` is missing")), "{text}");
    }
}

#[test]
fn unknown_architectures_and_projectors_are_refused() {
    let text = refusal_with("general.architecture", "llamb");
    assert!(text.ends_with("is `llamb`, which llama.cpp does not know; update tabagent"), "{text}");
    assert!(refusal_with("general.architecture", "clip").contains("this is a projector"));
}

#[test]
fn token_embedding_of_another_shape_is_refused() {
    let mut model = Model::llama();
    model.tensors[0].2 = vec![32, 259];
    let rule = "has shape `[32, 259]`, but the metadata asks for `[32, 260]`";
    assert_eq!(model.refusal(), format!("{START}tensor `token_embd.weight` {rule}"));
}

#[test]
fn nested_arrays_are_readable_but_refused() {
    let nested = OwnedValue::Array(OwnedArray::Array(vec![OwnedArray::U8(vec![1]), OwnedArray::U8(vec![])]));
    assert!(refusal_with("x", nested).contains("key `x` is an array of arrays"));
}

#[test]
fn old_and_foreign_files_are_refused_with_the_reason() {
    let old = Raw::new(1, false, 0, 0).open().unwrap();
    assert!(
        check_model(&old).unwrap_err().to_string().contains("version `1`, which llama.cpp no longer reads")
    );
    let foreign = Raw::new(3, cfg!(target_endian = "little"), 0, 0).open().unwrap();
    assert!(check_model(&foreign).unwrap_err().to_string().contains("unlike this machine"));
}

fn part(no: impl Into<OwnedValue>, tensor: &str) -> GgufFile {
    let writer = GgufWriter::new()
        .add("general.architecture", "llama")
        .add("split.no", no)
        .add("split.count", 2_u16)
        .add("split.tensors.count", 2_i32)
        .add_tensor(tensor, GgmlType::F32, &[1], vec![0; 4]);
    GgufFile::from_bytes(writer.to_bytes().unwrap()).unwrap()
}

#[test]
fn parts_must_belong_together() {
    check_parts(&[part(0_u16, "a"), part(1_u16, "b")]).unwrap();
    let refusal = |files: &[GgufFile]| check_parts(files).unwrap_err().to_string();
    assert!(refusal(&[part(0_u16, "a"), part(1_u32, "b")]).contains("reads it as `u16`"));
    assert!(
        refusal(&[part(0_u16, "a"), part(0_u16, "b")]).contains("but the file is number `1` of the parts")
    );
    assert!(refusal(&[part(0_u16, "a"), part(1_u16, "a")]).contains("tensor `a` is in two parts"));
    assert!(refusal(&[part(0_u16, "a")]).contains("`split.count` is `2`, but there are `1` files"));
    let second = check_model(&part(1_u16, "b")).unwrap_err().to_string();
    assert!(second.ends_with("is `1`: this is part 2 of 2; load the first part"), "{second}");
}

/// The tiny model under another architecture's name.
fn renamed(architecture: &str) -> Model {
    let mut model = Model::llama();
    for (key, _) in &mut model.entries {
        *key = key.replace("llama.", &format!("{architecture}."));
    }
    model.set("general.architecture", architecture);
    model
}

#[test]
fn architectures_of_experts_without_experts_are_refused() {
    for architecture in ["smallthinker", "grovemoe", "llada-moe", "bailingmoe2", "glm4moe"] {
        let text = renamed(architecture).refusal();
        let rule = "is `0` or missing, but this architecture is made of experts";
        assert_eq!(text, format!("{START}key `{architecture}.expert_count` {rule}"));
    }
    let mut model = renamed("smallthinker");
    model.set("smallthinker.expert_count", 4_u32).set("smallthinker.expert_used_count", 2_u32);
    model.accept();
}

#[test]
fn rotary_sections_of_nothing_are_refused() {
    assert!(renamed("paddleocr").refusal().contains("`paddleocr.rope.dimension_sections` is missing"));
    for sections in [vec![0, 0, 0, 8], vec![-1, 0, 0, 0], vec![]] {
        let mut model = renamed("qwen2vl");
        let text = model.set("qwen2vl.rope.dimension_sections", vec_i32(sections)).refusal();
        assert!(text.ends_with("has no positive number among its first three"), "{text}");
    }
    renamed("paddleocr").set("paddleocr.rope.dimension_sections", vec_i32(vec![4, 2, 2, 0])).accept();
}

#[test]
fn keys_and_values_of_other_sizes_are_refused_where_the_graph_asserts_them_alike() {
    let text = renamed("dream").set("dream.attention.value_length", 16_u32).refusal();
    assert!(
        text.contains("`dream.attention.value_length` gives heads of `16` values, but keys have `8`"),
        "{text}"
    );
    renamed("minicpm3").set("minicpm3.attention.value_length", 16_u32).accept();
    renamed("dream").set("dream.attention.value_length", 8_u32).accept();
}

#[test]
fn partly_rotated_heads_are_refused_where_the_graph_asserts_whole_ones() {
    let text = renamed("qwen3").set("qwen3.rope.dimension_count", 4_u32).refusal();
    assert!(text.ends_with("is `4`, but a head of this architecture rotates all its `8` values"), "{text}");
    renamed("phi2").set("phi2.rope.dimension_count", 4_u32).accept();
}

#[test]
fn numbers_that_single_architectures_divide_by_or_fix_are_checked() {
    let text = renamed("ernie4_5-moe").set("ernie4_5-moe.interleave_moe_layer_step", 0_u32).refusal();
    assert!(text.ends_with("is `0`, but it must be at least `1`"), "{text}");
    let text = renamed("glm5-next").set("glm5-next.hyper_connection.count", 3_u32).refusal();
    assert!(text.ends_with("is `3`, but llama.cpp takes only `4`"), "{text}");
    let text = renamed("jamba").set("jamba.ssm.inner_size", 32_u32).refusal();
    assert!(text.ends_with("is `32`, but it must be twice the embedding of `32`"), "{text}");
}

#[test]
fn values_put_in_place_of_the_files_are_checked_as_if_they_were_its_own() {
    let file = Model::llama().file();
    let refusal = |key: &str, value: OwnedValue| {
        check_model_with(&file, &[(key.to_owned(), value)]).unwrap_err().to_string()
    };
    for (key, value) in [
        ("llama.block_count", OwnedValue::I64(0)),
        ("llama.block_count", OwnedValue::I64(1 << 32)),
        ("llama.attention.layer_norm_rms_epsilon", OwnedValue::F64(-1.0)),
        ("llama.expert_count", OwnedValue::I64(5000)),
        ("llama.rope.scaling.type", OwnedValue::from("bogus")),
        ("general.architecture", OwnedValue::from("bogus")),
        ("tokenizer.ggml.model", OwnedValue::from("bert")),
    ] {
        let text = refusal(key, value);
        assert!(text.contains(&format!("key `{key}`")) || text.contains("as a byte"), "{text}");
    }
    // A value of another kind has no effect.
    check_model_with(&file, &[("llama.block_count".to_owned(), OwnedValue::F64(0.0))]).unwrap();
    check_model_with(&file, &[("llama.context_length".to_owned(), OwnedValue::I64(32))]).unwrap();
}

#[test]
fn weights_of_later_parts_are_checked() {
    let part = |no: u16, kind: GgmlType, name: &str| {
        let mut writer = GgufWriter::new();
        for (key, value) in [("split.no", no), ("split.count", 2)] {
            writer = writer.add(key, value);
        }
        let data = vec![0; kind.n_bytes(32).unwrap() as usize];
        writer = writer.add("split.tensors.count", 2_i32).add_tensor(name, kind, &[32], data);
        GgufFile::from_bytes(writer.to_bytes().unwrap()).unwrap()
    };
    let first = || part(0, GgmlType::F32, "a.weight");
    check_parts(&[first(), part(1, GgmlType::F32, "b.weight")]).unwrap();
    let text = check_parts(&[first(), part(1, GgmlType::I32, "b.weight")]).unwrap_err().to_string();
    assert!(text.contains("tensor `b.weight` has type `I32`"), "{text}");
}
