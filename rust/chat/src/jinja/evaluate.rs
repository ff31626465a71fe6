//! Evaluates the expressions of a template.

use std::rc::Rc;

use super::arguments::Call;
use super::ast::{Arguments, CompareOp, Expr, ExprKind};
use super::compare::{equal, order};
use super::fault::{Outcome, type_fault, value_fault};
use super::interpreter::Interpreter;
use super::number;
use super::repr::{self, quoted};
use super::scope::Scope;
use super::text::{Builder, Text};
use super::value::{Dict, Value};

impl Interpreter<'_> {
    pub(crate) fn evaluate(&mut self, scope: &Rc<Scope>, expr: &Expr) -> Outcome<Value> {
        self.meter.spend(1)?;
        match &*expr.kind {
            ExprKind::Const(at) => self.constant(*at),
            ExprKind::Name(symbol) => Ok(self.variable(scope, *symbol)),
            _ => self.nested(|this| this.evaluate_deeper(scope, expr)),
        }
    }

    fn evaluate_all(&mut self, scope: &Rc<Scope>, exprs: &[Expr]) -> Outcome<Vec<Value>> {
        let mut values = Vec::with_capacity(exprs.len());
        for expr in exprs {
            values.push(self.evaluate(scope, expr)?);
        }
        Ok(values)
    }

    fn evaluate_deeper(&mut self, scope: &Rc<Scope>, expr: &Expr) -> Outcome<Value> {
        match &*expr.kind {
            ExprKind::Const(at) => self.constant(*at),
            ExprKind::Name(symbol) => Ok(self.variable(scope, *symbol)),
            ExprKind::List(items) => {
                let values = self.evaluate_all(scope, items)?;
                Value::list(&self.meter, values)
            }
            ExprKind::Tuple(items) => {
                let values = self.evaluate_all(scope, items)?;
                Value::tuple(&self.meter, values)
            }
            ExprKind::Dict(entries) => {
                let mut dict = Dict::new(&self.meter)?;
                for (key, value) in entries {
                    let key = self.evaluate(scope, key)?;
                    dict.insert(key, self.evaluate(scope, value)?)?;
                }
                Ok(Value::Dict(Rc::new(dict)))
            }
            ExprKind::Attribute(owner, name) => {
                let owner = self.evaluate(scope, owner)?;
                self.attribute(&owner, name)
            }
            ExprKind::Item(owner, key) => {
                let owner = self.evaluate(scope, owner)?;
                if let ExprKind::Slice(start, stop, step) = &*key.kind {
                    let mut bounds = [Value::None, Value::None, Value::None];
                    for (bound, expr) in bounds.iter_mut().zip([start, stop, step]) {
                        if let Some(expr) = expr {
                            *bound = self.evaluate(scope, expr)?;
                        }
                    }
                    return self.slice(&owner, &bounds);
                }
                let key = self.evaluate(scope, key)?;
                self.item(&owner, &key)
            }
            ExprKind::Slice(..) => Err(type_fault("a slice can only stand alone in square brackets")),
            ExprKind::Call(..) => self.evaluate_call(scope, expr, None),
            ExprKind::Filter(..) => self.filtered(scope, expr, None),
            ExprKind::Test(subject, name, arguments) => {
                let subject = self.evaluate(scope, subject)?;
                let call = self.arguments(scope, arguments)?;
                self.call_test(name, &subject, call).map(Value::Bool)
            }
            ExprKind::Not(inner) => Ok(Value::Bool(!self.evaluate(scope, inner)?.truth())),
            ExprKind::Negate(inner) => number::negate(&self.evaluate(scope, inner)?),
            ExprKind::Plus(inner) => number::plus(&self.evaluate(scope, inner)?),
            ExprKind::Binary(op, left, right) => {
                let left = self.evaluate(scope, left)?;
                let right = self.evaluate(scope, right)?;
                number::binary(&self.meter, *op, &left, &right)
            }
            ExprKind::And(left, right) => {
                let left = self.evaluate(scope, left)?;
                if left.truth() { self.evaluate(scope, right) } else { Ok(left) }
            }
            ExprKind::Or(left, right) => {
                let left = self.evaluate(scope, left)?;
                if left.truth() { Ok(left) } else { self.evaluate(scope, right) }
            }
            ExprKind::Concat(parts) => {
                let values = self.evaluate_all(scope, parts)?;
                let mut out = Builder::new(&self.meter)?;
                for value in &values {
                    repr::write_str(&mut out, value)?;
                }
                Ok(Value::Str(out.finish()))
            }
            ExprKind::Compare(first, rest) => self.compare(scope, first, rest),
            ExprKind::If { test, then, otherwise } => {
                if self.evaluate(scope, test)?.truth() {
                    return self.evaluate(scope, then);
                }
                match otherwise {
                    Some(otherwise) => self.evaluate(scope, otherwise),
                    None => Ok(Value::undefined(format!(
                        "the inline if-expression on line {} evaluated to false and no else section was defined.",
                        expr.line
                    ))),
                }
            }
        }
    }

    fn compare(&mut self, scope: &Rc<Scope>, first: &Expr, rest: &[(CompareOp, Expr)]) -> Outcome<Value> {
        let mut left = self.evaluate(scope, first)?;
        for (op, right) in rest {
            let right = self.evaluate(scope, right)?;
            let ordered = |op: &str| order(&self.meter, &left, &right, op);
            let holds = match op {
                CompareOp::Eq => equal(&self.meter, &left, &right)?,
                CompareOp::Ne => !equal(&self.meter, &left, &right)?,
                CompareOp::Lt => ordered("<")?.is_some_and(std::cmp::Ordering::is_lt),
                CompareOp::Le => ordered("<=")?.is_some_and(std::cmp::Ordering::is_le),
                CompareOp::Gt => ordered(">")?.is_some_and(std::cmp::Ordering::is_gt),
                CompareOp::Ge => ordered(">=")?.is_some_and(std::cmp::Ordering::is_ge),
                CompareOp::In => self.contains(&right, &left)?,
                CompareOp::NotIn => !self.contains(&right, &left)?,
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// Python's `value in container`.
    pub(crate) fn contains(&mut self, container: &Value, value: &Value) -> Outcome<bool> {
        match container {
            Value::Str(text) => {
                let Value::Str(part) = value else {
                    return Err(type_fault(format!(
                        "'in <string>' requires string as left operand, not {}",
                        value.type_name()
                    )));
                };
                self.meter.scan(text.as_str().len())?;
                Ok(memchr::memmem::find(text.as_str().as_bytes(), part.as_str().as_bytes()).is_some())
            }
            Value::Dict(dict) | Value::View(super::value::ViewKind::Keys, dict) => {
                Ok(dict.find(value)?.is_some())
            }
            Value::Undefined(_) => Ok(false),
            Value::List(_) | Value::Tuple(_) | Value::Range(_) | Value::View(..) | Value::Generator(_) => {
                let mut iter = super::iterate::iter_of(container)?;
                while let Some(item) = self.advance(&mut iter)? {
                    if equal(&self.meter, &item, value)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            other => Err(type_fault(format!("argument of type '{}' is not iterable", other.type_name()))),
        }
    }

    /// The arguments of a call, evaluated.
    pub(crate) fn arguments(&mut self, scope: &Rc<Scope>, arguments: &Arguments) -> Outcome<Call> {
        let mut call =
            Call { positional: self.evaluate_all(scope, &arguments.positional)?, named: Vec::new() };
        for (name, value) in &arguments.named {
            let value = self.evaluate(scope, value)?;
            if call.named.iter().any(|(known, _)| known == name) {
                return Err(type_fault(format!("keyword argument repeated: {name}")));
            }
            call.named.push((name.clone(), value));
        }
        if let Some(rest) = &arguments.rest {
            let rest = self.evaluate(scope, rest)?;
            call.positional.extend(self.collect(&rest)?);
        }
        if let Some(rest) = &arguments.named_rest {
            let rest = self.evaluate(scope, rest)?;
            let Value::Dict(dict) = &rest else {
                return Err(type_fault(format!(
                    "argument after ** must be a mapping, not {}",
                    rest.type_name()
                )));
            };
            for (key, value) in dict.iter() {
                let Some(key) = key.as_str() else { return Err(type_fault("keywords must be strings")) };
                if call.named.iter().any(|(name, _)| name == key) {
                    return Err(type_fault(format!(
                        "got multiple values for keyword argument {}",
                        quoted(key)
                    )));
                }
                call.named.push((key.to_string(), value.clone()));
            }
        }
        Ok(call)
    }

    /// Evaluates a call, with the body of a call block if it has one.
    pub(crate) fn evaluate_call(
        &mut self,
        scope: &Rc<Scope>,
        expr: &Expr,
        caller: Option<Value>,
    ) -> Outcome<Value> {
        let ExprKind::Call(function, arguments) = &*expr.kind else { return self.evaluate(scope, expr) };
        let function = self.evaluate(scope, function)?;
        let mut call = self.arguments(scope, arguments)?;
        if let Some(caller) = caller {
            call.named.push(("caller".into(), caller));
        }
        self.call(&function, call)
    }

    /// Evaluates a filter, on `value` where the filter stands at the head of a block.
    pub(crate) fn filtered(
        &mut self,
        scope: &Rc<Scope>,
        expr: &Expr,
        value: Option<Value>,
    ) -> Outcome<Value> {
        let ExprKind::Filter(inner, name, arguments) = &*expr.kind else { return self.evaluate(scope, expr) };
        let subject = match inner {
            None => value.ok_or_else(|| value_fault("the filter has nothing to filter"))?,
            Some(inner) if value.is_some() => self.nested(|this| this.filtered(scope, inner, value))?,
            Some(inner) => self.evaluate(scope, inner)?,
        };
        let call = self.arguments(scope, arguments)?;
        self.call_filter(name, subject, call)
    }

    /// An item of a value, or what is undefined.
    pub(crate) fn item(&mut self, owner: &Value, key: &Value) -> Outcome<Value> {
        owner.must_exist()?;
        let at = |length: usize| {
            let index = key.as_index()?;
            let index = if index < 0 { index + length as i128 } else { index };
            usize::try_from(index).ok().filter(|index| *index < length)
        };
        let found = match owner {
            Value::Dict(dict) => match dict.find(key) {
                Ok(found) => found.cloned(),
                Err(_) => None,
            },
            Value::List(items) | Value::Tuple(items) => at(items.len()).map(|at| items[at].clone()),
            Value::Range(range) => at(range.len()).and_then(|at| range.get(at)),
            Value::Str(text) if key.as_index().is_some() => {
                self.meter.scan(text.as_str().len())?;
                match at(text.chars()) {
                    Some(char) => {
                        let begin = text.byte_of(char);
                        let length = text.as_str()[begin..].chars().next().map_or(0, char::len_utf8);
                        Some(Value::Str(text.slice(begin..begin + length)?))
                    }
                    None => None,
                }
            }
            _ => None,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        if let Some(name) = key.as_str() {
            return match self.own_attribute(owner, name)? {
                Some(value) => Ok(value),
                None => Ok(Value::undefined(format!(
                    "{} has no attribute {}",
                    quoted(&owner.owner_name()),
                    quoted(name)
                ))),
            };
        }
        let mut out = Builder::new(&self.meter)?;
        repr::write_repr(&mut out, key)?;
        Ok(Value::undefined(format!("{} has no element {}", owner.owner_name(), out.into_parts().0)))
    }

    /// Python's `owner[start:stop:step]`.
    fn slice(&mut self, owner: &Value, bounds: &[Value; 3]) -> Outcome<Value> {
        owner.must_exist()?;
        let length = match owner {
            Value::Str(text) => {
                self.meter.scan(text.as_str().len())?;
                text.chars()
            }
            Value::List(items) | Value::Tuple(items) => items.len(),
            Value::Range(range) => range.len(),
            Value::Dict(_) => return Err(type_fault("unhashable type: 'slice'")),
            other => return Err(type_fault(format!("'{}' object is not subscriptable", other.type_name()))),
        };
        let mut numbers = [None; 3];
        for (number, bound) in numbers.iter_mut().zip(bounds) {
            *number = match bound {
                Value::None => None,
                other => match other.as_index() {
                    Some(value) => Some(value),
                    None => {
                        return Err(type_fault(
                            "slice indices must be integers or None or have an __index__ method",
                        ));
                    }
                },
            };
        }
        let step = numbers[2].unwrap_or(1);
        if step == 0 {
            return Err(value_fault("slice step cannot be zero"));
        }
        let length = length as i128;
        let clamp = |value: i128, low: i128, high: i128| {
            (if value < 0 { value + length } else { value }).clamp(low, high)
        };
        let (start, stop) = if step > 0 {
            (
                numbers[0].map_or(0, |value| clamp(value, 0, length)),
                numbers[1].map_or(length, |value| clamp(value, 0, length)),
            )
        } else {
            (
                numbers[0].map_or(length - 1, |value| clamp(value, -1, length - 1)),
                numbers[1].map_or(-1, |value| clamp(value, -1, length - 1)),
            )
        };
        if let (Value::Str(text), 1) = (owner, step) {
            let (start, stop) = (start as usize, stop.max(start) as usize);
            return Ok(Value::Str(text.slice(text.byte_of(start)..text.byte_of(stop))?));
        }
        let chosen = super::value::Range { start, stop, step };
        let count = chosen.len();
        self.meter.spend(count as u64)?;
        match owner {
            Value::Str(text) => self.pick(text, start, step, count),
            Value::List(items) | Value::Tuple(items) => {
                let values =
                    (0..count as i128).map(|at| items[(start + at * step) as usize].clone()).collect();
                if matches!(owner, Value::List(_)) {
                    Value::list(&self.meter, values)
                } else {
                    Value::tuple(&self.meter, values)
                }
            }
            Value::Range(range) => {
                let first = range.start + range.step * start;
                let step = range.step * step;
                Ok(Value::Range(Rc::new(super::value::Range {
                    start: first,
                    stop: range.start + range.step * stop,
                    step,
                })))
            }
            _ => Err(type_fault("only sequences can be sliced")),
        }
    }

    /// Every `step`th character from `start` on.
    fn pick(&mut self, text: &Text, start: i128, step: i128, count: usize) -> Outcome<Value> {
        let places: Vec<usize> = text.as_str().char_indices().map(|(at, _)| at).collect();
        let mut out = Builder::new(&self.meter)?;
        for at in 0..count as i128 {
            let char = (start + at * step) as usize;
            let end = places.get(char + 1).copied().unwrap_or(text.as_str().len());
            out.push_slice(text, places[char]..end)?;
        }
        Ok(Value::Str(out.finish().with_markup(text.is_markup())?))
    }
}
