//! What Ollama's requests have in common: `options`, `format`, `think`, `keep_alive`.

use serde_json::{Map, Value};
use tabagent_model::{
    ChatTemplate, GenerateOptions, GrammarOptions, GrammarRequest, GrammarSource, Stay, ThinkingBudget,
};

use crate::error::ApiError;
use crate::fields::{JsonFields, mistyped};
use crate::models::Served;
use crate::sampler_fields::{self, schema_source};

/// Most tokens whose probabilities are given at each place.
const MOST_LOGPROBS: i64 = 20;

/// Reads `options` and what else says how to generate. The names are llama.cpp's but for `num_predict`; what concerns the loading of models, which are loaded
/// here, is left alone.
pub(crate) fn read_options(fields: &mut JsonFields, served: &Served) -> Result<GenerateOptions, ApiError> {
    let mut given = fields.object("options")?.unwrap_or_default();
    let most = given.integer("num_predict", -2..=i64::from(i32::MAX))?;
    let mut options = sampler_fields::read(&mut given, served)?;
    if let Some(most) = most {
        // Below 0 it is as many as fit.
        options.max_tokens = usize::try_from(most).ok();
    }
    let top = fields.integer("top_logprobs", 0..=MOST_LOGPROBS)?;
    if fields.flag("logprobs")?.unwrap_or_default() || top.is_some_and(|top| top > 0) {
        options.logprobs = Some(top.unwrap_or(0) as usize);
    }
    Ok(options)
}

/// Whether to answer in lines while it is computed.
pub(crate) fn read_stream(fields: &mut JsonFields) -> Result<bool, ApiError> {
    Ok(fields.flag("stream")?.unwrap_or(true))
}

/// The form of the text: `json`, or a schema.
pub(crate) fn read_format(fields: &mut JsonFields) -> Result<Option<GrammarRequest>, ApiError> {
    let source = match fields.take("format") {
        None => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) if text == "json" => GrammarSource::JsonObject,
        Some(schema @ Value::Object(_)) => schema_source(&schema),
        Some(Value::String(text)) => {
            return Err(ApiError::field(
                "format",
                format!("`format` must be `json` or a schema, got `{text}`"),
            ));
        }
        Some(other) => return Err(mistyped("format", "`json` or a schema", &other)),
    };
    Ok(Some(GrammarRequest { source, options: GrammarOptions::default() }))
}

/// How to think: yes or no, or how hard. Sets the template's variables; a limit where nothing is to be thought.
pub(crate) fn read_think(
    fields: &mut JsonFields,
    template: &ChatTemplate,
    model: &str,
    variables: &mut Map<String, Value>,
) -> Result<Option<ThinkingBudget>, ApiError> {
    let thinks = match fields.take("think") {
        None => return Ok(None),
        Some(Value::Bool(thinks)) => thinks,
        Some(Value::String(effort)) if ["low", "medium", "high"].contains(&effort.as_str()) => {
            variables.insert("reasoning_effort".to_owned(), effort.into());
            true
        }
        Some(Value::String(other)) => {
            let message = format!(
                "invalid think value: \"{other}\" (must be \"high\", \"medium\", \"low\", true, or false)"
            );
            return Err(ApiError::field("think", message));
        }
        Some(other) => return Err(mistyped("think", "true, false, or how hard", &other)),
    };
    if thinks && template.output_format().reasoning.is_empty() {
        return Err(ApiError::field("think", format!("\"{model}\" does not support thinking")));
    }
    variables.insert("enable_thinking".to_owned(), thinks.into());
    Ok((!thinks).then(|| ThinkingBudget::new(0)))
}

/// How long the model stays loaded after the request, if that is said.
pub(crate) fn read_stay(fields: &mut JsonFields) -> Result<Option<Stay>, ApiError> {
    let seconds = read_keep_alive(fields)?;
    Ok(seconds.map(Stay::seconds))
}

/// The seconds of `keep_alive`: a number, or a span such as `5m`; below 0 for ever.
fn read_keep_alive(fields: &mut JsonFields) -> Result<Option<f64>, ApiError> {
    const NAME: &str = "keep_alive";
    match fields.take(NAME) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(Value::String(text)) => match span(&text) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(ApiError::field(
                NAME,
                format!("`{NAME}`: invalid duration `{text}`; give seconds, or such as `5m`"),
            )),
        },
        Some(other) => Err(mistyped(NAME, "seconds or a span such as `5m`", &other)),
    }
}

/// The seconds of a span as Go writes it: `1h30m`, `-1s`, `250ms`, or a plain number.
fn span(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let of = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number * of;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("-1", -1.0),
            ("-1s", -1.0),
            ("250ms", 0.25),
            ("0", 0.0),
            ("1.5h", 5400.0),
        ] {
            assert_eq!(span(text), Some(seconds), "{text}");
        }
        for text in ["", "m", "5x", "5m3", "nan", "1..2s"] {
            assert_eq!(span(text), None, "{text}");
        }
    }

    #[test]
    fn formats_are_json_or_a_schema() {
        let read = |value: Value| {
            let mut fields = JsonFields::of(json!({"format": value})).unwrap();
            read_format(&mut fields).map(|made| made.map(|made| made.source))
        };
        assert_eq!(read(json!("")), Ok(None));
        assert_eq!(read(json!("json")), Ok(Some(GrammarSource::JsonObject)));
        assert_eq!(
            read(json!({"type": "integer"})),
            Ok(Some(GrammarSource::JsonSchema(r#"{"type":"integer"}"#.into())))
        );
        assert_eq!(read(json!("xml")).unwrap_err().message, "`format` must be `json` or a schema, got `xml`");
    }
}
