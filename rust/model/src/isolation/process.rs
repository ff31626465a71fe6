//! A child process, as its parent sees it.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use tabagent_llama::relay;

use super::lane::{Ended, Lane};
use super::message::{self, Answer, Call};
use crate::last_words::{ending, last_bytes, said};

/// A child that has a model, from its start to its end.
#[derive(Debug)]
pub(crate) struct Process {
    child: Mutex<Child>,
    /// Where lanes are handed over; when it closes, the child ends.
    control: Mutex<UnixStream>,
    /// Collects what the child says.
    words: Mutex<Option<JoinHandle<Vec<u8>>>>,
    /// How it ended.
    death: OnceLock<String>,
    /// Lanes that nobody uses now.
    lanes: Mutex<Vec<IdleLane>>,
    /// The process that started it.
    parent: u32,
    /// What the child has, for errors.
    name: String,
}

/// A lane without its process, which has it.
#[derive(Debug)]
struct IdleLane(UnixStream, tabagent_llama::SharedMemory);

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// Starts the program, for the model called `name`.
    pub(super) fn start(program: &Path, name: String) -> io::Result<Arc<Self>> {
        let (control, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.arg("serve").stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        // ggml would start a debugger to print a backtrace.
        command.env("GGML_NO_BACKTRACE", "1").stderr(Stdio::piped());
        // Ctrl-C is for the parent.
        command.process_group(0);
        let mut child = command.spawn()?;
        // The parent's copy of the child's end.
        drop(command);
        let errors = child.stderr.take();
        let words = std::thread::Builder::new()
            .name("tabagent-words".to_owned())
            .spawn(move || errors.map(|errors| last_bytes(errors, relay)).unwrap_or_default());
        let words = match words {
            Ok(words) => words,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        Ok(Arc::new(Self {
            child: Mutex::new(child),
            control: Mutex::new(control),
            words: Mutex::new(Some(words)),
            death: OnceLock::new(),
            lanes: Mutex::default(),
            parent: std::process::id(),
            name,
        }))
    }

    /// Asks on the socket that the child began with, and passes each answer to `each` until that wants no more. Nobody else uses it meanwhile.
    pub(super) fn first(
        self: &Arc<Self>,
        call: &Call,
        mut each: impl FnMut(io::Result<Answer>) -> Option<Result<(), Ended>>,
    ) -> Result<(), Ended> {
        let mut control = lock(&self.control);
        let ask = |control: &mut UnixStream| {
            control.set_read_timeout(Some(super::SLICE))?;
            message::write(control, call)
        };
        ask(&mut control).map_err(|error| Ended::at_work(self.failed(&error)))?;
        let mut from = Whole { socket: &mut control, first: true };
        loop {
            from.first = true;
            let answer = message::read(&mut from);
            if let Some(done) = each(answer) {
                return done;
            }
        }
    }

    /// Hands the child its end of a lane.
    pub(super) fn send_lane(&self, decodes: bool, ends: [BorrowedFd<'_>; 2]) -> io::Result<()> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(&ends)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let kind = [u8::from(decodes)];
        let flags = if cfg!(target_os = "linux") { SendFlags::NOSIGNAL } else { SendFlags::empty() };
        sendmsg(&*lock(&self.control), &[IoSlice::new(&kind)], &mut rights, flags)?;
        Ok(())
    }

    /// A lane for a question.
    pub(super) fn lane(self: &Arc<Self>) -> Result<Lane, Ended> {
        let idle = lock(&self.lanes).pop();
        match idle {
            Some(IdleLane(socket, memory)) => Ok(Lane::of_parts(socket, memory, Arc::clone(self))),
            None => Lane::open(self, 0, false),
        }
    }

    /// Takes a lane back whose questions were all answered.
    pub(super) fn keep(&self, lane: Lane) {
        let (socket, memory) = lane.into_parts();
        lock(&self.lanes).push(IdleLane(socket, memory));
    }

    /// Whether it has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.death.get().is_some() || !matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// The child broke off with `error`: how it ended. It is ended if it lives.
    pub(super) fn failed(&self, error: &io::Error) -> String {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionReset | UnexpectedEof => self.bury(None),
            _ => self.bury(Some(&format!("cannot be asked: {error}"))),
        }
    }

    /// Ends it, because of `why` if it still lives; how it ended.
    pub(super) fn end(&self, why: &str) -> String {
        self.bury(Some(why))
    }

    /// Ends it, without waiting for what it said.
    pub(super) fn kill(&self) {
        let _ = lock(&self.child).kill();
    }

    fn bury(&self, why: Option<&str>) -> String {
        let end = || {
            let mut child = lock(&self.child);
            let was_alive = matches!(child.try_wait(), Ok(None)) && why.is_some();
            // One that has closed its sockets has its exit code already.
            let _ = child.kill();
            let status = child.wait().ok();
            drop(child);
            let words = lock(&self.words).take().and_then(|words| words.join().ok()).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            let how = why.filter(|_| was_alive).map_or_else(|| ending(status), str::to_owned);
            format!("the process of model `{}` {how}{}", self.name, said(&words))
        };
        self.death.get_or_init(end).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.parent == std::process::id() {
            self.bury(None);
        }
    }
}

/// Reads messages of a socket whose reads return after a slice: that is an error before a message has begun, and none within one.
struct Whole<'a> {
    socket: &'a mut UnixStream,
    first: bool,
}

impl io::Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.first => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => {
                    self.first &= !matches!(other, Ok(n) if n > 0);
                    return other;
                }
            }
        }
    }
}
