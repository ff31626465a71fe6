//! A schema as a document: its draft, and where its references lead.

use serde_json::Value;

use super::check::{Names, check};
use crate::constraint::GrammarError;

/// A checked schema.
pub(super) struct Document {
    root: Value,
    names: Names,
    /// Whether what stands beside a `$ref` is ignored, as in drafts 4 to 7.
    pub(super) lone_refs: bool,
}

impl Document {
    pub(super) fn new(root: Value) -> Result<Self, GrammarError> {
        let mut names = Names::default();
        check(&root, "", &mut names)?;
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let lone_refs = ["draft-04", "draft-06", "draft-07"].iter().any(|name| draft.contains(name));
        Ok(Self { root, names, lone_refs })
    }

    /// The JSON pointer of the schema that `reference`, found at `at`, names.
    pub(super) fn resolve(&self, reference: &str, at: &str) -> Result<String, GrammarError> {
        let path = if at.is_empty() { "/$ref".to_owned() } else { format!("{at}/$ref") };
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = percent_decode(fragment);
        let roots = if base.is_empty() { self.roots_above(at) } else { vec![self.identified(base, &path)?] };
        for root in &roots {
            let target = if fragment.is_empty() || fragment.starts_with('/') {
                format!("{root}{fragment}")
            } else if let Some(anchor) = self.names.anchors.get(&fragment) {
                anchor.clone()
            } else {
                continue;
            };
            if let Some(schema) = self.root.pointer(&target) {
                // The target may lie where no keyword made it a schema before.
                check(schema, &target, &mut Names::default())?;
                return Ok(target);
            }
        }
        Err(GrammarError::schema(&path, format!("`{reference}` names nothing in the schema")))
    }

    /// The schema at a pointer that [`resolve`](Self::resolve) returned, or that the walk came to.
    pub(super) fn at(&self, pointer: &str) -> &Value {
        self.root.pointer(pointer).unwrap_or(&Value::Bool(true))
    }

    fn identified(&self, base: &str, path: &str) -> Result<String, GrammarError> {
        let ids = &self.names.ids;
        let relative = format!("/{}", base.trim_start_matches("./").trim_start_matches('/'));
        ids.get(base)
            .or_else(|| ids.iter().find(|(id, _)| id.ends_with(&relative)).map(|(_, pointer)| pointer))
            .cloned()
            .ok_or_else(|| {
                GrammarError::schema(
                    path,
                    format!("`{base}` is outside the schema; put it under `$defs` and refer to it there"),
                )
            })
    }

    /// The whole document, then the identified schemas that hold `at`, innermost first.
    fn roots_above(&self, at: &str) -> Vec<String> {
        let mut inner: Vec<String> = self
            .names
            .ids
            .values()
            .filter(|root| {
                !root.is_empty()
                    && at
                        .strip_prefix(root.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .cloned()
            .collect();
        inner.sort_by_key(|root| std::cmp::Reverse(root.len()));
        inner.insert(0, String::new());
        inner
    }
}

/// `%41` as `A`; what is not UTF-8 then stays as it was.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                decoded.push(byte);
                i += 3;
            }
            _ => {
                decoded.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}
