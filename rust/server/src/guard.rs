//! What every request goes through before its handler, and its response after.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::access_log::Visit;
use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::host::{self, Origin};
use crate::protocol;
use crate::random;
use crate::settings::Address;
use crate::waiting;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Paths that need no key.
const OPEN: [&str; 3] = ["/health", "/v1/health", "/"];

/// Checks a request, has it handled, and has the protocol of its path write an error.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let visit = app.log.as_ref().map(|_| Visit {
        id: id.clone(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        began: Instant::now(),
    });
    let path = request.uri().path();
    let path = path.strip_prefix(app.settings.prefix.as_str()).unwrap_or(path).to_owned();
    let origin = request.headers().get(ORIGIN).cloned();
    let judged = origin.as_ref().map(|origin| {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        host::judge(origin.to_str().unwrap_or("null"), host, &app.settings.origins)
    });
    let mut response = match check(&app, &request, &path, judged) {
        Err(error) => error.into_response(),
        Ok(()) if request.method() == Method::OPTIONS => StatusCode::OK.into_response(),
        Ok(()) => waiting::patiently(app.settings.ping, path.clone(), next.run(request)).await,
    };
    response = protocol::render(&path, response);
    if let (Some(origin), Some(Origin::Allowed)) = (origin, judged) {
        allow(response.headers_mut(), origin);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    match (&app.log, visit) {
        (Some(log), Some(visit)) => log.watch(visit, response),
        _ => response,
    }
}

/// The client's own name for its request, if it is a plain one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain =
        |id: &&str| !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(plain).map_or_else(|| random::id("req_"), str::to_owned)
}

fn check(app: &App, request: &Request, path: &str, origin: Option<Origin>) -> Result<(), ApiError> {
    let headers = request.headers();
    let named = headers.get(HOST).and_then(|host| host.to_str().ok());
    if asks_for_trusted_host(app) && !named.is_none_or(|host| host::is_trusted(host, &app.settings.hosts)) {
        let message = "the `Host` of the request is not one of this server's; ask it as `localhost` or by its address, or start it with that host among `hosts`";
        return Err(ApiError::new(Problem::Permission, message));
    }
    // A preflight is answered without what would allow the page to go on.
    if request.method() == Method::OPTIONS {
        return Ok(());
    }
    if origin == Some(Origin::Foreign) {
        let message =
            "pages of this `Origin` may not use this server; start it with that origin among `origins`";
        return Err(ApiError::new(Problem::Permission, message));
    }
    if !app.keys.are_asked()
        || (request.method() == Method::GET && OPEN.contains(&path))
        || app.keys.accept(key(headers))
    {
        return Ok(());
    }
    Err(ApiError::new(
        Problem::Authentication,
        "the key is missing or wrong; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`",
    ))
}

/// Whether the name under which the server is asked says something: where only this machine reaches it and no key keeps pages out.
fn asks_for_trusted_host(app: &App) -> bool {
    let is_local = |address: &Address| matches!(address, Address::Tcp { host, .. } if host::is_local(host));
    app.settings.addresses.iter().all(is_local) && !app.keys.are_asked()
}

fn key(headers: &HeaderMap) -> &[u8] {
    let given = headers.get(AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    let given = given.map(HeaderValue::as_bytes).unwrap_or_default();
    given.strip_prefix(b"Bearer ").unwrap_or(given)
}

/// Lets a page read the response.
fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert("access-control-allow-origin", origin);
    headers.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
    headers.insert("access-control-allow-methods", HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    headers.insert("access-control-allow-headers", HeaderValue::from_static("*"));
    headers.insert("access-control-expose-headers", HeaderValue::from_static("x-request-id"));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}
