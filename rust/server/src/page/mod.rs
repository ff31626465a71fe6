//! `/`: a page to talk with the models, written into the binary. It loads nothing, and asks this server alone.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::error::{ApiError, Problem};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page in one document, so that it works under any prefix.
static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| include_str!("page.html").replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT));

/// Nothing but this style and this script counts in the page, whatever a model writes.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(SCRIPT)
    )
});

/// The page.
pub(crate) async fn page(State(app): State<App>) -> Response {
    if !app.settings.page {
        return ApiError::new(Problem::NotFound, "this server was started without its page").into_response();
    }
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, &POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, DOCUMENT.as_str()).into_response()
}
