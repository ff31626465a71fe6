//! Sets of JSON values, split by type, and how they combine.
//!
//! A set is a union of simple shapes for each type; what is inside lists and objects is named by [`Key`]s, so that recursive schemas are
//! finite. Shapes hold no conjunction, so that each can be written as a grammar as it stands.

use std::collections::HashMap;
use std::rc::Rc;

pub(super) use super::array::{Array, Contains, Slot};
use super::number::Numbers;
use super::parts::{Key, Parts};
use super::repeats::Origin;
use super::text::Text;
use super::work::Work;

/// The most shapes of lists or objects in one set that came from combining others.
const MAX_SHAPES: usize = 512;
/// The most steps of one combination.
const MAX_STEPS: usize = 100_000;
/// Equal shapes are looked for only among so many.
const MAX_COMPARED: usize = 64;
/// The most kinds of names that one object tells apart.
const MAX_CLASSES: usize = 64;

/// A set of JSON values.
///
/// A set that is not exact holds all values that it should, and more; what a complement leaves out must not come from one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Values {
    pub(super) null: bool,
    pub(super) yes: bool,
    pub(super) no: bool,
    pub(super) numbers: Numbers,
    pub(super) numbers_exact: bool,
    pub(super) strings: Text,
    pub(super) strings_exact: bool,
    pub(super) arrays: Vec<Rc<Array>>,
    pub(super) objects: Vec<Rc<Object>>,
}

/// Objects.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) props: Vec<Prop>,
    names: HashMap<Rc<str>, usize>,
    /// All other names, in classes that do not overlap.
    pub(super) classes: Vec<Class>,
    /// Properties that must be there, each given by a set of names.
    pub(super) needs: Vec<Need>,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
    /// The number of the schema that bounds the number of properties.
    pub(super) counted: Option<usize>,
    /// Whether something counts as evaluated although that is not certain.
    pub(super) loose: bool,
    pub(super) exact: bool,
    pub(super) origin: Origin,
}

/// A property.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prop {
    pub(super) name: Rc<str>,
    pub(super) slot: Slot,
    pub(super) required: bool,
}

/// Properties whose names have no place of their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Class {
    pub(super) names: Text,
    pub(super) slot: Slot,
}

/// At least one property with one of these names must fit `node`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Need {
    pub(super) names: Text,
    pub(super) node: Key,
}

/// Combining would have produced too many shapes.
#[derive(Debug)]
pub(super) struct TooMany;

impl Default for Object {
    fn default() -> Self {
        Self {
            props: Vec::new(),
            names: HashMap::new(),
            classes: vec![Class { names: Text::All, slot: Slot::default() }],
            needs: Vec::new(),
            min: 0,
            max: None,
            counted: None,
            loose: false,
            exact: true,
            origin: Origin::default(),
        }
    }
}

impl Object {
    /// Objects with these properties, and others in `classes`, which hold all names.
    pub(super) fn new(props: Vec<Prop>, classes: Vec<Class>) -> Self {
        let names = props.iter().enumerate().map(|(i, prop)| (Rc::clone(&prop.name), i)).collect();
        Self { props, names, classes, ..Self::default() }
    }

    /// The same, exact only if `exact`.
    pub(super) fn exact_if(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Objects with the property, or those without it.
    pub(super) fn with(name: &str, present: bool) -> Self {
        let node = if present { Key::any() } else { Key::never() };
        Self::with_prop(name, node, present)
    }

    fn with_prop(name: &str, node: Key, required: bool) -> Self {
        let prop = Prop { name: name.into(), slot: Slot::of(node, false), required };
        Self::new(vec![prop], Self::default().classes)
    }

    pub(super) fn prop(&self, name: &str) -> Option<&Prop> {
        self.names.get(name).map(|i| &self.props[*i])
    }

    pub(super) fn slot(&self, name: &str) -> (Slot, bool) {
        if let Some(prop) = self.prop(name) {
            return (prop.slot.clone(), prop.required);
        }
        let class = self.classes.iter().find(|class| class.names.contains(name));
        (class.map_or_else(|| Slot::of(Key::never(), false), |class| class.slot.clone()), false)
    }

    pub(super) fn push(&mut self, name: &str, slot: Slot, required: bool) {
        self.names.insert(name.into(), self.props.len());
        self.props.push(Prop { name: name.into(), slot, required });
    }

    fn and(&self, other: &Self, work: &mut Work) -> Result<Option<Self>, TooMany> {
        work.steps += 2 + self.props.len() + other.props.len();
        let mut both = Self {
            min: self.min.max(other.min),
            max: self.max.into_iter().chain(other.max).min(),
            counted: self.counted.or(other.counted),
            loose: self.loose || other.loose,
            exact: self.exact && other.exact,
            origin: self.origin.or(other.origin),
            classes: Vec::new(),
            needs: self.needs.clone(),
            props: Vec::with_capacity(self.props.len()),
            names: self.names.clone(),
        };
        let mut n_required = 0;
        for prop in &self.props {
            let (slot, required) = other.slot(&prop.name);
            let prop = Prop {
                name: Rc::clone(&prop.name),
                slot: prop.slot.and(&slot),
                required: prop.required || required,
            };
            if prop.required && prop.slot.node.is_never() {
                return Ok(None);
            }
            n_required += u64::from(prop.required);
            both.props.push(prop);
        }
        for prop in &other.props {
            if self.names.contains_key(&prop.name) {
                continue;
            }
            let slot = self.slot(&prop.name).0.and(&prop.slot);
            if prop.required && slot.node.is_never() {
                return Ok(None);
            }
            n_required += u64::from(prop.required);
            both.push(&prop.name, slot, prop.required);
        }
        if both.max.is_some_and(|max| max < both.min.max(n_required)) {
            return Ok(None);
        }
        let check = self.classes.len() > 1 && other.classes.len() > 1;
        for one in &self.classes {
            for two in &other.classes {
                let names = one.names.and(&two.names);
                if names == Text::Never {
                    continue;
                }
                if check {
                    work.steps += 100;
                    if !work.is_nonempty(&names) {
                        continue;
                    }
                }
                both.classes.push(Class { names, slot: one.slot.and(&two.slot) });
            }
        }
        if both.classes.len() > MAX_CLASSES {
            return Err(TooMany);
        }
        both.needs.extend(other.needs.iter().filter(|need| !self.needs.contains(need)).cloned());
        Ok(Some(both))
    }

    fn complement(&self, parts: &mut Parts<'_>) -> Vec<Self> {
        if !self.exact {
            return vec![Self { exact: false, ..Self::default() }];
        }
        let mut others = Vec::new();
        for prop in &self.props {
            if prop.required {
                others.push(Self::with(&prop.name, false));
            }
            if !prop.slot.node.is_any() {
                others.push(Self::with_prop(&prop.name, parts.not(&prop.slot.node), true));
            }
        }
        let declared = Text::only(self.props.iter().map(|prop| prop.name.to_string())).not();
        for class in self.classes.iter().filter(|class| !class.slot.node.is_any()) {
            let need = Need { names: class.names.and(&declared), node: parts.not(&class.slot.node) };
            others.push(Self { needs: vec![need], ..Self::default() });
        }
        for need in &self.needs {
            let named = Class { names: need.names.clone(), slot: Slot::of(parts.not(&need.node), false) };
            let others_named = Class { names: need.names.not(), slot: Slot::default() };
            let classes = [named, others_named].into_iter().filter(|class| class.names != Text::Never);
            others.push(Self::new(Vec::new(), classes.collect()));
        }
        if self.min > 0 {
            others.push(Self { max: Some(self.min - 1), counted: self.counted, ..Self::default() });
        }
        if let Some(max) = self.max {
            others.push(Self { min: max + 1, counted: self.counted, ..Self::default() });
        }
        others
    }
}

impl Values {
    pub(super) fn all() -> Self {
        Self {
            null: true,
            yes: true,
            no: true,
            numbers: Numbers::all(),
            numbers_exact: true,
            strings: Text::All,
            strings_exact: true,
            arrays: vec![Rc::default()],
            objects: vec![Rc::default()],
        }
    }

    pub(super) fn none() -> Self {
        Self {
            null: false,
            yes: false,
            no: false,
            numbers: Numbers::none(),
            numbers_exact: true,
            strings: Text::Never,
            strings_exact: true,
            arrays: Vec::new(),
            objects: Vec::new(),
        }
    }

    pub(super) fn objects(shapes: Vec<Object>) -> Self {
        Self { objects: shapes.into_iter().map(Rc::new).collect(), ..Self::none() }
    }

    /// `self` with any value that is no object.
    pub(super) fn or_no_object(self) -> Self {
        Self { objects: self.objects, ..Self::all() }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self { numbers_exact: self.numbers_exact, strings_exact: self.strings_exact, ..Self::none() }
    }

    /// The set as one that holds more than it should.
    pub(super) fn inexact(mut self) -> Self {
        self.numbers_exact = false;
        self.strings_exact = false;
        self.arrays.iter_mut().for_each(|shape| Rc::make_mut(shape).exact = false);
        self.objects.iter_mut().for_each(|shape| Rc::make_mut(shape).exact = false);
        self
    }

    pub(super) fn is_exact(&self) -> bool {
        self.numbers_exact
            && self.strings_exact
            && self.arrays.iter().all(|shape| shape.exact)
            && self.objects.iter().all(|shape| shape.exact)
    }

    pub(super) fn and(&self, other: &Self, work: &mut Work) -> Result<Self, TooMany> {
        let last = work.steps + MAX_STEPS;
        work.steps += 1 + self.numbers.len() * other.numbers.len();
        if self.numbers.len() * other.numbers.len() > MAX_STEPS {
            return Err(TooMany);
        }
        let numbers = self.numbers.and(&other.numbers);
        let most = MAX_SHAPES.max(self.arrays.len()).max(other.arrays.len());
        let mut arrays = Vec::new();
        for one in &self.arrays {
            for two in &other.arrays {
                work.steps += 1 + one.prefix.len() + two.prefix.len();
                let both = if one == two { Some((**one).clone()) } else { one.and(two) };
                push(&mut arrays, both, most)?;
                if work.steps > last {
                    return Err(TooMany);
                }
            }
        }
        let most = MAX_SHAPES.max(self.objects.len()).max(other.objects.len());
        let mut objects = Vec::new();
        for one in &self.objects {
            for two in &other.objects {
                let both = if Rc::ptr_eq(one, two) { Some((**one).clone()) } else { one.and(two, work)? };
                push(&mut objects, both, most)?;
                if work.steps > last {
                    return Err(TooMany);
                }
            }
        }
        if numbers.len() > MAX_SHAPES || numbers.is_costly() {
            return Err(TooMany);
        }
        Ok(Self {
            null: self.null && other.null,
            yes: self.yes && other.yes,
            no: self.no && other.no,
            numbers,
            numbers_exact: self.numbers_exact && other.numbers_exact,
            strings: self.strings.and(&other.strings),
            strings_exact: self.strings_exact && other.strings_exact,
            arrays,
            objects,
        })
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        Self::any([self, other])
    }

    /// The values in at least one of `sets`.
    pub(super) fn any<'s>(sets: impl IntoIterator<Item = &'s Values>) -> Self {
        let mut all = Self::none();
        let (mut numbers, mut strings) = (Vec::new(), Vec::new());
        for set in sets {
            all.null |= set.null;
            all.yes |= set.yes;
            all.no |= set.no;
            all.numbers_exact &= set.numbers_exact;
            all.strings_exact &= set.strings_exact;
            numbers.push(&set.numbers);
            strings.push(&set.strings);
            for shape in &set.arrays {
                if is_new(&all.arrays, shape) {
                    all.arrays.push(Rc::clone(shape));
                }
            }
            for shape in &set.objects {
                if is_new(&all.objects, shape) {
                    all.objects.push(Rc::clone(shape));
                }
            }
        }
        all.numbers = Numbers::any(numbers);
        all.strings = Text::any(strings);
        all
    }

    /// The values that are not in the set; where the set is not exact, all of the type.
    pub(super) fn complement(&self, parts: &mut Parts<'_>, work: &mut Work) -> Result<Self, TooMany> {
        let numbers = if self.numbers_exact { self.numbers.complement() } else { Some(Numbers::all()) };
        let mut left = Self {
            null: !self.null,
            yes: !self.yes,
            no: !self.no,
            numbers: numbers.ok_or(TooMany)?,
            numbers_exact: self.numbers_exact,
            strings: if self.strings_exact { self.strings.not() } else { Text::All },
            strings_exact: self.strings_exact,
            ..Self::all()
        };
        let pieces = self.arrays.iter().map(|shape| shape.prefix.len());
        let pieces = pieces.chain(self.objects.iter().map(|shape| shape.props.len()));
        if pieces.max().is_some_and(|n| n > MAX_SHAPES) {
            return Err(TooMany);
        }
        for shape in &self.arrays {
            let others = shape.complement(parts).into_iter().map(Rc::new).collect();
            left = left.and(&Self { arrays: others, ..Self::all() }, work)?;
        }
        for shape in &self.objects {
            let others = shape.complement(parts).into_iter().map(Rc::new).collect();
            left = left.and(&Self { objects: others, ..Self::all() }, work)?;
        }
        Ok(left)
    }
}

fn is_new<T: PartialEq>(shapes: &[Rc<T>], shape: &Rc<T>) -> bool {
    shapes.len() > MAX_COMPARED || !shapes.contains(shape)
}

fn push<T: PartialEq>(shapes: &mut Vec<Rc<T>>, shape: Option<T>, most: usize) -> Result<(), TooMany> {
    let Some(shape) = shape.map(Rc::new) else { return Ok(()) };
    if is_new(shapes, &shape) {
        shapes.push(shape);
    }
    if shapes.len() > most { Err(TooMany) } else { Ok(()) }
}
