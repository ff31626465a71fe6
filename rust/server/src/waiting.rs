//! Signs of life for clients whose model is still being loaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::Response;
use http_body_util::BodyExt as _;

use crate::protocol;
use crate::stream_body::{Kind, streamed};

tokio::task_local! {
    static REQUEST: Arc<Progress>;
}

/// How far the request of this task is.
#[derive(Debug, Default)]
struct Progress {
    /// Its client reads events.
    streams: AtomicBool,
    /// It waits for its model.
    waits: AtomicBool,
}

/// The client reads events.
pub(crate) fn note_stream() {
    // Tests call handlers without a guard.
    let _ = REQUEST.try_with(|request| request.streams.store(true, Ordering::Relaxed));
}

/// Whether the request waits for its model.
pub(crate) fn note_waiting(waits: bool) {
    let _ = REQUEST.try_with(|request| request.waits.store(waits, Ordering::Relaxed));
}

/// The response that `work` makes; where the client reads events, and its model is not there after `ping`, one that begins with comments until it is. What goes wrong
/// then is an event.
pub(crate) async fn patiently(
    ping: Option<Duration>,
    path: String,
    work: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let event = protocol::error_event(&path);
    let request = Arc::new(Progress::default());
    let mut work = Box::pin(REQUEST.scope(Arc::clone(&request), work));
    let (Some(ping), Some(event)) = (ping, event) else { return work.await };
    loop {
        tokio::select! {
            response = &mut work => return response,
            () = tokio::time::sleep(ping) => {
                if request.streams.load(Ordering::Relaxed) && request.waits.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
    streamed(Kind::Events { ping: Some(ping) }, move |mut pieces| async move {
        pieces.write(":\n\n").await;
        let response = protocol::render(&path, work.await);
        let is_well = response.status().is_success();
        let mut body = response.into_body();
        if !is_well {
            if let Ok(whole) = body.collect().await {
                let text = String::from_utf8_lossy(&whole.to_bytes()).into_owned();
                pieces.write(format!("{event}data: {text}\n\n")).await;
            }
            return;
        }
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                pieces.write(data).await;
            }
        }
    })
}
