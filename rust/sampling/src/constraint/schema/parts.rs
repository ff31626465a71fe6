//! The schemas that a value must fit, by number.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

/// A schema, or what stands for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// What nothing fits.
    Nothing,
    /// A schema of the document, entered in a dynamic scope.
    Place { place: usize, scope: usize },
    /// One scalar value, in JSON.
    Scalar(String),
    /// One list or object of the document, by its address.
    Value(usize),
    /// All of these at once.
    All(Key),
}

/// A part, or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Literal {
    pub(super) part: u32,
    pub(super) not: bool,
}

/// The parts that a value must fit at once, in the order in which they were met; none of them fits any value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key(Rc<Vec<Literal>>);

impl Key {
    pub(super) fn any() -> Self {
        Self::default()
    }

    pub(super) fn never() -> Self {
        Self::of(Literal { part: 0, not: false })
    }

    pub(super) fn of(literal: Literal) -> Self {
        Self(Rc::new(if literal == (Literal { part: 0, not: true }) { Vec::new() } else { vec![literal] }))
    }

    pub(super) fn literals(&self) -> &[Literal] {
        &self.0
    }

    pub(super) fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_never(&self) -> bool {
        self.0.first().is_some_and(|first| first.part == 0)
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        if self.is_any() || other.is_never() {
            return other.clone();
        }
        if other.0.iter().all(|literal| self.0.contains(literal)) || self.is_never() {
            return self.clone();
        }
        let mut both = (*self.0).clone();
        both.extend(other.0.iter().filter(|literal| !self.0.contains(literal)));
        Self(Rc::new(both))
    }
}

/// All parts that were met.
pub(super) struct Parts<'a> {
    parts: Vec<Part>,
    numbers: HashMap<Part, u32>,
    values: HashMap<usize, &'a Value>,
}

impl<'a> Parts<'a> {
    pub(super) fn new() -> Self {
        let mut parts = Self { parts: Vec::new(), numbers: HashMap::new(), values: HashMap::new() };
        parts.number(Part::Nothing);
        parts
    }

    pub(super) fn get(&self, number: u32) -> &Part {
        &self.parts[number as usize]
    }

    fn number(&mut self, part: Part) -> u32 {
        let next = self.parts.len() as u32;
        let parts = &mut self.parts;
        *self.numbers.entry(part).or_insert_with_key(|part| {
            parts.push(part.clone());
            next
        })
    }

    pub(super) fn key(&mut self, part: Part) -> Key {
        Key::of(Literal { part: self.number(part), not: false })
    }

    /// The part that only `value` fits.
    pub(super) fn constant(&mut self, value: &'a Value) -> Key {
        if value.is_array() || value.is_object() {
            let address = std::ptr::from_ref(value) as usize;
            self.values.insert(address, value);
            return self.key(Part::Value(address));
        }
        self.key(Part::Scalar(value.to_string()))
    }

    pub(super) fn value(&self, address: usize) -> &'a Value {
        self.values[&address]
    }

    /// What fits not all of `key`.
    pub(super) fn not(&mut self, key: &Key) -> Key {
        match key.literals() {
            [] => Key::never(),
            [one] => Key::of(Literal { not: !one.not, ..*one }),
            _ => Key::of(Literal { part: self.number(Part::All(key.clone())), not: true }),
        }
    }

    /// What fits at least one of `keys`.
    pub(super) fn either(&mut self, keys: &[Key]) -> Key {
        let none = keys.iter().fold(Key::any(), |none, key| {
            let not = self.not(key);
            none.and(&not)
        });
        self.not(&none)
    }
}
