//! A decoder whose next token depends on everything in its sequence and on the group, so that any mix-up of sequences, positions or groups shows.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{
    BatchToken, Decoder, DecoderError, Ender, Engine, EngineConfig, Finish, FinishReason, Group, Poll,
    Request, SamplerError, SamplerSnapshot, Shelf, Split, Stop, TokenEvent, TokenId, TokenMask, TokenSampler,
    TokenStream, Vocabulary,
};

/// Long enough for any machine; a test that runs into it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Token 0 ends the generation. The others have text, half characters or nothing.
pub(crate) const PIECES: [&[u8]; 13] = [
    b"",
    b"a",
    b"b",
    b" c",
    b"\xC3",
    b"\xA9",
    b"\xF0\x9F",
    b"\xA6\x80",
    b"<st",
    b"op>",
    "é".as_bytes(),
    b"",
    b"d",
];

/// The token that follows `tokens`.
pub(crate) fn next_token(tokens: &[TokenId]) -> TokenId {
    let hash = tokens.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &token| {
        (hash ^ token as u64).wrapping_mul(0x0100_0000_01B3).rotate_left(29)
    });
    (hash % PIECES.len() as u64) as TokenId
}

/// The logits after `tokens`: 5 for the token that follows, 0 for all others.
pub(crate) fn logits_after(tokens: &[TokenId]) -> Vec<f32> {
    let mut logits = vec![0.0; PIECES.len()];
    logits[next_token(tokens) as usize] = 5.0;
    logits
}

/// The `n` tokens that follow `prompt`, end-of-generation tokens included.
pub(crate) fn continuation(prompt: &[TokenId], n: usize) -> Vec<TokenId> {
    continuation_in(0, prompt, n)
}

/// The same for a request of [`group`] `number`.
pub(crate) fn continuation_in(number: u64, prompt: &[TokenId], n: usize) -> Vec<TokenId> {
    let mut tokens = in_group(number, prompt);
    for _ in 0..n {
        tokens.push(next_token(&tokens));
    }
    tokens.split_off(tokens.len() - n)
}

/// What the next token depends on: the group as a token of its own, and `tokens`.
fn in_group(number: u64, tokens: &[TokenId]) -> Vec<TokenId> {
    let group = (number > 0).then_some(-1 - number as TokenId);
    group.into_iter().chain(tokens.iter().copied()).collect()
}

/// A group that the fake decoder knows; 0 is the default group.
pub(crate) fn group(number: u64) -> Group {
    if number == 0 { Group::default() } else { Group::new([number], Arc::new(number)) }
}

pub(crate) fn text_of(tokens: &[TokenId]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|&token| PIECES[token as usize]).copied().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A prompt of `n` tokens, different for each `seed`.
pub(crate) fn prompt(seed: usize, n: usize) -> Vec<TokenId> {
    (0..n).map(|i| ((seed >> (3 * (i % 8))) % 7 + i % 3) as TokenId).collect()
}

/// One decode call, as a hook sees it.
pub(crate) struct Call<'a> {
    pub(crate) batch: &'a [BatchToken],
    pub(crate) stop: Stop<'a>,
}

impl Call<'_> {
    /// The tokens of the batch.
    pub(crate) fn tokens(&self) -> Vec<TokenId> {
        self.batch.iter().map(|row| row.token).collect()
    }
}

type Hook = Box<dyn FnMut(&Call) -> Result<(), DecoderError> + Send>;

pub(crate) struct FakeDecoder {
    n_ctx: usize,
    n_batch: usize,
    /// For each sequence the cells that it holds.
    sequences: Vec<Vec<usize>>,
    /// The token and the group in each cell that there ever was.
    cells: Vec<(TokenId, u64)>,
    group: u64,
    rows: Vec<Vec<f32>>,
    hook: Hook,
    /// The logits after tokens.
    pub(crate) predict: fn(&[TokenId]) -> Vec<f32>,
    pub(crate) n_outputs: usize,
    /// How many tokens were decoded in all.
    pub(crate) n_decoded: Arc<AtomicUsize>,
    /// Tokens that really fit, which may be fewer than `n_ctx` promises.
    pub(crate) n_cells: usize,
    pub(crate) can_cut: bool,
    pub(crate) can_rewind: bool,
    pub(crate) can_shift: bool,
    /// How the memory can be split.
    pub(crate) split: Option<Split>,
    is_split: bool,
    /// What it refuses to be: split, or one again.
    pub(crate) refuses_split: Option<bool>,
    /// How often it was split or made one.
    pub(crate) n_arranged: Arc<AtomicUsize>,
    pub(crate) can_save: bool,
    pub(crate) can_export: bool,
    /// How often it may be started again after a crash.
    pub(crate) n_lives: usize,
    /// Says that it shall end what it computes with.
    pub(crate) ender: Option<Arc<AtomicBool>>,
    pub(crate) dropped: Arc<AtomicBool>,
    pub(crate) config: EngineConfig,
}

impl FakeDecoder {
    pub(crate) fn new(n_ctx: usize, n_batch: usize, n_seq_max: usize) -> Self {
        Self {
            n_ctx,
            n_batch,
            sequences: vec![Vec::new(); n_seq_max],
            cells: Vec::new(),
            group: 0,
            rows: Vec::new(),
            hook: Box::new(|_| Ok(())),
            predict: logits_after,
            n_outputs: 8,
            n_decoded: Arc::default(),
            n_cells: n_ctx,
            can_cut: true,
            can_rewind: true,
            can_shift: true,
            split: None,
            is_split: false,
            refuses_split: None,
            n_arranged: Arc::default(),
            can_save: true,
            can_export: true,
            n_lives: usize::MAX,
            ender: None,
            dropped: Arc::default(),
            config: EngineConfig::default(),
        }
    }

    /// With a gate that holds the first decode up until it is opened: what is submitted before then runs together.
    pub(crate) fn gated(self) -> (Self, Arc<AtomicBool>) {
        let open = Arc::new(AtomicBool::new(false));
        let gate = Arc::clone(&open);
        let held = self.with_hook(move |_| {
            let started = Instant::now();
            while !gate.load(Ordering::SeqCst) {
                assert!(started.elapsed() < DEADLINE, "nobody opened the gate");
                std::thread::yield_now();
            }
            Ok(())
        });
        (held, open)
    }

    /// Makes the decoder call `hook` at the start of every decode.
    pub(crate) fn with_hook(
        mut self,
        hook: impl FnMut(&Call) -> Result<(), DecoderError> + Send + 'static,
    ) -> Self {
        self.hook = Box::new(hook);
        self
    }

    pub(crate) fn spawn_with(self, shelf: impl Shelf) -> Engine {
        let config = self.config.clone();
        Engine::spawn_with_shelf(self, "fake", &config, Some(Box::new(shelf))).unwrap()
    }

    pub(crate) fn spawn(self) -> Engine {
        let config = self.config.clone();
        Engine::spawn(self, "fake", &config).unwrap()
    }

    fn tokens(&self, seq: u32) -> Vec<TokenId> {
        self.sequences[seq as usize].iter().map(|cell| self.cells[*cell].0).collect()
    }

    fn push(&mut self, seq: u32, cell: (TokenId, u64)) {
        self.sequences[seq as usize].push(self.cells.len());
        self.cells.push(cell);
    }

    fn n_used(&self) -> usize {
        self.sequences.iter().flatten().collect::<HashSet<_>>().len()
    }
}

impl Drop for FakeDecoder {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

fn check(holds: bool, what: &str) -> Result<(), DecoderError> {
    if holds { Ok(()) } else { Err(DecoderError::Failed(format!("the runtime broke a rule: {what}"))) }
}

impl Decoder for FakeDecoder {
    type Saved = Vec<(TokenId, u64)>;

    fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    fn n_batch(&self) -> usize {
        self.n_batch
    }

    fn n_outputs_max(&self) -> usize {
        self.n_outputs
    }

    fn n_seq_max(&self) -> usize {
        self.sequences.len()
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::new(Pieces)
    }

    fn enter(&mut self, group: &Group) -> Result<(), DecoderError> {
        self.group = match group.content::<Arc<u64>>() {
            Some(number) => **number,
            None => check(group.is_default(), "told not to enter this group").map(|()| 0)?,
        };
        Ok(())
    }

    fn decode(&mut self, batch: &[BatchToken], stop: Stop<'_>) -> Result<(), DecoderError> {
        let group = self.group;
        if let Err(error) = (self.hook)(&Call { batch, stop }) {
            if matches!(error, DecoderError::Crashed { .. }) {
                self.cells.clear();
                self.sequences.iter_mut().for_each(|cells| *cells = vec![usize::MAX]);
                return Err(error);
            }
            // Any number of the tokens may be in their sequences then.
            batch[..batch.len() / 2].iter().for_each(|row| self.push(row.seq, (row.token, group)));
            return Err(error);
        }
        check(!batch.is_empty() && batch.len() <= self.n_batch, "batch size")?;
        let n_used = self.n_used();
        check(n_used + batch.len() <= self.n_ctx, "cells")?;
        if n_used + batch.len() > self.n_cells {
            return Err(DecoderError::NoSpace);
        }
        self.rows.clear();
        for row in batch {
            check(self.sequences[row.seq as usize].len() == row.pos, "position")?;
            if let Some(split) = self.split.filter(|_| self.is_split) {
                check(row.pos < split.n_cells && (row.seq as usize) < split.n_seq, "its part of the memory")?;
            }
            self.push(row.seq, (row.token, group));
            let sequence = &self.sequences[row.seq as usize];
            check(sequence.iter().all(|cell| self.cells[*cell].1 == group), "one group a sequence")?;
            let logits = || (self.predict)(&in_group(group, &self.tokens(row.seq)));
            let row = if row.logits { logits() } else { Vec::new() };
            self.rows.push(row);
        }
        check(self.rows.iter().filter(|row| !row.is_empty()).count() <= self.n_outputs, "outputs")?;
        self.n_decoded.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(())
    }

    fn logits(&self, index: usize) -> &[f32] {
        self.rows.get(index).map_or(&[], Vec::as_slice)
    }

    fn split(&self) -> Option<Split> {
        self.split
    }

    fn set_split(&mut self, split: bool) -> Result<(), DecoderError> {
        assert_eq!(self.n_used(), 0, "only an empty memory is rearranged");
        assert_ne!(self.is_split, split);
        check(self.refuses_split != Some(split), "told not to rearrange")?;
        self.is_split = split;
        self.n_arranged.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn can_rewind(&self) -> bool {
        self.can_rewind
    }

    fn can_shift(&self) -> bool {
        self.can_shift
    }

    fn shift(&mut self, seq: u32, keep: usize, n: usize) -> bool {
        let cells = self.sequences[seq as usize].clone();
        let others = self.sequences.iter().enumerate().filter(|(other, _)| *other != seq as usize);
        let is_alone = others.flat_map(|(_, cells)| cells).all(|cell| !cells.contains(cell));
        assert!(is_alone, "positions of cells that others hold are changed");
        self.sequences[seq as usize].drain(keep..keep + n);
        true
    }

    fn can_cut(&self, seq: u32, n: usize) -> bool {
        assert!(n < self.sequences[seq as usize].len());
        self.can_cut
    }

    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool {
        let can = self.can_cut || from_pos >= self.sequences[seq as usize].len();
        if can {
            self.sequences[seq as usize].truncate(from_pos);
        }
        can
    }

    fn copy(&mut self, from: u32, to: u32, n: usize) -> bool {
        assert!(self.sequences[to as usize].is_empty(), "copy into a sequence that is not empty");
        let source = &self.sequences[from as usize];
        let can = self.can_cut || n == source.len();
        if can {
            self.sequences[to as usize] = source[..n].to_vec();
        }
        can
    }

    fn clear(&mut self, seq: u32) {
        self.sequences[seq as usize].clear();
    }

    fn save(&mut self, seq: u32) -> Result<Self::Saved, DecoderError> {
        check(self.can_save, "told not to save")?;
        Ok(self.sequences[seq as usize].iter().map(|cell| self.cells[*cell]).collect())
    }

    fn saved_bytes(state: &Self::Saved) -> usize {
        state.len()
    }

    fn export(&self, state: &Self::Saved, n_tokens: usize) -> Option<Vec<u8>> {
        assert_eq!(state.len(), n_tokens);
        let bytes = state.iter().flat_map(|(token, group)| [*token as u8, *group as u8]).collect();
        self.can_export.then_some(bytes)
    }

    fn import(&self, bytes: &[u8], n_tokens: usize) -> Option<Self::Saved> {
        let state = bytes.chunks(2).map(|cell| (TokenId::from(cell[0]), u64::from(*cell.last().unwrap())));
        (bytes.len() == 2 * n_tokens).then(|| state.collect())
    }

    fn revive(&mut self) -> Result<(), DecoderError> {
        check(self.n_lives > 0, "told not to live again")?;
        self.n_lives -= 1;
        self.sequences.iter_mut().for_each(Vec::clear);
        self.is_split = false;
        Ok(())
    }

    fn ender(&self) -> Option<Ender> {
        let flag = self.ender.clone()?;
        Some(Box::new(move || flag.store(true, Ordering::SeqCst)))
    }

    fn restore(&mut self, seq: u32, state: &Self::Saved) -> Result<(), DecoderError> {
        check(self.sequences[seq as usize].is_empty(), "restore into a sequence that is not empty")?;
        check(self.n_used() + state.len() <= self.n_cells, "room for a restored sequence")?;
        for cell in state {
            self.push(seq, *cell);
        }
        Ok(())
    }
}

/// The vocabulary of [`PIECES`].
struct Pieces;

impl Vocabulary for Pieces {
    fn n_tokens(&self) -> usize {
        PIECES.len()
    }

    fn push_token_bytes(&self, token: TokenId, special: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if special && token == 0 { b"<end>" } else { PIECES[token as usize] });
    }

    fn is_eog(&self, token: TokenId) -> bool {
        token == 0
    }
}

/// Takes the largest logit, the lowest token among equals.
pub(crate) struct Greedy;

impl TokenSampler for Greedy {
    fn sample(&mut self, logits: &[f32], mask: Option<&TokenMask>) -> Result<TokenId, SamplerError> {
        let allowed = |i: &usize| mask.is_none_or(|mask| mask.allows(*i as TokenId));
        let best = (0..logits.len())
            .filter(|&i| !logits[i].is_nan())
            .filter(allowed)
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)));
        best.map(|i| i as TokenId).ok_or_else(|| "no logit is finite".into())
    }

    fn kept(&self, _n: usize, out: &mut Vec<(TokenId, f32)>) {
        out.extend([(1, 0.25), (2, 0.75)]);
    }

    fn accept(&mut self, _token: TokenId) {}

    fn save(&self) -> Option<SamplerSnapshot> {
        Some(Arc::new(()))
    }
}

/// A request that goes on past end-of-generation tokens.
pub(crate) fn request(prompt: &[TokenId], max_tokens: usize) -> Request {
    let mut request = Request::new(prompt.to_vec(), Box::new(Greedy));
    request.max_tokens = Some(max_tokens);
    request.ignore_eos = true;
    request
}

/// All that a stream yields.
pub(crate) struct Outcome {
    pub(crate) events: Vec<TokenEvent>,
    pub(crate) finish: Finish,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        self.events.iter().map(|event| event.text.as_str()).collect()
    }

    pub(crate) fn tokens(&self) -> Vec<TokenId> {
        self.events.iter().flat_map(|event| event.token_ids.clone()).collect()
    }

    /// Checks that the whole continuation came, in well-formed events.
    #[track_caller]
    pub(crate) fn assert_continues(&self, prompt: &[TokenId], n: usize) {
        self.assert_continues_in(0, prompt, n);
    }

    /// The same for a request of [`group`] `number`.
    #[track_caller]
    pub(crate) fn assert_continues_in(&self, number: u64, prompt: &[TokenId], n: usize) {
        let expected = continuation_in(number, prompt, n);
        assert_eq!(self.finish.reason, FinishReason::Length);
        assert_eq!(self.tokens(), expected);
        assert_eq!(self.text(), text_of(&expected));
        assert_eq!(self.finish.usage.completion_tokens, n);
        assert_eq!(self.finish.usage.prompt_tokens, prompt.len());
        let all_but_last = &self.events[..self.events.len().saturating_sub(1)];
        assert!(all_but_last.iter().all(|event| !event.text.is_empty()));
    }
}

#[track_caller]
pub(crate) fn next(stream: &TokenStream) -> Option<TokenEvent> {
    match stream.next_timeout(DEADLINE) {
        Poll::Event(event) => Some(event),
        Poll::Finished => None,
        Poll::Pending => panic!("nothing came in {DEADLINE:?}"),
    }
}

/// Reads a stream to its end.
#[track_caller]
pub(crate) fn drain(stream: &TokenStream) -> Outcome {
    let events = std::iter::from_fn(|| next(stream)).collect();
    Outcome { events, finish: stream.finish().unwrap() }
}

#[track_caller]
pub(crate) fn run(engine: &Engine, request: Request) -> Outcome {
    drain(&engine.submit(request).unwrap())
}

/// Behaves like a long decode: returns when it is told to stop.
pub(crate) fn decode_until_aborted(call: &Call) -> DecoderError {
    let started = Instant::now();
    while !(call.stop)() {
        assert!(started.elapsed() < DEADLINE, "nobody aborted the decode");
        std::thread::yield_now();
    }
    DecoderError::Aborted
}
