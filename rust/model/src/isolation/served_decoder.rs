//! The decoder of the child, as its lane uses it.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use tabagent_llama::{ControlSum, ElsewhereError, SequenceSnapshot, SharedMemory, leave_at_once};
use tabagent_runtime::{BatchToken, Decoder as _, DecoderError, Group};

use super::host::named;
use super::message::{self, Answer, Call, Control, Row};
use super::serve::Served;
use crate::adapter_set::AdapterSet;
use crate::changes::Changes;
use crate::decoder::LlamaDecoder;
use crate::error::Error;
use crate::error_kind::ErrorKind;

/// Answers the calls of the parent's decode thread.
pub(super) struct ServedDecoder {
    served: Arc<Served>,
    decoder: LlamaDecoder,
    memory: SharedMemory,
    /// States that the parent may want back.
    saved: HashMap<u64, SequenceSnapshot>,
    n_saved: u64,
    group: Group,
    n_outputs_max: usize,
    batch: Vec<BatchToken>,
}

impl ServedDecoder {
    pub(super) fn new(served: Arc<Served>, decoder: LlamaDecoder, memory: SharedMemory) -> Self {
        let n_outputs_max = decoder.n_outputs_max();
        let (saved, n_saved, group, batch) = Default::default();
        Self { served, decoder, memory, saved, n_saved, group, n_outputs_max, batch }
    }

    /// Answers until the lane closes.
    pub(super) fn answer_all(mut self, mut socket: UnixStream) {
        while let Ok(call) = message::read(&mut socket) {
            self.memory.set_begun(true);
            let answer = self.answer(call).unwrap_or_else(|error| Answer::Failed(named(&error)));
            if message::write(&mut socket, &answer).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, call: Call) -> Result<Answer, Error> {
        Ok(match call {
            Call::Decode { rows, dropped } => {
                for id in dropped {
                    self.saved.remove(&id);
                }
                self.decode(&rows)?
            }
            Call::Enter { adapters, control } => {
                self.enter(adapters, control)?;
                Answer::Done
            }
            Call::SetSplit(split) => {
                self.decoder.set_split(split).map_err(|error| failed(&error))?;
                Answer::Done
            }
            Call::CanCut { seq, n } => Answer::Yes(self.decoder.can_cut(seq, n as usize)),
            Call::Copy { from, to, n } => Answer::Yes(from != to && self.decoder.copy(from, to, n as usize)),
            Call::Truncate { seq, from } => Answer::Yes(self.decoder.truncate(seq, from as usize)),
            Call::Shift { seq, keep, n } => Answer::Yes(self.decoder.shift(seq, keep as usize, n as usize)),
            Call::Clear { seq } => {
                self.decoder.clear(seq);
                Answer::Done
            }
            Call::Save { seq } => {
                let state = self.decoder.save(seq).map_err(|error| failed(&error))?;
                self.keep(state)
            }
            Call::Export { id, n_tokens } => {
                let state = self.saved.get(&id).ok_or_else(super::wrong_call)?;
                let bytes = self.decoder.export(state, n_tokens as usize);
                bytes.map_or(Answer::Nothing, |bytes| Answer::Bytes(bytes.into()))
            }
            Call::Import { bytes, n_tokens } => {
                let state = self.decoder.import(&bytes, n_tokens as usize);
                state.map_or(Answer::Nothing, |state| self.keep(state))
            }
            Call::Restore { seq, id } => {
                let state = self.saved.get(&id).ok_or_else(super::wrong_call)?;
                self.decoder.restore(seq, state).map_err(|error| failed(&error))?;
                Answer::Done
            }
            _ => return Err(super::wrong_call()),
        })
    }

    fn keep(&mut self, state: SequenceSnapshot) -> Answer {
        self.n_saved += 1;
        let (id, n_bytes) = (self.n_saved, state.len() as u64);
        self.saved.insert(id, state);
        Answer::Saved { id, n_bytes }
    }

    fn enter(
        &mut self,
        adapters: Vec<(u64, std::ffi::OsString, f32)>,
        control: Option<Control>,
    ) -> Result<(), Error> {
        let adapters = adapters
            .into_iter()
            .map(|(id, path, scale)| Ok((self.served.adapter(id, Path::new(&path))?, scale)));
        let adapters = adapters.collect::<Result<Vec<_>, Error>>()?;
        let adapters = AdapterSet::new(&self.served.model, &adapters)?;
        let control = control.map_or_else(ControlSum::default, |control| {
            ControlSum::from_numbers(control.numbers, control.layers, control.key)
        });
        self.group = Changes::new(adapters, control)?.group();
        self.decoder.enter(&self.group).map_err(|error| failed(&error))
    }

    fn decode(&mut self, rows: &[Row]) -> Result<Answer, Error> {
        self.batch.clear();
        self.batch.extend(rows.iter().map(Row::to_token));
        let (decoder, memory) = (&mut self.decoder, &self.memory);
        match decoder.decode(&self.batch, &|| memory.is_raised()) {
            Ok(()) => {}
            Err(DecoderError::Aborted) => return Ok(Answer::Aborted),
            Err(DecoderError::NoSpace) => return Ok(Answer::NoSpace),
            Err(DecoderError::Broken(words)) => {
                // Nothing that it held is left. The parent starts another child, as after a crash.
                let _ = writeln!(std::io::stderr(), "{words}");
                leave_at_once(1);
            }
            Err(error) => return Err(failed(&error)),
        }
        let n_vocab = self.served.model.vocab().len();
        let wanted = (0..self.batch.len()).filter(|index| self.batch[*index].logits);
        for (place, index) in wanted.enumerate() {
            let logits = self.decoder.logits(index);
            if logits.len() != n_vocab || place >= self.n_outputs_max {
                return Err(super::wrong_call());
            }
            self.memory.write(place * n_vocab, logits);
        }
        let threads = self.decoder.gauge().get();
        Ok(Answer::Decoded { generation: threads.generation as u64, prompt: threads.prompt as u64 })
    }
}

/// An error in the engine's words: the parent says what they are about.
fn failed(error: &DecoderError) -> Error {
    let (kind, text) = (ErrorKind::Decode.name().to_owned(), error.to_string());
    Error::Elsewhere(ElsewhereError { kind, text, file: None, fault: None })
}
