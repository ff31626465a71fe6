//! A way to ask a child, one question at a time.

use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tabagent_llama::SharedMemory;
use tabagent_runtime::Stop;

use super::SLICE;
use super::message::{self, Answer};
use super::process::Process;

/// A socket to a thread of the child, and memory that both share. One thread uses it at a time: whoever took it from its process, or made it.
#[derive(Debug)]
pub(crate) struct Lane {
    socket: UnixStream,
    pub(super) memory: SharedMemory,
    pub(super) process: Arc<Process>,
}

/// The child has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How, and its last words.
    pub(super) words: String,
    /// It had not begun with what it was asked for.
    pub(super) before: bool,
}

impl Ended {
    /// It ended while it was at work.
    pub(super) fn at_work(words: String) -> Self {
        Self { words, before: false }
    }
}

/// Nobody wants to stop.
pub(super) const NEVER: Stop<'static> = &|| false;

impl Lane {
    /// A new lane, with memory for `n_floats` numbers. With `decodes`, the one whose thread has the decoder.
    pub(super) fn open(process: &Arc<Process>, n_floats: usize, decodes: bool) -> Result<Self, Ended> {
        let make = || -> io::Result<Self> {
            let (memory, file) = SharedMemory::new(n_floats)?;
            let (socket, theirs) = UnixStream::pair()?;
            socket.set_read_timeout(Some(SLICE))?;
            process.send_lane(decodes, [theirs.as_fd(), file.as_fd()])?;
            Ok(Self { socket, memory, process: Arc::clone(process) })
        };
        make().map_err(|error| Ended { words: process.failed(&error), before: true })
    }

    pub(super) fn of_parts(socket: UnixStream, memory: SharedMemory, process: Arc<Process>) -> Self {
        Self { socket, memory, process }
    }

    pub(super) fn into_parts(self) -> (UnixStream, SharedMemory) {
        (self.socket, self.memory)
    }

    /// Asks, and waits for the answer. Once `stop` says so, the child is told to make an end, and answers soon. A child that has given no sign for `limit`
    /// is ended.
    pub(super) fn ask(
        &self,
        call: &impl Serialize,
        stop: Stop<'_>,
        limit: Duration,
    ) -> Result<Answer, Ended> {
        self.memory.set_flag(false);
        self.memory.set_begun(false);
        message::write(&mut &self.socket, call).map_err(|error| self.ended(self.process.failed(&error)))?;
        self.hear(stop, limit)
    }

    fn ended(&self, words: String) -> Ended {
        Ended { words, before: !self.memory.has_begun() }
    }

    /// Waits for an answer.
    pub(super) fn hear(&self, stop: Stop<'_>, limit: Duration) -> Result<Answer, Ended> {
        let began = Instant::now();
        let mut from = Patient { socket: &self.socket, memory: &self.memory, stop, limit, began };
        match message::read(&mut from) {
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let why = format!("gave no sign for {} s and was ended", limit.as_secs());
                Err(self.ended(self.process.end(&why)))
            }
            Err(error) => Err(self.ended(self.process.failed(&error))),
        }
    }
}

/// Reads a socket whose reads return after a [`SLICE`].
struct Patient<'a> {
    socket: &'a UnixStream,
    memory: &'a SharedMemory,
    stop: Stop<'a>,
    limit: Duration,
    began: Instant,
}

impl Read for Patient<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.socket).read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if (self.stop)() {
                        self.memory.set_flag(true);
                    }
                    if self.began.elapsed() > self.limit {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}
