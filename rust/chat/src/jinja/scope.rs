//! Variables, in scopes that lie in each other.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::Symbol;
use super::value::Value;

/// One scope.
pub(crate) struct Scope {
    variables: RefCell<Vec<(Symbol, Value)>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    pub(crate) fn root() -> Rc<Self> {
        Rc::new(Self { variables: RefCell::new(Vec::new()), parent: None })
    }

    pub(crate) fn inside(parent: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::new(Vec::new()), parent: Some(Rc::clone(parent)) })
    }

    pub(crate) fn get(&self, symbol: Symbol) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some((_, value)) = scope.variables.borrow().iter().rev().find(|(name, _)| *name == symbol)
            {
                return Some(value.clone());
            }
            scope = scope.parent.as_deref()?;
        }
    }

    pub(crate) fn set(&self, symbol: Symbol, value: Value) {
        let mut variables = self.variables.borrow_mut();
        let before = if let Some((_, held)) = variables.iter_mut().find(|(name, _)| *name == symbol) {
            std::mem::replace(held, value)
        } else {
            variables.push((symbol, value));
            return;
        };
        drop(variables);
        drop(before);
    }

    /// Forgets what the scope holds, so that nothing holds itself.
    pub(crate) fn clear(&self) {
        let held = std::mem::take(&mut *self.variables.borrow_mut());
        drop(held);
    }
}
