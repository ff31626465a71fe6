//! A line of JSON for each request, once its response has gone out.

use std::fs::{File, OpenOptions};
use std::io::{self, LineWriter, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use serde_json::json;

/// Where lines of the access log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// The standard error stream.
    Stderr,
    /// The end of a file, which is made where there is none.
    File(PathBuf),
}

impl From<&str> for AccessLogTarget {
    /// `-` is the standard error stream.
    fn from(name: &str) -> Self {
        if name == "-" { Self::Stderr } else { Self::File(name.into()) }
    }
}

/// Writes lines. Cheap to clone. A line that cannot be written is lost; nobody is kept waiting for more than its writing.
#[derive(Clone)]
pub(crate) struct AccessLog(Arc<Mutex<Sink>>);

enum Sink {
    Stderr,
    File(LineWriter<File>),
}

impl AccessLog {
    pub(crate) fn open(target: &AccessLogTarget) -> io::Result<Self> {
        let sink = match target {
            AccessLogTarget::Stderr => Sink::Stderr,
            AccessLogTarget::File(path) => Sink::File(LineWriter::new(append_to(path)?)),
        };
        Ok(Self(Arc::new(Mutex::new(sink))))
    }

    /// The response, which notes its request when it has gone out, or its client has gone away.
    pub(crate) fn watch(&self, visit: Visit, response: Response) -> Response {
        let status = response.status();
        let (parts, body) = response.into_parts();
        let head = visit.began.elapsed();
        let note = Note { log: self.clone(), visit, status, head, n_bytes: 0, complete: false };
        Response::from_parts(parts, Body::new(Watched { body, note: Some(note) }))
    }

    fn write(&self, line: &str) {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = match &mut *sink {
            Sink::Stderr => io::stderr().write_all(line.as_bytes()),
            Sink::File(file) => file.write_all(line.as_bytes()),
        };
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// A request, as far as it is logged: nothing of its body, and no query.
pub(crate) struct Visit {
    pub(crate) id: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) began: Instant,
}

/// What is written once the response is over.
struct Note {
    log: AccessLog,
    visit: Visit,
    status: StatusCode,
    head: Duration,
    n_bytes: u64,
    complete: bool,
}

impl Drop for Note {
    fn drop(&mut self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let line = json!({
            "time": since.as_millis() as f64 / 1e3,
            "id": self.visit.id,
            "method": self.visit.method.as_str(),
            "path": self.visit.path,
            "status": self.status.as_u16(),
            "bytes": self.n_bytes,
            "head_ms": milliseconds(self.head),
            "ms": milliseconds(self.visit.began.elapsed()),
            "complete": self.complete,
        });
        self.log.write(&format!("{line}\n"));
    }
}

/// A body whose end is noted.
struct Watched {
    body: Body,
    note: Option<Note>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, note: watching } = &mut *self;
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        if let Some(note) = watching {
            match &frame {
                Some(Ok(frame)) => {
                    note.n_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    note.complete = body.is_end_stream();
                }
                Some(Err(_)) => {}
                None => note.complete = true,
            }
            if note.complete {
                *watching = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
