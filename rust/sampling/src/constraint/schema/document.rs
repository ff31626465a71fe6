//! A schema as a document: its draft, its resources, and where its references lead (RFC 3986 and JSON Schema 2020-12, section 8).

use std::collections::HashMap;

use oxiri::{Iri, IriRef};
use serde_json::{Map, Value};

use super::check::{Findings, check};
use super::join;
use crate::constraint::GrammarError;

/// The base of a document that names none.
const DEFAULT_BASE: &str = "schema:/";

/// A checked schema.
pub(super) struct Document<'a> {
    places: Vec<Place<'a>>,
    by_address: HashMap<*const Value, usize>,
    resources: Vec<Resource>,
    by_uri: HashMap<String, usize>,
    /// The dynamic anchors of more than one resource, and the sets of them that are bound.
    contested: Vec<String>,
    scopes: Vec<Scope>,
    pub(super) draft: Draft,
}

/// What an older draft does otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draft {
    /// What stands beside a `$ref` is ignored, as in drafts 4 to 7.
    pub(super) lone_refs: bool,
    /// Items that `contains` matches are not evaluated by it, as before 2020-12.
    pub(super) contains_evaluates_nothing: bool,
    /// `id` is what `$id` is elsewhere, as in draft 4.
    plain_id: bool,
}

/// A schema of the document.
pub(super) struct Place<'a> {
    pub(super) schema: &'a Value,
    pub(super) path: String,
    resource: usize,
}

/// A schema with a URI of its own.
struct Resource {
    uri: String,
    root: usize,
    around: Option<usize>,
    anchors: HashMap<String, usize>,
    dynamic: HashMap<String, usize>,
}

/// The outermost resource that defines each of the contested anchors, if one was entered.
type Scope = Vec<Option<usize>>;

/// The name by which `$recursiveAnchor` is a dynamic anchor. No anchor can be called that.
const RECURSIVE: &str = "";

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Result<Self, GrammarError> {
        let mut found = Findings::default();
        check(root, "", &mut found)?;
        let name = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let is_one_of = |drafts: &[&str]| drafts.iter().any(|draft| name.contains(draft));
        let draft = Draft {
            lone_refs: is_one_of(&["draft-03", "draft-04", "draft-06", "draft-07"]),
            contains_evaluates_nothing: is_one_of(&["2019-09"]),
            plain_id: is_one_of(&["draft-03", "draft-04"]) || name.is_empty(),
        };
        let mut document = Self {
            places: Vec::new(),
            by_address: HashMap::new(),
            resources: Vec::new(),
            by_uri: HashMap::new(),
            contested: Vec::new(),
            scopes: Vec::new(),
            draft,
        };
        document.resource(DEFAULT_BASE.to_owned(), 0, None);
        document.adopt(found, 0);
        document.contested = document.contested_anchors();
        document.scopes.push(vec![None; document.contested.len()]);
        Ok(document)
    }

    pub(super) fn place(&self, number: usize) -> &Place<'a> {
        &self.places[number]
    }

    /// The number of the schema that `value` is.
    pub(super) fn number(&self, value: &'a Value) -> Option<usize> {
        self.by_address.get(&std::ptr::from_ref(value)).copied()
    }

    /// The dynamic scope before anything was entered.
    pub(super) fn outermost(&mut self) -> usize {
        self.enter(0, 0)
    }

    /// The dynamic scope after `place` was entered from `scope`.
    pub(super) fn enter(&mut self, scope: usize, place: usize) -> usize {
        let resource = self.places[place].resource;
        let mut inner = self.scopes[scope].clone();
        for (bound, name) in inner.iter_mut().zip(&self.contested) {
            if bound.is_none() && self.resources[resource].dynamic.contains_key(name) {
                *bound = Some(resource);
            }
        }
        self.scopes.iter().position(|known| *known == inner).unwrap_or_else(|| {
            self.scopes.push(inner);
            self.scopes.len() - 1
        })
    }

    /// The schema that `reference`, found in `place` under `key`, names.
    pub(super) fn resolve(
        &mut self,
        key: &str,
        reference: &str,
        place: usize,
        scope: usize,
    ) -> Result<usize, GrammarError> {
        let path = join(&self.places[place].path, key);
        let target = self.resolve_static(reference, place, &path)?;
        let name = match key {
            "$dynamicRef" => reference.split_once('#').map_or("", |(_, fragment)| fragment),
            "$recursiveRef" => RECURSIVE,
            _ => return Ok(target),
        };
        let resource = &self.resources[self.places[target].resource];
        if resource.dynamic.get(name) != Some(&target) {
            return Ok(target);
        }
        let contested = self.contested.iter().position(|known| known == name);
        let bound = contested.and_then(|number| self.scopes[scope][number]);
        Ok(bound.and_then(|resource| self.resources[resource].dynamic.get(name)).copied().unwrap_or(target))
    }

    /// The schema that a pointer from the root leads to.
    pub(super) fn at(&mut self, pointer: &str) -> Result<usize, GrammarError> {
        let found = self.inside(0, pointer)?;
        found.ok_or_else(|| GrammarError::schema(pointer, "it names nothing in the schema"))
    }

    fn resolve_static(&mut self, reference: &str, place: usize, path: &str) -> Result<usize, GrammarError> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = percent_decode(fragment);
        let own = self.places[place].resource;
        let mut next = Some(if base.is_empty() { own } else { self.identified(base, own, path)? });
        while let Some(resource) = next {
            if let Some(target) = self.inside(resource, &fragment)? {
                return Ok(target);
            }
            // Many write pointers from the root of the document below a schema that has an `$id`.
            next = self.resources[resource].around.filter(|_| base.is_empty());
        }
        Err(GrammarError::schema(path, format!("`{reference}` names nothing in the schema")))
    }

    fn identified(&self, base: &str, own: usize, path: &str) -> Result<usize, GrammarError> {
        let uri = self.absolute(base, own);
        self.by_uri.get(&uri).copied().ok_or_else(|| {
            GrammarError::schema(
                path,
                format!("`{base}` is outside the schema; put it under `$defs` and refer to it there"),
            )
        })
    }

    /// `reference` without its fragment, resolved against the URI of a resource.
    fn absolute(&self, reference: &str, resource: usize) -> String {
        let reference = reference.split('#').next().unwrap_or_default();
        let base = Iri::parse_unchecked(self.resources[resource].uri.as_str());
        // What is no URI at all names itself.
        let resolved = IriRef::parse(reference).and_then(|reference| base.resolve(&reference));
        resolved.map_or_else(|_| reference.to_owned(), Iri::into_inner)
    }

    /// The schema of a resource that a fragment names.
    fn inside(&mut self, resource: usize, fragment: &str) -> Result<Option<usize>, GrammarError> {
        let root = self.resources[resource].root;
        if fragment.is_empty() {
            return Ok(Some(root));
        }
        let Some(pointer) = fragment.strip_prefix('/') else {
            return Ok(self.resources[resource].anchors.get(fragment).copied());
        };
        let mut value = self.places[root].schema;
        let mut path = self.places[root].path.clone();
        let mut around = resource;
        for token in pointer.split('/') {
            let token = token.replace("~1", "/").replace("~0", "~");
            let inner = match value {
                Value::Object(map) => map.get(&token),
                Value::Array(values) => token.parse().ok().and_then(|i: usize| values.get(i)),
                _ => None,
            };
            let Some(inner) = inner else { return Ok(None) };
            value = inner;
            path = join(&path, &token);
            if let Some(place) = self.number(value) {
                around = self.places[place].resource;
            }
        }
        if let Some(place) = self.number(value) {
            return Ok(Some(place));
        }
        // It lies where no keyword made it a schema before.
        let mut found = Findings::default();
        check(value, &path, &mut found)?;
        let place = self.places.len();
        self.adopt(found, around);
        Ok(Some(place))
    }

    fn resource(&mut self, uri: String, root: usize, around: Option<usize>) -> usize {
        let number = self.resources.len();
        self.by_uri.entry(uri.clone()).or_insert(number);
        self.resources.push(Resource { uri, root, around, anchors: HashMap::new(), dynamic: HashMap::new() });
        number
    }

    /// Takes up schemas that lie in `resource`.
    fn adopt(&mut self, found: Findings<'a>, resource: usize) {
        let first = self.places.len();
        for schema in found.schemas {
            let number = self.places.len();
            let around = schema.parent.map_or(resource, |parent| self.places[first + parent].resource);
            self.by_address.insert(std::ptr::from_ref(schema.schema), number);
            let own = schema.schema.as_object().map_or(around, |map| self.names(map, number, around));
            self.places.push(Place { schema: schema.schema, path: schema.path, resource: own });
        }
    }

    /// Takes up the names of a schema; its resource.
    fn names(&mut self, map: &Map<String, Value>, number: usize, around: usize) -> usize {
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        if self.draft.lone_refs && map.contains_key("$ref") {
            return around;
        }
        let id = text("$id").or_else(|| text("id").filter(|_| self.draft.plain_id));
        let mut own = around;
        match id {
            // A plain name, as drafts 4 to 7 write anchors.
            Some(id) if id.starts_with('#') && id.len() > 1 => {
                self.resources[own].anchors.entry(id[1..].to_owned()).or_insert(number);
            }
            Some(id) if !id.is_empty() => {
                let uri = self.absolute(id, around);
                own = self.resource(uri, number, Some(around));
            }
            _ => {}
        }
        for key in ["$anchor", "$dynamicAnchor"] {
            let Some(name) = text(key) else { continue };
            self.resources[own].anchors.entry(name.to_owned()).or_insert(number);
            if key == "$dynamicAnchor" {
                self.resources[own].dynamic.entry(name.to_owned()).or_insert(number);
            }
        }
        if map.get("$recursiveAnchor") == Some(&Value::Bool(true)) && self.resources[own].root == number {
            self.resources[own].dynamic.insert(RECURSIVE.to_owned(), number);
        }
        own
    }

    fn contested_anchors(&self) -> Vec<String> {
        let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for name in self.resources.iter().flat_map(|resource| resource.dynamic.keys()) {
            *counts.entry(name).or_default() += 1;
        }
        counts.into_iter().filter(|(_, n)| *n > 1).map(|(name, _)| name.to_owned()).collect()
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
