//! Waking an event loop from the decode thread, without Python.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A pair of connected sockets: one end becomes readable when the other is signalled.
pub(crate) struct Wake {
    reader: system::Socket,
    signal: Arc<Signal>,
}

/// The end that signals; usable from any thread.
pub(crate) struct Signal {
    writer: system::Socket,
    /// Whether the reader already has something to read.
    raised: AtomicBool,
}

impl Wake {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (reader, writer) = system::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { reader, signal: Arc::new(Signal { writer, raised: AtomicBool::new(false) }) })
    }

    /// What an event loop waits for.
    pub(crate) fn fd(&self) -> i32 {
        system::descriptor(&self.reader)
    }

    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Makes the reader unreadable until the next signal.
    pub(crate) fn clear(&self) {
        let mut sink = [0_u8; 16];
        while matches!((&self.reader).read(&mut sink), Ok(n) if n == sink.len()) {}
        // Lowered last: lowered first, a signal in between would leave the flag up without a byte to read, and no later signal would write
        // one. What a signal before this announced is seen by whoever polls after this call; the swap orders the two.
        self.signal.raised.swap(false, Ordering::SeqCst);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    /// Every event that is announced is seen although the reader clears while the signaller signals.
    #[test]
    fn no_signal_is_lost_while_the_reader_clears() {
        const EVENTS: u64 = 100_000;
        let wake = Wake::new().unwrap();
        let events = Arc::new(AtomicU64::new(0));
        let (signal, counter) = (wake.signal(), Arc::clone(&events));
        let signaller = std::thread::spawn(move || {
            for _ in 0..EVENTS {
                counter.fetch_add(1, Ordering::SeqCst);
                signal.raise();
            }
        });
        wake.reader.set_nonblocking(false).unwrap();
        wake.reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut seen = 0;
        while seen < EVENTS {
            let mut first = [0_u8; 1];
            (&wake.reader).read_exact(&mut first).unwrap_or_else(|e| panic!("lost after {seen} events: {e}"));
            wake.reader.set_nonblocking(true).unwrap();
            wake.clear();
            wake.reader.set_nonblocking(false).unwrap();
            seen = events.load(Ordering::SeqCst);
        }
        signaller.join().unwrap();
    }
}
