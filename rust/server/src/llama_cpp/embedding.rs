//! `/embedding` and the ranking of documents.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use tabagent_model::{AbortFlag, EmbedOptions, PromptInput, RerankOptions, Vectors};

use crate::app::App;
use crate::error::ApiError;
use crate::fields::JsonFields;
use crate::models::Served;
use crate::openai::{StopOnDrop, check_enabled, vectors};
use crate::stream_body::json as json_response;
use crate::text_request::{GivenPrompt, prompts};
use crate::vector_norm::VectorNorm;

/// Vectors of texts, as llama.cpp has them: a list of vectors for each text, one or one of each token.
pub(crate) async fn embed(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    check_enabled(&app)?;
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let given = fields.take("input").map(|value| ("input", value));
    let given = given.or_else(|| fields.take("content").map(|value| ("content", value)));
    let (name, value) = given.ok_or_else(|| ApiError::field("content", "`content` is missing"))?;
    let texts = prompts(name, value)?;
    let norm = read_norm(&mut fields)?.unwrap_or(app.settings.vector_norm);
    if app.settings.token_vectors {
        let all = token_vectors(&app, served, texts).await?;
        let rows = |one: &Vectors| one.values.chunks_exact(one.width.max(1)).map(Value::from).collect();
        let entry = |(index, one): (usize, &Vectors)| {
            let rows: Vec<Value> = rows(one);
            json!({"index": index, "embedding": rows})
        };
        let entries: Value = all.iter().enumerate().map(entry).collect();
        return Ok(json_response(&entries));
    }
    let options = EmbedOptions { pooling: app.settings.pooling, ..EmbedOptions::default() };
    let (vectors, _) = vectors(&app, served, texts, options, norm).await?;
    let entry = |(index, vector): (usize, &[f32])| json!({"index": index, "embedding": [vector]});
    let entries: Value = vectors.values.chunks_exact(vectors.width.max(1)).enumerate().map(entry).collect();
    Ok(json_response(&entries))
}

/// How long vectors are to be, where the body says it.
pub(crate) fn read_norm(fields: &mut JsonFields) -> Result<Option<VectorNorm>, ApiError> {
    const NAME: &str = "embd_normalize";
    let Some(number) = fields.integer(NAME, i64::MIN..=i64::MAX)? else { return Ok(None) };
    let wrong = || ApiError::field(NAME, format!("`{NAME}` must be {}, got `{number}`", VectorNorm::RANGE));
    VectorNorm::numbered(number).map(Some).ok_or_else(wrong)
}

/// The vectors of the tokens of each text, as they are.
async fn token_vectors(
    app: &App,
    served: Arc<Served>,
    texts: Vec<GivenPrompt>,
) -> Result<Vec<Vectors>, ApiError> {
    let stop = AbortFlag::new();
    let _stops = StopOnDrop(stop.clone());
    app.work(move || {
        let model = &served.model;
        let options = EmbedOptions { normalize: false, ..EmbedOptions::default() };
        let (began, mut counted) = (Instant::now(), 0);
        let vectors = |text: &GivenPrompt| {
            let tokens = text.tokens(model, true)?;
            counted += tokens.len();
            Ok(model.embed_tokens(PromptInput::<String>::Tokens(tokens), &options, &stop)?)
        };
        let all = texts.iter().map(vectors).collect::<Result<Vec<_>, ApiError>>()?;
        served.state.counts.embedded(counted, texts.len() as u64, began.elapsed());
        Ok(all)
    })
    .await
}

/// Documents by how well they answer a query: in Jina's form, or with `texts` in that of text-embeddings-inference.
pub(crate) async fn rerank(State(app): State<App>, mut fields: JsonFields) -> Result<Response, ApiError> {
    if !app.settings.reranking {
        return Err(ApiError::not_supported("this server does not rank; start it without `--no-reranking`"));
    }
    let served = app.model(fields.text("model")?.as_deref()).await?;
    let query = fields.text("query")?.ok_or_else(|| ApiError::field("query", "`query` is missing"))?;
    let other_form = fields.has("texts");
    let documents = documents(&mut fields, if other_form { "texts" } else { "documents" })?;
    let most = i64::from(i32::MAX);
    let top_n = fields.integer("top_n", 0..=most)?.map_or(documents.len(), |n| n as usize);
    let shows_text =
        fields.flag(if other_form { "return_text" } else { "return_documents" })?.unwrap_or_default();
    let name = served.name.clone();
    let stop = AbortFlag::new();
    let _stops = StopOnDrop(stop.clone());
    let (scores, documents, tokens) = app
        .work(move || {
            let model = &served.model;
            let (began, mut steps) = (Instant::now(), 0);
            let scores = model.rerank(&query, &documents, RerankOptions::default(), &stop, |_, _| {
                steps += 1;
                true
            })?;
            let took = began.elapsed();
            let mut tokens = model.tokenize(&query, true, false)?.len() * documents.len();
            for document in &documents {
                tokens += model.tokenize(document, true, false)?.len();
            }
            served.state.counts.embedded(tokens, steps, took);
            Ok((scores, documents, tokens))
        })
        .await?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(top_n);
    let label = if other_form { "score" } else { "relevance_score" };
    let entry = |index: usize| {
        let mut entry = json!({"index": index});
        entry[label] = scores[index].into();
        if shows_text {
            entry[if other_form { "text" } else { "document" }] =
                if other_form { json!(documents[index]) } else { json!({"text": documents[index]}) };
        }
        entry
    };
    let results: Value = order.into_iter().map(entry).collect();
    if other_form {
        return Ok(json_response(&results));
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json_response(&json!({"model": name, "object": "list", "usage": usage, "results": results})))
}

/// A list of texts, or of objects with a `text`.
fn documents(fields: &mut JsonFields, name: &str) -> Result<Vec<String>, ApiError> {
    let missing = || ApiError::field(name, format!("`{name}` must be a list with at least one text"));
    let items = fields.list(name)?.filter(|items| !items.is_empty()).ok_or_else(missing)?;
    let text = |(at, item): (usize, Value)| match item {
        Value::String(text) => Ok(text),
        Value::Object(mut inner) => match inner.remove("text") {
            Some(Value::String(text)) => Ok(text),
            _ => Err(ApiError::field(name, format!("`{name}[{at}]` must be a string or have a `text`"))),
        },
        _ => Err(ApiError::field(name, format!("`{name}[{at}]` must be a string or have a `text`"))),
    };
    items.into_iter().enumerate().map(text).collect()
}
