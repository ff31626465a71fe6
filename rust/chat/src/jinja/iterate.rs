//! Iterating: what Python does with `iter` and `next`, and the `loop` object.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Call;
use super::ast::ForLoop;
use super::fault::{Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::key::Key;
use super::scope::Scope;
use super::text::Text;
use super::value::{Dict, Items, Range, Value, ViewKind};

/// A position in something that can be gone through.
pub(crate) enum Iter {
    Empty,
    Items(Rc<Items>, usize),
    View(ViewKind, Rc<Dict>, usize),
    Chars(Text, usize),
    Range(Rc<Range>, usize),
    Generator(Rc<RefCell<Generator>>),
}

/// Values that are made one by one, once.
pub(crate) struct Generator {
    pub(crate) depth: u32,
    source: Source,
    stage: Stage,
}

enum Source {
    /// Not begun.
    Value(Value),
    Iter(Iter),
    Done,
}

/// What a generator does with each value of its source.
pub(crate) enum Stage {
    /// Gives it on.
    Plain,
    /// Gives pairs of a mapping.
    Pairs,
    Attribute {
        path: Vec<Value>,
        default: Option<Value>,
    },
    Filter {
        name: String,
        call: Call,
    },
    Select {
        path: Option<Vec<Value>>,
        test: Option<(String, Call)>,
        keep: bool,
    },
    Unique {
        path: Vec<Value>,
        case_sensitive: bool,
        seen: HashSet<Key>,
    },
    Batch {
        size: i128,
        fill: Option<Value>,
        done: bool,
    },
    Slices {
        count: i128,
        fill: Option<Value>,
    },
    Condition {
        rule: Arc<ForLoop>,
        scope: Rc<Scope>,
    },
}

impl Generator {
    pub(crate) fn value(source: Value, stage: Stage) -> Outcome<Value> {
        let depth = source.depth() + 1;
        if depth > super::meter::VALUE_DEPTH {
            return Err(super::fault::Fault::new(
                super::fault::FaultKind::Limit,
                "the template nests generators too deeply",
            ));
        }
        Ok(Value::Generator(Rc::new(RefCell::new(Self { depth, source: Source::Value(source), stage }))))
    }
}

/// Begins to go through a value.
pub(crate) fn iter_of(value: &Value) -> Outcome<Iter> {
    Ok(match value {
        Value::Undefined(_) => Iter::Empty,
        Value::List(items) | Value::Tuple(items) => Iter::Items(Rc::clone(items), 0),
        Value::Dict(dict) => Iter::View(ViewKind::Keys, Rc::clone(dict), 0),
        Value::View(kind, dict) => Iter::View(*kind, Rc::clone(dict), 0),
        Value::Str(text) => Iter::Chars(text.clone(), 0),
        Value::Range(range) => Iter::Range(Rc::clone(range), 0),
        Value::Generator(generator) => Iter::Generator(Rc::clone(generator)),
        other => return Err(type_fault(format!("'{}' object is not iterable", other.type_name()))),
    })
}

/// Whether Python's `iter` takes the value.
pub(crate) fn is_iterable(value: &Value) -> bool {
    matches!(value, Value::Loop(_)) || iter_of(value).is_ok()
}

impl Interpreter<'_> {
    /// The next value, if there is one.
    pub(crate) fn advance(&mut self, iter: &mut Iter) -> Outcome<Option<Value>> {
        self.meter.spend(1)?;
        Ok(match iter {
            Iter::Empty => None,
            Iter::Items(items, at) => {
                *at += 1;
                items.get(*at - 1).cloned()
            }
            Iter::View(kind, dict, at) => {
                *at += 1;
                dict.view_item(*kind, *at - 1)?
            }
            Iter::Chars(text, at) => match text.as_str()[*at..].chars().next() {
                Some(char) => {
                    let from = *at;
                    *at += char.len_utf8();
                    Some(Value::Str(text.slice(from..*at)?))
                }
                None => None,
            },
            Iter::Range(range, at) => {
                *at += 1;
                range.get(*at - 1)
            }
            Iter::Generator(generator) => {
                let generator = Rc::clone(generator);
                let Ok(mut generator) = generator.try_borrow_mut() else {
                    return Err(value_fault("generator already executing"));
                };
                self.nested(|this| this.advance_generator(&mut generator))?
            }
        })
    }

    /// All values that are left.
    pub(crate) fn collect(&mut self, value: &Value) -> Outcome<Vec<Value>> {
        if let Value::Loop(_) = value {
            return Err(type_fault("a `loop` object cannot be gone through"));
        }
        let mut iter = iter_of(value)?;
        let mut values = Vec::new();
        while let Some(value) = self.advance(&mut iter)? {
            values.push(value);
        }
        Ok(values)
    }

    fn advance_generator(&mut self, generator: &mut Generator) -> Outcome<Option<Value>> {
        if let Source::Value(value) = &generator.source {
            let value = value.clone();
            generator.source = Source::Done;
            // The filters that map and select begin by asking whether there is anything.
            let idle = match &generator.stage {
                Stage::Attribute { .. } | Stage::Filter { .. } | Stage::Select { .. } => !value.truth(),
                Stage::Pairs => value.is_undefined(),
                _ => false,
            };
            if idle {
                return Ok(None);
            }
            generator.source = Source::Iter(match &generator.stage {
                Stage::Pairs => match &value {
                    Value::Dict(dict) => Iter::View(ViewKind::Items, Rc::clone(dict), 0),
                    _ => return Err(type_fault("Can only get item pairs from a mapping.")),
                },
                Stage::Slices { count, fill } => {
                    let (count, fill) = (*count, fill.clone());
                    let slices = self.slices(&value, count, fill.as_ref())?;
                    generator.stage = Stage::Plain;
                    Iter::Items(Items::new(&self.meter, slices)?, 0)
                }
                _ => iter_of(&value)?,
            });
        }
        let Source::Iter(iter) = &mut generator.source else { return Ok(None) };
        let made = self.make(iter, &mut generator.stage);
        if !matches!(made, Ok(Some(_))) {
            generator.source = Source::Done;
        }
        made
    }

    fn make(&mut self, iter: &mut Iter, stage: &mut Stage) -> Outcome<Option<Value>> {
        if let Stage::Batch { size, fill, done } = stage {
            return if *done { Ok(None) } else { self.batch(iter, *size, fill.as_ref(), done) };
        }
        while let Some(value) = self.advance(iter)? {
            match stage {
                Stage::Plain | Stage::Pairs | Stage::Batch { .. } | Stage::Slices { .. } => {
                    return Ok(Some(value));
                }
                Stage::Attribute { path, default } => {
                    return self.path_of(&value, path, default.as_ref()).map(Some);
                }
                Stage::Filter { name, call } => return self.call_filter(name, value, call.clone()).map(Some),
                Stage::Select { path, test, keep } => {
                    let subject = match path {
                        Some(path) => self.path_of(&value, path, None)?,
                        None => value.clone(),
                    };
                    let holds = match test {
                        Some((name, call)) => self.call_test(name, &subject, call.clone())?,
                        None => subject.truth(),
                    };
                    if holds == *keep {
                        return Ok(Some(value));
                    }
                }
                Stage::Unique { path, case_sensitive, seen } => {
                    let key = self.path_of(&value, path, None)?;
                    let key = if *case_sensitive { key } else { self.ignore_case(key)? };
                    if seen.insert(Key::new(key)?) {
                        return Ok(Some(value));
                    }
                }
                Stage::Condition { rule, scope } => {
                    let inner = Scope::inside(scope);
                    self.assign(&inner, &rule.target, value.clone())?;
                    let Some(test) = &rule.test else { return Ok(Some(value)) };
                    if self.evaluate(&inner, test)?.truth() {
                        return Ok(Some(value));
                    }
                }
            }
        }
        Ok(None)
    }

    fn batch(
        &mut self,
        iter: &mut Iter,
        size: i128,
        fill: Option<&Value>,
        done: &mut bool,
    ) -> Outcome<Option<Value>> {
        let mut values = Vec::new();
        while values.len() as i128 != size || values.is_empty() {
            let Some(value) = self.advance(iter)? else {
                *done = true;
                if values.is_empty() {
                    return Ok(None);
                }
                if let Some(fill) = fill.filter(|fill| !matches!(fill, Value::None)) {
                    let lacking = usize::try_from(size - values.len() as i128).unwrap_or(0);
                    self.meter.spend(lacking as u64)?;
                    drop(self.meter.take(lacking.saturating_mul(size_of::<Value>()))?);
                    values.resize(values.len() + lacking, fill.clone());
                }
                break;
            };
            values.push(value);
        }
        Value::list(&self.meter, values).map(Some)
    }

    fn slices(&mut self, value: &Value, count: i128, fill: Option<&Value>) -> Outcome<Vec<Value>> {
        let values = self.collect(value)?;
        if count == 0 {
            return Err(value_fault("integer division or modulo by zero"));
        }
        let count = usize::try_from(count).unwrap_or(0);
        self.meter.spend(count as u64)?;
        let each = values.len().checked_div(count).unwrap_or(0);
        let extra = values.len().checked_rem(count).unwrap_or(0);
        let mut slices = Vec::new();
        let mut at = 0;
        for number in 0..count {
            let length = each + usize::from(number < extra);
            let mut slice = values[at..at + length].to_vec();
            at += length;
            if number >= extra
                && let Some(fill) = fill.filter(|fill| !matches!(fill, Value::None))
            {
                slice.push(fill.clone());
            }
            slices.push(Value::list(&self.meter, slice)?);
        }
        Ok(slices)
    }
}

/// The object `loop` inside of a `for`.
pub(crate) struct Loop {
    state: RefCell<LoopState>,
    iterable: Value,
    /// The loop and its scope, where it can call itself.
    pub(crate) recurse: Option<(Arc<ForLoop>, Rc<Scope>)>,
    pub(crate) depth0: usize,
}

/// What is known of the next value.
#[derive(Clone)]
enum Ahead {
    Unknown,
    Ended,
    Next(Value),
}

struct LoopState {
    iter: Iter,
    /// The number of values taken.
    taken: usize,
    /// The value that was looked at ahead of its turn.
    after: Ahead,
    before: Option<Value>,
    current: Option<Value>,
    length: Option<usize>,
    changed: Option<Vec<Value>>,
}

impl Loop {
    pub(crate) fn new(
        iterable: Value,
        recurse: Option<(Arc<ForLoop>, Rc<Scope>)>,
        depth0: usize,
    ) -> Outcome<Self> {
        let iter = iter_of(&iterable)?;
        let state = LoopState {
            iter,
            taken: 0,
            after: Ahead::Unknown,
            before: None,
            current: None,
            length: None,
            changed: None,
        };
        Ok(Self { state: RefCell::new(state), iterable, recurse, depth0 })
    }

    pub(crate) fn index(&self) -> usize {
        self.state.try_borrow().map_or(0, |state| state.taken)
    }

    /// How many values there are, where that is known without taking them.
    pub(crate) fn known_length(&self) -> Option<usize> {
        self.state.try_borrow().ok().and_then(|state| state.length).or_else(|| self.iterable.length().ok())
    }

    /// Forgets its values, so that nothing holds itself.
    pub(crate) fn clear(&self) {
        let state = LoopState {
            iter: Iter::Empty,
            taken: 0,
            after: Ahead::Unknown,
            before: None,
            current: None,
            length: None,
            changed: None,
        };
        drop(self.state.replace(state));
    }

    pub(crate) fn cycle(&self, call: &Call) -> Outcome<Value> {
        if call.positional.is_empty() {
            return Err(type_fault("no items for cycling given"));
        }
        let at = self.index() - 1;
        Ok(call.positional[at % call.positional.len()].clone())
    }

    pub(crate) fn changed(&self, interpreter: &Interpreter<'_>, call: Call) -> Outcome<Value> {
        let last = self.state.borrow_mut().changed.take();
        let mut same = last.as_ref().is_some_and(|last| last.len() == call.positional.len());
        if let Some(last) = &last {
            for (left, right) in last.iter().zip(&call.positional) {
                same = same && super::compare::equal(&interpreter.meter, left, right)?;
            }
        }
        self.state.borrow_mut().changed = Some(call.positional);
        Ok(Value::Bool(!same))
    }
}

impl Interpreter<'_> {
    /// Takes the next value of a loop.
    pub(crate) fn loop_next(&mut self, found: &Loop) -> Outcome<Option<Value>> {
        let next = self.loop_peek(found)?;
        let mut state = found.state.borrow_mut();
        state.after = Ahead::Unknown;
        if next.is_some() {
            state.taken += 1;
            state.before = state.current.take();
            state.current.clone_from(&next);
        }
        Ok(next)
    }

    fn loop_peek(&mut self, found: &Loop) -> Outcome<Option<Value>> {
        match &found.state.borrow().after {
            Ahead::Unknown => {}
            Ahead::Ended => return Ok(None),
            Ahead::Next(value) => return Ok(Some(value.clone())),
        }
        // A condition of the loop may look at the loop around it, never at this one.
        let mut iter = std::mem::replace(&mut found.state.borrow_mut().iter, Iter::Empty);
        let next = self.advance(&mut iter);
        let mut state = found.state.borrow_mut();
        state.iter = iter;
        let next = next?;
        state.after = next.clone().map_or(Ahead::Ended, Ahead::Next);
        Ok(next)
    }

    fn loop_length(&mut self, found: &Loop) -> Outcome<usize> {
        if let Some(length) = found.state.borrow().length {
            return Ok(length);
        }
        let length = if let Ok(length) = found.iterable.length() {
            length
        } else {
            let mut iter = std::mem::replace(&mut found.state.borrow_mut().iter, Iter::Empty);
            let mut rest = Vec::new();
            while let Some(value) = self.advance(&mut iter)? {
                rest.push(value);
            }
            let mut state = found.state.borrow_mut();
            let ahead = usize::from(matches!(state.after, Ahead::Next(_)));
            let length = rest.len() + state.taken + ahead;
            state.iter = Iter::Items(Items::new(&self.meter, rest)?, 0);
            length
        };
        found.state.borrow_mut().length = Some(length);
        Ok(length)
    }

    /// An attribute of `loop`.
    pub(crate) fn loop_attribute(&mut self, found: &Rc<Loop>, name: &str) -> Outcome<Option<Value>> {
        let int = |value: usize| Ok(Some(Value::Int(value as i128)));
        let index = found.index();
        match name {
            "index" => int(index),
            "index0" => Ok(Some(Value::Int(index as i128 - 1))),
            "first" => Ok(Some(Value::Bool(index == 1))),
            "last" => Ok(Some(Value::Bool(self.loop_peek(found)?.is_none()))),
            "length" => int(self.loop_length(found)?),
            "revindex" => Ok(Some(Value::Int(self.loop_length(found)? as i128 - index as i128 + 1))),
            "revindex0" => Ok(Some(Value::Int(self.loop_length(found)? as i128 - index as i128))),
            "depth" => int(found.depth0 + 1),
            "depth0" => int(found.depth0),
            "previtem" => {
                let before = found.state.borrow().before.clone();
                Ok(Some(before.unwrap_or_else(|| Value::undefined("there is no previous item"))))
            }
            "nextitem" => {
                Ok(Some(self.loop_peek(found)?.unwrap_or_else(|| Value::undefined("there is no next item"))))
            }
            "cycle" => Ok(Some(Value::Method(Rc::new((Value::Loop(Rc::clone(found)), "cycle"))))),
            "changed" => Ok(Some(Value::Method(Rc::new((Value::Loop(Rc::clone(found)), "changed"))))),
            _ => Ok(None),
        }
    }
}
