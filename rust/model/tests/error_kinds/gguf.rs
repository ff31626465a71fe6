//! Errors of GGUF files and of the work on them.

use std::io;

use tabagent_gguf::{
    ConvertError, GgmlType, GgufError, LoraError, QuantError, QuantizeError, Subject, TargetSizeError,
    UnknownFileType, UnknownOutType,
};

use tabagent_model::ErrorKind;

use crate::sample::{Sample, sample, samples};

pub(crate) fn samples() -> Vec<Sample> {
    [files(), converts(), adapters(), quantizes(), names(), sizes(), formats()]
        .into_iter()
        .flatten()
        .collect()
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(13)
}

fn files() -> Vec<Sample> {
    let (file, problem) = ("x.gguf".to_owned(), "is `2`, expected `1`".to_owned());
    let tensor = Subject::Tensor("output.weight".to_owned());
    samples!(GgufError {
        Open { path: "/x/m.gguf".into(), source: denied() } => Io, "cannot open `/x/m.gguf`";
        Invalid { file: file.clone(), offset: 1_024, subject: Subject::Header, problem: problem.clone() } => Gguf, "`x.gguf` at byte 1,024: the header is `2`, expected `1`";
        Unusable { file: file.clone(), offset: None, subject: Subject::Key("a.b".to_owned()), problem: problem.clone() } => Gguf, "cannot be loaded: key `a.b` is `2`, expected `1`";
        Data { file: file.clone(), offset: 8, subject: tensor.clone(), problem: problem.clone() } => Gguf, "at byte 8: tensor `output.weight` is `2`";
        Cancelled => GgufCancelled, "cancelled";
        Parts { file, subject: Subject::Header, problem: problem.clone() } => Gguf, "does not belong to the other parts";
        MissingParts { path: "/x/a-1.gguf".into(), count: 2, missing: vec!["/x/a-2.gguf".into()] } => Gguf, "put the missing ones beside it: `/x/a-2.gguf`";
        SameFile { path: "/x/m.gguf".into() } => Value, "give another name for the result";
        Unwritable { subject: tensor, problem } => Gguf, "tensor `output.weight` is `2`, expected `1`";
        Write { path: "/x/m.gguf".into(), source: denied() } => Io, "cannot write `/x/m.gguf`";
    })
}

fn converts() -> Vec<Sample> {
    samples!(ConvertError {
        Read { path: "/x/config.json".into(), source: denied() } => Io, "cannot read `/x/config.json`";
        Source { path: "/x/config.json".into(), problem: "it has no `hidden_size`".to_owned() } => Gguf, "it has no `hidden_size`";
        Architecture { path: "/x".into(), architecture: "NewModel".to_owned(), supported: "`LlamaForCausalLM`".to_owned() } => Gguf, "supported are `LlamaForCausalLM`";
        Gguf(GgufError::Cancelled) => GgufCancelled, "cancelled";
    })
}

fn adapters() -> Vec<Sample> {
    samples!(LoraError {
        Read { path: "/x/adapter.gguf".into(), source: denied() } => Io, "cannot read `/x/adapter.gguf`";
        Adapter { path: "/x/adapter.gguf".into(), problem: "it has no factors".to_owned() } => Gguf, "it has no factors";
        Model { model: "m.gguf".to_owned(), problem: "it is an adapter".to_owned() } => Gguf, "it is an adapter";
        NoAdapter => Value, "give at least one";
        Scale { path: "/x/adapter.gguf".into(), scale: f64::NAN } => Value, "scale `NaN`, which is not finite";
        OutType { found: GgmlType::I32 } => Value, "choose one of `";
        Gguf(GgufError::Cancelled) => GgufCancelled, "cancelled";
    })
}

fn quantizes() -> Vec<Sample> {
    let name = || "blk.0.ffn_up.weight".to_owned();
    let infinite = QuantError::NotFinite { ty: GgmlType::Q4_K, index: 3 };
    samples!(QuantizeError {
        UnknownFileType(UnknownFileType { text: "Q9".to_owned() }) => Value, "choose one of ";
        UnknownTensorType { text: "q9".to_owned() } => Value, "choose one such as `q8_0` or `q4_k`";
        Rule { rule: "a".to_owned(), problem: "has no `=`".to_owned() } => Value, "`a` has no `=`";
        Requantized { tensor: name(), from: GgmlType::Q4_K } => Gguf, "start from an F16, BF16 or F32 file";
        ImatrixMissing { tensor: name(), to: GgmlType::IQ1_S } => Gguf, "pass one with `--imatrix`";
        ForkType { tensor: name() } => Gguf, "quantize to `TQ2_0`, or convert the original model";
        NotWeights { tensor: name(), from: GgmlType::I32 } => Gguf, "leave it as it is with `--tensor-type";
        PartialBlock { tensor: name(), row_len: 100, to: GgmlType::Q4_K } => Gguf, "give it another type with `--tensor-type`";
        NoLayer { tensor: name(), n_layers: 8 } => Gguf, "use `--pure`";
        Prune { layer: 9, problem: "the model has `8` layers".to_owned() } => Value, "the model has `8` layers";
        ChosenTypes { expected: 3, found: 2 } => Value, "choose one for each, in the order of the plan";
        TargetSize(TargetSizeError::NoBits { bits: -1.0 }) => Value, "give a positive number";
        SplitSize => Value, "leave one of the two out";
        SameFile { path: "/x/m.gguf".into() } => Value, "give another name for the result";
        Override { key: "a.b".to_owned(), problem: "it is an array".to_owned() } => Value, "key `a.b` cannot be replaced: it is an array";
        Data { tensor: name(), to: GgmlType::Q4_K, source: infinite } => Gguf, "repair the tensor or store it as `F32`";
        Gguf(GgufError::Cancelled) => GgufCancelled, "cancelled";
    })
}

fn names() -> Vec<Sample> {
    let file = UnknownFileType { text: "Q9".to_owned() };
    let out = UnknownOutType { text: "q9".to_owned(), names: vec!["f16", "f32"] };
    vec![
        sample("UnknownFileType", file, ErrorKind::Value, "choose one of "),
        sample("UnknownOutType", out, ErrorKind::Value, "choose one of "),
    ]
}

fn sizes() -> Vec<Sample> {
    samples!(TargetSizeError {
        NoSize { text: "90 parsecs".to_owned() } => Value, "give a number and a unit, such as `90MB`";
        NoBits { bits: 0.0 } => Value, "give a positive number, such as `4.5`";
        TooSmall { target: 1_000, smallest: 2_000, smallest_bits: 1.75, with_importances: false } => Value, "raise it to `1.75` bits per weight or more, or give an importance matrix";
    })
}

fn formats() -> Vec<Sample> {
    let ty = GgmlType::Q4_K;
    samples!(QuantError {
        Cancelled => GgufCancelled, "cancelled";
        PartialBlock { ty, n_weights: 100, block_size: 256 } => Value, "choose another type or a padded row";
        PartialRow { n_weights: 100, row_length: 64 } => Value, "pass the length of the innermost dimension";
        WrongLength { ty, n_weights: 256, expected: 144, found: 8 } => Value, "take `144` bytes, but the buffer has `8`";
        NotAQuantizer { ty } => Value, "choose a type such as `Q4_K` or `Q8_0`";
        ImatrixMissing { ty } => Value, "pass one or choose a type above 2.5 bits";
        ImatrixLength { expected: 8, found: 7 } => Value, "has `7` entries, but a row has `8` weights";
        ImatrixValue { index: 3 } => Value, "collect it again";
        NotFinite { ty, index: 3 } => Value, "repair the tensor or store it as `F32`";
        BadBlock { ty, block: 1, offset: 150 } => Value, "not finite at byte `150`";
    })
}
