//! The decoder of a model in another process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_bytes::ByteBuf;
use tabagent_llama::Model as LlamaModel;
use tabagent_runtime::{BatchToken, Decoder, DecoderError, Ender, Group, Split, Stop, Vocabulary};

use super::host::Host;
use super::lane::{Ended, Lane, NEVER};
use super::message::{Answer, Call, Control, Generate, Row};
use super::process::Process;
use crate::changes::Changes;
use crate::decoder::LlamaVocabulary;
use crate::threads_in_use::{ThreadsGauge, ThreadsInUse};

/// How long a child may give no sign; the watchdog of the decode thread is the one that knows how long a decode takes.
const PATIENCE: Duration = Duration::MAX;
/// How long it may take for all else: a saved state may be many gigabytes.
const MOMENT: Duration = Duration::from_mins(5);

/// Decodes in a child process.
pub(crate) struct DistantDecoder {
    host: Arc<Host>,
    lane: Lane,
    model: LlamaModel,
    facts: Generate,
    n_vocab: usize,
    /// What the child computes with; `None` if that is not known.
    group: Option<Group>,
    /// For each token of the last batch the place of its logits.
    places: Vec<Option<usize>>,
    dropped: Dropped,
    gauge: ThreadsGauge,
}

/// Saved states that nobody needs any more.
type Dropped = Arc<Mutex<Vec<u64>>>;

/// A state that lies in the child.
pub(crate) struct Saved {
    id: u64,
    n_bytes: usize,
    dropped: Dropped,
}

impl Drop for Saved {
    fn drop(&mut self) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

impl DistantDecoder {
    pub(super) fn new(
        host: Arc<Host>,
        process: &Arc<Process>,
        model: LlamaModel,
        facts: Generate,
    ) -> Result<Self, Ended> {
        let n_vocab = model.vocab().len();
        let lane = Self::lane(process, &facts, n_vocab)?;
        let (places, dropped, gauge) = Default::default();
        Ok(Self { host, lane, model, facts, n_vocab, group: Some(Group::default()), places, dropped, gauge })
    }

    fn lane(process: &Arc<Process>, facts: &Generate, n_vocab: usize) -> Result<Lane, Ended> {
        Lane::open(process, n_vocab.saturating_mul(facts.n_outputs_max as usize), true)
    }

    /// Tells the numbers of threads in use.
    pub(super) fn gauge(&self) -> ThreadsGauge {
        self.gauge.clone()
    }

    fn ask(&self, call: &Call) -> Result<Answer, DecoderError> {
        match self.lane.ask(call, NEVER, MOMENT) {
            Ok(Answer::Failed(error)) => Err(DecoderError::Failed(error.text)),
            Ok(answer) => Ok(answer),
            Err(ended) => Err(self.crashed(ended)),
        }
    }

    fn crashed(&self, Ended { words, before }: Ended) -> DecoderError {
        DecoderError::Crashed { words: self.host.with_servers(words), before }
    }

    fn is_yes(&self, call: &Call) -> bool {
        matches!(self.ask(call), Ok(Answer::Yes(true)))
    }

    fn saved(&self, answer: &Answer) -> Result<Saved, DecoderError> {
        match answer {
            Answer::Saved { id, n_bytes } => {
                Ok(Saved { id: *id, n_bytes: *n_bytes as usize, dropped: Arc::clone(&self.dropped) })
            }
            _ => Err(wrong()),
        }
    }
}

fn wrong() -> DecoderError {
    DecoderError::Failed("the process of the model gave a wrong answer".to_owned())
}

impl Decoder for DistantDecoder {
    type Saved = Saved;

    fn n_ctx(&self) -> usize {
        self.facts.n_ctx as usize
    }

    fn n_cells(&self) -> usize {
        self.facts.n_cells as usize
    }

    fn n_batch(&self) -> usize {
        self.facts.n_batch as usize
    }

    fn n_outputs_max(&self) -> usize {
        self.facts.n_outputs_max as usize
    }

    fn n_seq_max(&self) -> usize {
        self.facts.n_seq_max as usize
    }

    fn split(&self) -> Option<Split> {
        self.facts.split()
    }

    fn set_split(&mut self, split: bool) -> Result<(), DecoderError> {
        self.ask(&Call::SetSplit(split)).map(drop)
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::new(LlamaVocabulary(self.model.clone()))
    }

    fn enter(&mut self, group: &Group) -> Result<(), DecoderError> {
        if self.group.as_ref() == Some(group) {
            return Ok(());
        }
        self.group = None;
        let changes = Changes::of(group)?;
        let adapters = changes.adapters().iter().map(|(adapter, scale)| {
            let path = &adapter.facts().path;
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            (adapter.id(), absolute.into(), *scale)
        });
        let control = changes.control().numbers().map(|(numbers, layers)| Control {
            numbers: numbers.to_vec(),
            layers,
            key: changes.control().key().to_vec(),
        });
        let call = Call::Enter { adapters: adapters.collect(), control };
        self.ask(&call)?;
        self.group = Some(group.clone());
        Ok(())
    }

    fn decode(&mut self, batch: &[BatchToken], stop: Stop<'_>) -> Result<(), DecoderError> {
        self.places.clear();
        let rows = batch.iter().map(Row::of).collect::<Option<_>>().ok_or(DecoderError::NoSpace)?;
        let dropped = std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner));
        let answer = self.lane.ask(&Call::Decode { rows, dropped }, stop, PATIENCE);
        match answer.map_err(|ended| self.crashed(ended))? {
            Answer::Decoded { generation, prompt } => {
                self.gauge.set(ThreadsInUse { generation: generation as usize, prompt: prompt as usize });
            }
            Answer::Aborted => return Err(DecoderError::Aborted),
            Answer::NoSpace => return Err(DecoderError::NoSpace),
            Answer::Failed(error) if self.host.would_move() => {
                let why = format!("has a device that failed ({}) and was ended", error.text);
                return Err(DecoderError::Crashed { words: self.lane.process.end(&why), before: false });
            }
            Answer::Failed(error) => return Err(DecoderError::Failed(error.text)),
            _ => return Err(wrong()),
        }
        let mut n_rows = 0;
        self.places.extend(batch.iter().map(|row| {
            n_rows += usize::from(row.logits);
            row.logits.then(|| n_rows - 1)
        }));
        Ok(())
    }

    fn logits(&self, index: usize) -> &[f32] {
        let place = self.places.get(index).copied().flatten();
        place.map_or(&[], |place| self.lane.memory.read(place * self.n_vocab, self.n_vocab))
    }

    fn can_rewind(&self) -> bool {
        self.facts.can_rewind
    }

    fn can_cut(&self, seq: u32, n: usize) -> bool {
        self.facts.always_cuts || self.is_yes(&Call::CanCut { seq, n: n as u64 })
    }

    fn can_shift(&self) -> bool {
        self.facts.can_shift
    }

    fn shift(&mut self, seq: u32, keep: usize, n: usize) -> bool {
        self.is_yes(&Call::Shift { seq, keep: keep as u64, n: n as u64 })
    }

    fn copy(&mut self, from: u32, to: u32, n: usize) -> bool {
        self.is_yes(&Call::Copy { from, to, n: n as u64 })
    }

    fn truncate(&mut self, seq: u32, from_pos: usize) -> bool {
        self.is_yes(&Call::Truncate { seq, from: from_pos as u64 })
    }

    fn clear(&mut self, seq: u32) {
        // A child that has ended holds nothing, which the next decode tells.
        let _ = self.ask(&Call::Clear { seq });
    }

    fn save(&mut self, seq: u32) -> Result<Saved, DecoderError> {
        let answer = self.ask(&Call::Save { seq })?;
        self.saved(&answer)
    }

    fn saved_bytes(state: &Saved) -> usize {
        state.n_bytes
    }

    fn export(&self, state: &Saved, n_tokens: usize) -> Option<Vec<u8>> {
        match self.ask(&Call::Export { id: state.id, n_tokens: n_tokens as u64 }) {
            Ok(Answer::Bytes(bytes)) => Some(bytes.into_vec()),
            _ => None,
        }
    }

    fn import(&self, bytes: &[u8], n_tokens: usize) -> Option<Saved> {
        let call = Call::Import { bytes: ByteBuf::from(bytes), n_tokens: n_tokens as u64 };
        let answer = self.ask(&call).ok()?;
        self.saved(&answer).ok()
    }

    fn restore(&mut self, seq: u32, state: &Saved) -> Result<(), DecoderError> {
        self.ask(&Call::Restore { seq, id: state.id }).map(drop)
    }

    fn revive(&mut self) -> Result<(), DecoderError> {
        let process = self.host.process().map_err(|error| DecoderError::Failed(error.text))?;
        // Its states went with the old one.
        self.dropped = Dropped::default();
        self.group = Some(Group::default());
        self.lane = Self::lane(&process, &self.facts, self.n_vocab).map_err(|ended| self.crashed(ended))?;
        Ok(())
    }

    fn ender(&self) -> Option<Ender> {
        let host = Arc::clone(&self.host);
        Some(Box::new(move || host.give_up()))
    }
}
