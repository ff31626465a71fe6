//! Tiny models of many shapes, and ways to quantize them, for comparing choices of types with llama.cpp's quantizer.
#![allow(dead_code, reason = "each test file uses its own part")]

use tabagent_gguf::{
    FileType, GgmlType, GgufWriter, Imatrix, OwnedValue, QuantizeOptions, Target, TensorRule,
};

/// A model: its name here, and a writer for it.
pub(crate) type Named = (&'static str, GgufWriter);

/// Numbers of a model.
struct Shape {
    architecture: &'static str,
    width: u64,
    layers: u32,
    heads: u32,
    kv_heads: u32,
    experts: u32,
    has_output: bool,
}

const LLAMA: Shape = Shape {
    architecture: "llama",
    width: 256,
    layers: 4,
    heads: 8,
    kv_heads: 8,
    experts: 0,
    has_output: true,
};

impl Shape {
    /// Metadata that the loader needs.
    fn metadata(&self) -> GgufWriter {
        let name = self.architecture;
        let own = |suffix: &str| format!("{name}.{suffix}");
        let tokens: Vec<String> = (0..4).map(|id| format!("token{id}")).collect();
        let mut writer = GgufWriter::new()
            .add("general.architecture", name)
            .add(&own("context_length"), 64_u32)
            .add(&own("embedding_length"), self.width as u32)
            .add(&own("block_count"), self.layers)
            .add(&own("feed_forward_length"), self.width as u32)
            .add(&own("attention.head_count"), self.heads)
            .add(&own("attention.head_count_kv"), self.kv_heads)
            .add(&own("attention.layer_norm_rms_epsilon"), 1e-5_f32)
            .add(&own("attention.layer_norm_epsilon"), 1e-5_f32);
        if self.experts > 0 {
            writer = writer.add(&own("expert_count"), self.experts).add(&own("expert_used_count"), 2_u32);
        }
        if name == "mamba" {
            for (suffix, value) in
                [("conv_kernel", 4_u32), ("inner_size", 256), ("state_size", 16), ("time_step_rank", 16)]
            {
                writer = writer.add(&own(&format!("ssm.{suffix}")), value);
            }
        }
        writer
            .add("general.quantization_version", 1_u32)
            .add("tokenizer.ggml.model", "gpt2")
            .add("tokenizer.ggml.pre", "default")
            .add("tokenizer.ggml.tokens", tokens)
            .add("tokenizer.ggml.token_type_count", 2_u32)
            .add("tokenizer.ggml.merges", vec!["a b"])
            .add("tokenizer.ggml.eos_token_id", 1_u32)
    }

    fn model(&self, layer: &[&str]) -> GgufWriter {
        let mut model = Filled { writer: self.metadata(), seed: 0 };
        model.add("token_embd.weight", &[self.width, 4]);
        if self.has_output {
            model.add("output.weight", &[self.width, 4]);
        }
        model.add("output_norm.weight", &[self.width]);
        for number in 0..self.layers {
            for name in layer {
                let name = format!("blk.{number}.{name}");
                if name.contains("norm") || name.contains(".bias") {
                    model.add(&name, &[self.width]);
                } else if name.contains("_exps") {
                    model.add(&name, &[self.width, 2, u64::from(self.experts)]);
                } else {
                    model.add(&name, &[self.width, 2]);
                }
            }
        }
        model.writer
    }
}

/// A writer that fills tensors with numbers.
struct Filled {
    writer: GgufWriter,
    seed: u64,
}

impl Filled {
    fn add(&mut self, name: &str, dims: &[u64]) {
        self.seed += 1;
        let mut random = crate::ggml::Random(self.seed);
        let n = dims.iter().product::<u64>() as usize;
        let bytes: Vec<u8> = (0..n).flat_map(|_| ((random.unit() - 0.5) * 0.1).to_le_bytes()).collect();
        let writer = std::mem::take(&mut self.writer);
        self.writer = writer.add_tensor(name, GgmlType::F32, dims, bytes);
    }
}

const DENSE: [&str; 9] = [
    "attn_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
];

const EXPERTS: [&str; 10] = [
    "attn_norm.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_exps.weight",
    "ffn_up_exps.weight",
    "ffn_down_exps.weight",
];

const FUSED: [&str; 6] = [
    "attn_norm.weight",
    "attn_qkv.weight",
    "attn_qkv.bias",
    "attn_output.weight",
    "ffn_up.weight",
    "ffn_down.weight",
];

/// Names that have rules of their own, and such that nearly have.
const ODD_NAMES: [&str; 44] = [
    "abcde",
    "abcd",
    "abcdefg",
    "x.weight",
    "weight",
    "x.weight.y",
    "position_embd.weight",
    "token_types.weight",
    "v.position_embd.weight",
    "per_layer_token_embd.weight",
    "per_layer_model_proj.weight",
    "blk.0.attn_kv_b.weight",
    "blk.0.attn_kv_a_mqa.weight",
    "blk.0.altup_proj.weight",
    "blk.0.laurel_l.weight",
    "blk.0.ssm_conv1d.weight",
    "blk.0.ssm_in.weight",
    "blk.0.shortconv.conv.weight",
    "blk.0.indexer.k_proj.weight",
    "blk.0.indexer.q_proj.weight",
    "blk.0.time_mix_first.weight",
    "blk.0.time_mix_w1.weight",
    "blk.0.time_mix_v2.weight",
    "blk.0.time_mix_a0.weight",
    "blk.0.time_mix_g2.weight",
    "blk.0.time_mix_decay_w1.weight",
    "blk.0.time_mix_lerp_fused.weight",
    "blk.0.time_mix_key.weight",
    "blk.0.attn_rel_b.weight",
    "blk.0.hc_attn.weight",
    "blk.0.ffn_gate_tid2eid.weight",
    "blk.0.ffn_gate_shexp.weight",
    "blk.0.nextn.eh_proj.weight",
    "v.blk.0.attn_v.weight",
    "v.blk.3.attn_out.weight",
    "v.patch_embd.weight",
    "mm.a.code_embd.weight",
    "a.rvq.codebook.weight",
    "sam.pos_embd.weight",
    "sam.neck.0.weight",
    "sam.net_2.weight",
    "v.sam.rel_pos.weight",
    "mm.patch_merger.weight",
    "blk.1x.ffn_down.weight",
];

/// The models.
pub(crate) fn models() -> Vec<Named> {
    let llama = |width, layers, heads, kv_heads| Shape { width, layers, heads, kv_heads, ..LLAMA };
    let mut odd = Filled { writer: llama(256, 2, 8, 2).model(&DENSE), seed: 1000 };
    for name in ODD_NAMES {
        odd.add(name, &[256, 2]);
    }
    odd.add("blk.0.attn_sinks.weight", &[256, 1]);
    odd.add("blk.0.expert_like.weight", &[256, 1, 3]);
    vec![
        ("llama-80-gqa", llama(256, 80, 16, 2).model(&DENSE)),
        ("llama-80-mha", llama(256, 80, 8, 8).model(&DENSE)),
        ("llama-33-gqa2", llama(256, 33, 8, 4).model(&DENSE)),
        ("llama-tied", Shape { has_output: false, ..llama(256, 12, 8, 2) }.model(&DENSE)),
        ("llama-rows-576", llama(576, 8, 9, 3).model(&DENSE)),
        ("llama-rows-40", llama(40, 4, 4, 4).model(&DENSE)),
        ("llama-rows-64", Shape { has_output: false, ..llama(64, 4, 4, 4) }.model(&DENSE)),
        ("llama-rows-128", llama(128, 4, 4, 4).model(&DENSE)),
        ("llama-moe-8", Shape { experts: 8, ..llama(256, 16, 8, 2) }.model(&EXPERTS)),
        ("llama-moe-4", Shape { experts: 4, ..llama(256, 16, 8, 8) }.model(&EXPERTS)),
        ("llama-names", odd.writer),
        ("falcon-32", Shape { architecture: "falcon", kv_heads: 1, ..llama(256, 32, 8, 1) }.model(&FUSED)),
        (
            "gemma-18",
            Shape { architecture: "gemma", has_output: false, ..llama(256, 18, 8, 1) }.model(&DENSE),
        ),
        ("qwen2-80", Shape { architecture: "qwen2", ..llama(256, 80, 8, 2) }.model(&DENSE)),
        ("bert-12", Shape { architecture: "bert", has_output: false, ..llama(256, 12, 8, 8) }.model(&FUSED)),
        ("phi3-32", Shape { architecture: "phi3", ..llama(256, 32, 8, 8) }.model(&FUSED)),
        (
            "mamba-8",
            Shape { architecture: "mamba", has_output: false, heads: 0, kv_heads: 0, ..llama(256, 8, 0, 0) }
                .model(&[
                    "attn_norm.weight",
                    "ssm_in.weight",
                    "ssm_conv1d.weight",
                    "ssm_x.weight",
                    "ssm_out.weight",
                    "ssm_a",
                ]),
        ),
    ]
}

/// A way to quantize a model.
pub(crate) struct Case {
    pub(crate) model: &'static str,
    pub(crate) label: &'static str,
    pub(crate) file_types: Vec<FileType>,
    change: fn(&mut QuantizeOptions),
}

impl Case {
    /// The options for one of the file types.
    pub(crate) fn options(&self, kind: FileType) -> QuantizeOptions {
        let mut options = QuantizeOptions::new(Target::FileType(kind)).with_requantizing(true);
        (self.change)(&mut options);
        options
    }
}

/// Importances for all matrices of the first layer of models of width 256.
pub(crate) fn some_importances() -> Imatrix {
    let mut random = crate::ggml::Random(7);
    let entries = DENSE
        .iter()
        .map(|name| (format!("blk.0.{name}"), (0..256).map(|_| random.unit() + 0.01).collect::<Vec<f32>>()));
    let writer = Imatrix::from_importances(entries).unwrap().writer();
    let writer =
        writer.set("imatrix.datasets", vec!["wiki.txt", "other.txt"]).set("imatrix.chunk_count", 12_u32);
    Imatrix::from_bytes(writer.to_bytes().unwrap()).unwrap()
}

/// Uses [`some_importances`].
pub(crate) fn use_importances(options: &mut QuantizeOptions) {
    *options = options.clone().with_imatrix(some_importances(), "calibration.gguf");
}

fn rules(options: &mut QuantizeOptions, texts: &[&str]) {
    options.rules = texts.iter().map(|text| text.parse::<TensorRule>().unwrap()).collect();
}

/// All comparisons: every model in every file type, and single options.
pub(crate) fn cases() -> Vec<Case> {
    let all = || FileType::ALL.to_vec();
    let some = || vec![FileType::Q4_K_M, FileType::IQ2_M, FileType::Q8_0, FileType::F16, FileType::Q2_0];
    let case = |model, label, file_types, change| Case { model, label, file_types, change };
    let mut cases: Vec<Case> =
        models().iter().map(|(name, _)| case(*name, "", all(), |_: &mut QuantizeOptions| {})).collect();
    cases.extend([
        case("llama-33-gqa2", "imatrix", all(), use_importances),
        case("llama-80-gqa", "imatrix", all(), use_importances),
        case("llama-rows-576", "pure", all(), |options| options.is_pure = true),
        case("llama-33-gqa2", "leave-output", some(), |options| options.leaves_output = true),
        case("llama-33-gqa2", "output-type", some(), |options| options.output_type = Some(GgmlType::Q5_1)),
        case("llama-tied", "output-type", some(), |options| options.output_type = Some(GgmlType::Q5_1)),
        case("llama-33-gqa2", "embedding-type", some(), |options| {
            options.embedding_type = Some(GgmlType::Q3_K);
        }),
        case("llama-tied", "embedding-type", some(), |options| options.embedding_type = Some(GgmlType::Q3_K)),
        case("llama-names", "embedding-type", some(), |options| {
            options.embedding_type = Some(GgmlType::Q3_K);
            rules(options, &["per_layer=q5_0"]);
        }),
        case("llama-33-gqa2", "rules", some(), |options| {
            rules(
                options,
                &[r"blk\.(1[0-9]|2)\.attn_v=q6_k", "FFN_(up|gate)=Q5_0", "ffn_up=q8_0", "output=f16"],
            );
        }),
        case("llama-rows-576", "rules", some(), |options| rules(options, &["attn=iq4_xs", "ffn=mxfp4"])),
        case("llama-33-gqa2", "prune", some(), |options| options.pruned_layers = vec![0, 5, 6, 32]),
        case("llama-names", "prune", some(), |options| options.pruned_layers = vec![1]),
        case("llama-33-gqa2", "overrides", some(), |options| {
            options.overrides = vec![
                ("llama.attention.head_count_kv".to_owned(), OwnedValue::I64(1)),
                ("llama.block_count".to_owned(), OwnedValue::I64(16)),
            ];
        }),
        case("llama-33-gqa2", "pure-imatrix", some(), |options| {
            options.is_pure = true;
            use_importances(options);
        }),
    ]);
    cases
}
