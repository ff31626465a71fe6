//! Errors of adapters and control vectors.

use tabagent_gguf::{GgufError, LoraError};
use tabagent_model::{AdapterError, ContextError, ControlVectorError};

use crate::sample::{Sample, samples};

pub(crate) fn samples() -> Vec<Sample> {
    [adapters(), control_vectors()].into_iter().flatten().collect()
}

fn denied() -> std::io::Error {
    std::io::Error::from_raw_os_error(13)
}

fn adapters() -> Vec<Sample> {
    let lora = LoraError::Adapter { path: "/x/a.gguf".into(), problem: "it has no factors".to_owned() };
    samples!(AdapterError {
        Lora(lora) => Adapter, "cannot use adapter `/x/a.gguf`: it has no factors";
        ModelFile(GgufError::Open { path: "/x/m.gguf".into(), source: denied() }) => Io, "cannot open `/x/m.gguf`";
        ModelFileChanged("/x/m.gguf".into()) => Adapter, "load the model again";
        VocabOnly => UnsupportedModel, "load it with its weights";
        Unused { path: "/x/a.gguf".into(), tensors: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec() } => Adapter, "from `a`, `b`, `c`, `d` and 1 more, which it changes; merge";
        InvocationToken { path: "/x/a.gguf".into(), token: 9, vocab_size: 8 } => Adapter, "invocation token `9` is none of the model, whose ids go from 0 to 7";
        OutOfMemory { path: "/x/a.gguf".into(), needed: 2 << 20, available: 1 << 20 } => OutOfMemory, "needs about 2 MiB and 1 MiB are available";
        Refused { path: "/x/a.gguf".into(), log: vec!["no buffer".to_owned()] } => Adapter, "no buffer";
        NoFolder { path: "/tmp".into(), source: denied() } => Io, "name another place in `TMPDIR`";
        Elsewhere(crate::sample::elsewhere()) => Grammar, "no such rule";
        Trial(ContextError::Aborted) => Decode, "the decode was aborted";
        OtherModel { name: "a.gguf".to_owned() } => Adapter, "load it with this model's `load_adapter`";
        Activated { name: "a.gguf".to_owned() } => Adapter, "adapter `a.gguf` is an activated one (aLoRA)";
        Twice { name: "a.gguf".to_owned() } => Value, "give it once, with the sum of both scales";
        Scale { name: "a.gguf".to_owned(), scale: f32::NAN, strength: 2.0 } => Value, "scale `NaN` of adapter `a.gguf` times the strength of its matrices, `2`, must be finite";
        TooMany { architecture: "qwen35".to_owned(), changes: 9, most: 8 } => Value, "at most 8; use fewer at a time";
    })
}

fn control_vectors() -> Vec<Sample> {
    samples!(ControlVectorError {
        File(GgufError::Open { path: "/x/v.gguf".into(), source: denied() }) => Io, "cannot open `/x/v.gguf`";
        Unfit { name: "v.gguf".to_owned(), problem: "it moves layer `9`".to_owned() } => Adapter, "cannot use control vector `v.gguf`: it moves layer `9`";
        Layers { first: 0, last: 9, most: 7 } => Value, "layers 0 to 9 are no range of the layers that control vectors move, 1 to 7";
        Scale { name: "v.gguf".to_owned(), scale: f32::INFINITY } => Value, "scale `inf` of control vector `v.gguf`";
        Architecture { architecture: "plamo2".to_owned() } => UnsupportedModel, "architecture `plamo2`";
        Refused { log: vec!["no buffer".to_owned()] } => Decode, "no buffer";
    })
}
