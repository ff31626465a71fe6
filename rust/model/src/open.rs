//! What a model is made of while it is open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde::{Deserialize, Serialize};
use tabagent_chat::ChatTemplate;
use tabagent_llama::{
    Context, ContextError, ElsewhereError, KvType, MemoryNeed, Model as LlamaModel, TokenId,
};
use tabagent_runtime::{Decoder, Engine, EngineConfig, Shelf, TokenConstraint};
use tabagent_sampling::constraint::Grammar;
use tabagent_sampling::{Sampler, SamplerConfig};

use crate::decoder::LlamaDecoder;
use crate::draft::Drafts;
use crate::embed::Embedder;
use crate::error::Error;
use crate::grammar::Compiler;
use crate::isolation::Host;
use crate::load::LoadOptions;
use crate::memory::Fitted;
use crate::offload::Offload;
use crate::own_engine::OwnEngine;
use crate::prefix_folder::{self, PrefixFolder};
use crate::rewritten::Rewritten;
use crate::settings::SamplerSettings;
use crate::threads_in_use::ThreadsGauge;
use crate::vocabulary_facts::VocabularyFacts;

/// What closing takes away.
pub(crate) struct Open {
    pub(crate) model: LlamaModel,
    pub(crate) engine: Result<Engine, NoEngine>,
    /// `None` with `vocab_only`.
    pub(crate) embedder: Option<Embedder>,
    sizes: ContextSizes,
    memory: MemoryNeed,
    kv_types: (KvType, KvType),
    /// Its number in this process.
    pub(crate) number: u64,
    /// What it drafts for other models.
    pub(crate) drafts: Drafts,
    /// What a saved session must share with this model, and its value.
    sequence_settings: Vec<(&'static str, String)>,
    pub(crate) fitted: Option<Fitted>,
    /// The process that the model is in, if that is another one.
    pub(crate) host: Option<Arc<Host>>,
    pub(crate) offload: Offload,
    /// What is known of it where the project's own engine computes it.
    pub(crate) own_engine: Option<OwnEngine>,
    /// What was loaded in its place.
    pub(crate) rewritten: Option<Rewritten>,
    /// Zeros with `vocab_only`.
    pub(crate) threads: ThreadsGauge,
    end_tokens: OnceLock<Vec<TokenId>>,
    pub(crate) compiler: Compiler,
    vocabulary: VocabularyFacts,
    /// The file's templates that were asked for, by name.
    pub(crate) templates: Mutex<Vec<(Option<&'static str>, Arc<ChatTemplate>)>>,
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
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        let (context, config) = (decoder.context(), options.engine_config());
        let facts = DecoderFacts {
            sizes: ContextSizes::of(context, &config),
            memory: context.memory_need(),
            kv_types: context.kv_types(),
            sequence_settings: context.sequence_settings().to_vec(),
        };
        let gauge = decoder.gauge();
        Self::generating_by(model, decoder, gauge, facts, &config, options)
    }

    /// Starts the thread of a decoder of any kind.
    pub(crate) fn generating_by<D: Decoder>(
        model: LlamaModel,
        decoder: D,
        gauge: ThreadsGauge,
        facts: DecoderFacts,
        config: &EngineConfig,
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        let DecoderFacts { sizes, memory, kv_types, sequence_settings } = facts;
        let shelf = match &options.disk_cache {
            Some(disk) if !config.deterministic => {
                let identity = prefix_folder::identity(&model, &sequence_settings, sizes, options)?;
                Some(Box::new(PrefixFolder::open(disk, identity, memory.cache)?) as Box<dyn Shelf>)
            }
            _ => None,
        };
        let engine = Engine::spawn_with_shelf(decoder, "tabagent-decode", config, shelf)?;
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
            own_engine: None,
            rewritten: None,
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

    /// Remembers that the project's own engine computes it.
    pub(crate) fn computed_by(self, own: OwnEngine) -> Self {
        Self { own_engine: Some(own), ..self }
    }

    /// Remembers which file was loaded in its place.
    pub(crate) fn rewritten(self, rewritten: Option<Rewritten>) -> Self {
        Self { rewritten, ..self }
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
    pub(crate) fn end_tokens(&self) -> &[TokenId] {
        self.end_tokens.get_or_init(|| {
            let vocab = self.model.vocab();
            (0..vocab.len() as TokenId).filter(|token| vocab.is_eog(*token)).collect()
        })
    }

    pub(crate) fn sampler_config(&self, settings: SamplerSettings) -> Result<SamplerConfig, Error> {
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
    pub(crate) fn constraint(&self, grammar: &Arc<Grammar>) -> Result<Box<dyn TokenConstraint>, Error> {
        let ours = self.compiler.get(&self.model, self.end_tokens())?.table();
        if !Arc::ptr_eq(ours, grammar.table()) {
            return Err(Error::ForeignGrammar);
        }
        Ok(Box::new(grammar.start()?))
    }
}
