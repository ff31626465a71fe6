//! Contexts that give vectors in place of logits.

use crate::abort::Stop;
use crate::batch::{Batch, SeqId};
use crate::context::{Context, Purpose};
use crate::context_config::ContextConfig;
use crate::context_error::ContextError;
use crate::model::Model;
use crate::pooling::Pooling;

/// How to make an [`EmbeddingContext`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingConfig {
    /// How the vectors of a sequence's tokens become one.
    pub pooling: Pooling,
    /// Tokens of the longest text.
    pub longest_text: u32,
    /// Maximum number of tokens computed at once.
    pub batch_size: u32,
    /// Maximum number of texts computed at once; fewer if a batch has fewer tokens.
    pub max_sequences: u32,
    /// Threads that compute; `None` takes one per usable core.
    pub threads: Option<u32>,
}

/// A context that gives a vector for each token, or for each sequence.
///
/// Everything of a sequence is computed in one batch, unless [`EmbeddingContext::continues_texts`]. It moves between threads but is used by one at a
/// time. It keeps its model alive.
///
/// ```no_run
/// use tabagent_llama::{Batch, EmbeddingConfig, Model, Pooling};
///
/// # fn show(model: &Model) -> Result<(), Box<dyn std::error::Error>> {
/// let config = EmbeddingConfig {
///     pooling: Pooling::Mean, longest_text: 512, batch_size: 512, max_sequences: 8, threads: Some(1),
/// };
/// let mut context = model.create_embedding_context(&config)?;
/// let tokens = model.vocab().tokenize("a text", true, false)?;
/// context.compute_unless(&Batch::text(0, 0, &tokens), &|| false)?;
/// println!("{:?}", context.sequence_vector(0)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EmbeddingContext {
    context: Context,
    pooling: Pooling,
    /// Numbers in a token's vector, and in a sequence's.
    widths: (usize, usize),
    encodes: bool,
    continues: bool,
}

impl Model {
    /// A context that gives vectors. Allocates its memory at once.
    ///
    /// # Errors
    /// [`ContextError::NotEmbedding`], [`ContextError::NotRanking`], and those of [`Model::create_context_with`].
    pub fn create_embedding_context(
        &self,
        config: &EmbeddingConfig,
    ) -> Result<EmbeddingContext, ContextError> {
        EmbeddingContext::new(self, config)
    }
}

/// Architectures with an encoder that `llama_encode` runs on tokens. The other ones with an encoder are draft models, which take another model's
/// vectors.
const ENCODERS: [&str; 2] = ["t5", "t5encoder"];
/// Architectures that work beside another model only (`llama_context::llama_context` in `src/llama-context.cpp`).
const DEPENDENT: [&str; 1] = ["gemma4-assistant"];

impl EmbeddingContext {
    fn new(model: &Model, config: &EmbeddingConfig) -> Result<Self, ContextError> {
        refuse_unsuitable(model, config.pooling)?;
        let settings = ContextConfig {
            context_size: Some(config.longest_text.max(config.batch_size)),
            batch_size: Some(config.batch_size),
            // Attention without a cache, and the pooling of llama.cpp, see one micro-batch alone.
            micro_batch_size: Some(config.batch_size),
            max_sequences: config.max_sequences,
            fits_sequences: true,
            threads: config.threads,
            ..ContextConfig::default()
        };
        let context = Context::build(model, &settings, Purpose::Vectors(config.pooling), None)?;
        let facts = model.embedding_facts();
        let width = facts.width as usize;
        let sequence_width = match config.pooling {
            Pooling::Rank => facts.classes.unwrap_or(0) as usize,
            Pooling::None | Pooling::Mean | Pooling::Cls | Pooling::Last => width,
        };
        let encodes = model.facts().has_encoder;
        let is_causal = model.api().llama_get_causal_attn.is_some_and(|ask| {
            // SAFETY: the context is live.
            unsafe { ask(context.ptr()) }
        });
        // The other ways need all vectors of a text at once, and llama.cpp forgets those of a micro-batch with the next.
        let pools_one_by_one = matches!(config.pooling, Pooling::None | Pooling::Last | Pooling::Rank);
        let continues = is_causal && !encodes && pools_one_by_one && !context.memory().is_null();
        Ok(Self { context, pooling: config.pooling, widths: (width, sequence_width), encodes, continues })
    }

    /// Computes a batch; every token must want its output. Sequences begin at position 0, or go on where they were if
    /// [`EmbeddingContext::continues_texts`]. Ends soon after `stop` says so.
    ///
    /// # Errors
    /// See [`ContextError`]. Nothing is computed when the batch is refused.
    pub fn compute_unless(&mut self, batch: &Batch, stop: Stop<'_>) -> Result<(), ContextError> {
        let api = self.context.api();
        let call = if self.encodes { api.llama_encode } else { api.llama_decode };
        self.context.compute(batch, stop, call)
    }

    /// The vector of token `index` of the last batch, or what the model's projection makes of it. Valid until the next batch. Only with
    /// [`Pooling::None`].
    ///
    /// # Errors
    /// [`ContextError::NoVector`].
    pub fn token_vector(&self, index: usize) -> Result<&[f32], ContextError> {
        let missing = || ContextError::NoVector { what: "token", index };
        let is_there = self.pooling == Pooling::None && index < self.context.outputs();
        let row = i32::try_from(index).ok().filter(|_| is_there).ok_or_else(missing)?;
        // SAFETY: the context is live; llama.cpp answers null for rows that it did not compute.
        let vector = unsafe { (self.context.api().llama_get_embeddings_ith)(self.context.ptr(), row) };
        if vector.is_null() {
            return Err(missing());
        }
        // SAFETY: a row has `n_embd_out` numbers; the next batch, which would overwrite it, needs `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(vector, self.widths.0) })
    }

    /// The vector of a sequence of the last batch, or with [`Pooling::Rank`] the outputs of the classifier. Valid until the next batch. Not with
    /// [`Pooling::None`].
    ///
    /// # Errors
    /// [`ContextError::NoVector`].
    pub fn sequence_vector(&self, sequence: SeqId) -> Result<&[f32], ContextError> {
        let missing = || ContextError::NoVector { what: "sequence", index: sequence as usize };
        let slot = self.context.check_sequence(i64::from(sequence))?;
        if self.pooling == Pooling::None || self.context.outputs() == 0 {
            return Err(missing());
        }
        // SAFETY: the context is live; llama.cpp answers null for sequences that were not in the batch.
        let vector =
            unsafe { (self.context.api().llama_get_embeddings_seq)(self.context.ptr(), slot.cast_signed()) };
        if vector.is_null() {
            return Err(missing());
        }
        // SAFETY: it has `n_embd_out` numbers or, with ranks, `n_cls_out`; the next batch, which would free it, needs `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(vector, self.widths.1) })
    }

    /// Forgets all sequences.
    pub fn clear(&mut self) {
        if !self.context.memory().is_null() {
            self.context.reset();
        }
    }

    /// Whether a text may be computed in several batches, each with the next of its tokens.
    pub fn continues_texts(&self) -> bool {
        self.continues
    }

    /// Maximum number of tokens per batch.
    pub fn batch_size(&self) -> u32 {
        self.context.batch_size()
    }

    /// Maximum number of sequences per batch.
    pub fn max_sequences(&self) -> u32 {
        self.context.max_sequences()
    }

    /// Tokens of the longest text.
    pub fn longest_text(&self) -> u32 {
        if self.continues { self.context.context_size() } else { self.context.batch_size() }
    }
}

fn refuse_unsuitable(model: &Model, pooling: Pooling) -> Result<(), ContextError> {
    if model.is_vocab_only() {
        return Err(ContextError::VocabOnly);
    }
    let facts = model.facts();
    let architecture = facts.architecture.as_str();
    let embedding = model.embedding_facts();
    let refused = |reason| Err(ContextError::NotEmbedding { architecture: architecture.to_owned(), reason });
    if facts.has_encoder && !ENCODERS.contains(&architecture) || DEPENDENT.contains(&architecture) {
        return refused("they work beside another model only");
    }
    // llama.cpp makes only vectors of each token in an encoder whose decoder is there, too, and fails on others.
    if facts.has_encoder && facts.has_decoder && pooling != Pooling::None {
        return refused("llama.cpp does not pool the vectors of an encoder that has a decoder");
    }
    if !mixes_windows(model) {
        return refused(
            "its layers are all with a sliding window or all without, for which llama.cpp has no graph",
        );
    }
    if embedding.projected.is_some_and(|width| width != embedding.width) {
        return refused("the projection in the file ends in another width than the model's");
    }
    if pooling == Pooling::Rank && embedding.classes.is_none() {
        return Err(ContextError::NotRanking { architecture: architecture.to_owned() });
    }
    Ok(())
}

/// Architectures that attend to their batch alone, some layers with a sliding window: every how many layers there is another kind, and whether the one
/// without a window comes first (`load_swa_pattern` in `src/llama-model.cpp`).
const WINDOWED: [(&str, u32, bool); 2] = [("gemma-embedding", 6, false), ("modern-bert", 3, true)];

/// Whether a model with sliding windows has layers of both kinds. ggml aborts on an input that no layer reads, such as the mask of the other kind
/// (`llama_context::process_ubatch` in `src/llama-context.cpp`).
fn mixes_windows(model: &Model) -> bool {
    let facts = model.facts();
    let Some((name, usual, dense_first)) =
        WINDOWED.iter().find(|(name, _, _)| facts.architecture == *name).copied()
    else {
        return true;
    };
    if facts.sliding_window == 0 && name == "modern-bert" {
        return true;
    }
    let stated = model.metadata().get(&format!("{name}.attention.sliding_window_pattern"));
    if let Some(list) = stated.and_then(|text| text.strip_prefix('[')) {
        let has = |values: [&str; 2]| values.iter().any(|value| list.contains(value));
        return has(["true", "1"]) && has(["false", "0"]);
    }
    let every = stated.and_then(|text| text.parse().ok()).unwrap_or(usual);
    let windowed = |layer: u32| match every {
        0 => true,
        _ if dense_first => !layer.is_multiple_of(every),
        _ => layer % every < every - 1,
    };
    (0..facts.layers).any(windowed) && !(0..facts.layers).all(windowed)
}
