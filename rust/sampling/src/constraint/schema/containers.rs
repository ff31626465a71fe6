//! What a schema says itself of lists and objects.

use std::rc::Rc;

use serde_json::Value;

use super::check::count;
use super::meaning::{Here, Meaning, Meant, Stop};
use super::parts::Key;
use super::repeats::Origin;
use super::text::Text;
use super::values::{Array, Class, Contains, Object, Prop, Slot, Values};
use super::work::Work;
use crate::constraint::GrammarError;

/// The largest count of items or properties that is enforced.
const MAX_COUNT: u64 = 1_000_000;
/// How many classes of names the patterns of one schema may make.
const MAX_PATTERN_CLASSES: usize = 32;

impl<'a> Meaning<'a> {
    fn bound(&mut self, key: &'static str, here: Here<'a>, exact: &mut bool) -> Option<u64> {
        let n = here.map.get(key).and_then(|value| count(value, "").ok())?;
        if n <= MAX_COUNT {
            return Some(n);
        }
        self.limit(here.place, key, format!("counts beyond {MAX_COUNT} are not enforced"));
        *exact = false;
        None
    }

    /// `values` restricted to what the schema itself says, however much was combined before.
    fn with_own(&mut self, values: Values, own: &Values, here: Here<'a>) -> Values {
        if let Ok(both) = values.and(own, &mut Work::default()) {
            return both;
        }
        self.limit(
            here.place,
            "schema",
            "not enforced beside the values that it lists: together they have too many forms",
        );
        values.inexact()
    }

    fn slot(&mut self, schema: &'a Value, here: Here<'a>) -> Slot {
        let origin = Origin(self.document.number(schema));
        Slot { origin, ..Slot::of(self.child(schema, here), true) }
    }

    pub(super) fn arrays(&mut self, values: Values, here: Here<'a>) -> Values {
        let map = here.map;
        let mut array = Array::default();
        let tuple = if map.get("items").is_some_and(Value::is_array) { "items" } else { "prefixItems" };
        let rest = if tuple == "items" { "additionalItems" } else { "items" };
        for item in map.get(tuple).and_then(Value::as_array).into_iter().flatten() {
            array.prefix.push(self.slot(item, here));
        }
        if let Some(item) = map.get(rest) {
            array.rest = self.slot(item, here);
        }
        let mut exact = true;
        array.min = self.bound("minItems", here, &mut exact).unwrap_or(0);
        array.max = self.bound("maxItems", here, &mut exact);
        if let Some(schema) = map.get("contains") {
            let node = self.child(schema, here);
            let min = self.bound("minContains", here, &mut exact).unwrap_or(1);
            let max = self.bound("maxContains", here, &mut exact);
            if min > 0 || max.is_some() {
                array.contains.push(Contains { node: node.clone(), from: 0, min, max, place: here.place });
            }
            if !self.document.draft.contains_evaluates_nothing {
                array.contained.push(node);
            }
        }
        if map.get("uniqueItems") == Some(&Value::Bool(true)) && array.max.is_none_or(|most| most > 1) {
            array.unique = Some(here.place);
            // Lists in which something repeats, the complement, cannot be written.
            exact = false;
        }
        array.exact = exact;
        if array == Array::default() {
            return values;
        }
        let arrays = Values { arrays: vec![Rc::new(array)], ..Values::all() };
        self.with_own(values, &arrays, here)
    }

    pub(super) fn objects(&mut self, values: Values, here: Here<'a>) -> Meant<Values> {
        let map = here.map;
        let mut object = self.properties(here);
        let mut exact = object.exact;
        object.min = self.bound("minProperties", here, &mut exact).unwrap_or(0);
        object.max = self.bound("maxProperties", here, &mut exact);
        object.exact = exact;
        object.counted = (object.min > 0 || object.max.is_some()).then_some(here.place);
        let mut shapes = vec![object];
        if let Some(names) = map.get("required").and_then(Value::as_array) {
            let mut required = Object::default();
            for name in names.iter().filter_map(Value::as_str) {
                if required.prop(name).is_none() {
                    required.push(name, Slot::default(), true);
                }
            }
            shapes.push(required);
        }
        shapes.extend(self.property_names(here)?);
        let mut values = values;
        for shape in shapes.into_iter().filter(|shape| *shape != Object::default()) {
            let shape = Values { objects: vec![Rc::new(shape)], ..Values::all() };
            values = self.with_own(values, &shape, here);
        }
        Ok(values)
    }

    /// `properties`, `patternProperties` and `additionalProperties`.
    fn properties(&mut self, here: Here<'a>) -> Object {
        let map = here.map;
        let mut classes = vec![Class { names: Text::All, slot: Slot::default() }];
        let mut patterns: Vec<(Text, Key)> = Vec::new();
        let mut exact = true;
        for (text, schema) in map.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
            let (pattern, is_exact) = self.pattern(text, "patternProperties", here);
            if !is_exact {
                self.limit(
                    here.place,
                    "patternProperties",
                    format!("what `{text}` matches may have any value"),
                );
            }
            // A name that the weakened expression finds by mistake must not be held to the schema.
            let node = if is_exact { self.child(schema, here) } else { Key::any() };
            exact &= is_exact;
            let mut split = Vec::new();
            for class in &classes {
                for (names, matches) in
                    [(class.names.and(&pattern), true), (class.names.and(&pattern.not()), false)]
                {
                    if self.work.is_nonempty(&names) {
                        let more = if matches { Slot::of(node.clone(), true) } else { Slot::default() };
                        let slot = Slot::of(class.slot.node.and(&more.node), class.slot.evaluated || matches);
                        split.push(Class { names, slot });
                    }
                }
            }
            if split.len() > MAX_PATTERN_CLASSES {
                self.limit(
                    here.place,
                    "patternProperties",
                    format!("`{text}` is not enforced: too many patterns overlap"),
                );
                let any = Class { names: Text::All, slot: Slot::of(Key::any(), true) };
                return Object::new(Vec::new(), vec![any]).exact_if(false);
            }
            classes = split;
            patterns.push((pattern, node));
        }
        let mut props = Vec::new();
        for (name, schema) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let mut slot = self.slot(schema, here);
            for (pattern, more) in &patterns {
                if pattern.contains(name) {
                    slot.node = slot.node.and(more);
                }
            }
            props.push(Prop { name: name.as_str().into(), slot, required: false });
        }
        if let Some(schema) = map.get("additionalProperties") {
            let node = self.child(schema, here);
            for class in classes.iter_mut().filter(|class| !class.slot.evaluated) {
                class.slot = Slot::of(node.clone(), true);
            }
        }
        Object::new(props, classes).exact_if(exact)
    }

    fn property_names(&mut self, here: Here<'a>) -> Meant<Option<Object>> {
        let Some(schema) = here.map.get("propertyNames") else { return Ok(None) };
        let key = self.child(schema, here);
        if key.is_any() {
            return Ok(None);
        }
        let names = match self.values(&key) {
            Ok(names) => names,
            Err(Stop::Error(error @ GrammarError::TooLarge { .. })) => return Err(error.into()),
            Err(_) => {
                self.limit(
                    here.place,
                    "propertyNames",
                    "not enforced: it refers to the schema that it is in",
                );
                return Ok(Some(Object::default().exact_if(false)));
            }
        };
        let mut classes = vec![Class { names: names.strings.clone(), slot: Slot::default() }];
        classes.push(Class { names: names.strings.not(), slot: Slot::of(Key::never(), false) });
        classes.retain(|class| class.names != Text::Never);
        Ok(Some(Object::new(Vec::new(), classes).exact_if(names.strings_exact)))
    }
}
