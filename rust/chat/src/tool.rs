//! Tools that a model may call, and its calls.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::shape::ShapeError;

/// One call of a tool, as OpenAI's API has it: `{"id": …, "type": "function", "function": {"name": …, "arguments": …}}`.
///
/// The keys keep their order. The arguments are a JSON object, or the text of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct ToolCall(Map<String, Value>);

impl ToolCall {
    /// A call of the function `name`.
    pub fn new(id: Option<&str>, name: &str, arguments: Value) -> Self {
        let mut function = Map::new();
        function.insert("name".into(), name.into());
        function.insert("arguments".into(), arguments);
        let mut fields = Map::new();
        if let Some(id) = id {
            fields.insert("id".into(), id.into());
        }
        fields.insert("type".into(), "function".into());
        fields.insert("function".into(), Value::Object(function));
        Self(fields)
    }

    /// Checks the shape of a call.
    ///
    /// # Errors
    ///
    /// Names the field that has another shape.
    pub fn from_json(value: Value) -> Result<Self, ShapeError> {
        Self::check(&value)?;
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(ShapeError::kind("it", "an object", &other)),
        }
    }

    pub(crate) fn check(value: &Value) -> Result<(), ShapeError> {
        let Value::Object(fields) = value else {
            return Err(ShapeError::kind("it", "an object", value));
        };
        // Some callers leave the `function` out and put its fields beside the id.
        let function = match fields.get("function") {
            Some(Value::Object(function)) => function,
            Some(other) => return Err(ShapeError::kind("`function`", "an object", other)),
            None => fields,
        };
        match function.get("name") {
            Some(Value::String(_)) => {}
            Some(other) => return Err(ShapeError::kind("`function.name`", "a string", other)),
            None => return Err(ShapeError::value("`function.name` is missing")),
        }
        match function.get("arguments") {
            None | Some(Value::Null | Value::String(_) | Value::Object(_)) => Ok(()),
            Some(other) => Err(ShapeError::kind("`function.arguments`", "an object or its text", other)),
        }
    }

    fn function(&self) -> &Map<String, Value> {
        self.0.get("function").and_then(Value::as_object).unwrap_or(&self.0)
    }

    /// The id that the result of the call names.
    pub fn id(&self) -> Option<&str> {
        self.0.get("id").and_then(Value::as_str)
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        self.function().get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The arguments: an object, or text that may not be JSON.
    pub fn arguments(&self) -> Option<&Value> {
        self.function().get("arguments")
    }

    /// The arguments as text: of a string itself, of an object its JSON.
    pub fn arguments_text(&self) -> String {
        match self.arguments() {
            None | Some(Value::Null) => "{}".into(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// The fields in their order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl TryFrom<Value> for ToolCall {
    type Error = ShapeError;

    fn try_from(value: Value) -> Result<Self, ShapeError> {
        Self::from_json(value)
    }
}

impl From<ToolCall> for Value {
    fn from(call: ToolCall) -> Self {
        Self::Object(call.0)
    }
}

/// A tool that the model may call, as OpenAI's API has it: `{"type": "function", "function": {"name": …, "parameters": …}}`.
///
/// The keys keep their order: templates write definitions out as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct ToolDefinition(Map<String, Value>);

impl ToolDefinition {
    /// A function with its description and the JSON schema of its arguments.
    pub fn new(name: &str, description: &str, parameters: Value) -> Self {
        let mut function = Map::new();
        function.insert("name".into(), name.into());
        function.insert("description".into(), description.into());
        function.insert("parameters".into(), parameters);
        let mut fields = Map::new();
        fields.insert("type".into(), "function".into());
        fields.insert("function".into(), Value::Object(function));
        Self(fields)
    }

    /// Checks the shape of a definition.
    ///
    /// # Errors
    ///
    /// Names the field that has another shape.
    pub fn from_json(value: Value) -> Result<Self, ShapeError> {
        let Value::Object(fields) = value else {
            return Err(ShapeError::kind("it", "an object", &value));
        };
        let function = match fields.get("function") {
            Some(Value::Object(function)) => function,
            Some(other) => return Err(ShapeError::kind("`function`", "an object", other)),
            None => &fields,
        };
        match function.get("name") {
            Some(Value::String(name)) if !name.is_empty() => {}
            Some(Value::String(_)) => return Err(ShapeError::value("`function.name` must not be empty")),
            Some(other) => return Err(ShapeError::kind("`function.name`", "a string", other)),
            None => return Err(ShapeError::value("`function.name` is missing")),
        }
        if let Some(other) =
            function.get("description").filter(|value| !matches!(value, Value::Null | Value::String(_)))
        {
            return Err(ShapeError::kind("`function.description`", "a string", other));
        }
        match function.get("parameters") {
            None | Some(Value::Null | Value::Object(_)) => Ok(Self(fields)),
            Some(other) => Err(ShapeError::kind("`function.parameters`", "an object", other)),
        }
    }

    fn function(&self) -> &Map<String, Value> {
        self.0.get("function").and_then(Value::as_object).unwrap_or(&self.0)
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        self.function().get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// What the function does.
    pub fn description(&self) -> Option<&str> {
        self.function().get("description").and_then(Value::as_str)
    }

    /// The JSON schema of the arguments.
    pub fn parameters(&self) -> Option<&Value> {
        self.function().get("parameters").filter(|schema| schema.is_object())
    }

    /// The fields in their order.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl TryFrom<Value> for ToolDefinition {
    type Error = ShapeError;

    fn try_from(value: Value) -> Result<Self, ShapeError> {
        Self::from_json(value)
    }
}

impl From<ToolDefinition> for Value {
    fn from(tool: ToolDefinition) -> Self {
        Self::Object(tool.0)
    }
}
