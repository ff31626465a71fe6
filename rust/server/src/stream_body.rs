//! Bodies that are written while they are computed: server-sent events, and lines of JSON.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::Response;
use futures_core::Stream;
use serde_json::Value;
use tokio::time::{Instant, Sleep};

/// Where a body's pieces go. A piece waits until the one before it is on its way, so who writes is never ahead of who reads.
pub(crate) struct Pieces(Arc<Mutex<Option<Bytes>>>);

impl Pieces {
    /// Writes a piece.
    pub(crate) async fn write(&mut self, piece: impl Into<Bytes>) {
        let mut piece = Some(piece.into());
        // The body polls again when it has taken a piece, so nothing has to be woken.
        std::future::poll_fn(|_| {
            let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if place.is_some() {
                return Poll::Pending;
            }
            *place = piece.take();
            Poll::Ready(())
        })
        .await;
    }

    /// Writes a server-sent event.
    pub(crate) async fn event(&mut self, data: &Value) {
        self.write(format!("data: {data}\n\n")).await;
    }

    /// Writes a server-sent event that has a name.
    pub(crate) async fn named_event(&mut self, name: &str, data: &Value) {
        self.write(format!("event: {name}\ndata: {data}\n\n")).await;
    }

    /// Writes a line of JSON.
    pub(crate) async fn line(&mut self, data: &Value) {
        self.write(format!("{data}\n")).await;
    }
}

/// What a body consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events, with a comment wherever nothing came for so long.
    Events {
        /// How long.
        ping: Option<Duration>,
    },
    /// Lines of JSON.
    Lines,
}

/// A response whose body `produce` writes. It runs while the client reads, and is dropped when the client goes away.
pub(crate) fn streamed<F: Future<Output = ()> + Send + 'static>(
    kind: Kind,
    produce: impl FnOnce(Pieces) -> F,
) -> Response {
    let place = Arc::default();
    let producer = Box::pin(produce(Pieces(Arc::clone(&place))));
    let ping = match kind {
        Kind::Events { ping } => ping.map(|interval| (interval, Box::pin(tokio::time::sleep(interval)))),
        Kind::Lines => None,
    };
    let mut response = Response::new(Body::from_stream(Produced { place, producer: Some(producer), ping }));
    let headers = response.headers_mut();
    let content = match kind {
        Kind::Events { .. } => "text/event-stream",
        Kind::Lines => "application/x-ndjson",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies such as nginx hold events back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Produced {
    place: Arc<Mutex<Option<Bytes>>>,
    producer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ping: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Produced {
    fn take(&self) -> Option<Bytes> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Stream for Produced {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(producer) = &mut this.producer
            && producer.as_mut().poll(context).is_ready()
        {
            this.producer = None;
        }
        if let Some(piece) = this.take() {
            if let Some((interval, sleep)) = &mut this.ping {
                sleep.as_mut().reset(Instant::now() + *interval);
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        if this.producer.is_none() {
            return Poll::Ready(None);
        }
        if let Some((interval, sleep)) = &mut this.ping
            && sleep.as_mut().poll(context).is_ready()
        {
            sleep.as_mut().reset(Instant::now() + *interval);
            return Poll::Ready(Some(Ok(Bytes::from_static(b":\n\n"))));
        }
        Poll::Pending
    }
}

/// A response with a JSON body.
pub(crate) fn json(body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}
