//! The document in `OpenAPI` 3.1 (<https://spec.openapis.org/oas/v3.1.0>).

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::endpoints::Described;
use crate::settings::Settings;

/// The whole document.
pub(super) fn written(described: &[Described], settings: &Settings) -> Value {
    let schemas = SchemaSettings::draft2020_12().with(|schemas| {
        schemas.definitions_path = "/components/schemas".into();
        schemas.meta_schema = None;
    });
    let mut generator = schemas.into_generator();
    let mut paths = Map::new();
    for route in described {
        let (path, parameters) = parameters(route);
        let mut operation = json!({
            "operationId": name(route),
            "tags": [route.group],
            "summary": route.about.summary,
            "parameters": parameters,
            "responses": responses(route),
        });
        if let Some(body) = route.about.body {
            let schema = body(&mut generator);
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": schema}}});
        }
        paths.entry(path).or_insert_with(|| json!({}))[route.method] = operation;
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tabagent",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Local language models under the routes of OpenAI, Anthropic, Ollama and llama-server.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": if settings.prefix.is_empty() { "/" } else { &settings.prefix }}],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    });
    if !settings.keys.is_empty() {
        document["security"] = json!([{"bearer": []}, {"x-api-key": []}]);
    }
    document
}

/// A name for an operation that no other has.
fn name(route: &Described) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("{}{}", route.method, route.path.chars().map(plain).collect::<String>())
}

/// The path as `OpenAPI` writes it, and its parameters with those of the query.
fn parameters(route: &Described) -> (String, Vec<Value>) {
    let path = route.path.replace("{*", "{");
    let within = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let mut parameters: Vec<Value> = within
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(route.about.query.iter().map(
        |(name, meaning)| json!({"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}),
    ));
    (path, parameters)
}

/// What comes back: one of the media types, or an error in the form of the route's own clients.
fn responses(route: &Described) -> Value {
    let content = |types: &[&str]| {
        let known = types.iter().map(|kind| ((*kind).to_owned(), json!({})));
        Value::Object(known.collect())
    };
    json!({
        "200": {"description": "What was asked for.", "content": content(route.about.answers)},
        "default": {"description": "What is wrong.", "content": content(&["application/json"])},
    })
}
