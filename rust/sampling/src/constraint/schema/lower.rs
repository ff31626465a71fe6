//! Rewriting a schema with only what the engine knows.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::document::Document;
use super::join;
use crate::constraint::limits::{MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES};
use crate::constraint::{GrammarError, Limitation};

/// How much of a schema to keep. The engine refuses some combinations as a whole; then less is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// Nothing but types.
    Types,
    /// No combination of schemas with each other.
    Apart,
    /// Everything.
    Full,
}

/// A rewritten schema.
pub(crate) struct Lowered {
    pub(crate) schema: Value,
    pub(crate) limitations: Vec<Limitation>,
}

/// Rewrites `schema`.
pub(crate) fn lower(schema: Value, effort: Effort) -> Result<Lowered, GrammarError> {
    let document = Document::new(schema)?;
    let mut lowerer = Lowerer {
        document: &document,
        effort,
        limitations: Vec::new(),
        names: HashMap::new(),
        pending: Vec::new(),
        inlined: Vec::new(),
        depth: 0,
        nodes: 0,
    };
    lowerer.run()
}

/// The keywords that say something about the value at hand by way of other schemas.
const APPLICATORS: [&str; 6] = ["$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf"];
/// All keywords that rule something out, the others are annotations.
const CONSTRAINTS: [&str; 40] = [
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "type",
    "enum",
    "const",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minContains",
];

pub(super) struct Lowerer<'a> {
    pub(super) document: &'a Document,
    pub(super) effort: Effort,
    limitations: Vec<Limitation>,
    /// The definition that a referenced pointer became.
    names: HashMap<String, String>,
    /// Referenced pointers that are still to be rewritten.
    pending: Vec<String>,
    /// The pointers of the references that are being put in place.
    inlined: Vec<String>,
    depth: usize,
    nodes: usize,
}

/// A schema while it is being rewritten.
pub(super) struct Draft {
    pub(super) out: Map<String, Value>,
    /// What it must fit besides.
    pub(super) also: Vec<Value>,
    /// Nothing fits it.
    pub(super) never: bool,
}

impl Lowerer<'_> {
    fn run(&mut self) -> Result<Lowered, GrammarError> {
        if self.effort == Effort::Types {
            let schema = self.types_only();
            return Ok(Lowered { schema, limitations: std::mem::take(&mut self.limitations) });
        }
        let mut root = self.lower("", false)?;
        let mut definitions = Map::new();
        while let Some(pointer) = self.pending.pop() {
            let lowered = self.lower(&pointer, false)?;
            if let Some(name) = self.names.get(&pointer) {
                definitions.insert(name.clone(), lowered);
            }
        }
        if root == Value::Bool(false) {
            return Err(GrammarError::schema("", "nothing can fit this schema; loosen it"));
        }
        if !definitions.is_empty() {
            if root == Value::Bool(true) {
                root = json!({});
            }
            if let Some(root) = root.as_object_mut() {
                root.insert("$defs".to_owned(), Value::Object(definitions));
            }
        }
        check_depth(&root)?;
        Ok(Lowered { schema: root, limitations: std::mem::take(&mut self.limitations) })
    }

    fn types_only(&mut self) -> Value {
        let root = self.document.at("");
        self.limit(
            "",
            "schema",
            "the schema is beyond what can be enforced as a whole; only the type of the value is",
        );
        match root.get("type") {
            Some(types) => json!({ "type": types }),
            None if root.get("properties").is_some() => json!({"type": "object"}),
            None => json!({}),
        }
    }

    pub(super) fn limit(&mut self, at: &str, keyword: &str, message: impl Into<String>) {
        let path = if at.is_empty() { "/" } else { at };
        let limitation =
            Limitation { path: path.to_owned(), keyword: keyword.to_owned(), message: message.into() };
        if !self.limitations.contains(&limitation) {
            self.limitations.push(limitation);
        }
    }

    /// The schema at `at`, rewritten. `merged`: others apply to the same value, so that references must be put in place.
    pub(super) fn lower(&mut self, at: &str, merged: bool) -> Result<Value, GrammarError> {
        self.nodes += 1;
        if self.nodes > MAX_SCHEMA_NODES {
            return Err(GrammarError::too_large(format!(
                "the schema has more than `{MAX_SCHEMA_NODES}` parts; split it"
            )));
        }
        if self.depth >= MAX_SCHEMA_DEPTH {
            return Err(GrammarError::too_large(format!(
                "the schema nests deeper than `{MAX_SCHEMA_DEPTH}`; flatten it"
            )));
        }
        self.depth += 1;
        let lowered = self.lower_here(at, merged);
        self.depth -= 1;
        lowered
    }

    fn lower_here(&mut self, at: &str, merged: bool) -> Result<Value, GrammarError> {
        let document = self.document;
        let Some(map) = document.at(at).as_object() else {
            return Ok(document.at(at).clone());
        };
        let lone = document.lone_refs && map.contains_key("$ref");
        let constraints: Vec<(&String, &Value)> = map
            .iter()
            .filter(|(key, _)| if lone { *key == "$ref" } else { CONSTRAINTS.contains(&key.as_str()) })
            .collect();
        let alone = constraints.len() <= 1;
        let merged_here = merged || !alone;
        let mut draft = Draft { out: Map::new(), also: Vec::new(), never: false };
        for (key, value) in &constraints {
            let path = join(at, key);
            match key.as_str() {
                "$ref" | "$dynamicRef" | "$recursiveRef" => {
                    let reference = value.as_str().unwrap_or_default();
                    if *key == "$dynamicRef"
                        && document.at(at).get("$dynamicAnchor").is_none()
                        && !reference.starts_with('#')
                    {
                        self.limit(at, key, "the reference is followed as it stands, without dynamic scope");
                    }
                    let target = self.reference(reference, at, merged_here)?;
                    if alone {
                        return Ok(target);
                    }
                    draft.push(target);
                }
                "allOf" => {
                    let n = value.as_array().map_or(0, Vec::len);
                    for index in 0..n {
                        let part = self.lower(&join(&path, index), merged_here || n > 1)?;
                        draft.push(part);
                    }
                }
                "anyOf" | "oneOf" => self.alternatives(&mut draft, at, key, value, merged_here)?,
                "not" => self.not(&mut draft, map, at, value),
                "if" => self.conditional(at, map),
                _ => {}
            }
            if draft.never {
                return Ok(Value::Bool(false));
            }
        }
        if !lone {
            self.values(&mut draft, map, at);
            self.numbers(&mut draft, map, at);
            self.strings(&mut draft, map, at);
            self.arrays(&mut draft, map, at)?;
            self.objects(&mut draft, map, at)?;
        }
        Ok(self.finish(draft, at, map))
    }

    /// Puts the parts together.
    fn finish(&mut self, mut draft: Draft, at: &str, map: &Map<String, Value>) -> Value {
        if draft.never {
            return Value::Bool(false);
        }
        if self.effort == Effort::Apart
            && !draft.also.is_empty()
            && (draft.also.len() > 1 || !draft.out.is_empty())
        {
            for keyword in APPLICATORS.iter().chain(&["not", "dependentRequired", "dependentSchemas"]) {
                if map.contains_key(*keyword) {
                    self.limit(
                        at,
                        keyword,
                        "not enforced beside the other keywords: together they are beyond the engine",
                    );
                }
            }
            if draft.out.is_empty() {
                draft.also.truncate(1);
            } else {
                draft.also.clear();
            }
        }
        if draft.out.is_empty() && draft.also.len() == 1 {
            return draft.also.remove(0);
        }
        let mut out = Map::new();
        // What the schema says itself comes first, so that its own order of properties holds.
        out.extend(draft.out);
        if !draft.also.is_empty() {
            out.insert("allOf".to_owned(), Value::Array(draft.also));
        }
        if out.is_empty() { Value::Bool(true) } else { Value::Object(out) }
    }

    /// A reference, as a reference to a definition or, where it meets other constraints, as what it refers to.
    fn reference(&mut self, reference: &str, at: &str, merged: bool) -> Result<Value, GrammarError> {
        let mut target = self.document.resolve(reference, at)?;
        // References to references are followed here, so that none leads back to itself.
        for _ in 0..MAX_SCHEMA_DEPTH {
            let next = self.document.at(&target).as_object().filter(|map| {
                map.iter().all(|(key, _)| {
                    key == "$ref" || !CONSTRAINTS.contains(&key.as_str()) || self.document.lone_refs
                })
            });
            if let Some(reference) = next.and_then(|map| map.get("$ref")).and_then(Value::as_str) {
                target = self.document.resolve(reference, &target)?;
                continue;
            }
            if !merged {
                return Ok(json!({ "$ref": self.definition(target) }));
            }
            if self.inlined.contains(&target) {
                return Err(endless(at));
            }
            self.inlined.push(target.clone());
            let lowered = self.lower(&target, true);
            self.inlined.pop();
            return lowered;
        }
        Err(endless(at))
    }

    /// The schema at `at`, which applies to a part of the value, rewritten.
    pub(super) fn child(&mut self, at: &str) -> Result<Value, GrammarError> {
        if self.merges_references(at) {
            return Ok(json!({ "$ref": self.definition(at.to_owned()) }));
        }
        let inlined = std::mem::take(&mut self.inlined);
        let lowered = self.lower(at, false);
        self.inlined = inlined;
        lowered
    }

    /// Whether references would be put in place at `at`. Such a schema gets a definition, since what is put in place may lead back.
    fn merges_references(&self, at: &str) -> bool {
        let Some(map) = self.document.at(at).as_object() else { return false };
        if self.document.lone_refs && map.contains_key("$ref") {
            return false;
        }
        let constraints: Vec<&String> =
            map.keys().filter(|key| CONSTRAINTS.contains(&key.as_str())).collect();
        match constraints.as_slice() {
            [] => false,
            [key] if *key != "allOf" => false,
            _ => {
                let mut stack = vec![self.document.at(at)];
                while let Some(schema) = stack.pop() {
                    for (key, value) in schema.as_object().into_iter().flatten() {
                        match key.as_str() {
                            "$ref" | "$dynamicRef" | "$recursiveRef" => return true,
                            "allOf" | "anyOf" | "oneOf" => {
                                stack.extend(value.as_array().into_iter().flatten());
                            }
                            _ => {}
                        }
                    }
                }
                false
            }
        }
    }

    /// The reference to the definition of `target`.
    fn definition(&mut self, target: String) -> String {
        let n = self.names.len();
        let pending = &mut self.pending;
        let name = self.names.entry(target.clone()).or_insert_with(|| {
            pending.push(target);
            format!("d{n}")
        });
        format!("#/$defs/{name}")
    }

    /// Follows references from the schema at `at` to one that says more.
    pub(super) fn follow(&self, at: &str) -> String {
        let mut here = at.to_owned();
        for _ in 0..16 {
            match self.document.at(&here).get("$ref").and_then(Value::as_str) {
                Some(reference) => match self.document.resolve(reference, &here) {
                    Ok(target) => here = target,
                    Err(_) => break,
                },
                None => break,
            }
        }
        here
    }
}

impl Draft {
    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.out.insert(key.to_owned(), value);
    }

    /// Adds a schema that must be fitted as well.
    pub(super) fn push(&mut self, schema: Value) {
        match schema {
            Value::Bool(true) => {}
            Value::Bool(false) => self.never = true,
            schema => self.also.push(schema),
        }
    }
}

fn endless(at: &str) -> GrammarError {
    GrammarError::schema(&join(at, "$ref"), "the reference leads back to itself without anything between")
}

/// Refuses definitions whose references nest beyond what the engine's recursion is given stack for.
fn check_depth(root: &Value) -> Result<(), GrammarError> {
    const MOST: usize = 20 * MAX_SCHEMA_DEPTH;
    let mut known = std::collections::HashSet::new();
    let mut stack = vec![(root, 0usize)];
    while let Some((value, depth)) = stack.pop() {
        if depth > MOST {
            return Err(GrammarError::too_large(format!(
                "references nest deeper than `{MOST}`; flatten the schema"
            )));
        }
        match value {
            Value::Array(values) => stack.extend(values.iter().map(|value| (value, depth + 1))),
            Value::Object(map) => {
                for (key, value) in map {
                    if key == "$defs" && depth == 0 {
                        continue;
                    }
                    let pointer = value.as_str().and_then(|text| text.strip_prefix('#'));
                    if let Some(pointer) = pointer.filter(|pointer| key == "$ref" && known.insert(*pointer)) {
                        stack.extend(root.pointer(pointer).map(|target| (target, depth + 1)));
                    }
                    stack.push((value, depth + 1));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
