//! Waking an event loop from the decode thread, without Python.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pair of connected sockets: one end becomes readable when the other is signalled.
pub(crate) struct Wake {
    reader: UnixStream,
    signal: Arc<Signal>,
}

/// The end that signals; usable from any thread.
pub(crate) struct Signal {
    writer: UnixStream,
    /// Whether the reader already has something to read.
    raised: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, signal: Arc::new(Signal { writer, raised: AtomicBool::new(false) }) })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Makes the reader unreadable until the next signal.
    pub(crate) fn clear(&self) {
        let mut sink = [0_u8; 16];
        // Lowered first: a signal in between writes one byte more, and the loop wakes once in vain rather than never.
        self.signal.raised.store(false, Ordering::SeqCst);
        while matches!((&self.reader).read(&mut sink), Ok(n) if n == sink.len()) {}
    }
}

impl Signal {
    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            // A full buffer means that the reader is readable already; a closed reader, that nobody waits.
            let _ = (&self.writer).write(&[1]);
        }
    }
}
