//! The HTTP server: the routes of OpenAI, Anthropic, Ollama and llama.cpp over loaded models, on one port.
//!
//! [`Server::start`] listens with threads of its own, which never touch Python, and [`Server::stop`] ends gracefully.
//!
//! # How a request goes
//!
//! `guard` gives it an id, checks host, origin and key. The handler of a protocol reads the body into a `JsonFields`, translates it to
//! `tabagent_model::ChatRequest` or a `TextRequest`, has `Models` resolve the model, and begins it with `Running::chat` or `Running::text`. Both give a
//! `Running`: all the streams of the request, whose `next` yields `Step`s (an event, or the end of one stream). The handler writes them in its own shapes: at once as
//! one body, or with `streamed` as server-sent events or lines. Nothing polls: the decode thread wakes the task. A client that goes away drops the body, which
//! drops the `Running`, which cancels its streams; a client that reads slowly lets the stream's bounded channel fill, which pauses the request.
//!
//! # Adding a protocol
//!
//! A protocol is one folder (`openai/`, `anthropic/`, `ollama/`, `llama_cpp/`) with
//!
//! - a `pub(crate) const PROTOCOL: Protocol` ([`protocol`]): `owns` says which paths are its own, `routes` gives its `Endpoints`, each with what `/openapi.json` tells of it, `error` writes an [`ApiError`](error)
//!   as the body that its clients know. It is listed in `protocol::ALL`, and that is all the registration there is. A path is rendered by the first protocol that owns it;
//!   llama.cpp's, the last, owns the rest.
//! - handlers `async fn(State(app): State<App>, body: JsonFields) -> Result<Response, ApiError>`. An `ApiError` that a handler returns, or that the guard or the router
//!   makes, is rendered by the protocol that owns the path; inside of a stream the handler itself writes `error` as an event.
//! - fields: [`fields::JsonFields`] reads a JSON object name by name, null as missing, and its errors name the field. `sampler_fields::read` reads the sampler's and
//!   generator's options under llama.cpp's names, which most clients share.
//!
//! Blocking work (rendering, tokenizing, compiling, embedding) runs in `app.work(move || …)`.

mod access_log;
mod adapters;
mod anthropic;
mod app;
mod chat_defaults;
mod control;
mod counts;
mod drafts;
mod error;
mod fields;
mod figures;
mod guard;
mod held_slots;
mod host;
mod hub;
mod keys;
mod listener;
mod llama_cpp;
mod load_state;
mod models;
mod numbers;
mod ollama;
mod openai;
mod openapi;
mod page;
mod place;
mod protocol;
mod query;
mod random;
mod responses;
mod running;
mod sampler_fields;
mod server;
mod settings;
mod slots;
mod stop;
mod stream_body;
mod template_variables;
mod text_request;
mod timed_io;
mod tls;
mod vector_norm;
mod vertex;
mod waiting;

#[cfg(test)]
mod tests;

pub use access_log::AccessLogTarget;
pub use adapters::AdapterFile;
pub use chat_defaults::ChatDefaults;
pub use control::ControlFiles;
pub use drafts::DraftSource;
pub use hub::{Hub, Offer};
pub use models::{ModelEntry, Models, Reload};
pub use server::{Server, StartError};
pub use settings::{Address, Settings};
pub use tls::{TlsError, TlsFiles};
pub use vector_norm::VectorNorm;
pub use vertex::VertexRoutes;
