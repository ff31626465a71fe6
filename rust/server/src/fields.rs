//! The body of a request: a JSON object that is read field by field.

use std::ops::RangeInclusive;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::waiting;

/// Bodies above this size are read on a thread that may block.
const LONG_BODY: usize = 1 << 16;

/// Named values that are read one by one. One that is null counts as missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonFields(Map<String, Value>);

/// The whole body, within the limits on its size and on how long it may pause.
pub(crate) async fn whole_body(app: &App, request: Request) -> Result<Bytes, ApiError> {
    let most = app.settings.max_body_bytes;
    let too_large = || {
        let message = format!(
            "the body has more than {most} bytes, the limit of this server (`max_body_bytes`); send less"
        );
        ApiError::new(Problem::TooLarge, message)
    };
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let mut body: Body = request.into_body();
    let mut whole = Vec::with_capacity(announced.unwrap_or(0).min(1 << 20));
    let limit = app.settings.timeout;
    loop {
        let frame = tokio::time::timeout(limit, body.frame()).await.map_err(|_| {
            let message = format!(
                "the body did not go on for {} seconds, the limit of this server (`timeout`)",
                limit.as_secs()
            );
            ApiError::new(Problem::RequestTimeout, message)
        })?;
        let Some(frame) = frame else { return Ok(whole.into()) };
        let frame = frame.map_err(|error| ApiError::invalid(format!("the body cannot be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > most {
            return Err(too_large());
        }
        whole.extend_from_slice(&data);
    }
}

/// The JSON value in the body.
pub(crate) async fn json_body(app: &App, request: Request) -> Result<Value, ApiError> {
    let body = whole_body(app, request).await?;
    let is_long = body.len() > LONG_BODY;
    let read = move || {
        serde_json::from_slice(&body)
            .map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))
    };
    if is_long { app.work(read).await } else { read() }
}

impl FromRequest<App> for JsonFields {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let fields = Self::of(json_body(app, request).await?)?;
        if fields.peek("stream") == Some(&Value::Bool(true)) {
            waiting::note_stream();
        }
        Ok(fields)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The error about a field that should be something else.
pub(crate) fn mistyped(name: &str, wanted: &str, found: &Value) -> ApiError {
    ApiError::field(name, format!("`{name}` must be {wanted}, not {}", kind(found)))
}

/// A whole number, also where it is written with a point.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    let exact = |float: f64| (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(exact))
}

impl JsonFields {
    /// The fields of an object.
    pub(crate) fn of(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(ApiError::invalid(format!("the body must be a JSON object, not {}", kind(&other)))),
        }
    }

    /// The fields of an object that is itself a field.
    pub(crate) fn inside(name: &str, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(mistyped(name, "an object", &other)),
        }
    }

    /// Whether there is a field that is not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field that stays.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Sets a field.
    pub(crate) fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// A field, taken out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(mistyped(name, "true or false", &other)),
        }
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(mistyped(name, "a string", &other)),
        }
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| mistyped(name, "a number", &value))
    }

    /// A whole number in a range.
    pub(crate) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = whole(&value).ok_or_else(|| mistyped(name, "a whole number", &value))?;
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let message =
            format!("`{name}` must be between {} and {}, got `{number}`", range.start(), range.end());
        Err(ApiError::field(name, message))
    }

    /// The first of several names that is there, as a whole number in a range.
    pub(crate) fn integer_of(
        &mut self,
        names: &[&str],
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let mut found = None;
        for name in names {
            let value = self.integer(name, range.clone())?;
            found = found.or(value);
        }
        Ok(found)
    }

    /// A list.
    pub(crate) fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(mistyped(name, "a list", &other)),
        }
    }

    /// One text, or a list of them.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(items)) => {
                let texts = items.into_iter().enumerate().map(|(at, item)| match item {
                    Value::String(text) => Ok(text),
                    other => Err(mistyped(&format!("{name}[{at}]"), "a string", &other)),
                });
                texts.collect::<Result<Vec<_>, _>>().map(Some)
            }
            Some(other) => Err(mistyped(name, "a string or a list of strings", &other)),
        }
    }

    /// An object's fields.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        self.take(name).map(|value| Self::inside(name, value)).transpose()
    }

    /// What was not taken.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> JsonFields {
        JsonFields::of(value).unwrap()
    }

    #[test]
    fn null_is_missing() {
        let mut given = fields(json!({"a": null, "b": 2.0, "c": ["x"], "d": "y"}));
        assert!(!given.has("a") && given.has("b"));
        assert_eq!(given.integer("a", 0..=1), Ok(None));
        assert_eq!(given.integer("b", 0..=2), Ok(Some(2)));
        assert_eq!(given.texts("c"), Ok(Some(vec!["x".to_owned()])));
        assert_eq!(given.texts("d"), Ok(Some(vec!["y".to_owned()])));
        assert!(given.rest().is_empty());
    }

    #[test]
    fn wrong_fields_are_named() {
        let mut given = fields(json!({"n": 7, "t": 1, "f": "x", "l": {}, "s": ["x", 1], "i": 1.5}));
        let text = |error: ApiError| (error.field.unwrap(), error.message);
        assert_eq!(text(given.integer("n", 0..=2).unwrap_err()).1, "`n` must be between 0 and 2, got `7`");
        assert_eq!(text(given.text("t").unwrap_err()).1, "`t` must be a string, not a number");
        assert_eq!(text(given.flag("f").unwrap_err()).1, "`f` must be true or false, not a string");
        assert_eq!(text(given.list("l").unwrap_err()).1, "`l` must be a list, not an object");
        assert_eq!(text(given.texts("s").unwrap_err()).0, "s[1]");
        assert_eq!(
            text(given.integer("i", 0..=9).unwrap_err()).1,
            "`i` must be a whole number, not a number"
        );
        assert_eq!(
            JsonFields::of(json!([])).unwrap_err().message,
            "the body must be a JSON object, not a list"
        );
    }
}
