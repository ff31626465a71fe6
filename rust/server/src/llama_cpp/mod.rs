//! llama.cpp's own routes, as llama-server has them.

mod completion;
mod embedding;
mod health;
mod infill;
mod lora;
mod props;
mod router;
mod settings_json;
mod slots;
mod tokens;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;
use crate::openai;
use crate::protocol::{Protocol, plain_status};

pub(crate) use props::{metrics_of, written};

/// llama.cpp's clients; every path that no other protocol owns is theirs.
pub(crate) const PROTOCOL: Protocol =
    Protocol { owns: |_| true, routes, error: openai::error, status: plain_status, error_event: Some("") };

fn routes(_: &App) -> Router<App> {
    Router::new()
        .route("/health", get(health::health))
        .route("/v1/health", get(health::health))
        .route("/completion", post(completion::complete))
        .route("/completions", post(completion::complete))
        .route("/infill", post(infill::infill))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/embedding", post(embedding::embed))
        .route("/embeddings", post(embedding::embed))
        .route("/rerank", post(embedding::rerank))
        .route("/reranking", post(embedding::rerank))
        .route("/v1/rerank", post(embedding::rerank))
        .route("/v1/reranking", post(embedding::rerank))
        .route("/props", get(props::props).post(props::set_props))
        .route("/slots", get(slots::list))
        .route("/slots/{id}", post(slots::act))
        .route("/models/load", post(router::load))
        .route("/models/unload", post(router::unload))
        .route("/metrics", get(props::metrics))
        .route("/lora-adapters", get(lora::list).post(lora::set))
}
