//! A loaded model with its decode thread.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tabagent_chat::ChatTemplate;
use tabagent_llama::{
    Adapter, AtWork, Context, ContextConfig, ContextError, ControlSum, ControlVector, DetokenizeOptions,
    ElsewhereError, KvType, MemoryNeed, Model as LlamaModel, Prompt, TokenId,
};
use tabagent_runtime::{
    AbortFlag, Decoder, Engine, EngineConfig, EngineError, EngineStats, Fork, HookWorker, Metrics, Owner,
    Record, Request, ScoreRequest, StreamId, TokenConstraint, TokenStream, logits_hook,
};
use tabagent_sampling::constraint::Grammar;
use tabagent_sampling::{Draws, Explanation, Sampler, SamplerConfig};

use crate::adapter_set::AdapterSet;
use crate::changes::Changes;
use crate::context_options::context_config;
use crate::decoder::LlamaDecoder;
use crate::draft::Drafts;
use crate::embed::Embedder;
use crate::error::Error;
use crate::generate::{GenerateOptions, WORTH_CACHING};
use crate::grammar::{Compiler, GrammarRequest};
use crate::isolation::Host;
use crate::memory::Fitted;
use crate::offload::Offload;
use crate::prompt::{self, PromptInput};
use crate::settings::SamplerSettings;
use crate::threads_in_use::{ThreadsGauge, ThreadsInUse};
use crate::value::Value;
use crate::vocabulary_facts::VocabularyFacts;

/// A loaded model with its decode thread. Cheap to clone; all clones are the same model, and any thread may use them.
///
/// It is closed by [`close`](Self::close), or when the last clone is dropped; both wait for the decode thread to end.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    /// `None` once closed.
    open: RwLock<Option<Arc<Open>>>,
    process: u32,
}

/// What closing takes away.
pub(crate) struct Open {
    pub(crate) model: LlamaModel,
    engine: Result<Engine, NoEngine>,
    /// `None` with `vocab_only`.
    embedder: Option<Embedder>,
    sizes: ContextSizes,
    memory: MemoryNeed,
    kv_types: (KvType, KvType),
    /// Its number in this process.
    pub(crate) number: u64,
    /// What it drafts for other models.
    pub(crate) drafts: Drafts,
    /// What a saved session must share with this model, and its value.
    sequence_settings: Vec<(&'static str, String)>,
    fitted: Option<Fitted>,
    /// The process that the model is in, if that is another one.
    host: Option<Arc<Host>>,
    offload: Offload,
    /// Zeros with `vocab_only`.
    threads: ThreadsGauge,
    end_tokens: OnceLock<Vec<TokenId>>,
    compiler: Compiler,
    vocabulary: VocabularyFacts,
    /// The file's templates that were asked for, by name.
    pub(crate) templates: Mutex<Vec<(Option<&'static str>, Arc<ChatTemplate>)>>,
}

/// What a text goes on from that was begun before.
#[derive(Default)]
pub(crate) struct Begun {
    pub(crate) fork: Option<Fork>,
    pub(crate) owner: Option<Owner>,
    pub(crate) record: Option<Record>,
    /// Where the sampler was.
    pub(crate) draws: Option<Draws>,
}

/// Why a model has no decode thread.
pub(crate) enum NoEngine {
    /// It was loaded without weights.
    VocabOnly,
    /// It gives vectors only.
    NotGenerative {
        /// The architecture.
        architecture: String,
        /// Why it does not generate.
        reason: &'static str,
    },
    /// So says the process that has it.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no such processes"))]
    Elsewhere(ElsewhereError),
}

impl NoEngine {
    fn error(&self) -> Error {
        match self {
            Self::VocabOnly => ContextError::VocabOnly.into(),
            Self::NotGenerative { architecture, reason } => {
                ContextError::NotGenerative { architecture: architecture.clone(), reason }.into()
            }
            Self::Elsewhere(why) => why.clone().into(),
        }
    }
}

/// What is known of a decoder's context.
pub(crate) struct DecoderFacts {
    pub(crate) sizes: ContextSizes,
    pub(crate) memory: MemoryNeed,
    pub(crate) kv_types: (KvType, KvType),
    pub(crate) sequence_settings: Vec<(&'static str, String)>,
}

/// Sizes of the decode thread's context, or of a model that only embeds, of its batches; zeros with `vocab_only`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSizes {
    /// Tokens of context.
    pub context_size: u32,
    /// Tokens that one request can hold.
    pub sequence_size: u32,
    /// Maximum number of tokens per decode.
    pub batch_size: u32,
    /// Requests that are decoded together.
    pub max_sequences: u32,
    /// Threads that compute, at most.
    pub threads: u32,
}

impl ContextSizes {
    /// Tokens of the longest text that `model` embeds.
    pub(crate) fn longest_text(&self, model: &LlamaModel) -> usize {
        let positions = model.embedding_facts().learned_positions.unwrap_or(u32::MAX);
        self.sequence_size.min(positions) as usize
    }

    pub(crate) fn of(context: &Context, engine: &EngineConfig) -> Self {
        let most = context.max_sequences();
        let asked = engine.sequence_size.and_then(|size| u32::try_from(size).ok()).unwrap_or(u32::MAX);
        let running = engine.max_running.map_or(most, |n| u32::try_from(n).unwrap_or(most).min(most));
        Self {
            context_size: context.context_size(),
            sequence_size: asked.min(context.sequence_size()),
            batch_size: context.batch_size(),
            max_sequences: running,
            threads: context.threads(),
        }
    }
}

impl Open {
    /// Starts the thread of `decoder`.
    pub(crate) fn generating(
        model: LlamaModel,
        decoder: LlamaDecoder,
        config: &EngineConfig,
    ) -> Result<Self, Error> {
        let context = decoder.context();
        let facts = DecoderFacts {
            sizes: ContextSizes::of(context, config),
            memory: context.memory_need(),
            kv_types: context.kv_types(),
            sequence_settings: context.sequence_settings().to_vec(),
        };
        let gauge = decoder.gauge();
        Self::generating_by(model, decoder, gauge, facts, config)
    }

    /// Starts the thread of a decoder of any kind.
    pub(crate) fn generating_by<D: Decoder>(
        model: LlamaModel,
        decoder: D,
        gauge: ThreadsGauge,
        facts: DecoderFacts,
        config: &EngineConfig,
    ) -> Result<Self, Error> {
        let DecoderFacts { sizes, memory, kv_types, sequence_settings } = facts;
        let engine = Engine::spawn(decoder, "tabagent-decode", config)?;
        let longest = sizes.longest_text(&model);
        let embedder = Embedder::new(&model, longest, sizes.batch_size, sizes.threads, true);
        let new = Self::new(model, Ok(engine), Some(embedder), sizes);
        Ok(Self { memory, kv_types, sequence_settings, threads: gauge, ..new })
    }

    /// A model that gives vectors only, of texts with `longest_text` tokens at the most and in batches of at most `batch_size`.
    pub(crate) fn embedding(
        model: LlamaModel,
        reason: NoEngine,
        longest_text: u32,
        batch_size: Option<u32>,
        threads: u32,
    ) -> Self {
        let embedder =
            Embedder::new(&model, longest_text as usize, batch_size.unwrap_or(u32::MAX), threads, false);
        let limits = embedder.limits();
        let sizes = ContextSizes {
            context_size: longest_text,
            sequence_size: longest_text,
            batch_size: u32::try_from(limits.tokens).unwrap_or(u32::MAX),
            max_sequences: u32::try_from(limits.texts).unwrap_or(u32::MAX),
            threads,
        };
        Self::new(model, Err(reason), Some(embedder), sizes)
    }

    /// A model without weights.
    pub(crate) fn vocab_only(model: LlamaModel) -> Self {
        Self::new(model, Err(NoEngine::VocabOnly), None, ContextSizes::default())
    }

    fn new(
        model: LlamaModel,
        engine: Result<Engine, NoEngine>,
        embedder: Option<Embedder>,
        sizes: ContextSizes,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (end_tokens, compiler, vocabulary) = Default::default();
        let (memory, kv_types) = Default::default();
        Self {
            model,
            engine,
            embedder,
            sizes,
            memory,
            kv_types,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            drafts: Drafts::default(),
            sequence_settings: Vec::new(),
            fitted: None,
            host: None,
            offload: Offload::default(),
            threads: ThreadsGauge::default(),
            end_tokens,
            compiler,
            vocabulary,
            templates: Mutex::default(),
        }
    }

    /// A model in another process.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no such processes"))]
    pub(crate) fn hosted(self, host: Arc<Host>) -> Self {
        let embedder = self.embedder.map(|embedder| embedder.hosted(Arc::clone(&host)));
        Self { host: Some(host), embedder, ..self }
    }

    /// Remembers what was changed so that it fits.
    pub(crate) fn fitted(self, fitted: Option<Fitted>) -> Self {
        Self { fitted, ..self }
    }

    /// Remembers how many layers went to devices, and why not all.
    pub(crate) fn offloaded(self, offload: Offload) -> Self {
        Self { offload, ..self }
    }

    pub(crate) fn sizes(&self) -> ContextSizes {
        self.sizes
    }

    pub(crate) fn kv_types(&self) -> (KvType, KvType) {
        self.kv_types
    }

    pub(crate) fn memory(&self) -> MemoryNeed {
        self.memory
    }

    pub(crate) fn sequence_settings(&self) -> &[(&'static str, String)] {
        &self.sequence_settings
    }

    /// Refuses settings that make no sampler.
    pub(crate) fn check_sampler(&self, settings: &SamplerSettings) -> Result<(), Error> {
        Sampler::new(&self.sampler_config(settings.clone())?, self.model.vocab().len())?;
        Ok(())
    }

    pub(crate) fn engine(&self) -> Result<&Engine, Error> {
        self.engine.as_ref().map_err(NoEngine::error)
    }

    /// What computes vectors.
    pub(crate) fn embedder(&self) -> Result<&Embedder, Error> {
        Ok(self.embedder.as_ref().ok_or(ContextError::VocabOnly)?)
    }

    /// All tokens that end a generation.
    fn end_tokens(&self) -> &[TokenId] {
        self.end_tokens.get_or_init(|| {
            let vocab = self.model.vocab();
            (0..vocab.len() as TokenId).filter(|token| vocab.is_eog(*token)).collect()
        })
    }

    fn sampler_config(&self, settings: SamplerSettings) -> Result<SamplerConfig, Error> {
        let (breakers, pieces) = (settings.needs_breakers(), settings.needs_pieces());
        let SamplerSettings { mut config, breakers: given } = settings;
        let vocab = self.model.vocab();
        if breakers {
            config.dry_breakers = self.vocabulary.breakers(vocab, &given)?;
        }
        if pieces {
            config.pieces = Some(self.vocabulary.pieces(vocab, self.end_tokens())?);
        }
        Ok(config)
    }

    /// The constraint that `grammar` puts on one stream.
    fn constraint(&self, grammar: &Arc<Grammar>) -> Result<Box<dyn TokenConstraint>, Error> {
        let ours = self.compiler.get(&self.model, self.end_tokens())?.table();
        if !Arc::ptr_eq(ours, grammar.table()) {
            return Err(Error::ForeignGrammar);
        }
        Ok(Box::new(grammar.start()?))
    }
}

impl From<Open> for Model {
    fn from(open: Open) -> Self {
        let inner = Inner { open: RwLock::new(Some(Arc::new(open))), process: std::process::id() };
        Self { inner: Arc::new(inner) }
    }
}

impl Model {
    /// A closed model, to leave in the place of one that was taken away.
    pub fn closed() -> Self {
        let inner = Inner { open: RwLock::default(), process: std::process::id() };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn open(&self) -> Result<Arc<Open>, Error> {
        if self.inner.process != std::process::id() {
            return Err(EngineError::Forked.into());
        }
        let open = self.inner.open.read().unwrap_or_else(PoisonError::into_inner);
        Ok(open.clone().ok_or(EngineError::Closed)?)
    }

    /// The underlying llama.cpp model: its vocabulary, facts and metadata.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn llama(&self) -> Result<LlamaModel, Error> {
        Ok(self.open()?.model.clone())
    }

    /// The library of the process that the model is in, as [`describe_library`](crate::describe_library) does; `None` if that is this process.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn library_elsewhere(&self) -> Result<Option<String>, Error> {
        Ok(self.open()?.host.as_ref().map(|host| host.library().to_owned()))
    }

    /// Sizes of the decode thread's context, or of a model that only embeds, of its batches.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn sizes(&self) -> Result<ContextSizes, Error> {
        Ok(self.open()?.sizes)
    }

    /// All tokens that end a generation. The first call goes through the vocabulary.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn end_tokens(&self) -> Result<Vec<TokenId>, Error> {
        Ok(self.open()?.end_tokens().to_vec())
    }

    /// Bytes that the model and the decode thread's context take; zeros with `vocab_only`.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn memory(&self) -> Result<MemoryNeed, Error> {
        Ok(self.open()?.memory)
    }

    /// Number formats of the keys and values of the decode thread's context.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn kv_types(&self) -> Result<(KvType, KvType), Error> {
        Ok(self.open()?.kv_types)
    }

    /// What was changed so that it fits; `None` if nothing was.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn fitted(&self) -> Result<Option<Fitted>, Error> {
        Ok(self.open()?.fitted.clone())
    }

    /// How many layers went to devices, where fewer did than would by default, and why.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn offload(&self) -> Result<Offload, Error> {
        Ok(self.open()?.offload.clone())
    }

    /// What the decode thread has to do now.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn stats(&self) -> Result<EngineStats, Error> {
        Ok(self.open()?.engine.as_ref().map(Engine::stats).unwrap_or_default())
    }

    /// What the decode thread did since the model was loaded.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn metrics(&self) -> Result<Metrics, Error> {
        Ok(self.open()?.engine.as_ref().map(Engine::metrics).unwrap_or_default())
    }

    /// The numbers of threads that the decode thread computes with now; zeros with `vocab_only`.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn threads_in_use(&self) -> Result<ThreadsInUse, Error> {
        Ok(self.open()?.threads.get())
    }

    /// A prompt's tokens: a text is tokenized, tokens stay as they are. With `add_special`, the special tokens that the model wants at its ends
    /// are there once; [`prompt_remarks`](Self::prompt_remarks) tells of those that the prompt already had.
    ///
    /// # Errors
    /// [`Error::PromptTooLong`] for a text that surely does not fit, [`Error::Vocab`], [`Error::Engine`].
    pub fn prompt<T: AsRef<str>>(
        &self,
        prompt: PromptInput<T>,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Prompt, Error> {
        let open = self.open()?;
        let n_ctx = open.sizes.sequence_size as usize;
        prompt::tokens_of(open.model.vocab(), prompt, Some(n_ctx), add_special, parse_special)
    }

    /// As [`prompt`](Self::prompt), also for texts that do not fit the context; see [`GenerateOptions::overflow`].
    ///
    /// # Errors
    /// [`Error::Vocab`], [`Error::Engine`].
    pub fn long_prompt<T: AsRef<str>>(
        &self,
        prompt: PromptInput<T>,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Prompt, Error> {
        prompt::tokens_of(self.open()?.model.vocab(), prompt, None, add_special, parse_special)
    }

    /// What to tell a user whose prompt, called `name`, already had special tokens that the model adds: a sentence for each, ended by `or_not`,
    /// which says how to keep both where there is a way.
    ///
    /// # Errors
    /// [`Error::Vocab`], [`Error::Engine`].
    pub fn prompt_remarks(&self, prompt: &Prompt, name: &str, or_not: &str) -> Result<Vec<String>, Error> {
        prompt::remarks(self.open()?.model.vocab(), prompt, name, or_not)
    }

    /// A text's tokens.
    ///
    /// # Errors
    /// [`Error::Vocab`], [`Error::Engine`].
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, Error> {
        Ok(self.open()?.model.vocab().tokenize(text, add_special, parse_special)?)
    }

    /// A text's tokens where it continues a text that ends in the token `last`.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn tokenize_after(
        &self,
        last: Option<TokenId>,
        text: &str,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, Error> {
        Ok(self.open()?.model.vocab().tokenize_after(last, text, parse_special)?)
    }

    /// The tokens of many texts, on several threads, until `stop` is raised.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize), for the first text that fails.
    pub fn tokenize_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        add_special: bool,
        parse_special: bool,
        stop: &AbortFlag,
    ) -> Result<Vec<Vec<TokenId>>, Error> {
        let open = self.open()?;
        let stop = || stop.is_raised();
        Ok(open.model.vocab().tokenize_batch_unless(texts, add_special, parse_special, &stop)?)
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn detokenize(&self, tokens: &[TokenId], options: DetokenizeOptions) -> Result<String, Error> {
        Ok(self.open()?.model.vocab().detokenize_with(tokens, options)?)
    }

    /// [`detokenize`](Self::detokenize) that ends soon once `stop` is raised.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn detokenize_unless(
        &self,
        tokens: &[TokenId],
        options: DetokenizeOptions,
        stop: &AbortFlag,
    ) -> Result<String, Error> {
        let open = self.open()?;
        Ok(open.model.vocab().detokenize_unless(tokens, options, &|| stop.is_raised())?)
    }

    /// The texts of many lists of tokens, on several threads, until `stop` is raised.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize), for the first list that fails.
    pub fn detokenize_batch<T: AsRef<[TokenId]> + Sync>(
        &self,
        lists: &[T],
        options: DetokenizeOptions,
        stop: &AbortFlag,
    ) -> Result<Vec<String>, Error> {
        let open = self.open()?;
        Ok(open.model.vocab().detokenize_batch_unless(lists, options, &|| stop.is_raised())?)
    }

    /// Compiles a grammar for this model's vocabulary. The first one of a model takes a fraction of a second longer; one that was compiled
    /// before is returned at once.
    ///
    /// # Errors
    /// [`Error::Grammar`], [`Error::Engine`].
    pub fn compile_grammar(&self, request: &GrammarRequest) -> Result<Arc<Grammar>, Error> {
        let open = self.open()?;
        let compiler = open.compiler.get(&open.model, open.end_tokens())?;
        Ok(compiler.compile(&request.source, &request.options)?)
    }

    /// Continues the tokens of a prompt. With `hooked`, the returned [`HookWorker`] changes each row of logits before a token is chosen. Returns
    /// when the request is in the queue.
    ///
    /// # Errors
    /// [`Error::Sampler`], [`Error::Grammar`], [`Error::ForeignGrammar`], [`Error::Adapter`], [`Error::Request`], [`Error::Engine`], [`Error::Vocab`],
    /// [`Error::Context`] for a model without weights.
    pub fn generate(
        &self,
        prompt: Vec<TokenId>,
        options: GenerateOptions,
        grammar: Option<&Arc<Grammar>>,
        hooked: bool,
    ) -> Result<(TokenStream, Option<HookWorker>), Error> {
        self.begin(prompt, options, grammar, hooked, Begun::default())
    }

    /// As [`generate`](Self::generate), but goes on where a running text has come to: after `tokens`, which `of` generated from the same prompt and with the same options, but for
    /// how tokens are chosen. Cells are shared while that one runs.
    ///
    /// # Errors
    /// Those of [`generate`](Self::generate).
    pub fn fork(
        &self,
        prompt: Vec<TokenId>,
        options: GenerateOptions,
        grammar: Option<&Arc<Grammar>>,
        hooked: bool,
        (of, tokens): (StreamId, Vec<TokenId>),
    ) -> Result<(TokenStream, Option<HookWorker>), Error> {
        let fork = Some(Fork { of, tokens });
        self.begin(prompt, options, grammar, hooked, Begun { fork, ..Begun::default() })
    }

    /// As [`generate`](Self::generate), for a text that was begun before.
    pub(crate) fn begin(
        &self,
        prompt: Vec<TokenId>,
        options: GenerateOptions,
        grammar: Option<&Arc<Grammar>>,
        hooked: bool,
        begun: Begun,
    ) -> Result<(TokenStream, Option<HookWorker>), Error> {
        let open = self.open()?;
        let engine = open.engine()?;
        options.changes.check(&open.model)?;
        let mut config = open.sampler_config(options.sampling)?;
        if options.ignore_eos {
            config.logit_bias.extend(open.end_tokens().iter().map(|token| (*token, f32::NEG_INFINITY)));
        }
        let mut sampler = Sampler::new(&config, open.model.vocab().len())?;
        let generated = begun.fork.iter().flat_map(|fork| &fork.tokens);
        for token in prompt.iter().chain(generated) {
            sampler.accept(*token);
        }
        if let Some(draws) = &begun.draws {
            sampler.set_draws(draws);
        }
        let constraint = grammar.map(|grammar| open.constraint(grammar)).transpose()?;
        let thought = options.thought.map(|thought| thought.budget(open.model.vocab())).transpose()?;
        let drafter = options.draft.as_ref().map(|draft| draft.drafter(&open)).transpose()?.flatten();
        let (hook, worker) = hooked.then(logits_hook).unzip();
        let (cache_prompt, least_reuse) = match options.cache_prompt {
            Some(cache) => (cache, 1),
            None if begun.owner.is_some() => (true, 1),
            None => (prompt.len() > WORTH_CACHING, WORTH_CACHING),
        };
        let request = Request {
            max_tokens: options.max_tokens,
            stop: options.stop,
            ban: options.ban,
            stop_tokens: options.stop_tokens,
            ignore_eos: options.ignore_eos,
            logprobs: options.logprobs,
            logprobs_mode: options.logprobs_mode,
            constraint,
            thought,
            hook,
            lookup: options.lookup,
            drafter: drafter.zip(options.draft.map(|draft| draft.max_draft)),
            overflow: options.overflow,
            cache_prompt,
            least_reuse,
            owner: begun.owner,
            fork: begun.fork,
            record: begun.record,
            group: options.changes.group(),
            show_special: options.show_special,
            collect: options.collect,
            progress: options.progress,
            priority: options.priority,
            timeout: options.timeout,
            ..Request::new(prompt, Box::new(sampler))
        };
        Ok((engine.submit(request)?, worker))
    }

    /// Scores continuations of a prompt with the model as `changes` make it; see [`Engine::score`].
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::Request`], [`Error::Engine`], [`Error::Context`] for a model without weights.
    pub fn score(&self, request: ScoreRequest, changes: &Changes) -> Result<TokenStream, Error> {
        let open = self.open()?;
        let engine = open.engine()?;
        changes.check(&open.model)?;
        Ok(engine.score(ScoreRequest { group: changes.group(), ..request })?)
    }

    /// Another context of this model, with the options of that name; see [`ContextConfig`].
    ///
    /// # Errors
    /// [`Error::Option`], [`Error::Context`], [`Error::Engine`].
    pub fn create_context(&self, options: Value) -> Result<Context, Error> {
        let open = self.open()?;
        let config: ContextConfig = context_config(options, open.sizes.threads)?;
        Ok(open.model.create_context_with(&config)?)
    }

    /// Loads an adapter, a GGUF file or what the `peft` library wrote, for this model. Blocks for about as long as the model takes for a token.
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::Engine`].
    pub fn load_adapter(&self, path: &Path) -> Result<Adapter, Error> {
        Ok(self.open()?.model.load_adapter(path)?)
    }

    /// What changes this model for requests: `adapters` and `vectors`, each with a scale, the latter in all layers or in `layers` alone.
    ///
    /// # Errors
    /// [`Error::Adapter`], [`Error::ControlVector`], [`Error::Engine`].
    pub fn changes(
        &self,
        adapters: &[(Adapter, f32)],
        vectors: &[(ControlVector, f32)],
        layers: Option<RangeInclusive<u32>>,
    ) -> Result<Changes, Error> {
        let open = self.open()?;
        let adapters = AdapterSet::new(&open.model, adapters)?;
        Ok(Changes::new(adapters, ControlSum::new(&open.model, vectors, layers)?)?)
    }

    /// Reads a control vector, a GGUF file, for this model.
    ///
    /// # Errors
    /// [`Error::ControlVector`], [`Error::Engine`].
    pub fn load_control_vector(&self, path: &Path) -> Result<ControlVector, Error> {
        Ok(self.open()?.model.load_control_vector(path)?)
    }

    /// A control vector of numbers, the direction of each layer that it moves; errors call it `name`.
    ///
    /// # Errors
    /// [`Error::ControlVector`], [`Error::Engine`].
    pub fn control_vector(
        &self,
        name: &str,
        directions: BTreeMap<u32, Vec<f32>>,
    ) -> Result<ControlVector, Error> {
        Ok(self.open()?.model.control_vector(name, directions)?)
    }

    /// Ends all streams, the decode thread and what computes vectors, and lets go of the weights, which are freed when nothing uses them any more. May be called again.
    pub fn close(&self) {
        let open = self.inner.open.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return };
        if self.inner.process != std::process::id() {
            forget(open);
            return;
        }
        if let Some(host) = &open.host {
            host.refuse();
        }
        if let Ok(engine) = &open.engine {
            engine.close();
            if engine.is_lost() {
                // Its thread stays inside llama.cpp, whose static objects must live as long as the process does.
                std::mem::forget(AtWork::begin());
            }
        }
        if let Some(embedder) = &open.embedder {
            embedder.close();
        }
        if let Some(host) = &open.host {
            host.close();
        }
        open.drafts.close();
        open.compiler.close();
    }

    /// Whether both are clones of one model.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.open.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// A forked child has no threads of its parent and must not touch its locks, so nothing is dropped; the memory goes with the process.
fn forget(open: Arc<Open>) {
    std::mem::forget(open);
}

impl Drop for Inner {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return };
        if self.process == std::process::id() {
            open.compiler.close();
        } else {
            forget(open);
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// The distribution that settings draw the next token from, after the tokens of `history`, and with `explain` what each stage does. Texts among the
/// settings need a model.
///
/// # Errors
/// [`Error::Sampler`], [`Error::Sample`], [`Error::BreakersWithoutModel`], and those of the model.
pub fn distribution(
    settings: SamplerSettings,
    model: Option<&Model>,
    logits: &[f32],
    history: &[TokenId],
    explain: bool,
) -> Result<Explanation, Error> {
    let config = match model {
        Some(model) => model.open()?.sampler_config(settings)?,
        None => settings.without_model()?,
    };
    let mut sampler = Sampler::new(&config, logits.len())?;
    for token in history {
        sampler.accept(*token);
    }
    if explain {
        return Ok(sampler.explain(logits)?);
    }
    Ok(Explanation { stages: Vec::new(), probabilities: sampler.probabilities(logits)? })
}
