//! A server that runs.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tabagent_model::PoolError;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower_http::catch_panic::CatchPanicLayer;

use crate::access_log::{AccessLog, AccessLogTarget};
use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::guard::guard;
use crate::listener::{Listener, accept};
use crate::models::Models;
use crate::openapi::{About, DOCUMENT};
use crate::page::page;
use crate::protocol;
use crate::settings::{Address, Settings};
use crate::tls::{TlsError, TlsFiles};
use crate::vertex::HEALTH;

/// How long connections may take once their streams were ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Threads that render, tokenize, compile and embed, at most.
const WORKERS: usize = 64;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened at.
    #[error("cannot listen at `{address}`: {source}")]
    Bind {
        /// The address.
        address: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// There are no sockets of a service manager.
    #[error("cannot take the sockets of a service manager (`LISTEN_FDS`): {0}")]
    Inherited(#[source] io::Error),
    /// The system gave no threads.
    #[error("cannot start the server's threads: {0}")]
    Threads(#[source] io::Error),
    /// What stands before paths must begin with `/` and not end with it.
    #[error(
        "`prefix` must begin with `/`, not end with it, and have letters, digits, `-`, `_`, `.` and `/` alone, got `{0}`"
    )]
    Prefix(String),
    /// The access log cannot be written.
    #[error("cannot write the access log `{path}`: {source}")]
    AccessLog {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Vertex AI is to ask at a path that is none, or is another route's.
    #[error("`predict_route` and `health_route` must begin with `/` and be no other route's, got `{0}`")]
    VertexRoute(String),
    /// Connections cannot be encrypted.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A server that listens, with threads of its own. Dropping it ends it at once.
pub struct Server {
    runtime: Option<Runtime>,
    app: App,
    addresses: Vec<Address>,
    places: Arc<Semaphore>,
    accepting: Vec<JoinHandle<()>>,
    process: u32,
}

impl Server {
    /// Listens, and returns when the first request can come.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(settings: Settings, models: Models) -> Result<Self, StartError> {
        check_prefix(&settings.prefix)?;
        let tls = settings.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(settings.threads.max(1))
            .max_blocking_threads(WORKERS)
            .thread_name("tabagent-http")
            .enable_io()
            .enable_time()
            .build()
            .map_err(StartError::Threads)?;
        let (listeners, addresses) = runtime.block_on(bind_all(&settings))?;
        let places = Arc::new(Semaphore::new(settings.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let log = open_log(&settings)?;
        // Whom it answers depends on where it listens.
        let settings = Settings { addresses: addresses.clone(), ..settings };
        let app = App::new(settings, models, log);
        check_vertex(&app)?;
        let router = router(&app);
        let accepting = listeners
            .into_iter()
            .map(|listener| {
                runtime.spawn(accept(listener, tls.clone(), app.clone(), router.clone(), Arc::clone(&places)))
            })
            .collect();
        let process = std::process::id();
        Ok(Self { runtime: Some(runtime), app, addresses, places, accepting, process })
    }

    /// Where it listens: at least one place.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The addresses as clients write them: `http://host:port`, `https://host:port` or `unix:path`.
    pub fn urls(&self) -> Vec<String> {
        let is_secret = self.app.settings.tls.is_some();
        let url = |address: &Address| match (is_secret, address.to_string()) {
            (true, plain) if matches!(address, Address::Tcp { .. }) => plain.replacen("http:", "https:", 1),
            (_, plain) => plain,
        };
        self.addresses.iter().map(url).collect()
    }

    /// Has a model loaded though nobody asks for it, without waiting.
    ///
    /// # Errors
    /// [`PoolError`] where there is none of that name.
    pub fn load(&self, name: &str) -> Result<(), PoolError> {
        self.app.models.preload(name)?;
        if let Some(runtime) = &self.runtime {
            let (app, name) = (self.app.clone(), name.to_owned());
            // As a request would, so that what is told of it is known. What stands in the way is told to who asks for it.
            runtime.spawn(async move { drop(app.loaded_model(Some(&name), None, true).await) });
        }
        Ok(())
    }

    /// Stops: takes nothing more, lets running requests end for as long as [`Settings::drain_timeout`], then ends them with an error. Blocks. Does nothing the second
    /// time, and in a forked child, which has no threads of the server.
    pub fn stop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if self.process != std::process::id() {
            std::mem::forget(runtime);
            return;
        }
        self.app.stop.drain();
        let accepting = std::mem::take(&mut self.accepting);
        let all = u32::try_from(self.app.settings.max_connections.max(1)).unwrap_or(u32::MAX);
        let drain = self.app.settings.drain_timeout;
        runtime.block_on(async {
            for listener in accepting {
                // Closes the port.
                let _ = listener.await;
            }
            if tokio::time::timeout(drain, self.places.acquire_many(all)).await.is_err() {
                self.app.stop.end();
                let _ = tokio::time::timeout(LAST_WORDS, self.places.acquire_many(all)).await;
            }
        });
        runtime.shutdown_timeout(LAST_WORDS);
        self.app.models.close();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        if self.process == std::process::id() {
            self.app.stop.drain();
            self.app.stop.end();
            runtime.shutdown_background();
        } else {
            std::mem::forget(runtime);
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Listens at all addresses. A port that is to be any free one is the same at all of them.
async fn bind_all(settings: &Settings) -> Result<(Vec<Listener>, Vec<Address>), StartError> {
    if settings.inherit_sockets {
        return Listener::inherited().map(|found| found.into_iter().unzip()).map_err(StartError::Inherited);
    }
    let (mut listeners, mut addresses) = (Vec::new(), Vec::<Address>::new());
    for wanted in &settings.addresses {
        let wanted = match (wanted, addresses.first()) {
            (Address::Tcp { host, port: 0 }, Some(Address::Tcp { port, .. })) => {
                Address::Tcp { host: host.clone(), port: *port }
            }
            _ => wanted.clone(),
        };
        let error = |source| StartError::Bind { address: wanted.to_string(), source };
        let listener = Listener::bind(&wanted).await.map_err(error)?;
        addresses.push(listener.address(&wanted).map_err(error)?);
        listeners.push(listener);
    }
    Ok((listeners, addresses))
}

fn open_log(settings: &Settings) -> Result<Option<AccessLog>, StartError> {
    let Some(target) = &settings.access_log else { return Ok(None) };
    let path = match target {
        AccessLogTarget::Stderr => "-".to_owned(),
        AccessLogTarget::File(path) => path.display().to_string(),
    };
    AccessLog::open(target).map(Some).map_err(|source| StartError::AccessLog { path, source })
}

fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    path.starts_with('/') && !path.ends_with('/') && path.bytes().all(plain)
}

fn check_prefix(prefix: &str) -> Result<(), StartError> {
    if prefix.is_empty() || is_plain(prefix) {
        return Ok(());
    }
    Err(StartError::Prefix(prefix.to_owned()))
}

fn check_vertex(app: &App) -> Result<(), StartError> {
    let Some(vertex) = &app.settings.vertex else { return Ok(()) };
    let known = protocol::routes(app);
    let is_free = |path: &str| is_plain(path) && path != DOCUMENT && !known.has(path);
    let wrong = |path: &String| Err(StartError::VertexRoute(path.clone()));
    match &vertex.health {
        _ if !is_free(&vertex.predict) => wrong(&vertex.predict),
        Some(health) if health != HEALTH && (*health == vertex.predict || !is_free(health)) => wrong(health),
        _ => Ok(()),
    }
}

/// All routes, behind the guard.
pub(crate) fn router(app: &App) -> Router {
    let about = About::new("A page to talk with the models").answers(&["text/html"]);
    let all = protocol::routes(app).get(&["/"], page, about);
    let posts = all.posts();
    let routes = all.with_document(&app.settings);
    guarded(
        app,
        match &app.settings.vertex {
            Some(vertex) => vertex.add(routes, &posts, app),
            None => routes,
        },
    )
}

/// Routes behind the guard.
pub(crate) fn guarded(app: &App, routes: Router<App>) -> Router {
    let prefix = app.settings.prefix.as_str();
    let routes = if prefix.is_empty() {
        routes
    } else {
        Router::new().nest(prefix, routes).route(&format!("{prefix}/"), get(page))
    };
    routes
        .fallback(|| async {
            ApiError::new(Problem::NotFound, "there is no such path; `docs/server.md` lists them")
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                Problem::MethodNotAllowed,
                "this path takes another method; `docs/server.md` lists them",
            )
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app.clone())
}

/// What a request is told whose handler panicked.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    let message = "the server failed at this request; this is a defect of tabagent";
    ApiError::new(Problem::Internal, message).into_response()
}
