//! A model in a child process that is started again when it has ended.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_bytes::ByteBuf;
use tabagent_llama::{AdapterFacts, Elsewhere, ElsewhereError, LogLevel, RpcError, TokenId, greet, note};
use tabagent_runtime::{AbortFlag, EngineError, OnCrash, Stop};

use super::Isolation;
use super::lane::{Ended, Lane, NEVER};
use super::message::{Answer, Call, Load, Loaded, PROTOCOL};
use super::process::Process;
use crate::embed::{Row, Wanted};
use crate::error::Error;
use crate::error_kind::ErrorKind;
use crate::failure::Failure as _;
use crate::load::LoadOptions;

/// How long a child may give no sign while it tokenizes, besides the time for a long text.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long it may take for a batch of vectors.
const LONG: Duration = Duration::from_mins(10);
/// How long a server on another machine may take to say that it is there, when something has failed.
const SERVER_PATIENCE: Duration = Duration::from_secs(1);
/// How often a server that hangs up is asked again, and after how long.
const SERVER_TRIES: u32 = 5;
const SERVER_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a text that are tokenized in a second at least.
const TEXT_PER_SECOND: u64 = 50_000;
/// Bytes of a file that are read in a second from a slow disk.
const READ_PER_SECOND: u64 = 20 << 20;

/// A model in a child process.
#[derive(Debug)]
pub(crate) struct Host {
    isolation: Isolation,
    name: String,
    path: PathBuf,
    library: PathBuf,
    module: Option<String>,
    options: LoadOptions,
    /// What was loaded first: a child that is started again must have the same.
    sketch: Mutex<Option<Sketch>>,
    /// Whether some of it is on a device that may fail.
    on_devices: AtomicBool,
    /// How the process ended after which it was moved to the CPU.
    moved: OnceLock<String>,
    /// The child, also while it still loads.
    current: Mutex<Option<Arc<Process>>>,
    /// The library that runs the model, as JSON.
    library_facts: String,
    /// Held while a child is started.
    starting: Mutex<()>,
    closed: AbortFlag,
}

/// What tells one model from another.
#[derive(Debug, PartialEq)]
struct Sketch {
    facts: tabagent_llama::ModelFacts,
    n_tokens: usize,
    work: String,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(super) fn new(
        isolation: Isolation,
        path: PathBuf,
        library: &Path,
        module: Option<String>,
        options: &LoadOptions,
    ) -> Self {
        let (sketch, on_devices, moved, current, starting, library_facts) = Default::default();
        Self {
            isolation,
            name: path.display().to_string(),
            path,
            library: library.to_owned(),
            module,
            options: LoadOptions { isolation: None, ..options.clone() },
            sketch,
            on_devices,
            moved,
            current,
            library_facts,
            starting,
            closed: AbortFlag::new(),
        }
    }

    pub(super) fn set_library(&mut self, facts: String) {
        self.library_facts = facts;
    }

    /// The library that runs the model, as [`describe_library`](crate::describe_library) does.
    pub(crate) fn library(&self) -> &str {
        &self.library_facts
    }

    pub(super) fn on_crash(&self) -> OnCrash {
        self.isolation.on_crash
    }

    /// Starts a child and loads the model there.
    pub(super) fn start(&self, progress: &dyn Fn(f32) -> bool) -> Result<(Arc<Process>, Loaded), Error> {
        let program = &self.isolation.program;
        let process = Process::start(program, self.name.clone()).map_err(|source| Error::NoIsolation {
            path: self.path.clone(),
            program: program.clone(),
            source,
        })?;
        *lock(&self.current) = Some(Arc::clone(&process));
        if self.closed.is_raised() {
            process.kill();
        }
        let loaded = self.load(&process, progress);
        if loaded.is_err() {
            lock(&self.current).take();
        }
        Ok((process, loaded?))
    }

    fn load(&self, process: &Arc<Process>, progress: &dyn Fn(f32) -> bool) -> Result<Loaded, Error> {
        let (mut loaded, mut refused, mut heard) = (None, None, Instant::now());
        let n_bytes = std::fs::metadata(&self.path).map_or(0, |facts| facts.len());
        let limit = PATIENCE + Duration::from_secs(n_bytes / READ_PER_SECOND);
        let mut goes_on = true;
        let asked = process.first(&Call::Load(Box::new(self.request())), |answer| {
            let silent = heard.elapsed();
            heard = Instant::now();
            match answer {
                Ok(Answer::Progress(part)) => goes_on &= progress(part),
                Ok(Answer::Loaded(answer)) => {
                    loaded = Some(*answer);
                    return Some(Ok(()));
                }
                Ok(Answer::Failed(error)) => {
                    refused = Some(error);
                    return Some(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    heard -= silent;
                    if silent > limit {
                        let why = format!("gave no sign for {} s and was ended", limit.as_secs());
                        return Some(Err(Ended::at_work(process.end(&why))));
                    }
                    goes_on &= progress(0.0);
                }
                Ok(_) => return Some(Err(Ended::at_work(process.end("gave a wrong answer and was ended")))),
                Err(error) => return Some(Err(Ended::at_work(process.failed(&error)))),
            }
            (!goes_on).then_some(Ok(()))
        });
        if !goes_on {
            process.kill();
            return Err(tabagent_llama::ModelError::Cancelled(self.path.clone()).into());
        }
        asked.map_err(|ended| self.crashed(ended))?;
        if let Some(error) = refused {
            return Err(Error::Elsewhere(error));
        }
        let Some(mut loaded) = loaded else {
            return Err(self.crashed(Ended::at_work(process.end("gave no answer and was ended"))).into());
        };
        loaded.copy.path.clone_from(&self.path);
        Ok(loaded)
    }

    fn request(&self) -> Load {
        let options = if self.moved.get().is_some() { self.options.on_cpu() } else { self.options.clone() };
        let overrides = options.metadata_overrides.iter().cloned();
        Load {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            library: self.library.clone().into(),
            module: self.module.clone(),
            crash_file: self.isolation.crash_file.clone().map(OsString::from),
            // The child need not have this process's working directory.
            path: std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()).into(),
            options: options.told().to_string(),
            overrides: overrides.map(|(key, value)| (key, value.into())).collect(),
        }
    }

    /// Remembers what was loaded.
    pub(super) fn note(&self, loaded: &Loaded) {
        // The output alone may be there, which is no layer.
        let layers = loaded.offload.layers.or(self.options.gpu_layers);
        self.on_devices.store(layers != Some(0) && !loaded.copy.devices.is_empty(), Ordering::Relaxed);
        *lock(&self.sketch) = Some(Sketch::of(loaded));
    }

    /// The child, started again if it has ended.
    pub(super) fn process(&self) -> Result<Arc<Process>, ElsewhereError> {
        let living = |current: &Option<Arc<Process>>| current.clone().filter(|process| !process.is_dead());
        if self.closed.is_raised() {
            return Err(named(&EngineError::Closed.into()));
        }
        // While a child loads, `current` is that child, so the other lock comes first.
        let _starting = lock(&self.starting);
        if let Some(process) = living(&lock(&self.current)) {
            return Ok(process);
        }
        self.move_after_failure();
        let (process, loaded) = self.start(&|_| !self.closed.is_raised()).map_err(|error| named(&error))?;
        if lock(&self.sketch).as_ref().is_some_and(|sketch| *sketch != Sketch::of(&loaded)) {
            let text = format!("`{}` is another model now than when it was loaded; load it again", self.name);
            process.end("was ended");
            return Err(ElsewhereError { kind: ErrorKind::EngineCrashed.name().to_owned(), text, ..none() });
        }
        Ok(process)
    }

    /// Whether the next child is to be on the CPU because a device fails.
    pub(super) fn would_move(&self) -> bool {
        self.isolation.cpu_after_failure
            && self.on_devices.load(Ordering::Relaxed)
            && self.moved.get().is_none()
            && !self.closed.is_raised()
    }

    /// How the process ended after which the model was moved to the CPU; `None` if it was not.
    pub(crate) fn moved(&self) -> Option<&str> {
        self.moved.get().map(String::as_str)
    }

    /// Has the next child on the CPU if that is what was asked for and a child has ended.
    fn move_after_failure(&self) {
        if !self.would_move() {
            return;
        }
        let words = lock(&self.current).as_ref().map(|process| process.end("was ended"));
        let words = words.unwrap_or_else(|| format!("the process of model `{}` has ended", self.name));
        note(LogLevel::Warn, &format!("{words}; the model runs on the CPU from now on"));
        let _ = self.moved.set(words);
    }

    /// The words about a child that has ended, with what is wrong with the servers that it used.
    pub(super) fn with_servers(&self, mut words: String) -> String {
        if self.moved.get().is_some() || self.closed.is_raised() {
            return words;
        }
        for server in self.options.placement.servers() {
            let mut answer = greet(&server, SERVER_PATIENCE);
            for _ in 0..SERVER_TRIES {
                // The system of one that is just ending still takes connections.
                if !matches!(answer, Err(RpcError::Closed { .. })) {
                    break;
                }
                std::thread::sleep(SERVER_PAUSE);
                answer = greet(&server, SERVER_PATIENCE);
            }
            if let Err(error) = answer {
                let _ = write!(words, "; {error}");
            }
        }
        words
    }

    /// Asks something that changes nothing in the child.
    pub(super) fn call(&self, call: &Call, limit: Duration) -> Result<Answer, ElsewhereError> {
        self.with_lane(|lane| lane.ask(call, NEVER, limit))
    }

    /// Lets `work` ask on a lane. If the child had not begun with it, another one is asked, and with `replay` also if it ended meanwhile.
    fn with_lane<T>(&self, mut work: impl FnMut(&Lane) -> Result<T, Ended>) -> Result<T, ElsewhereError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let process = self.process()?;
            let asked = process.lane().and_then(|lane| {
                let answer = work(&lane)?;
                process.keep(lane);
                Ok(answer)
            });
            match asked {
                Ok(answer) => return Ok(answer),
                Err(_) if self.closed.is_raised() => return Err(named(&EngineError::Closed.into())),
                Err(ended) if tries < 3 && (ended.before || self.on_crash() == OnCrash::Replay) => {}
                Err(ended) => return Err(self.crashed(ended)),
            }
        }
    }

    /// Computes vectors of texts in the child.
    pub(crate) fn embed(
        &self,
        wanted: Wanted,
        texts: &[&[TokenId]],
        stop: Stop<'_>,
        each: &mut dyn FnMut(Row<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let texts = texts.iter().map(|text| text.to_vec()).collect();
        let call = Call::Embed { ranks: wanted == Wanted::Ranks, texts };
        // All are there before the first is passed on, so that none comes twice.
        let vectors = self.with_lane(|lane| {
            let mut vectors = Vec::new();
            let mut answer = lane.ask(&call, stop, LONG)?;
            loop {
                match answer {
                    Answer::Vector { place, is_last, values } => vectors.push((place, is_last, values)),
                    last => return Ok((vectors, last)),
                }
                answer = lane.hear(stop, LONG)?;
            }
        });
        let (vectors, last) = vectors?;
        match last {
            Answer::Done => {}
            Answer::Aborted => return Err(Error::Stopped),
            Answer::Failed(error) => return Err(error.into()),
            _ => return Err(self.wrong().into()),
        }
        for (place, is_last, values) in &vectors {
            each(Row { place: *place as usize, is_last: *is_last, values })?;
        }
        Ok(())
    }

    /// Starts no other child from now on.
    pub(crate) fn refuse(&self) {
        self.closed.raise();
    }

    /// Ends the child, and starts no other one.
    pub(crate) fn close(&self) {
        self.closed.raise();
        self.kill();
    }

    /// Ends the child because a decode makes no progress, or because nobody wants it any more.
    pub(super) fn give_up(&self) {
        if self.closed.is_raised() {
            return self.kill();
        }
        let current = lock(&self.current).clone();
        if let Some(process) = current {
            process.end("made no progress in a decode, took many times longer than usual, and was ended");
        }
    }

    /// Ends the child that there is.
    fn kill(&self) {
        if let Some(process) = &*lock(&self.current) {
            process.kill();
        }
    }

    /// The error of a child that has ended.
    pub(super) fn crashed(&self, ended: Ended) -> ElsewhereError {
        if self.closed.is_raised() {
            return named(&EngineError::Closed.into());
        }
        named(&EngineError::Crashed { words: self.with_servers(ended.words) }.into())
    }

    pub(super) fn wrong(&self) -> ElsewhereError {
        let text = format!("the process of model `{}` gave a wrong answer", self.name);
        ElsewhereError { kind: ErrorKind::EngineCrashed.name().to_owned(), text, ..none() }
    }
}

impl Sketch {
    fn of(loaded: &Loaded) -> Self {
        // How much is on devices, and what it takes where, may be another each time.
        let facts = tabagent_llama::ModelFacts { layers_on_gpu: 0, ..loaded.copy.facts.clone() };
        Self { facts, n_tokens: loaded.copy.n_tokens(), work: loaded.work.sketch() }
    }
}

fn none() -> ElsewhereError {
    ElsewhereError { kind: String::new(), text: String::new(), file: None, fault: None }
}

/// An error, as another process sends it.
pub(super) fn named(error: &Error) -> ElsewhereError {
    if let Error::Elsewhere(error) = error {
        return error.clone();
    }
    let file =
        error.io().and_then(|(path, source)| Some((path.as_os_str().to_owned(), source.raw_os_error()?)));
    let kind = error.kind().name().to_owned();
    let fault = error.fault().map(Box::new);
    ElsewhereError { kind, text: error.to_string(), file: file.map(Box::new), fault }
}

impl Elsewhere for Host {
    fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, ElsewhereError> {
        let limit = PATIENCE + Duration::from_secs(text.len() as u64 / TEXT_PER_SECOND);
        match self.call(&Call::Tokenize { text: text.to_owned(), add_special, parse_special }, limit)? {
            Answer::Tokens(tokens) => Ok(tokens),
            Answer::Failed(error) => Err(error),
            _ => Err(self.wrong()),
        }
    }

    fn detokenize(&self, tokens: &[TokenId], unparse_special: bool) -> Result<Vec<u8>, ElsewhereError> {
        match self.call(&Call::Detokenize { tokens: tokens.to_vec(), unparse_special }, PATIENCE)? {
            Answer::Bytes(bytes) => Ok(ByteBuf::into_vec(bytes)),
            Answer::Failed(error) => Err(error),
            _ => Err(self.wrong()),
        }
    }

    fn load_adapter(&self, id: u64, path: &Path) -> Result<(AdapterFacts, usize), ElsewhereError> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match self.call(&Call::LoadAdapter { id, path: absolute.into() }, LONG)? {
            Answer::Adapter(facts, model_tensors) => {
                Ok((AdapterFacts { path: path.to_owned(), ..*facts }, model_tensors as usize))
            }
            Answer::Failed(error) => Err(error),
            _ => Err(self.wrong()),
        }
    }

    fn drop_adapter(&self, id: u64) {
        // A child that has ended has dropped it.
        let process = lock(&self.current).clone().filter(|process| !process.is_dead());
        let Some(process) = process.filter(|_| !self.closed.is_raised()) else { return };
        if let Ok(lane) = process.lane()
            && lane.ask(&Call::DropAdapter { id }, NEVER, PATIENCE).is_ok()
        {
            process.keep(lane);
        }
    }
}
