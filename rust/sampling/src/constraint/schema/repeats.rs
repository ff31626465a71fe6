//! Where the names of an object may repeat. A grammar cannot remember which names were written; only the names that it lists come once.

use std::collections::HashSet;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::keywords::{OF_ARRAYS, OF_OBJECTS};
use super::meaning::Here;
use super::parts::Key;
use super::rules::Symbol;
use super::values::{Array, Object, Values};
use super::writer::Writer;

const MESSAGE: &str = "names that the schema does not declare are not kept apart: one may come again in the same object, and readers of JSON keep its last value";

/// The number of the schema that describes a shape or a place in one. Shapes that differ in nothing else are the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin(pub(super) Option<usize>);

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origin {
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }
}

/// What was found while shapes were written.
#[derive(Default)]
pub(super) struct Repeats {
    found: Vec<Repeat>,
    /// How the shapes are written in which names may repeat.
    ways: Vec<Vec<Symbol>>,
}

/// A place where names may repeat, provided that all symbols of its way lead to a text.
struct Repeat {
    way: usize,
    place: usize,
    keyword: &'static str,
}

impl Repeats {
    /// Adds what may repeat in a shape that is written as `way`.
    fn add(&mut self, way: &[Symbol], at: &[(usize, &'static str)]) {
        if !at.is_empty() {
            let number = self.ways.len();
            self.ways.push(way.to_vec());
            self.found.extend(at.iter().map(|&(place, keyword)| Repeat { way: number, place, keyword }));
        }
    }
}

impl Values {
    /// Records `here` as the schema that describes the lists and objects, if it has a keyword for them.
    pub(super) fn described_by(&mut self, here: Here<'_>) {
        let speaks_of = |kind: &str, keywords: &[&str]| {
            let is_typed = match here.map.get("type") {
                Some(Value::String(only)) => only == kind,
                Some(Value::Array(types)) => types.iter().any(|only| only == kind),
                _ => false,
            };
            is_typed || keywords.iter().any(|keyword| here.map.contains_key(*keyword))
        };
        let origin = Origin(Some(here.place));
        if speaks_of("object", &OF_OBJECTS) {
            self.objects.iter_mut().for_each(|shape| Rc::make_mut(shape).origin = origin);
        }
        if speaks_of("array", &OF_ARRAYS) {
            self.arrays.iter_mut().for_each(|shape| Rc::make_mut(shape).origin = origin);
        }
    }
}

impl Writer<'_> {
    /// The schema that describes a shape of what fits `key`. `None` where anything fits: the schemas that lead there are recorded already.
    fn origin(&self, origin: Origin, key: &Key) -> Option<usize> {
        let excluder = || self.meaning.excluder(key).map(|(place, _)| place);
        origin.0.or_else(excluder).or_else(|| self.meaning.place(key))
    }

    /// Notes what may repeat in objects of a shape that are written as `way`. `is_open` says whether two names that are not declared may come.
    pub(super) fn note_object(&mut self, shape: &Object, key: &Key, way: &[Symbol], is_open: bool) {
        let Some(place) = self.origin(shape.origin, key) else { return };
        let mut at = Vec::new();
        // A single member whose value may be anything has objects inside.
        let has_any = shape.classes.iter().any(|class| class.slot.node.is_any());
        if is_open || has_any && shape.max != Some(0) {
            let map = self.meaning.document.place(place).schema.as_object();
            let keywords = map.map_or_else(|| vec!["additionalProperties"], open_keywords);
            at.extend(keywords.into_iter().map(|keyword| (place, keyword)));
        }
        for prop in shape.props.iter().filter(|prop| prop.slot.node.is_any()) {
            let own = prop.slot.origin.0.map(|place| (place, "additionalProperties"));
            // Where the object is open, its own entry covers what it does not declare.
            let around = (!is_open).then_some((place, "properties"));
            at.extend(own.or(around));
        }
        self.repeats.add(way, &at);
    }

    /// Notes the items of a list of a shape, written as `way`, that may be anything.
    pub(super) fn note_array(&mut self, shape: &Array, key: &Key, way: &[Symbol]) {
        let Some(place) = self.origin(shape.origin, key) else { return };
        let most = usize::try_from(shape.max.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let slots = shape.prefix.iter().chain([&shape.rest]).take(most);
        let at: Vec<_> = slots
            .filter(|slot| slot.node.is_any())
            .map(|slot| slot.origin.0.map_or((place, "items"), |own| (own, "additionalProperties")))
            .collect();
        self.repeats.add(way, &at);
    }

    /// Turns the records whose way can be written into limitations.
    pub(super) fn tell_repeats(&mut self, productive: &[bool]) {
        let is_productive = |symbol: &Symbol| match symbol {
            Symbol::Rule(rule) => productive[*rule as usize],
            Symbol::Terminal(_) | Symbol::Token(_) => true,
        };
        let Repeats { mut found, ways } = std::mem::take(&mut self.repeats);
        let written: Vec<bool> = ways.iter().map(|way| way.iter().all(is_productive)).collect();
        found.retain(|repeat| written[repeat.way]);
        let in_objects = found.iter().filter(|repeat| repeat.keyword != "items");
        let in_objects: HashSet<usize> = in_objects.map(|repeat| repeat.place).collect();
        for repeat in &found {
            // Where anything fits, one limitation for the objects covers the lists.
            if repeat.keyword != "items" || !in_objects.contains(&repeat.place) {
                self.meaning.limit(repeat.place, repeat.keyword, MESSAGE);
            }
        }
    }
}

/// The keywords that let names in that are not declared.
fn open_keywords(map: &Map<String, Value>) -> Vec<&'static str> {
    let is_open = |value: &Value| *value != Value::Bool(false);
    let patterns = map.get("patternProperties").and_then(Value::as_object);
    let mut keywords = Vec::new();
    if patterns.is_some_and(|patterns| patterns.values().any(is_open)) {
        keywords.push("patternProperties");
    }
    let others = ["additionalProperties", "unevaluatedProperties"];
    let given = others.into_iter().find(|keyword| map.contains_key(*keyword));
    if given.is_none_or(|keyword| is_open(&map[keyword])) || keywords.is_empty() {
        keywords.push(given.unwrap_or("additionalProperties"));
    }
    keywords
}
