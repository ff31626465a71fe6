//! The router over a real model.
//!
//! Needs `TABAGENT_LIBRARY_PATH` and `TABAGENT_TEST_MODELS`, which `make test` provides.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tabagent_model::{LoadOptions, Model};
use tower::ServiceExt;

use crate::app::App;
use crate::server::{guarded, router};
use crate::{Address, ModelEntry, Models, Server, Settings, StartError, VertexRoutes};

/// SmolLM2 behind the router.
fn app(settings: Settings) -> Option<App> {
    let (library, path) =
        (tabagent_material::library()?, tabagent_material::model("smollm2-135m-instruct-q4_1.gguf")?);
    let options = LoadOptions { context_size: Some(512), threads: Some(1), ..LoadOptions::default() };
    let model = Model::load(path.clone(), &library, None, &options, |_| true).unwrap();
    Some(App::new(settings, Models::one(ModelEntry::loaded(model, "small", path)), None))
}

async fn ask(router: &Router, path: &str, body: Value) -> (StatusCode, Vec<u8>) {
    let request = Request::post(path).header("host", "localhost").body(Body::from(body.to_string())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(2), work).await.unwrap() })
}

#[test]
fn a_conversation_is_answered_whole_and_in_pieces() {
    let Some(app) = app(Settings::default()) else { return };
    let router = router(&app);
    let body =
        json!({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0});
    let (status, whole) = run(ask(&router, "/v1/chat/completions", body.clone()));
    assert_eq!(status, StatusCode::OK);
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(!text.is_empty() && whole["usage"]["completion_tokens"] == 8);
    let mut streamed = body;
    streamed["stream"] = true.into();
    let (_, events) = run(ask(&router, "/chat/completions", streamed));
    let events = String::from_utf8(events).unwrap();
    let pieces = events
        .split("\n\n")
        .filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok());
    let together: String = pieces
        .filter_map(|piece| Some(piece["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(together, text);
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
}

#[test]
fn a_body_that_is_dropped_cancels_its_request() {
    let Some(app) = app(Settings::default()) else { return };
    let router = router(&app);
    let body = json!({"prompt": "Once", "n_predict": 400, "ignore_eos": true, "stream": true});
    run(async {
        let request = Request::post("/completion").body(Body::from(body.to_string())).unwrap();
        let mut response = router.oneshot(request).await.unwrap().into_body();
        response.frame().await.unwrap().unwrap();
        let served = app.model(None).await.unwrap();
        assert_eq!(served.state.slots.all().len(), 1);
        drop(response);
        assert!(served.state.slots.all().is_empty());
    });
    let model = app.models.look("small").and_then(|now| now.model).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while model.stats().unwrap().active > 0 {
        assert!(std::time::Instant::now() < until, "the request still runs");
        std::thread::yield_now();
    }
    assert_eq!(model.metrics().unwrap().ended.cancelled, 1);
}

async fn panics() -> &'static str {
    panic!("a handler failed")
}

#[test]
fn a_panic_is_an_error_in_the_clients_form() {
    let Some(app) = app(Settings::default()) else { return };
    let routes = Router::new()
        .route("/v1/chat/completions", post(panics))
        .route("/v1/messages", post(panics))
        .route("/api/chat", post(panics));
    let router = guarded(&app, routes);
    let text = "the server failed at this request; this is a defect of tabagent";
    for (path, place) in [
        ("/v1/chat/completions", "/error/message"),
        ("/v1/messages", "/error/message"),
        ("/api/chat", "/error"),
    ] {
        let (status, body) = run(ask(&router, path, json!({})));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, body.pointer(place)),
            (StatusCode::INTERNAL_SERVER_ERROR, Some(&json!(text))),
            "{path}"
        );
    }
}

#[test]
fn one_body_has_requests_for_other_paths() {
    let vertex = Some(VertexRoutes { predict: "/predict".to_owned(), health: Some("/alive".to_owned()) });
    let Some(app) = app(Settings { vertex, ..Settings::default() }) else { return };
    let router = router(&app);
    let chat = |text: &str, format: &str| {
        let messages = json!([{"role": "user", "content": text}]);
        json!({"@requestFormat": format, "messages": messages, "max_tokens": 2, "stream": true})
    };
    let instances = json!([
        chat("Say hello.", "chatCompletions"),
        chat("Say hello.", "/v1/chat/completions"),
        {"@requestFormat": "tokenize", "content": "Hello"},
        {"@requestFormat": "messages", "messages": [], "max_tokens": 1},
        chat("Say hello.", "chatCompletion"),
        {"content": "Hello"},
        "Hello",
    ]);
    let (status, body) = run(ask(&router, "/predict", json!({"instances": instances})));
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_slice(&body).unwrap();
    let given = body["predictions"].as_array().unwrap();
    for answer in &given[..2] {
        assert_eq!(answer["usage"]["completion_tokens"], 2, "{answer}");
    }
    assert!(!given[2]["tokens"].as_array().unwrap().is_empty());
    // In the form of the path's own clients.
    assert_eq!(given[3]["type"], "error", "{}", given[3]);
    for answer in &given[4..] {
        assert_eq!(answer["error"]["type"], "invalid_request_error", "{answer}");
    }
    assert_eq!(given.len(), 7);
    let many = vec![json!({}); 129];
    assert_eq!(run(ask(&router, "/predict", json!({"instances": many}))).0, StatusCode::BAD_REQUEST);
    let alive = Request::get("/alive").header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(run(router.oneshot(alive)).unwrap().status(), StatusCode::OK);
}

#[test]
fn other_routes_cannot_be_taken() {
    for (predict, health) in [
        ("/v1/models", None),
        ("predict", None),
        ("/", None),
        ("/{a}", None),
        ("/a", Some("/a")),
        ("/openapi.json", None),
        ("/a", Some("/props")),
    ] {
        let Some(app) = app(Settings::default()) else { return };
        let vertex = Some(VertexRoutes { predict: predict.to_owned(), health: health.map(str::to_owned) });
        let settings = Settings {
            vertex,
            addresses: vec![Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }],
            ..Settings::default()
        };
        let error = Server::start(settings, app.models.clone()).unwrap_err();
        assert!(matches!(error, StartError::VertexRoute(_)), "{error}");
    }
}

#[test]
fn too_much_to_do_is_529_for_anthropics_clients() {
    let Some(app) = app(Settings::default()) else { return };
    let router = router(&app);
    app.stop.drain();
    let body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]});
    for (path, status, kind) in
        [("/v1/messages", 529, "overloaded_error"), ("/v1/chat/completions", 503, "unavailable_error")]
    {
        let (given, answer) = run(ask(&router, path, body.clone()));
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((given.as_u16(), &answer["error"]["type"]), (status, &json!(kind)), "{path}");
    }
}

#[test]
fn an_error_has_the_form_of_its_protocol() {
    let Some(app) = app(Settings { keys: vec!["key".to_owned()], ..Settings::default() }) else { return };
    let (status, body) = run(ask(&router(&app), "/v1/chat/completions", json!({})));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["type"]), (StatusCode::UNAUTHORIZED, &json!("authentication_error")));
}
