//! What schemas mean: the sets of values that fit them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::document::Document;
use super::join;
use super::keywords;
use super::parts::{Key, Literal, Part, Parts};
use super::values::{Object, Prop, TooMany, Values};
use super::work::Work;
use crate::constraint::limits::{MAX_SCHEMA_DEPTH, MAX_SCHEMA_STEPS};
use crate::constraint::{GrammarError, Limitation};

/// With more shapes than this, those that no object fits are looked for and dropped.
const MANY_SHAPES: usize = 4;

/// What is said of a schema that is left out.
const BESIDE: &str = "not enforced beside the other keywords: together they have too many forms";
const BESIDE_OTHERS: &str =
    "not enforced beside the other schemas of the value: together they have too many forms";

/// Why there is no set.
pub(super) enum Stop {
    /// The schema leads back to itself without anything between.
    Endless,
    Error(GrammarError),
}

impl From<GrammarError> for Stop {
    fn from(error: GrammarError) -> Self {
        Self::Error(error)
    }
}

pub(super) type Meant<T> = Result<T, Stop>;

/// Finds the sets of the schemas of one document.
pub(super) struct Meaning<'a> {
    pub(super) document: Document<'a>,
    pub(super) parts: Parts<'a>,
    /// Whether some number of the schema has more digits than a 64-bit float keeps.
    pub(super) has_long_numbers: bool,
    limitations: Vec<(usize, Limitation)>,
    known: HashSet<(String, String, String)>,
    pub(super) work: Work,
    depth: usize,
    literals: HashMap<(Literal, bool), Rc<Values>>,
    keys: HashMap<Key, Rc<Values>>,
    /// The schemas whose sets are being found.
    active: HashSet<(Literal, bool)>,
    /// The place and the keyword by which a part came to be excluded.
    excluded: HashMap<u32, (usize, &'static str)>,
}

/// A schema, and the way that led to it.
#[derive(Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) place: usize,
    pub(super) scope: usize,
    /// Whether it matters which schemas evaluate which properties and items.
    pub(super) annotate: bool,
}

impl<'a> Meaning<'a> {
    pub(super) fn new(schema: &'a Value) -> Result<Self, GrammarError> {
        Ok(Self {
            document: Document::new(schema)?,
            parts: Parts::new(),
            has_long_numbers: false,
            limitations: Vec::new(),
            known: HashSet::new(),
            work: Work::default(),
            depth: 0,
            literals: HashMap::new(),
            keys: HashMap::new(),
            active: HashSet::new(),
            excluded: HashMap::new(),
        })
    }

    /// The whole document.
    pub(super) fn root(&mut self) -> Key {
        let scope = self.document.outermost();
        self.entered(0, scope)
    }

    /// The schema that a pointer from the root of the document leads to.
    pub(super) fn at(&mut self, pointer: &str) -> Result<Key, GrammarError> {
        let place = self.document.at(pointer)?;
        let scope = self.document.outermost();
        Ok(self.entered(place, scope))
    }

    pub(super) fn take_limitations(&mut self) -> Vec<Limitation> {
        // Schemas are numbered in their order.
        self.limitations.sort_by_key(|(place, _)| *place);
        std::mem::take(&mut self.limitations).into_iter().map(|(_, limitation)| limitation).collect()
    }

    pub(super) fn limit(&mut self, place: usize, keyword: &str, message: impl Into<String>) {
        let path = &self.document.place(place).path;
        let path = if path.is_empty() { "/".to_owned() } else { path.clone() };
        let message = message.into();
        if self.known.insert((path.clone(), keyword.to_owned(), message.clone())) {
            self.limitations.push((place, Limitation { path, keyword: keyword.to_owned(), message }));
        }
    }

    /// The place and the keyword that exclude what `key` excludes.
    pub(super) fn excluder(&self, key: &Key) -> Option<(usize, &'static str)> {
        let mut not = key.literals().iter().filter(|literal| literal.not);
        not.find_map(|literal| self.excluded.get(&literal.part)).copied()
    }

    /// The place of the first schema in `key`.
    pub(super) fn place(&self, key: &Key) -> Option<usize> {
        key.literals().iter().find_map(|literal| match self.parts.get(literal.part) {
            Part::Place { place, .. } => Some(*place),
            Part::All(key) => self.place(key),
            _ => None,
        })
    }

    /// The values that fit `key`.
    pub(super) fn values(&mut self, key: &Key) -> Meant<Rc<Values>> {
        if let Some(values) = self.keys.get(key) {
            return Ok(Rc::clone(values));
        }
        let mut all: Option<Rc<Values>> = None;
        for literal in key.literals() {
            let values = self.literal(*literal, false)?;
            all = Some(match all {
                None => values,
                Some(so_far) => {
                    let key = Key::of(*literal);
                    let place = self.place(&key).unwrap_or(0);
                    let (place, keyword) =
                        self.excluder(&key).unwrap_or_else(|| (place, self.keyword(place)));
                    Rc::new(self.and_or_limit(&so_far, &values, (place, keyword), BESIDE_OTHERS))
                }
            });
        }
        let values = all.unwrap_or_else(|| Rc::new(Values::all()));
        self.keys.insert(key.clone(), Rc::clone(&values));
        Ok(values)
    }

    /// A keyword of a schema that stands for all of it.
    fn keyword(&self, place: usize) -> &'static str {
        let map = self.document.place(place).schema.as_object();
        let has = |key: &&str| map.is_some_and(|map| map.contains_key(*key));
        keywords::constraints().find(has).unwrap_or("schema")
    }

    /// The values in both.
    pub(super) fn and(&mut self, one: &Values, two: &Values) -> Result<Values, TooMany> {
        if self.work.steps > MAX_SCHEMA_STEPS {
            return Err(TooMany);
        }
        let mut both = one.and(two, &mut self.work)?;
        if both.objects.len() > MANY_SHAPES {
            both.objects.retain(|shape| !self.is_dead(shape));
        }
        Ok(both)
    }

    /// Whether an object must have a property that nothing fits.
    fn is_dead(&mut self, shape: &Object) -> bool {
        let combined = |prop: &&Prop| prop.required && prop.slot.node.literals().len() > 1;
        // A schema whose set is being found tells nothing yet.
        shape
            .props
            .iter()
            .filter(combined)
            .any(|prop| self.values(&prop.slot.node).is_ok_and(|set| set.is_none()))
    }

    /// The values in both; all of `so_far` where that is too much, which `at` and `message` then say.
    pub(super) fn and_or_limit(
        &mut self,
        so_far: &Values,
        more: &Values,
        at: (usize, &str),
        message: &str,
    ) -> Values {
        if let Ok(both) = self.and(so_far, more) {
            return both;
        }
        self.limit(at.0, at.1, message);
        so_far.clone().inexact()
    }

    /// The values that fit a part, or do not.
    fn literal(&mut self, literal: Literal, annotate: bool) -> Meant<Rc<Values>> {
        if let Some(values) = self.literals.get(&(literal, annotate)) {
            return Ok(Rc::clone(values));
        }
        if self.depth >= MAX_SCHEMA_DEPTH {
            let message = format!("the schema nests deeper than `{MAX_SCHEMA_DEPTH}`; flatten it");
            return Err(GrammarError::too_large(message).into());
        }
        if !self.active.insert((literal, annotate)) {
            return Err(Stop::Endless);
        }
        self.depth += 1;
        let values = self.literal_now(literal, annotate);
        self.depth -= 1;
        self.active.remove(&(literal, annotate));
        let values = Rc::new(values?);
        self.literals.insert((literal, annotate), Rc::clone(&values));
        Ok(values)
    }

    fn literal_now(&mut self, literal: Literal, annotate: bool) -> Meant<Values> {
        if literal.not {
            return self.excluded(literal);
        }
        match self.parts.get(literal.part).clone() {
            Part::Nothing => Ok(Values::none()),
            Part::Place { place, scope } => match self.document.place(place).schema {
                Value::Object(map) => self.schema(Here { map, place, scope, annotate }),
                Value::Bool(false) => Ok(Values::none()),
                _ => Ok(Values::all()),
            },
            Part::Scalar(text) => {
                let value = serde_json::from_str(&text).unwrap_or_default();
                Ok(super::assertions::scalar(&value))
            }
            Part::Value(address) => Ok(self.constant(self.parts.value(address))),
            Part::All(key) => Ok((*self.values(&key)?).clone()),
        }
    }

    /// The values that do not fit a part.
    fn excluded(&mut self, literal: Literal) -> Meant<Values> {
        let values = self.literal(Literal { not: false, ..literal }, false)?;
        let from = self.excluded.get(&literal.part).copied();
        if let Some(from) = from {
            // What is inside is excluded by the same keyword.
            let slots = values.arrays.iter().flat_map(|shape| shape.prefix.iter().chain([&shape.rest]));
            let props = values.objects.iter().flat_map(|shape| shape.props.iter().map(|prop| &prop.slot));
            let classes =
                values.objects.iter().flat_map(|shape| shape.classes.iter().map(|class| &class.slot));
            let contains = values.arrays.iter().flat_map(|shape| shape.contains.iter().map(|one| &one.node));
            let keys = slots.chain(props).chain(classes).map(|slot| &slot.node).chain(contains);
            for literal in keys.flat_map(Key::literals) {
                self.excluded.entry(literal.part).or_insert(from);
            }
            if let Part::All(key) = self.parts.get(literal.part).clone() {
                key.literals().iter().for_each(|literal| {
                    self.excluded.entry(literal.part).or_insert(from);
                });
            }
        }
        let complement = if self.work.steps > MAX_SCHEMA_STEPS {
            Err(TooMany)
        } else {
            values.complement(&mut self.parts, &mut self.work)
        };
        let (place, keyword) = from.unwrap_or_else(|| {
            let key = Key::of(Literal { not: false, ..literal });
            (self.place(&key).unwrap_or(0), "not")
        });
        if let Ok(complement) = complement {
            if !values.is_exact() {
                self.limit(place, keyword, "not enforced where it turns on what is not enforced");
            }
            return Ok(complement);
        }
        self.limit(place, keyword, "not enforced: what it excludes has too many forms");
        Ok(Values::all().inexact())
    }

    /// The schema `value` where it applies to a part of the value at hand.
    pub(super) fn child(&mut self, value: &'a Value, here: Here<'a>) -> Key {
        match value {
            Value::Bool(false) => Key::never(),
            Value::Object(map) if map.keys().any(|key| keywords::is_constraint(key)) => {
                self.document.number(value).map_or_else(Key::any, |place| {
                    let scope = self.document.enter(here.scope, place);
                    self.entered(place, scope)
                })
            }
            _ => Key::any(),
        }
    }

    fn entered(&mut self, place: usize, scope: usize) -> Key {
        self.parts.key(Part::Place { place, scope })
    }

    /// The values that fit the schema `value`, which applies to the value at hand.
    pub(super) fn applied(&mut self, value: &'a Value, here: Here<'a>) -> Meant<Rc<Values>> {
        let key = self.child(value, here);
        match key.literals() {
            [] => Ok(Rc::new(Values::all())),
            [literal, ..] => self.literal(*literal, here.annotate),
        }
    }

    /// The values that do not fit the schema `value`.
    pub(super) fn not_applied(
        &mut self,
        value: &'a Value,
        here: Here<'a>,
        keyword: &'static str,
    ) -> Meant<Rc<Values>> {
        let key = self.child(value, here);
        for literal in key.literals() {
            self.excluded.entry(literal.part).or_insert((here.place, keyword));
        }
        match self.parts.not(&key).literals() {
            [] => Ok(Rc::new(Values::all())),
            [literal, ..] => self.literal(*literal, false),
        }
    }

    fn schema(&mut self, here: Here<'a>) -> Meant<Values> {
        let map = here.map;
        let unevaluated =
            ["unevaluatedProperties", "unevaluatedItems"].iter().any(|key| map.contains_key(*key));
        let here = Here { annotate: here.annotate || unevaluated, ..here };
        if self.document.draft.lone_refs && map.contains_key("$ref") {
            return Ok((*self.reference("$ref", here)?).clone());
        }
        let mut values = self.own(here)?;
        for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if map.contains_key(key) {
                let more = self.reference(key, here)?;
                values = self.and_or_limit(&values, &more, (here.place, key), BESIDE);
            }
        }
        for schema in map.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            let more = self.applied(schema, here)?;
            values = self.and_or_limit(&values, &more, (here.place, "allOf"), BESIDE);
        }
        if let Some(branches) = map.get("anyOf").and_then(Value::as_array) {
            let more = self.any_of(branches, here)?;
            values = self.and_or_limit(&values, &more, (here.place, "anyOf"), BESIDE);
        }
        if let Some(branches) = map.get("oneOf").and_then(Value::as_array) {
            let more = self.one_of(branches, here)?;
            values = self.and_or_limit(&values, &more, (here.place, "oneOf"), BESIDE);
        }
        if let Some(schema) = map.get("not") {
            let more = self.not_applied(schema, here, "not")?;
            values = self.and_or_limit(&values, &more, (here.place, "not"), BESIDE);
        }
        if let Some(schema) = map.get("if") {
            let more = self.conditional(schema, here)?;
            values = self.and_or_limit(&values, &more, (here.place, "if"), BESIDE);
        }
        values = self.dependencies(values, here)?;
        Ok(self.unevaluated(values, here))
    }

    fn reference(&mut self, key: &str, here: Here<'a>) -> Meant<Rc<Values>> {
        let reference = here.map.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut place = self.document.resolve(key, reference, here.place, here.scope)?;
        let mut scope = self.document.enter(here.scope, place);
        let path = join(&self.document.place(here.place).path, key);
        let endless =
            || GrammarError::schema(&path, "the reference leads back to itself without anything between");
        // References to references are followed here, so that an error names the first reference of a circle.
        let mut followed = HashSet::new();
        while let Some(map) = self.document.place(place).schema.as_object() {
            let lone = self.document.draft.lone_refs;
            let only = |key: &String| key == "$ref" || lone || !keywords::is_constraint(key);
            let Some(next) = map.get("$ref").and_then(Value::as_str).filter(|_| map.keys().all(only)) else {
                break;
            };
            if !followed.insert(place) {
                return Err(endless().into());
            }
            place = self.document.resolve("$ref", next, place, scope)?;
            scope = self.document.enter(scope, place);
        }
        let key = self.entered(place, scope);
        let Some(literal) = key.literals().first() else { return Ok(Rc::new(Values::all())) };
        match self.literal(*literal, here.annotate) {
            Err(Stop::Endless) => Err(endless().into()),
            other => other,
        }
    }

    fn conditional(&mut self, schema: &'a Value, here: Here<'a>) -> Meant<Values> {
        let mut either = Values::none();
        for (key, holds) in [("then", true), ("else", false)] {
            let demand = here.map.get(key);
            if demand.is_none()
                && !here.annotate
                && !here.map.contains_key(if holds { "else" } else { "then" })
            {
                return Ok(Values::all());
            }
            let condition =
                if holds { self.applied(schema, here)? } else { self.not_applied(schema, here, "if")? };
            let mut values = (*condition).clone();
            if let Some(demand) = demand {
                let demanded = self.applied(demand, here)?;
                let message = format!("`{key}` is not enforced: it has too many forms");
                values = self.and_or_limit(&values, &demanded, (here.place, "if"), &message);
            }
            either = either.or(&values);
        }
        Ok(either)
    }

    /// What the presence of a property demands: either the property is absent, or what it demands holds.
    fn dependencies(&mut self, mut values: Values, here: Here<'a>) -> Meant<Values> {
        for key in ["dependentRequired", "dependentSchemas", "dependencies"] {
            let Some(entries) = here.map.get(key).and_then(Value::as_object) else { continue };
            for (name, demand) in entries {
                if values.objects.is_empty() {
                    return Ok(values);
                }
                let mut present = Values::objects(vec![Object::with(name, true)]);
                if let Some(names) = demand.as_array() {
                    let names = names.iter().filter_map(Value::as_str);
                    let mut object = Object::with(name, true);
                    for other in names.filter(|other| other != name) {
                        if object.prop(other).is_none() {
                            object.push(other, super::values::Slot::default(), true);
                        }
                    }
                    present = Values::objects(vec![object]);
                } else {
                    let demanded = self.applied(demand, here)?;
                    present = self.and_or_limit(&present, &demanded, (here.place, key), BESIDE);
                }
                let absent = Values::objects(vec![Object::with(name, false)]);
                let holds = absent.or(&present).or_no_object();
                values = self.and_or_limit(&values, &holds, (here.place, key), BESIDE);
            }
        }
        Ok(values)
    }
}
