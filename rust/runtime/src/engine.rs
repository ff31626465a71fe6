//! The handle of a decode thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use crate::channel::{Channel, Producer};
use crate::driver::Driver;
use crate::generation::{Generation, panic_message};
use crate::inbox::{Inbox, Submission};
use crate::scheduler::Capacity;
use crate::scoring::Scoring;
use crate::shelf::{Errand, Keeper};
use crate::speculation::PastTexts;
use crate::task::Task;
use crate::transfer::Transfer;
use crate::watchdog::Watchdog;
use crate::{
    CellsRequest, Decoder, EngineError, ExportedCells, Group, Metrics, OnCrash, Overflow, Owner, Request,
    RequestError, ScoreRequest, Shelf, StreamId, SubmitError, TokenId, TokenStream, Vocabulary,
};

/// A decode thread that serves requests. Cheap to clone; all clones are the same engine.
///
/// It is closed by [`close`](Self::close), or by dropping the last clone.
///
/// ```
/// use std::sync::Arc;
/// use tabagent_runtime::{
///     BatchToken, Decoder, DecoderError, Engine, EngineConfig, Poll, Request, SamplerError, Stop, TokenId, TokenMask, TokenSampler, Vocabulary,
/// };
///
/// /// The tokens `a` to `d`, of which the last ends a text.
/// struct Letters;
///
/// impl Vocabulary for Letters {
///     fn n_tokens(&self) -> usize { 4 }
///     fn push_token_bytes(&self, token: TokenId, _special: bool, out: &mut Vec<u8>) { out.push(b"abcd"[token as usize]) }
///     fn is_eog(&self, token: TokenId) -> bool { token == 3 }
/// }
///
/// /// Continues every token with the next one.
/// struct Counter(Vec<f32>);
///
/// impl Decoder for Counter {
///     type Saved = ();
///     fn n_ctx(&self) -> usize { 16 }
///     fn n_batch(&self) -> usize { 8 }
///     fn n_outputs_max(&self) -> usize { 1 }
///     fn n_seq_max(&self) -> usize { 1 }
///     fn vocabulary(&self) -> Arc<dyn Vocabulary> { Arc::new(Letters) }
///     fn decode(&mut self, batch: &[BatchToken], _stop: Stop<'_>) -> Result<(), DecoderError> {
///         self.0 = vec![0.0; 4];
///         self.0[(batch[batch.len() - 1].token as usize + 1) % 4] = 1.0;
///         Ok(())
///     }
///     fn logits(&self, _index: usize) -> &[f32] { &self.0 }
///     fn can_cut(&self, _seq: u32, _n: usize) -> bool { true }
///     fn truncate(&mut self, _seq: u32, _from_pos: usize) -> bool { true }
///     fn copy(&mut self, _from: u32, _to: u32, _n: usize) -> bool { true }
///     fn clear(&mut self, _seq: u32) {}
///     fn save(&mut self, _seq: u32) -> Result<(), DecoderError> { Ok(()) }
///     fn saved_bytes(_state: &()) -> usize { 0 }
///     fn restore(&mut self, _seq: u32, _state: &()) -> Result<(), DecoderError> { Ok(()) }
/// }
///
/// struct Greedy;
///
/// impl TokenSampler for Greedy {
///     fn sample(&mut self, logits: &[f32], _mask: Option<&TokenMask>) -> Result<TokenId, SamplerError> {
///         let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
///         Ok(best.ok_or("there are no logits")? as TokenId)
///     }
///     fn kept(&self, _n: usize, _out: &mut Vec<(TokenId, f32)>) {}
///     fn accept(&mut self, _token: TokenId) {}
/// }
///
/// let engine = Engine::spawn(Counter(Vec::new()), "counter", &EngineConfig::default())?;
/// let stream = engine.submit(Request::new(vec![0], Box::new(Greedy)))?;
/// let mut text = String::new();
/// loop {
///     match stream.next_timeout(std::time::Duration::from_secs(1)) {
///         Poll::Event(event) => text += &event.text,
///         Poll::Finished => break,
///         Poll::Pending => {}
///     }
/// }
/// assert_eq!(text, "bc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// What an engine has to do at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Requests that have a sequence.
    pub active: usize,
    /// Requests of which nothing is decoded.
    pub queued: usize,
    /// Requests whose state waits in host memory.
    pub parked: usize,
    /// Cells in use, those of cached prefixes included.
    pub cells_used: usize,
    /// All cells.
    pub cells: usize,
}

/// How an engine serves its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Maximum number of requests that are decoded together; `None` for as many as the decoder has sequences.
    pub max_running: Option<usize>,
    /// Maximum number of requests that wait for their beginning; `None` for any number.
    pub max_queue: Option<usize>,
    /// Most tokens of one request, prompt and text together; `None` for as many as a sequence of the decoder has.
    pub sequence_size: Option<usize>,
    /// Gives each request the results that it would have alone, bit for bit: one is decoded at a time, alone in memory, and none uses what others decoded.
    /// The others wait, so this is slower.
    pub deterministic: bool,
    /// Maximum size of what requests leave in host memory for others, in bytes.
    pub cache_bytes: usize,
    /// Threads that choose tokens between two decodes, the decode thread included.
    pub threads: usize,
    /// How long a decode may take at least before it counts as hung: its streams then end with [`EngineError::Hung`], and closing no longer waits for it.
    /// One that is known to take long may take a hundred times as long as usual.
    pub patience: Duration,
    /// How long the first decode may take; `None` for five times as long. Its weights may have to be read from a slow disk.
    pub first_patience: Option<Duration>,
    /// What becomes of running requests when what the decoder computes with dies.
    pub on_crash: OnCrash,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_running: None,
            max_queue: None,
            sequence_size: None,
            deterministic: false,
            cache_bytes: 256 << 20,
            threads: 1,
            patience: Duration::from_mins(1),
            first_patience: None,
            on_crash: OnCrash::default(),
        }
    }
}

/// Maximum number of cells of leftovers beside running requests; see [`Capacity::n_idle`].
const IDLE_CELLS: usize = 256;

impl EngineConfig {
    fn capacity<D: Decoder>(&self, decoder: &D) -> Capacity {
        let n_seq_max = decoder.n_seq_max();
        Capacity {
            n_ctx: decoder.n_cells(),
            n_batch: decoder.n_batch(),
            n_seq_max: if self.deterministic { 1 } else { n_seq_max },
            n_outputs: decoder.n_outputs_max(),
            n_running: self.max_running.unwrap_or(n_seq_max),
            split: decoder.split().filter(|_| !self.deterministic),
            // Sequences with cells of their own do not pass over those of others.
            n_idle: if decoder.n_cells() > decoder.n_ctx() { usize::MAX } else { IDLE_CELLS },
            n_stored_bytes: if self.deterministic { 0 } else { self.cache_bytes },
        }
    }
}

pub(crate) struct Inner {
    pub(crate) inbox: Arc<Inbox>,
    deterministic: bool,
    can_rewind: bool,
    can_shift: bool,
    past: Arc<PastTexts>,
    n_ctx: usize,
    n_cells: usize,
    vocabulary: Arc<dyn Vocabulary>,
    /// Where leftovers go from host memory.
    keeper: Option<Arc<Keeper>>,
    thread_id: ThreadId,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts a thread called `name` that owns `decoder`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Spawn`] when the operating system gives no thread.
    pub fn spawn<D: Decoder>(decoder: D, name: &str, config: &EngineConfig) -> Result<Self, EngineError> {
        Self::spawn_with_shelf(decoder, name, config, None)
    }

    /// The same with a shelf for what requests leave behind: it gets what has no room in host memory any more, and, when the engine closes, what is left. A request that begins as
    /// an entry does, and better than as anything in memory, takes it from there. Not with [`deterministic`](EngineConfig::deterministic), and only for requests of the default
    /// group.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    pub fn spawn_with_shelf<D: Decoder>(
        decoder: D,
        name: &str,
        config: &EngineConfig,
        shelf: Option<Box<dyn Shelf>>,
    ) -> Result<Self, EngineError> {
        let capacity = config.capacity(&decoder);
        let n_ctx = config.sequence_size.map_or(decoder.n_ctx(), |most| most.min(decoder.n_ctx()));
        let (deterministic, n_threads) = (config.deterministic, config.threads);
        let (vocabulary, can_rewind, can_shift) =
            (decoder.vocabulary(), decoder.can_rewind(), decoder.can_shift());
        let max_queue = config.max_queue.unwrap_or(usize::MAX);
        let watchdog = Watchdog::new(config.patience, config.first_patience, decoder.ender());
        let inbox = Arc::new(Inbox::new(max_queue, watchdog));
        let shelf = shelf.filter(|_| !deterministic);
        let keeper = shelf.map(|shelf| Keeper::spawn(shelf, &inbox)).transpose()?.map(Arc::new);
        let (for_thread, for_driver, on_crash) = (Arc::clone(&inbox), keeper.clone(), config.on_crash);
        // Linux refuses names with a NUL; anything else it cuts to 15 bytes.
        let thread = thread::Builder::new()
            .name(name.replace('\0', ""))
            .spawn(move || serve(decoder, capacity, &for_thread, for_driver, n_threads, on_crash))
            .map_err(|error| EngineError::Spawn { message: error.to_string() })?;
        Watchdog::watch(&inbox);
        let thread_id = thread.thread().id();
        let thread = Mutex::new(Some(thread));
        let n_cells = capacity.n_ctx;
        let inner = Inner {
            inbox,
            deterministic,
            can_rewind,
            can_shift,
            past: Arc::default(),
            n_ctx,
            n_cells,
            vocabulary,
            keeper,
            thread_id,
            thread,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks a request and puts it at the end of the queue. Does not wait for it to run.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Request`] for a wrong request, [`SubmitError::QueueFull`] when too many wait, [`SubmitError::Engine`] when the engine was closed, has failed, or belongs to
    /// the parent process.
    pub fn submit(&self, mut request: Request) -> Result<TokenStream, SubmitError> {
        let Inner { inbox, n_ctx, vocabulary, can_rewind, can_shift, past, .. } = self.here()?;
        request.check(*n_ctx, vocabulary.n_tokens())?;
        if matches!(request.overflow, Overflow::Shift(_)) && !can_shift {
            return Err(RequestError::CannotShift.into());
        }
        let can_draft = *can_rewind && !self.inner.deterministic;
        request.lookup = request.lookup.filter(|_| can_draft);
        request.drafter = request.drafter.filter(|_| can_draft);
        let n_prompt = request.prompt.len();
        request.fit(*n_ctx);
        if let Some(hook) = &request.hook {
            hook.attach(&inbox.bell);
        }
        let terms = Terms {
            cache_prompt: request.cache_prompt || request.owner.is_some(),
            least_reuse: request.least_reuse,
            group: request.group.clone(),
            owner: request.owner.take(),
            fork_of: request.fork.as_ref().map(|fork| fork.of),
            priority: request.priority,
            timeout: request.timeout,
        };
        let (generation, prompt) = Generation::new(request, n_prompt, *n_ctx, Arc::clone(vocabulary), past)?;
        self.enqueue(prompt, terms, Task::Generate(Box::new(generation)))
    }

    /// Checks a scoring request and puts it at the end of the queue. Does not wait for it to run.
    ///
    /// The stream has one event for each continuation, in order, and ends with [`FinishReason::Stop`](crate::FinishReason::Stop).
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn score(&self, request: ScoreRequest) -> Result<TokenStream, SubmitError> {
        let Inner { n_ctx, vocabulary, .. } = self.here()?;
        request.check(*n_ctx, vocabulary.n_tokens())?;
        let terms = Terms {
            cache_prompt: request.cache_prompt,
            least_reuse: 1,
            group: request.group.clone(),
            owner: None,
            fork_of: None,
            priority: request.priority,
            timeout: request.timeout,
        };
        let (scoring, tokens) = Scoring::new(request, Arc::clone(vocabulary));
        self.enqueue(tokens, terms, Task::Score(Box::new(scoring)))
    }

    /// Someone who keeps what requests leave behind; see [`Request::owner`].
    pub fn owner(&self) -> Owner {
        let inbox = &self.inner.inbox;
        Owner::new(inbox.new_owner(), inbox)
    }

    /// Gives the cells of tokens as bytes: of as many of the first ones as there are cells of, in memory or kept. Nothing is decoded. They stay there, kept for the owner.
    ///
    /// The stream has no events, and ends with [`FinishReason::Stop`](crate::FinishReason::Stop) when the bytes are there. There are none from a decoder that has no form
    /// for them ([`Decoder::export`]), nor with [`deterministic`](EngineConfig::deterministic), where nothing is kept.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn export(&self, request: CellsRequest) -> Result<(TokenStream, ExportedCells), SubmitError> {
        let cells = ExportedCells::default();
        let transfer = Transfer::out(cells.clone(), request.tokens.len());
        Ok((self.transfer(request, transfer)?, cells))
    }

    /// Puts the cells of tokens from bytes that [`export`](Self::export) gave, in this process or another one, where a request with this owner finds them. Bytes from elsewhere do
    /// no harm, but what they hold is taken for the tokens' cells.
    ///
    /// The stream has no events. It ends with [`FinishReason::Stop`](crate::FinishReason::Stop), or with [`EngineError::NoCells`] if they are no such cells; with
    /// [`deterministic`](EngineConfig::deterministic) they are passed over.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit).
    pub fn import(&self, request: CellsRequest, bytes: Vec<u8>) -> Result<TokenStream, SubmitError> {
        let transfer = Transfer::into_memory(bytes, request.tokens.len());
        self.transfer(request, transfer)
    }

    fn transfer(&self, request: CellsRequest, transfer: Transfer) -> Result<TokenStream, SubmitError> {
        let Inner { n_ctx, vocabulary, .. } = self.here()?;
        request.check(*n_ctx, vocabulary.n_tokens())?;
        let CellsRequest { tokens, group, owner } = request;
        let terms = Terms {
            cache_prompt: true,
            least_reuse: 1,
            group,
            owner,
            fork_of: None,
            priority: 0,
            timeout: None,
        };
        self.enqueue(tokens, terms, Task::Transfer(Box::new(transfer)))
    }

    /// What the handles share, or an error in a forked child.
    fn here(&self) -> Result<&Inner, EngineError> {
        if self.inner.inbox.bell.home.is_here() { Ok(&self.inner) } else { Err(EngineError::Forked) }
    }

    fn enqueue(&self, tokens: Vec<TokenId>, terms: Terms, task: Task) -> Result<TokenStream, SubmitError> {
        let Inner { inbox, deterministic, .. } = &*self.inner;
        let channel = Channel::new(&inbox.bell);
        inbox.watchdog.add(&channel);
        let out = Producer::new(Arc::clone(&channel));
        let submitted = Instant::now();
        let id = inbox.submit(Submission {
            tokens,
            cache_prompt: terms.cache_prompt && !deterministic,
            least_reuse: terms.least_reuse,
            group: terms.group,
            owner: terms.owner.filter(|_| !deterministic),
            fork_of: terms.fork_of.filter(|_| !deterministic).map(|id| id.0),
            priority: terms.priority,
            task,
            out,
            submitted,
            deadline: terms.timeout.and_then(|timeout| submitted.checked_add(timeout)),
            errand: Errand::default(),
        })?;
        Ok(TokenStream::new(channel, StreamId(id)))
    }

    /// Ends all streams with [`EngineError::Closed`], stops the thread and drops the decoder.
    ///
    /// Aborts the running decode and returns when the decoder is gone, so the model may be freed then. May be called again, and from several
    /// threads. It cannot wait when called on the decode thread itself (in a waker or a sampler) or in a forked child, and it does not wait for a decode
    /// that hangs: that keeps its thread and its decoder; see [`is_lost`](Self::is_lost).
    pub fn close(&self) {
        self.inner.close();
    }

    /// Whether its thread hangs in a decode, for which nobody waits any more.
    pub fn is_lost(&self) -> bool {
        self.inner.inbox.watchdog.is_lost()
    }

    /// What the engine has to do now. In a forked child all numbers but `cells` are 0.
    pub fn stats(&self) -> EngineStats {
        let Inner { inbox, n_cells, .. } = &*self.inner;
        let census =
            if inbox.bell.home.is_here() { inbox.census() } else { crate::scheduler::Census::default() };
        EngineStats {
            active: census.active,
            queued: census.queued,
            parked: census.parked,
            cells_used: census.cells,
            cells: *n_cells,
        }
    }
}

/// On which terms a request is served.
struct Terms {
    cache_prompt: bool,
    least_reuse: usize,
    group: Group,
    owner: Option<Owner>,
    fork_of: Option<StreamId>,
    priority: i32,
    timeout: Option<Duration>,
}

impl Engine {
    /// What the engine did since it was spawned; zeros in a forked child.
    pub fn metrics(&self) -> Metrics {
        let inbox = &self.inner.inbox;
        if inbox.bell.home.is_here() { inbox.metrics().metrics() } else { Metrics::default() }
    }
}

impl Inner {
    fn close(&self) {
        if !self.inbox.bell.home.is_here() {
            return;
        }
        self.inbox.bell.closing.raise();
        self.inbox.bell.ring();
        // What computes is asked for its cells once more, if they are to be kept.
        if self.keeper.is_none() || self.inbox.watchdog.is_decoding() {
            self.inbox.watchdog.end_decode();
        }
        if thread::current().id() == self.thread_id {
            return;
        }
        // Held while joining, so that a second caller too returns only when the thread has ended.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let has_ended = self.inbox.watchdog.wait();
        if let Some(thread) = thread.take()
            && has_ended
        {
            // The thread catches its panics, so there is no result to look at.
            let _ = thread.join();
        }
        if let Some(keeper) = &self.keeper {
            keeper.close();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
        // `thread` is still `Some` in a forked child, where the thread does not exist, and on the decode thread itself, which cannot join itself.
        if !self.inbox.bell.home.is_here() {
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
            // Its lock may have been held when the process was forked.
            std::mem::forget(self.keeper.take());
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("n_ctx", &self.n_ctx)
            .field("n_vocab", &self.vocabulary.n_tokens())
            .finish_non_exhaustive()
    }
}

/// The whole life of the decode thread.
fn serve<D: Decoder>(
    decoder: D,
    capacity: Capacity,
    inbox: &Arc<Inbox>,
    keeper: Option<Arc<Keeper>>,
    n_threads: usize,
    on_crash: OnCrash,
) {
    let mut driver = Driver::new(decoder, capacity, Arc::clone(inbox), keeper, n_threads, on_crash);
    let outcome = catch_unwind(AssertUnwindSafe(|| driver.run()));
    let error = match outcome {
        Ok(()) => EngineError::Closed,
        Err(panic) => EngineError::Panicked { message: panic_message(&*panic) },
    };
    // A waker, or the drop of a sampler or the decoder, may panic here; the streams that are left then end when their producers are dropped.
    let ended = catch_unwind(AssertUnwindSafe(|| driver.end_all(&error)));
    if error == EngineError::Closed {
        let _ = catch_unwind(AssertUnwindSafe(|| driver.shelve_all()));
    }
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(driver)));
    // Nobody is left to tell.
    drop((ended, dropped));
    inbox.watchdog.end();
}
