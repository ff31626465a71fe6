//! Errors of a loaded model, its decode thread, its samplers and its grammars, and of the choice of a variant.

use tabagent_chat::{ChatTemplateError, Fault, Message, ToolDefinition};
use tabagent_engine::LoadError;
use tabagent_model::{
    ContextError, DraftError, EngineError, Error, ErrorKind, KvType, MemoryNeed, MemoryPrediction,
    MemoryShortage, ModelError, OptionError, OwnEngineError, RequestError, RewriteError, RpcError,
    SessionError, StateError, TrialError, VariantError, VocabError,
};
use tabagent_sampling::constraint::GrammarError;
use tabagent_sampling::{ConfigError, SampleError};
use tabagent_variants::SelectError;

use crate::sample::{Sample, sample, samples};

pub(crate) fn samples() -> Vec<Sample> {
    [
        errors(),
        options(),
        variants(),
        engines(),
        own_engine(),
        drafts(),
        sessions(),
        requests(),
        sampler_configs(),
        rows(),
        grammars(),
        chats(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn own_engine() -> Vec<Sample> {
    let architecture =
        LoadError::Architecture { architecture: "mamba".to_owned(), known: "`llama`".to_owned() };
    let load = |source| OwnEngineError::Load { path: "/x/m.gguf".into(), source: Box::new(source) };
    let mut samples = samples!(OwnEngineError {
        Option { option: "mlock", reason: "has packed weights in memory of its own" } => Value, "`mlock` does not go with";
        Load { path: "/x/m.gguf".into(), source: Box::new(architecture) } => UnsupportedModel, "`engine='llama.cpp'` may load it";
    });
    samples.push(sample("Load", load(LoadError::Cancelled), ErrorKind::ModelLoadCancelled, "cancelled"));
    samples
}

fn errors() -> Vec<Sample> {
    samples!(Error {
        Option(OptionError::Missing { name: "prompt" }) => Type, "`prompt` is missing";
        Memory(shortage()) => OutOfMemory, "are free; take a smaller model";
        NoIsolation { path: "/x/m.gguf".into(), program: "/x/child".into(), source: std::io::ErrorKind::NotFound.into() } => ModelLoad, "`/x/child` does not start";
        OtherChild { version: "0.0.1" } => ModelLoad, "install tabagent again";
        IsolationUnsupported => Value, "load the model without it";
        Rpc(RpcError::Ended) => ModelLoad, "its log may say why";
        RpcInThisProcess => Value, "leave them out here";
        Elsewhere(crate::sample::elsewhere()) => Grammar, "no such rule";
        Library(tabagent_model::LibraryError::BadPath("/a\0b".into())) => LibraryLoad, "NUL byte";
        Trial(TrialError::Hung { path: "/x/m.gguf".into(), seconds: 30, words: String::new() }) => InvalidModel, "hangs with `/x/m.gguf`";
        Rewrite(RewriteError::NoCache { path: "/x/m.gguf".into() }) => ModelLoad, "set `TABAGENT_CACHE`";
        OwnEngine(OwnEngineError::Option { option: "mlock", reason: "has none" }) => Value, "leave it away";
        Load(ModelError::NoLibrary) => ModelLoad, "set `TABAGENT_LIBRARY_PATH`";
        Context(tabagent_model::ContextError::VocabOnly) => UnsupportedModel, "load it with its weights";
        Adapter(tabagent_model::AdapterError::VocabOnly) => UnsupportedModel, "load it with its weights";
        ControlVector(tabagent_model::ControlVectorError::Refused { log: vec![] }) => Decode, "it gave no reason";
        Chat(tabagent_chat::ChatTemplateError::Missing) => ChatTemplate, "a name such as `chatml`";
        ToolChoice(tabagent_chat::format::ToolChoiceError::NoTools) => Value, "give `tools`";
        Vocab(VocabError::NoTokenizer) => UnsupportedModel, "pass token ids instead of text";
        Sampler(ConfigError::NothingAllowed) => Value, "leave it out to allow all";
        Sample(SampleError::WrongLength { expected: 8, got: 7 }) => Sampling, "got `7`";
        Grammar(GrammarError::Dead) => Grammar, "loosen the grammar";
        Request(RequestError::EmptyPrompt) => Value, "give at least one";
        Engine(EngineError::Closed) => Closed, "load it again";
        QueueFull(tabagent_model::QueueFull { n_waiting: 3 }) => QueueFull, "raise `max_queue`";
        PromptTooLong { fewest: 9_120, n_ctx: 8_192 } => ContextFull, "raise `context_size` or shorten the prompt";
        TextTooLong { name: "texts[1]".to_owned(), tokens: 600, longest: 512 } => ContextFull, "`texts[1]` has 600 tokens and 512 fit; shorten it";
        PairTooLong { name: "documents[1]".to_owned(), query: 9, tokens: 600, longest: 512 } => ContextFull, "9 of them beside the document, and 512 fit";
        NoTokens { name: "texts[1]".to_owned() } => Value, "give it some text";
        TooManyDimensions { dimensions: 99, width: 32 } => Value, "`dimensions` must be between 1 and 32";
        NotFinite { name: "texts[1]".to_owned() } => Decode, "load the model with `check_tensors=True`";
        NoClassifier { source: ContextError::NotRanking { architecture: "bert".to_owned() } } => UnsupportedModel, "or `embed` query and documents";
        NoInfill { missing: "suffix, middle".to_owned() } => UnsupportedModel, "has no token for suffix, middle; take a model";
        Stopped => EmbeddingCancelled, "stopped before it was done";
        Session(SessionError::Running) => Value, "read its stream to the end";
        Draft(DraftError::Recurrent) => Value, "take a draft model with attention alone";
        ForeignGrammar => Value, "compile it with this model's `compile_grammar`";
        BreakersWithoutModel => Value, "give `model`, or sequences of token ids";
    })
}

fn chats() -> Vec<Sample> {
    let mistyped = Message::from_json(serde_json::json!({"role": 7})).expect_err("a role is a text");
    let lacking = ToolDefinition::from_json(serde_json::json!({})).expect_err("a tool has a name");
    samples!(ChatTemplateError {
        Template { line: 3, message: "roles must alternate".to_owned(), fault: Fault::Refused } => ChatTemplate, "failed in line 3: roles must alternate";
        Message { index: 2, shape: mistyped } => Type, "message 2: `role` must be a string, not a number";
        Tool { index: 1, shape: lacking } => Value, "tool 1: `function.name` is missing";
        Missing => ChatTemplate, "give one as `chat_template`";
        UnknownName { name: "chatmll".to_owned(), known: "chatml".to_owned() } => Value, "there is no chat template `chatmll`; there are chatml";
        Continue { problem: "it has no `content`".to_owned() } => ChatTemplate, "cannot continue the last message: it has no `content`";
    })
}

fn options() -> Vec<Sample> {
    samples!(OptionError {
        WrongType { name: "stop".to_owned(), wanted: "a text", found: "int".to_owned() } => Type, "`stop` must be a text, got `int`";
        OutOfRange { name: "top_p".to_owned(), range: "in (0, 1]".to_owned(), got: "2".to_owned() } => Value, "in (0, 1], got `2`";
        Unknown { name: "topp".to_owned(), known: "`top_k`, `top_p`".to_owned() } => Type, "known are `top_k`, `top_p`";
        Missing { name: "prompt" } => Type, "`prompt` is missing";
    })
}

fn variants() -> Vec<Sample> {
    let mut all = samples!(SelectError {
        EmptyRequest => Variant, "ask for `auto`, a name such as `haswell`, or a path";
        NoLibrary => Variant, "set `TABAGENT_LIBRARY_PATH` to a directory that holds one";
        NoneUsable { found: 2, name: "zen5".to_owned(), reason: "needs AVX-512".to_owned() } => Variant, "the closest one, `zen5`, needs AVX-512";
        UnknownVariant { name: "zen9".to_owned(), known: vec!["zen4".to_owned()] } => Variant, "known here, closest first: `zen4`";
        UnknownPath { path: "/x".into(), known: vec![] } => Variant, "at `/x`; known here: nothing";
        Unusable { name: "zen5".to_owned(), reason: "it needs AVX-512".to_owned(), missing: vec![] } => Variant, "ask for `auto` or another variant";
    });
    let problem = Some("`/x` holds no `libllama.so`".to_owned());
    let error = VariantError { source: SelectError::NoLibrary, problem };
    all.push(sample("VariantError", error, ErrorKind::Variant, "(`/x` holds no `libllama.so`)"));
    let error = VariantError { source: SelectError::EmptyRequest, problem: None };
    all.push(sample("VariantError", error, ErrorKind::Variant, "ask for `auto`"));
    all
}

fn drafts() -> Vec<Sample> {
    samples!(DraftError {
        Vocabulary { difference: "token 7 is `a` where this one has `b`".to_owned() } => Value, "token 7 is `a` where this one has `b`; take a smaller model";
        Recurrent => Value, "take a draft model with attention alone";
    })
}

fn sessions() -> Vec<Sample> {
    let source = std::io::Error::from_raw_os_error(28);
    let file = StateError::Io { path: "/x/session".to_owned(), source };
    samples!(SessionError {
        Running => Value, "read its stream to the end, or close it first";
        Closed => Closed, "make or load another one";
        TooFar { n: 9, n_tokens: 7 } => Value, "cannot take 9 tokens back: the session has 7";
        OtherChanges { found: "`a.gguf` at scale 1".to_owned(), given: "nothing that changes the model is".to_owned() } => State, "give `load_session` the same adapters";
        NotASession { reason: "it is cut off" } => State, "it is cut off";
        Damaged => State, "its digest does not match its contents";
        OtherModel => State, "load it with the model file that it was saved with";
        OtherBuild { expected: "b6000".to_owned(), found: "b5000".to_owned() } => State, "written with `b5000` and this process runs `b6000`";
        OtherSettings { what: "kv_type", expected: "f16".to_owned(), found: "q8_0".to_owned() } => State, "made with `kv_type` `q8_0` and this model has `f16`";
        Cells => State, "none that this model's memory takes";
        File(file) => Io, "`/x/session`";
    })
}

fn engines() -> Vec<Sample> {
    samples!(EngineError {
        Closed => Closed, "load it again to generate more";
        Forked => Forked, "load it again in the child process, or use the spawn start method";
        Panicked { message: "index out of bounds".to_owned() } => Decode, "close the model and load it again";
        Decode { message: "the graph failed".to_owned() } => Decode, "the graph failed";
        NoSpace { n_tokens: 9 } => ContextFull, "raise `context_size` or shorten the prompt";
        NoCells { n_tokens: 9 } => State, "no cells of these 9 tokens";
        Sampler { message: "no logit".to_owned() } => Sampling, "no logit";
        Constraint { message: "no token fits".to_owned() } => Grammar, "no token fits";
        Banned { n_tries: 9 } => Sampling, "in 9 tries; loosen `ban`";
        Hook { message: "it raised".to_owned() } => Sampling, "it raised";
        Hung { seconds: 60 } => Decode, "still at work after 60 s";
        Crashed { words: "it was killed by `SIGSEGV`".to_owned() } => EngineCrashed, "`SIGSEGV`; the next call starts it again";
        Spawn { message: "no more threads".to_owned() } => Decode, "no more threads";
    })
}

fn requests() -> Vec<Sample> {
    samples!(RequestError {
        EmptyPrompt => Value, "give at least one, such as the beginning-of-text token";
        PromptTooLong { n_prompt: 9_120, n_ctx: 8_192 } => ContextFull, "raise `context_size` or shorten the prompt";
        TokenOutOfRange { list: "stop_tokens", index: 1, token: -3, n_vocab: 8 } => Value, "`stop_tokens[1]` is token -3 but the vocabulary has tokens 0 to 7";
        NoContinuations => Value, "give at least one";
        EmptyContinuation { index: 1 } => Value, "give it text";
        ContinuationTooLong { index: 1, n_tokens: 20, n_ctx: 8 } => ContextFull, "raise `context_size` or shorten them";
        EmptyStop { index: 1 } => Value, "remove it or give it text";
        EmptyBan { index: 1 } => Value, "`ban[1]` is empty";
        ForkWithBan => Value, "leave one of them out";
        KeepsTooMuch { keep: 255, n_ctx: 256 } => Value, "lower `keep` or raise `context_size`";
        ShiftWith { name: "ban" } => Value, "leave `ban` out";
        CannotShift => Value, "shorten the text yourself";
        BanNeedsSnapshots => Value, "give one that can `save` its state";
    })
}

fn sampler_configs() -> Vec<Sample> {
    samples!(ConfigError {
        Number { field: "top_p", range: "in (0, 1]", got: f32::NAN } => Value, "in (0, 1], got `NaN`";
        Integer { field: "mirostat", range: "0, 1 or 2", got: 3 } => Value, "0, 1 or 2, got `3`";
        Bias { token: 4, got: f32::INFINITY } => Value, "must be finite, or `-inf` to ban the token";
        UnknownToken { field: "logit_bias", token: 9, n_vocab: 8 } => Value, "the vocabulary has tokens `0` to `7`";
        NothingAllowed => Value, "leave it out to allow all";
        NeedsPieces => Value, "give `pieces`, or a model";
        WrongPieces { got: 7, n_vocab: 8 } => Value, "take those of the same model";
        Vocabulary { n_vocab: 0 } => Value, "in [1, 2147483647], got `0`";
        Seed { source: getrandom::Error::UNSUPPORTED } => Value, "set `seed`";
    })
}

fn rows() -> Vec<Sample> {
    samples!(SampleError {
        WrongLength { expected: 8, got: 7 } => Sampling, "expected `8` logits, one a token of the vocabulary, got `7`";
        WrongMask { expected: 8, got: 7 } => Sampling, "make it for the vocabulary of the sampler";
        EmptyMask { n_vocab: 8 } => Sampling, "allow one, or end the text where nothing may follow";
        NoFiniteLogit { n_vocab: 8, n_nan: 1 } => Sampling, "check that bans, bias, grammar and hooks together leave a token";
    })
}

fn grammars() -> Vec<Sample> {
    samples!(GrammarError {
        Schema { path: "/properties/a".to_owned(), message: "`minimum` must be a number".to_owned() } => Grammar, "at `/properties/a`: `minimum` must be a number";
        Syntax { line: 2, column: 5, message: "unbalanced `)`".to_owned() } => Grammar, "in line `2`, column `5`: unbalanced `)`";
        Token { token: 7, text: "x".to_owned() } => Grammar, "take a token that the mask allows";
        TooLarge { message: "it has 20 rules; at most 10 are taken".to_owned() } => Grammar, "it has 20 rules";
        Dead => Grammar, "loosen the grammar";
        Unwritable { text: "x".to_owned() } => Grammar, "loosen the grammar";
        Argument { message: "`n_vocab` must be at least `1`".to_owned() } => Grammar, "must be at least `1`";
        Internal { message: "no state".to_owned() } => Grammar, "report this with the grammar";
    })
}

fn shortage() -> MemoryShortage {
    let kv_types = (KvType::F16, KvType::F16);
    let prediction = MemoryPrediction {
        need: MemoryNeed::default(),
        available: Some(0),
        devices: Vec::new(),
        gpu_layers: 0,
        context_size: 8,
        kv_types,
    };
    MemoryShortage { prediction, hint: "take a smaller model" }
}
