//! Errors of libraries of llama.cpp, of models, vocabularies, contexts and saved states.

use std::io::ErrorKind::PermissionDenied;
use std::path::PathBuf;

use tabagent_llama::{
    AbiMismatch, BinaryFormat, LoadFailure, MissingSymbols, Thrown, ThrownKind, UnsupportedFeature,
    UnsupportedSetting,
};
use tabagent_model::{
    AdapterError, ContextConfigError, ContextError, ControlVectorError, ErrorKind, LibraryError, ModelError,
    RpcAddress, RpcError, StateError, TrialError, VocabError,
};

use crate::sample::{Sample, sample, samples};

pub(crate) fn samples() -> Vec<Sample> {
    [
        libraries(),
        servers(),
        files(),
        parts(),
        models(),
        trials(),
        vocabularies(),
        configs(),
        contexts(),
        states(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn missing() -> MissingSymbols {
    MissingSymbols(vec!["llama_decode"])
}

fn mismatch() -> AbiMismatch {
    AbiMismatch {
        expected: "`b6000`".to_owned(),
        found: "version `b1`".to_owned(),
        evidence: vec!["`llama_version()` is `b1`".to_owned()],
    }
}

fn unsupported() -> UnsupportedSetting {
    UnsupportedSetting { setting: "gpu_layers", build: "b6000" }
}

fn not_found() -> LoadFailure {
    LoadFailure::NotFound { path: "/x/libllama.so".into(), expected: "libllama.so" }
}

fn server() -> RpcAddress {
    "rpc://box:7".parse().expect("it is an address")
}

fn refused() -> std::io::Error {
    std::io::ErrorKind::ConnectionRefused.into()
}

fn servers() -> Vec<Sample> {
    samples!(RpcError {
        Host { address: server(), reason: "not known".to_owned() } => ModelLoad, "cannot find the host of `rpc://box:7`: not known";
        Unreachable { address: server(), source: refused() } => ModelLoad, "start `tabagent rpc-server` there";
        Silent { address: server(), seconds: 5 } => ModelLoad, "a server serves one client at a time";
        Closed { address: server() } => ModelLoad, "`rpc://box:7` closes the connection without an answer";
        Foreign { address: server() } => ModelLoad, "look at the port";
        OtherVersion { address: server(), theirs: (8, 0, 1), ours: (7, 0) } => ModelLoad, "speaks version 8.0.1 of ggml's RPC and this library 7.0;";
        NoDevice { address: server() } => ModelLoad, "offers no device";
        Unsupported { build: "b6000".to_owned(), lacks: "has no RPC backend" } => IncompatibleLibrary, "use the library of the package";
        Listen { host: "127.0.0.1".to_owned(), port: 7, source: refused() } => ModelLoad, "cannot listen at `127.0.0.1:7`";
        Cache { folder: "/x".into(), source: refused() } => ModelLoad, "cannot make the folder `/x`";
        UnknownDevice { name: "cuda:0".to_owned(), known: vec!["`cpu`".to_owned()] } => Value, "there are `cpu`";
        Ended => ModelLoad, "its log may say why";
    })
}

fn libraries() -> Vec<Sample> {
    samples!(LibraryError {
        Load(not_found()) => LibraryLoad, "give the directory of `libllama.so`";
        MissingSymbols { path: "/x/libllama.so".into(), source: missing() } => IncompatibleLibrary, "it does not export `llama_decode`";
        Incompatible { path: "/x/libllama.so".into(), source: mismatch() } => IncompatibleLibrary, "expected `b6000`; found version `b1`";
        ForeignGgml { path: "/x/libllama.so".into(), symbol: "ggml_init", found: "/y/libggml.so".into() } => IncompatibleLibrary, "import tabagent before it, or use separate processes";
        AlreadyLoaded { loaded: "/x".into(), requested: "/y".into() } => LibraryAlreadyLoaded, "use another process";
        ModuleAlreadyLoaded { loaded: "haswell".to_owned(), requested: "zen4".to_owned() } => LibraryAlreadyLoaded, "use another process";
        NoSuchModule { name: "zen9".to_owned(), directory: "/x".into(), available: vec!["haswell".to_owned(), "x64".to_owned()] } => Variant, "it has `haswell`, `x64`";
        Backend { path: "/x/libggml-cuda.so".into(), log: vec!["libcuda.so.1: cannot open".to_owned()] } => LibraryLoad, "cannot load the backend `/x/libggml-cuda.so`: libcuda.so.1: cannot open";
        BackendsAlreadyLoaded { loaded: vec!["/x/libggml-cuda.so".into()], requested: vec![] } => LibraryAlreadyLoaded, "cannot use llama.cpp with no backend from elsewhere: this process already runs it with `/x/libggml-cuda.so`; use another process";
        NoCpuBackend { directory: "/x".into(), log: vec!["no variant fits".to_owned()] } => LibraryLoad, "runs on this machine: no variant fits";
        BadPath("/a\0b".into()) => LibraryLoad, "NUL byte";
    })
}

fn files() -> Vec<Sample> {
    samples!(LoadFailure {
        NotFound { path: "/x/libllama.so".into(), expected: "libllama.so" } => LibraryLoad, "give the directory of `libllama.so` or the path of the file itself";
        Unreadable { path: "/x/libllama.so".into(), source: PermissionDenied.into() } => LibraryLoad, "cannot read `/x/libllama.so`: permission denied";
        NotALibrary { path: "/x/libllama.so".into(), reason: "it is a text".to_owned() } => LibraryLoad, "it is a text";
        WrongFormat { path: "/x/libllama.so".into(), expected: BinaryFormat::Elf, found: BinaryFormat::MachO } => LibraryLoad, "its format is Mach-O (macOS) and this system loads ELF (Linux)";
        WrongArchitecture { path: "/x/libllama.so".into(), expected: "x86_64", found: "aarch64".to_owned() } => LibraryLoad, "built for `aarch64` and this process runs on `x86_64`";
        GlibcTooOld { path: "/x/libllama.so".into(), needed: (2, 38), present: (2, 36) } => LibraryLoad, "use a build for an older system";
        NameTaken { path: "/x/libggml.so".into(), found: "/y/libggml.so".into() } => LibraryLoad, "import tabagent before what loads it, or use separate processes";
        MissingDependency { path: "/x/libllama.so".into(), dependency: "libcudart.so.12".to_owned() } => LibraryLoad, "needs `libcudart.so.12`";
        Loader { path: "/x/libllama.so".into(), reason: "the file is too short".to_owned() } => LibraryLoad, "the file is too short";
    })
}

fn parts() -> Vec<Sample> {
    let kind = ErrorKind::IncompatibleLibrary;
    vec![
        sample("MissingSymbols", missing(), kind, "it does not export `llama_decode`"),
        sample("AbiMismatch", mismatch(), kind, "evidence: `llama_version()` is `b1`"),
        sample("UnsupportedSetting", unsupported(), kind, "leave `gpu_layers` at its default"),
    ]
}

fn models() -> Vec<Sample> {
    let cancelled = tabagent_gguf::GgufError::Parts {
        file: "x.gguf".to_owned(),
        subject: tabagent_gguf::Subject::Key("split.no".to_owned()),
        problem: "is `3`, expected `1`".to_owned(),
    };
    samples!(ModelError {
        NotFound("/x/m.gguf".into()) => ModelNotFound, "no model file `/x/m.gguf`";
        IsDirectory("/x".into()) => ModelLoad, "give the path of a GGUF file in it";
        BadPath("/a\0b".into()) => Value, "NUL byte";
        Gguf(cancelled) => InvalidModel, "key `split.no` is `3`, expected `1`";
        NoWeights("/x/m.gguf".into()) => InvalidModel, "load it with `vocab_only=True`";
        BadOverride { key: "a.b".to_owned(), reason: "the text is too long".to_owned() } => Value, "`a.b`: the text is too long";
        NoThreads { path: "/x/m.gguf".into(), log: Vec::new() } => ModelLoad, "raise the limit of processes and threads";
        BadOption { option: "gpu_layers", range: "at least 0", got: "-2".to_owned() } => Value, "at least 0, got `-2`";
        UnknownDevice { name: "cuda:9".to_owned(), known: vec!["cpu".to_owned(), "cuda:0".to_owned()] } => Value, "unknown device `cuda:9`; here are `cpu`, `cuda:0`";
        UnknownMemory { name: "CUDA9".to_owned(), known: vec!["CPU".to_owned()] } => Value, "unknown memory `CUDA9`; here are `CPU`";
        DeviceMemory { path: "/x/m.gguf".into(), device: "cuda:0".to_owned(), log: vec!["out of memory".to_owned()] } => OutOfMemory, "does not fit into the memory of `cuda:0`: out of memory; put fewer layers there";
        Cancelled("/x/m.gguf".into()) => ModelLoadCancelled, "cancelled by the progress callback";
        Refused { path: "/x/m.gguf".into(), log: vec![] } => ModelLoad, "it gave no reason";
        NoLibrary => ModelLoad, "set `TABAGENT_LIBRARY_PATH` to the directory of one";
        Library(not_found().into()) => LibraryLoad, "give the directory of `libllama.so`";
        Unsupported(unsupported()) => IncompatibleLibrary, "use another build of llama.cpp";
    })
}

fn vocabularies() -> Vec<Sample> {
    samples!(VocabError {
        NoTokenizer => UnsupportedModel, "pass token ids instead of text";
        TextTooLong { bytes: 9, limit: 8 } => Value, "split it";
        TooSlow { what: "letters in a row", count: 9, limit: 8 } => Value, "split the text";
        TokenOutOfRange { index: 1, token: -3, vocab_size: 8 } => Value, "token 1 is `-3`, but ids go from 0 to 7";
        Failed { task: "tokenize", code: -2 } => Decode, "cannot tokenize this input";
        Threw { task: "tokenize", words: "bad_function_call".to_owned() } => Decode, "cannot tokenize this input: bad_function_call";
        Elsewhere(crate::sample::elsewhere()) => Grammar, "no such rule";
        Stopped => Decode, "stopped before all was done";
        NoStack { bytes: 9 } => OutOfMemory, "split the text";
    })
}

fn thrown(kind: ThrownKind) -> Thrown {
    Thrown { kind, words: "x.c:1: it failed".to_owned() }
}

fn trials() -> Vec<Sample> {
    let (path, words) = (PathBuf::from("/x/m.gguf"), "was killed by `SIGABRT`".to_owned());
    samples!(TrialError {
        Died { path: path.clone(), words: words.clone() } => InvalidModel, "a child process that tried it was killed by `SIGABRT`";
        ShortOfMemory { path: path.clone(), words: words.clone() } => OutOfMemory, "lower `context_size` or free memory";
        Hung { path: path.clone(), seconds: 30, words: String::new() } => InvalidModel, "still at work after 30 s; if the machine was only busy";
        NoChild { path, program: "/x/tabagent-child".into(), source: PermissionDenied.into() } => ModelLoad, "`/x/tabagent-child` does not start: permission denied";
    })
}

fn configs() -> Vec<Sample> {
    samples!(ContextConfigError {
        OutOfRange { option: "threads", minimum: 1, maximum: 512, got: 0 } => Value, "between 1 and 512, got `0`";
        KvTypeBlocks { kv_type: "q8_0", block: 32, size: 80 } => Value, "take `f16`, `bf16` or `f32`";
        KvTypeNeedsFlashAttention { kv_type: "q8_0" } => Value, "leave `flash_attention` on `auto`";
        KvTypeWithoutFlashAttention { kv_type: "q8_0", architecture: "grok".to_owned() } => Value, "does not use for `grok`; take `f16`";
        KvTypesDiffer { keys: "q8_0", values: "f16", architecture: "deepseek2".to_owned() } => Value, "take one type for both";
        BadPattern { pattern: "[".to_owned(), problem: "invalid range pattern" } => Value, "`[` of `captures` cannot be read: invalid range pattern";
        UnknownName { option: "kv_type", got: "f8".to_owned(), known: "`f16`, `f32`".to_owned() } => Value, "known are `f16`, `f32`";
    })
}

fn contexts() -> Vec<Sample> {
    let config = ContextConfigError::KvTypeNeedsFlashAttention { kv_type: "q8_0" };
    samples!(ContextError {
        Config(config) => Value, "needs fused attention";
        Elsewhere => UnsupportedModel, "load it without `isolation`";
        VocabOnly => UnsupportedModel, "load it with its weights to decode";
        NotGenerative { architecture: "bert".to_owned(), reason: "it embeds" } => UnsupportedModel, "`bert` models do not generate text: it embeds";
        NotEmbedding { architecture: "eagle3".to_owned(), reason: "it drafts" } => UnsupportedModel, "`eagle3` models give no embeddings: it drafts";
        NotRanking { architecture: "bert".to_owned() } => UnsupportedModel, "load a reranking model";
        NoVector { what: "token", index: 3 } => Value, "it was not in the last batch";
        OutOfMemory { context_size: 8, needed: 2 << 20, available: 1 << 20 } => OutOfMemory, "lower `context_size`";
        NoMemory { context_size: 8, device: None } => OutOfMemory, "no memory for a context of 8 tokens; lower `context_size`, or raise the limits of the process";
        Refused { log: vec!["no such device".to_owned()] } => Decode, "no such device";
        Broken { thrown: thrown(ThrownKind::Assertion) } => Decode, "failed to decode: x.c:1: it failed; this context cannot go on";
        StateFailed { task: "save the sequence" } => Decode, "could not save the sequence";
        OtherContext => Decode, "restore it in the context that it was taken of";
        EmptyBatch => Value, "add at least one token";
        BatchTooLarge { tokens: 9, n_batch: 8 } => Value, "split it or raise `batch_size`";
        TooManyOutputs { outputs: 9, max_outputs: 8 } => Value, "raise `max_outputs`";
        TokenOutOfRange { index: 1, token: -3, vocab_size: 8 } => Value, "token 1 is `-3`, but ids go from 0 to 7";
        SequenceOutOfRange { sequence: 4, n_seq_max: 2 } => Value, "this context has 2 (`max_sequences`)";
        BadSequences { index: 1 } => Value, "at least one sequence, and in each only once";
        SplitCells { index: 1 } => Value, "make the context with `kv_unified`";
        WrongPosition { index: 1, sequence: 0, position: 9, expected: 3 } => Value, "which continues at 3";
        UnknownPosition { index: 1, position: 9, positions: 8 } => Value, "has learned 8 positions only";
        BadRange { start: 3, end: 1 } => Value, "positions 3..1 are no range";
        Full { tokens: 9, n_ctx: 8 } => ContextFull, "remove one or raise `context_size`";
        Aborted => Decode, "the decode was aborted";
        Failed { code: -3, log: vec!["the graph failed".to_owned()] } => Decode, "the graph failed";
        NoLogits { index: 3, available: "token 1".to_owned() } => Value, "the last decode computed them for token 1";
        NoSuchTensor { pattern: "x-*".to_owned(), known: "`l_out-0`".to_owned() } => Value, "no tensor matches `x-*` of `captures`; this model has `l_out-0`";
        CapturesTooLarge { tensor: "l_out-0".to_owned(), needed: 9, limit: 8 } => OutOfMemory, "raise `capture_limit`";
        CaptureInPieces { tensor: "kq-0".to_owned(), count: 2 } => Value, "raise `micro_batch_size`";
        CaptureOfNoNumbers { tensor: "x".to_owned() } => Value, "leave it out of `captures`";
        CannotRemove { start: 1, end: 3 } => Decode, "remove the whole sequence";
        SequenceInUse { sequence: 1 } => Value, "remove it before copying onto it";
        Unsupported(unsupported()) => IncompatibleLibrary, "use another build of llama.cpp";
        Adapter(Box::new(AdapterError::VocabOnly)) => UnsupportedModel, "load it with its weights";
        ControlVector(Box::new(ControlVectorError::Refused { log: vec![] })) => Decode, "it gave no reason";
        Vocab(VocabError::Stopped) => Decode, "stopped before all was done";
    })
}

fn states() -> Vec<Sample> {
    let io = || std::io::Error::from_raw_os_error(13);
    samples!(StateError {
        NotAState { reason: "it is cut off" } => State, "it is cut off";
        Damaged => State, "its digest does not match its contents";
        OtherModel => State, "load it with the model file that it was saved with";
        OtherBuild { expected: "b6000".to_owned(), found: "b5000".to_owned() } => State, "written by `b5000` and this process runs `b6000`";
        OtherSettings { what: "context_size", expected: "8".to_owned(), found: "9".to_owned() } => State, "create the context alike";
        Failed { task: "save" } => State, "could not save the state";
        Unsupported(UnsupportedFeature { feature: "load saved states", build: "b5000", since: "b5429" }) => IncompatibleLibrary, "`b5000` cannot load saved states, which llama.cpp can since b5429";
        Io { path: "/x/state".to_owned(), source: io() } => Io, "`/x/state`";
    })
}
