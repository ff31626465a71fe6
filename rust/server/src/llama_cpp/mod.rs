//! llama.cpp's own routes, as llama-server has them.

mod completion;
mod embedding;
pub(crate) mod health;
mod infill;
mod lora;
mod props;
mod router;
mod schema;
mod settings_json;
mod slots;
mod tokens;

use crate::app::App;
use crate::openai::{self, Chat};
use crate::openapi::{About, Endpoints};
use crate::protocol::{Protocol, plain_status};

pub(crate) use completion::{Told, texts_of};
pub(crate) use embedding::read_norm;
pub(crate) use props::written;

/// llama.cpp's clients; every path that no other protocol owns is theirs.
pub(crate) const PROTOCOL: Protocol =
    Protocol { owns: |_| true, routes, error: openai::error, status: plain_status, error_event: Some("") };

/// The model that a request without a body is about.
const MODEL: (&str, &str) = ("model", "the name of a model, where there are several");

fn routes(_: &App) -> Endpoints {
    let completion = About::new("Continues texts").reads::<schema::Completion>().or_events();
    let infill = About::new("Writes what is missing in a text").reads::<schema::Infill>().or_events();
    let rerank = About::new("Ranks documents").reads::<schema::Rerank>();
    let act = About::new("Saves, restores or erases a slot").reads::<schema::SlotFile>();
    Endpoints::new("llama.cpp")
        .get(&["/health", "/v1/health"], health::health, About::new("Tells whether requests are taken"))
        .post(&["/completion", "/completions"], completion::complete, completion)
        .post(&["/infill"], infill::infill, infill)
        .post(
            &["/tokenize"],
            tokens::tokenize,
            About::new("Gives the tokens of a text").reads::<schema::Tokenize>(),
        )
        .post(
            &["/detokenize"],
            tokens::detokenize,
            About::new("Gives the text of tokens").reads::<schema::Detokenize>(),
        )
        .post(
            &["/apply-template"],
            tokens::apply_template,
            About::new("Gives the prompt of a conversation").reads::<Chat>(),
        )
        .post(
            &["/embedding", "/embeddings"],
            embedding::embed,
            About::new("Gives the vectors of texts").reads::<schema::Embedding>(),
        )
        .post(&["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"], embedding::rerank, rerank)
        .get(&["/props"], props::props, About::new("Tells what the server is").asks(&[MODEL]))
        .post(&["/props"], props::set_props, About::new("Is refused: settings stay").reads::<schema::Props>())
        .get(
            &["/slots"],
            slots::list,
            About::new("Tells what runs")
                .asks(&[MODEL, ("fail_on_no_slot", "1: answers 503 where no slot is free")]),
        )
        .post(&["/slots/{id}"], slots::act, act.asks(&[("action", "`save`, `restore` or `erase`"), MODEL]))
        .post(&["/models/load"], router::load, About::new("Loads a model").reads::<schema::Named>())
        .post(&["/models/unload"], router::unload, About::new("Unloads a model").reads::<schema::Named>())
        .get(
            &["/metrics"],
            props::metrics,
            About::new("Gives figures for Prometheus").answers(&["text/plain"]).asks(&[MODEL]),
        )
        .get(&["/lora-adapters"], lora::list, About::new("Lists the adapters of a model").asks(&[MODEL]))
        .post(
            &["/lora-adapters"],
            lora::set,
            About::new("Sets how much of each adapter requests get")
                .reads::<schema::Adapters>()
                .asks(&[MODEL]),
        )
}
