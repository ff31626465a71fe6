//! Takes connections and serves them.

use std::io;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::app::App;
use crate::settings::Address;
use crate::timed_io::TimedIo;

/// Where connections come from.
pub(crate) enum Listener {
    /// A port.
    Tcp(TcpListener),
    /// A socket in the file system, which goes with the server.
    #[cfg(unix)]
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when it is dropped")] Option<Remove>),
}

/// A file that is removed when this is dropped.
#[cfg(unix)]
pub(crate) struct Remove(PathBuf);

#[cfg(unix)]
impl Drop for Remove {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens at an address.
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp { host, port } => Ok(Self::Tcp(TcpListener::bind((host.as_str(), *port)).await?)),
            #[cfg(unix)]
            Address::Unix(path) => {
                remove_stale(path)?;
                Ok(Self::Unix(UnixListener::bind(path)?, Some(Remove(path.clone()))))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The sockets that a service manager opened for this process (`LISTEN_FDS`, `sd_listen_fds(3)`), which can be taken once, and where they listen.
    #[cfg(unix)]
    pub(crate) fn inherited() -> io::Result<Vec<(Self, Address)>> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Err(io::Error::other("another server of this process has taken them"));
        }
        let mut given = listenfd::ListenFd::from_env();
        let mut found = Vec::with_capacity(given.len());
        for index in 0..given.len() {
            if let Ok(Some(listener)) = given.take_tcp_listener(index) {
                listener.set_nonblocking(true)?;
                let place = listener.local_addr()?;
                let address = Address::Tcp { host: place.ip().to_string(), port: place.port() };
                found.push((Self::Tcp(TcpListener::from_std(listener)?), address));
            } else if let Some(listener) = given.take_unix_listener(index)? {
                listener.set_nonblocking(true)?;
                let path = listener.local_addr()?.as_pathname().map(PathBuf::from).unwrap_or_default();
                // The file is the manager's.
                found.push((Self::Unix(UnixListener::from_std(listener)?, None), Address::Unix(path)));
            }
        }
        if found.is_empty() {
            return Err(io::Error::other("no service manager gave any to this process"));
        }
        Ok(found)
    }

    /// There are none.
    #[cfg(not(unix))]
    pub(crate) fn inherited() -> io::Result<Vec<(Self, Address)>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Where it really listens: the port that was free.
    pub(crate) fn address(&self, asked: &Address) -> io::Result<Address> {
        match (self, asked) {
            (Self::Tcp(listener), Address::Tcp { host, .. }) => {
                Ok(Address::Tcp { host: host.clone(), port: listener.local_addr()?.port() })
            }
            _ => Ok(asked.clone()),
        }
    }
}

/// Removes a socket that nobody listens at any more.
#[cfg(unix)]
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|facts| facts.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Takes connections until the server stops.
pub(crate) async fn accept(
    listener: Listener,
    tls: Option<TlsAcceptor>,
    app: App,
    router: Router,
    places: Arc<Semaphore>,
) {
    let draining = app.stop.draining();
    tokio::pin!(draining);
    loop {
        tokio::select! {
            () = &mut draining => return,
            taken = take(&listener, tls.as_ref(), &app, &router, &places) => {
                if taken.is_err() {
                    // Out of descriptors, most likely; others will be closed meanwhile.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Takes one connection and begins to serve it.
async fn take(
    listener: &Listener,
    tls: Option<&TlsAcceptor>,
    app: &App,
    router: &Router,
    places: &Arc<Semaphore>,
) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            // Small pieces must not wait for each other.
            stream.set_nodelay(true)?;
            begin(stream, tls, app, router, places);
        }
        #[cfg(unix)]
        Listener::Unix(listener, _) => begin(listener.accept().await?.0, None, app, router, places),
    }
    Ok(())
}

fn begin<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    tls: Option<&TlsAcceptor>,
    app: &App,
    router: &Router,
    places: &Arc<Semaphore>,
) {
    let stream = TimedIo::new(stream, app.settings.timeout);
    let place = Arc::clone(places).try_acquire_owned();
    match (place, tls) {
        (Ok(place), None) => drop(tokio::spawn(serve(stream, app.clone(), router.clone(), place))),
        (Ok(place), Some(tls)) => {
            drop(tokio::spawn(serve_secretly(stream, tls.clone(), app.clone(), router.clone(), place)));
        }
        (Err(_), None) => drop(tokio::spawn(refuse(stream, app.settings.max_connections))),
        // A client cannot be told anything before both have agreed on a key, which costs what there is too little of.
        (Err(_), Some(_)) => {}
    }
}

/// As [`serve`], once both sides have agreed on a key, for which a client has as long as for the head of a request.
async fn serve_secretly<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: TimedIo<S>,
    tls: TlsAcceptor,
    app: App,
    router: Router,
    place: OwnedSemaphorePermit,
) {
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(app.settings.head_timeout, tls.accept(stream)) => shaken,
        () = app.stop.draining() => return,
    };
    // Who speaks no TLS gets no answer that he could read.
    if let Ok(Ok(stream)) = shaken {
        serve(stream, app, router, place).await;
    }
}

/// Serves the requests of a connection, one after another.
async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    app: App,
    router: Router,
    _place: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // As most servers write them; some clients look for them so.
        .title_case_headers(true)
        .header_read_timeout(app.settings.head_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // An error is the client's end; there is nobody to tell.
    tokio::select! {
        _ = &mut connection => return,
        () = app.stop.draining() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Tells a client that there is no room, and hangs up.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: TimedIo<S>, most: usize) {
    let message =
        format!("the server has {most} connections, as many as it may (`max_connections`); try again later");
    let body = serde_json::json!({"error": {"code": 503, "message": message, "type": "unavailable_error"}})
        .to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let write = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), write).await;
}
