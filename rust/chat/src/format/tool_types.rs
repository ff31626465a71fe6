//! What is known of the tools: which there are, and which of their parameters are strings.

use serde_json::Value;

/// The tools that a model was told of.
#[derive(Clone, Debug, Default)]
pub struct ToolTypes {
    tools: Option<Vec<(String, Value)>>,
}

/// What a parameter's schema allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Strings alone.
    String,
    /// Strings and other values.
    Mixed,
    /// No strings.
    Other,
    /// Nothing is known.
    Unknown,
}

impl ToolTypes {
    /// The tools as OpenAI writes them, with or without the `function` wrapper; `None` if it is not known which there are.
    pub fn new(tools: Option<&[Value]>) -> Self {
        let read = |tool: &Value| {
            let function = tool.get("function").unwrap_or(tool);
            let name = function.get("name")?.as_str()?.to_owned();
            Some((name, function.get("parameters").cloned().unwrap_or_default()))
        };
        Self { tools: tools.map(|tools| tools.iter().filter_map(read).collect()) }
    }

    /// Whether there are none.
    pub(super) fn is_none(&self) -> bool {
        self.tools.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether there is a tool of this name, or may be one.
    pub(super) fn may_have(&self, name: &str) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.iter().any(|(known, _)| known == name))
    }

    /// The list or object without anything in it, if the parameter of a tool is one of them.
    pub(super) fn empty(&self, tool: &str, parameter: &str) -> Option<&'static str> {
        let (_, root) = self.tools.iter().flatten().find(|(name, _)| name == tool)?;
        match root.get("properties")?.get(parameter)?.get("type")?.as_str()? {
            "array" => Some("[]"),
            "object" => Some("{}"),
            _ => None,
        }
    }

    /// What the parameter of a tool may be.
    pub(super) fn kind(&self, tool: &str, parameter: &str) -> Kind {
        let Some((_, root)) = self.tools.iter().flatten().find(|(name, _)| name == tool) else {
            return Kind::Unknown;
        };
        root.get("properties")
            .and_then(|properties| properties.get(parameter))
            .map_or(Kind::Unknown, |part| kind_of(part, root, 0))
    }
}

fn kind_of(schema: &Value, root: &Value, depth: usize) -> Kind {
    if depth > 16 {
        return Kind::Unknown;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Kind::Unknown, |target| kind_of(target, root, depth + 1));
    }
    match schema.get("type") {
        Some(Value::String(name)) => return if name == "string" { Kind::String } else { Kind::Other },
        Some(Value::Array(names)) => {
            return joined(
                names.iter().map(|name| if name == "string" { Kind::String } else { Kind::Other }),
            );
        }
        _ => {}
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return joined(values.iter().map(of_value));
    }
    if let Some(value) = schema.get("const") {
        return of_value(value);
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        if let Some(parts) = schema.get(keyword).and_then(Value::as_array) {
            return joined(parts.iter().map(|part| kind_of(part, root, depth + 1)));
        }
    }
    Kind::Unknown
}

fn of_value(value: &Value) -> Kind {
    if value.is_string() { Kind::String } else { Kind::Other }
}

fn joined(kinds: impl Iterator<Item = Kind>) -> Kind {
    kinds.reduce(|one, other| if one == other { one } else { Kind::Mixed }).unwrap_or(Kind::Unknown)
}
