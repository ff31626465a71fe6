//! The child's side: it has the engine, and answers its parent.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value as Json;
use tabagent_llama::{
    Adapter, AtWork, ContextError, Model as LlamaModel, SharedMemory, catches_exceptions, die_by_signals,
    echo_log, leave_at_once, leave_no_core, set_crash_file,
};

use super::host::named;
use super::message::{self, Answer, Call, Generate, Load, Loaded, PROTOCOL, Work};
use super::served_decoder::ServedDecoder;
use crate::decoder::LlamaDecoder;
use crate::embed::{Embedder, Wanted};
use crate::error::Error;
use crate::library::describe_library;
use crate::load::{LoadOptions, Prepared, Seat};

/// How often it looks whether its parent is still there. A fork of the parent may keep the socket open.
const TICK: Duration = Duration::from_secs(1);

/// What the threads of the child share.
pub(super) struct Served {
    pub(super) model: LlamaModel,
    embedder: Option<Embedder>,
    adapters: Mutex<HashMap<u64, Adapter>>,
    /// Taken by the lane that decodes.
    decoder: Mutex<Option<LlamaDecoder>>,
}

/// Serves the parent on standard input until that ends.
pub(crate) fn serve() -> ExitCode {
    leave_no_core();
    die_by_signals();
    echo_log();
    // An exit while llama.cpp is at work does not wait for it.
    let _at_work = AtWork::begin();
    let parent = rustix::process::getppid();
    let Ok(input) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::from(2) };
    let mut control = UnixStream::from(input);
    let load = match message::read(&mut control) {
        Ok(Call::Load(load)) => *load,
        _ => return ExitCode::from(2),
    };
    let served = match serve_load(load, &control) {
        Ok((served, loaded)) => {
            if message::write(&mut control, &Answer::Loaded(Box::new(loaded))).is_err() {
                leave_at_once(1);
            }
            Arc::new(served)
        }
        Err(error) => {
            let _ = message::write(&mut control, &Answer::Failed(named(&error)));
            leave_at_once(1);
        }
    };
    if control.set_read_timeout(Some(TICK)).is_err() {
        leave_at_once(1);
    }
    loop {
        match next_lane(&control) {
            Ok(Some((decodes, socket, memory))) => start_lane(&served, decodes, socket, &memory),
            Ok(None) => leave_at_once(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if rustix::process::getppid() != parent {
                    leave_at_once(0);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => leave_at_once(1),
        }
    }
}

/// The next lane that the parent hands over; `None` when it has closed its side.
fn next_lane(control: &UnixStream) -> io::Result<Option<(bool, UnixStream, File)>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut kind = [0_u8];
    let got = recvmsg(control, &mut [IoSliceMut::new(&mut kind)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next()) {
        (Some(socket), Some(memory)) => Ok(Some((kind[0] != 0, socket.into(), memory.into()))),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn start_lane(served: &Arc<Served>, decodes: bool, socket: UnixStream, memory: &File) {
    let Ok(memory) = SharedMemory::open(memory) else { return };
    let decoder = decodes.then(|| served.decoder.lock().unwrap_or_else(PoisonError::into_inner).take());
    let served = Arc::clone(served);
    let name = if decodes { "decode" } else { "lane" };
    // Without a thread the socket closes, which the parent hears.
    drop(std::thread::Builder::new().name(name.to_owned()).spawn(move || match decoder {
        None => served.answer_all(socket, &memory),
        Some(Some(decoder)) => ServedDecoder::new(served, decoder, memory).answer_all(socket),
        Some(None) => {}
    }));
}

fn serve_load(load: Load, control: &UnixStream) -> Result<(Served, Loaded), Error> {
    if (load.protocol, load.version.as_str()) != (PROTOCOL, env!("CARGO_PKG_VERSION")) {
        return Err(Error::OtherChild { version: env!("CARGO_PKG_VERSION") });
    }
    let options: Json = serde_json::from_str(&load.options).unwrap_or_default();
    let mut options = LoadOptions::read(options.into())?;
    options.metadata_overrides = load.overrides.into_iter().map(|(key, value)| (key, value.into())).collect();
    let progress = control.try_clone().ok();
    let tell = move |part| {
        progress.as_ref().is_none_or(|mut to| message::write(&mut to, &Answer::Progress(part)).is_ok())
    };
    let library = Path::new(&load.library);
    let prepared = Prepared::load(Path::new(&load.path), library, load.module, &options, tell)?;
    if catches_exceptions() {
        set_crash_file(load.crash_file.as_deref().map(Path::new));
    }
    let Prepared { model, seat, fitted, offload, longest, batch_size, threads } = prepared;
    let library = model.library().map(|library| describe_library(library).to_string()).unwrap_or_default();
    let (work, embedder, decoder) = match seat {
        Seat::Tokenizes => (Work::Tokenize, None, None),
        Seat::Embeds { architecture, reason } => {
            let why = ContextError::NotGenerative { architecture, reason }.into();
            let embedder =
                Embedder::new(&model, longest as usize, batch_size.unwrap_or(u32::MAX), threads, false);
            (Work::Embed { why: named(&why), longest, batch_size, threads }, Some(embedder), None)
        }
        Seat::Generates(decoder) => {
            let facts = generate(&decoder, &options);
            let longest = facts.sizes.longest_text(&model);
            let embedder = Embedder::new(&model, longest, facts.sizes.batch_size, facts.sizes.threads, true);
            (Work::Generate(facts), Some(embedder), Some(*decoder))
        }
    };
    let loaded = Loaded { copy: model.copy(), library, fitted, offload, work };
    let (adapters, decoder) = (Mutex::default(), Mutex::new(decoder));
    Ok((Served { model, embedder, adapters, decoder }, loaded))
}

fn generate(decoder: &LlamaDecoder, options: &LoadOptions) -> Generate {
    use tabagent_runtime::Decoder as _;
    let context = decoder.context();
    let facts = context.model().facts();
    let (keys, values) = context.kv_types();
    let is_cut_anywhere = !facts.recurrent && !facts.hybrid && facts.sliding_window == 0;
    Generate {
        sizes: crate::open::ContextSizes::of(context, &options.engine_config()),
        memory: context.memory_need(),
        kv_types: (keys.name().to_owned(), values.name().to_owned()),
        settings: context.sequence_settings().map(|(_, value)| value).to_vec(),
        n_ctx: decoder.n_ctx() as u64,
        n_cells: decoder.n_cells() as u64,
        n_batch: decoder.n_batch() as u64,
        n_outputs_max: decoder.n_outputs_max() as u64,
        n_seq_max: decoder.n_seq_max() as u64,
        split: decoder.split().map(|split| (split.n_seq as u64, split.n_cells as u64, split.n_worth as u64)),
        can_rewind: decoder.can_rewind(),
        can_shift: decoder.can_shift(),
        always_cuts: is_cut_anywhere,
    }
}

impl Served {
    /// Answers the calls of a lane until it closes.
    fn answer_all(&self, mut socket: UnixStream, memory: &SharedMemory) {
        while let Ok(call) = message::read(&mut socket) {
            memory.set_begun(true);
            let answer = self.answer(call, memory, &mut socket);
            let answer = answer.unwrap_or_else(|error| Answer::Failed(named(&error)));
            if message::write(&mut socket, &answer).is_err() {
                return;
            }
        }
    }

    fn answer(&self, call: Call, memory: &SharedMemory, socket: &mut UnixStream) -> Result<Answer, Error> {
        let vocab = self.model.vocab();
        match call {
            Call::Tokenize { text, add_special, parse_special } => {
                Ok(Answer::Tokens(vocab.tokenize(&text, add_special, parse_special)?))
            }
            Call::Detokenize { tokens, unparse_special } => {
                Ok(Answer::Bytes(vocab.detokenize_as_llama_cpp(&tokens, unparse_special)?.into()))
            }
            Call::LoadAdapter { id, path } => {
                let adapter = self.adapter(id, Path::new(&path))?;
                Ok(Answer::Adapter(Box::new(adapter.facts().clone()), adapter.model_tensors() as u64))
            }
            Call::DropAdapter { id } => {
                self.adapters.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                Ok(Answer::Done)
            }
            Call::Embed { ranks, texts } => self.embed(ranks, &texts, memory, socket),
            _ => Err(super::wrong_call()),
        }
    }

    /// The adapter of a number, loaded if it is not there.
    pub(super) fn adapter(&self, id: u64, path: &Path) -> Result<Adapter, Error> {
        let known = self.adapters.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(adapter) = known {
            return Ok(adapter);
        }
        let adapter = self.model.load_adapter(path)?;
        self.adapters.lock().unwrap_or_else(PoisonError::into_inner).insert(id, adapter.clone());
        Ok(adapter)
    }

    fn embed(
        &self,
        ranks: bool,
        texts: &[Vec<i32>],
        memory: &SharedMemory,
        socket: &mut UnixStream,
    ) -> Result<Answer, Error> {
        let embedder = self.embedder.as_ref().ok_or_else(super::wrong_call)?;
        let wanted = if ranks { Wanted::Ranks } else { Wanted::Tokens };
        let texts: Vec<&[i32]> = texts.iter().map(Vec::as_slice).collect();
        let mut send = |row: crate::embed::Row<'_>| {
            let (place, values) = (row.place as u64, row.values.to_vec());
            // A parent that does not listen closes the lane, which ends the next read.
            let _ = message::write(socket, &Answer::Vector { place, is_last: row.is_last, values });
            Ok(())
        };
        let stop = || memory.is_raised();
        match embedder.compute(&self.model, wanted, &texts, &stop, &mut send) {
            Ok(()) => Ok(Answer::Done),
            Err(Error::Stopped) => Ok(Answer::Aborted),
            Err(error) => Err(error),
        }
    }
}
