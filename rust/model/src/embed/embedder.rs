//! The contexts that compute vectors, and whose turn it is to use them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tabagent_llama::{
    Batch, ContextError, EmbeddingConfig, EmbeddingContext, Model as LlamaModel, Pooling, TokenId,
};
use tabagent_runtime::{AbortFlag, EngineError, Stop};

use super::plan::Limits;
use super::turns::Turns;
use crate::error::Error;
use crate::isolation::Host;

/// What computes vectors beside the decode thread. Its contexts are made when they are first needed, for texts as long as there are, and kept.
///
/// Every thread that wants vectors computes them itself, one batch at a time, and in between lets those through who wait.
#[derive(Debug)]
pub(crate) struct Embedder {
    contexts: Turns<Contexts>,
    closed: AbortFlag,
    threads: u32,
    limits: Limits,
    longest_text: usize,
    /// Computes them in another process.
    host: Option<Arc<Host>>,
}

#[derive(Debug, Default)]
struct Contexts {
    /// Gives a vector for each token.
    tokens: Option<EmbeddingContext>,
    /// Gives the outputs of the classifier for each sequence.
    ranks: Option<EmbeddingContext>,
}

/// Which vectors are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Tokens,
    Ranks,
}

/// A vector of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// The text's place in the batch.
    pub(crate) place: usize,
    /// Whether it is the text's last.
    pub(crate) is_last: bool,
    /// The numbers.
    pub(crate) values: &'a [f32],
}

/// What takes the vectors.
type Each<'a> = &'a mut dyn FnMut(Row<'_>) -> Result<(), Error>;

/// Most tokens of a batch of several texts, where tokens are computed into a memory.
const BATCH_TOKENS: usize = 512;
/// Most tokens of a batch of several texts in a model that attends to its batch alone. llama.cpp compares every token of such a batch with every other
/// one, of other texts too: on CPUs, one of 512 tokens takes longer than its texts alone. With fewer queries than a tile of its fused attention has
/// (`GGML_FA_TILE_Q` in `ggml/src/ggml-cpu/common.h`), ggml adds up a text's numbers one by one and passes over those of other texts, so that a text
/// has the same vector, bit for bit, whatever it is computed with. In tiles, that depends on where the text stands, and GELU, which ggml looks up by
/// 16-bit numbers, makes 1e-4 of it.
const SELF_ATTENTION_TOKENS: usize = 63;
/// Most texts of a batch.
const BATCH_TEXTS: usize = 64;
/// Most numbers that a batch may have as logits, which llama.cpp computes for every token of a generating model and makes room for in every model:
/// 128 MiB.
const BATCH_LOGITS: usize = 1 << 25;
/// How long closing waits for a batch that another thread computes: it is told to stop, and looks after each operation.
const CLOSING: Duration = Duration::from_secs(10);
/// Contexts are made for a multiple of so many tokens.
const ROOM: usize = 256;

impl Embedder {
    /// For texts of at most `longest_text` tokens, of a model whose user allows batches of `batch_size`. `has_memory`: tokens are computed into a
    /// memory, as in generating models.
    pub(crate) fn new(
        model: &LlamaModel,
        longest_text: usize,
        batch_size: u32,
        threads: u32,
        has_memory: bool,
    ) -> Self {
        let vocabulary = model.vocab().len().max(1);
        let facts = model.facts();
        let most = if has_memory || facts.layers_on_gpu > 0 { BATCH_TOKENS } else { SELF_ATTENTION_TOKENS };
        let tokens = (BATCH_LOGITS / vocabulary).max(64).min(most).min(batch_size.max(1) as usize);
        // Sequences of a recurrent model are computed one after another, and each has a state of its own in memory.
        let texts = if facts.recurrent || facts.hybrid { 1 } else { BATCH_TEXTS };
        let limits = Limits { tokens, texts };
        let (contexts, closed) = (Turns::default(), AbortFlag::new());
        Self { contexts, closed, threads, limits, longest_text, host: None }
    }

    /// One that has another process compute.
    pub(crate) fn hosted(self, host: Arc<Host>) -> Self {
        Self { host: Some(host), ..self }
    }

    /// How much one batch takes.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Tokens of the longest text that fits.
    pub(crate) fn longest_text(&self) -> usize {
        self.longest_text
    }

    /// Computes texts together, after those who wait for their turn already. `each` takes the vectors of each text's tokens one after another, or once
    /// the outputs of its classifier. When it refuses one because it is not finite, the texts are computed again one by one: attention spreads such
    /// numbers over a whole batch.
    ///
    /// # Errors
    /// [`Error::Stopped`] once `stop` is raised, [`Error::Engine`] when the model is closed, [`Error::Context`], and that of `each`.
    pub(crate) fn compute(
        &self,
        model: &LlamaModel,
        wanted: Wanted,
        texts: &[&[TokenId]],
        stop: Stop<'_>,
        each: Each<'_>,
    ) -> Result<(), Error> {
        let given_up = || stop() || self.closed.is_raised();
        if let Some(host) = &self.host {
            return self.compute_by(host, wanted, texts, &given_up, each);
        }
        let mut contexts = self.contexts.take(given_up).ok_or_else(|| self.ended())?;
        if given_up() {
            return Err(self.ended());
        }
        let slot = contexts.slot(wanted);
        let computed = self.compute_in(slot, model, wanted, texts, &given_up, each);
        let Err(Error::NotFinite { .. }) = computed else { return computed };
        for (place, text) in texts.iter().enumerate() {
            let mut alone = |row: Row<'_>| each(Row { place, ..row });
            self.compute_in(slot, model, wanted, &[*text], &given_up, &mut alone)?;
        }
        Ok(())
    }

    /// Has another process compute texts, and each alone if not all numbers are finite.
    fn compute_by(
        &self,
        host: &Host,
        wanted: Wanted,
        texts: &[&[TokenId]],
        given_up: Stop<'_>,
        each: Each<'_>,
    ) -> Result<(), Error> {
        let mut computed = host.embed(wanted, texts, given_up, each);
        if matches!(computed, Err(Error::NotFinite { .. })) {
            computed = texts.iter().enumerate().try_for_each(|(place, text)| {
                host.embed(wanted, &[*text], given_up, &mut |row| each(Row { place, ..row }))
            });
        }
        match computed {
            Err(Error::Stopped) => Err(self.ended()),
            other => other,
        }
    }

    /// Computes texts in the context of `slot`, or in a larger one if they do not fit there.
    fn compute_in(
        &self,
        slot: &mut Option<EmbeddingContext>,
        model: &LlamaModel,
        wanted: Wanted,
        texts: &[&[TokenId]],
        given_up: &(dyn Fn() -> bool + Sync),
        each: Each<'_>,
    ) -> Result<(), Error> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let context = match slot.take() {
            Some(context) if context.longest_text() as usize >= longest => context,
            _ => self.context_for(model, wanted, longest)?,
        };
        let context = slot.insert(context);
        let computed = run(context, wanted, texts, given_up, each);
        if computed.is_err() && !given_up() {
            // Numbers that are not finite would stay in its memory.
            *slot = None;
        }
        match computed {
            Err(Error::Context(ContextError::Aborted)) => Err(self.ended()),
            other => other,
        }
    }

    /// Ends what runs, and frees the contexts. Returns false if a batch hangs: its thread keeps them, and the model, and nobody waits for it any more.
    pub(crate) fn close(&self) -> bool {
        self.closed.raise();
        let since = Instant::now();
        let contexts = self.contexts.take(|| since.elapsed() > CLOSING);
        contexts.map(|mut contexts| *contexts = Contexts::default()).is_some()
    }

    /// Why the work ended early.
    fn ended(&self) -> Error {
        if self.closed.is_raised() { EngineError::Closed.into() } else { Error::Stopped }
    }

    /// A context for texts of `longest` tokens.
    fn context_for(
        &self,
        model: &LlamaModel,
        wanted: Wanted,
        longest: usize,
    ) -> Result<EmbeddingContext, Error> {
        let size = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        let room = longest.next_multiple_of(ROOM).max(self.limits.tokens);
        let config = EmbeddingConfig {
            pooling: match wanted {
                Wanted::Tokens => Pooling::None,
                Wanted::Ranks => Pooling::Rank,
            },
            longest_text: size(room),
            batch_size: size(self.limits.tokens),
            max_sequences: size(self.limits.texts),
            threads: Some(self.threads),
        };
        // A model that looks forward needs all of a text in one batch. Of some only their context knows.
        if !model.embedding_facts().looks_forward {
            let context = model.create_embedding_context(&config)?;
            if context.longest_text() as usize >= longest {
                return Ok(context);
            }
        }
        Ok(model.create_embedding_context(&EmbeddingConfig { batch_size: size(room), ..config })?)
    }
}

impl Contexts {
    fn slot(&mut self, wanted: Wanted) -> &mut Option<EmbeddingContext> {
        match wanted {
            Wanted::Tokens => &mut self.tokens,
            Wanted::Ranks => &mut self.ranks,
        }
    }
}

/// Computes texts that fit in one batch, or one text in as many as it takes.
fn run(
    context: &mut EmbeddingContext,
    wanted: Wanted,
    texts: &[&[TokenId]],
    stop: &(dyn Fn() -> bool + Sync),
    each: Each<'_>,
) -> Result<(), Error> {
    let batch_size = context.batch_size() as usize;
    context.clear();
    let mut batch = Batch::new();
    // Each text is a sequence; parts of a long one are computed one after another.
    let parts = match texts {
        [text] => text.len().div_ceil(batch_size),
        _ => 1,
    };
    for part in 0..parts {
        let start = part * batch_size;
        batch.clear();
        // The rows of the batch that are a text's, and whose.
        let mut rows = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            let tokens = &text[start..][..(text.len() - start).min(batch_size)];
            rows.push((place, batch.len()..batch.len() + tokens.len()));
            batch.push_text(place as u32, start as u32, tokens);
        }
        context.compute_unless(&batch, stop)?;
        if wanted == Wanted::Tokens {
            for (place, rows) in rows {
                let last = rows.end - 1;
                for row in rows {
                    let is_last = part + 1 == parts && row == last;
                    each(Row { place, is_last, values: context.token_vector(row)? })?;
                }
            }
        }
    }
    if wanted == Wanted::Ranks {
        for (place, sequence) in (0..texts.len()).zip(0..) {
            each(Row { place, is_last: true, values: context.sequence_vector(sequence)? })?;
        }
    }
    Ok(())
}
