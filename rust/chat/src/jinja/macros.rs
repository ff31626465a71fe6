//! Macros and the bodies of call blocks.

use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Call;
use super::ast::MacroDecl;
use super::fault::{Outcome, type_fault};
use super::interpreter::Interpreter;
use super::repr;
use super::scope::Scope;
use super::value::{Dict, Macro, Value};

impl Interpreter<'_> {
    pub(super) fn macro_value(&mut self, scope: &Rc<Scope>, decl: &Arc<MacroDecl>) -> Value {
        self.scopes.push(Rc::clone(scope));
        Value::Macro(Rc::new(Macro { decl: Arc::clone(decl), scope: Rc::clone(scope) }))
    }

    /// Calls a macro.
    pub(crate) fn call_macro(&mut self, found: &Macro, mut call: Call) -> Outcome<Value> {
        let decl = &found.decl;
        let scope = Scope::inside(&found.scope);
        let count = decl.parameters.len();
        let name = decl.name.as_deref().map_or("None".into(), repr::quoted);
        let rest = if call.positional.len() > count { call.positional.split_off(count) } else { Vec::new() };
        let mut positional = call.positional.into_iter();
        let mut missing = Vec::new();
        let mut found_caller = false;
        for (symbol, default) in &decl.parameters {
            let parameter = &self.ast.names[*symbol as usize];
            let given = positional.next().or_else(|| {
                let at = call.named.iter().position(|(name, _)| name == parameter)?;
                Some(call.named.remove(at).1)
            });
            found_caller |= parameter == "caller";
            match given {
                Some(value) => scope.set(*symbol, value),
                None => missing.push((*symbol, default)),
            }
        }
        if decl.uses_caller && !found_caller {
            let at = call.named.iter().position(|(name, _)| name == "caller");
            let caller = at.map(|at| call.named.remove(at).1).filter(|value| !matches!(value, Value::None));
            if let Some(symbol) = self.ast.symbol("caller") {
                scope.set(symbol, caller.unwrap_or_else(|| Value::undefined("No caller defined")));
            }
        }
        if decl.catches_kwargs {
            let mut dict = Dict::new(&self.meter)?;
            for (name, value) in call.named.drain(..) {
                dict.insert_str(&name, false, value)?;
            }
            if let Some(symbol) = self.ast.symbol("kwargs") {
                scope.set(symbol, Value::Dict(Rc::new(dict)));
            }
        } else if let Some((first, _)) = call.named.first() {
            if call.named.iter().any(|(name, _)| name == "caller") {
                let message =
                    "was invoked with two values for the special caller argument. This is most likely a bug.";
                return Err(type_fault(format!("macro {name} {message}")));
            }
            return Err(type_fault(format!(
                "macro {name} takes no keyword argument {}",
                repr::quoted(first)
            )));
        }
        if decl.catches_args {
            let values = Value::tuple(&self.meter, rest)?;
            if let Some(symbol) = self.ast.symbol("varargs") {
                scope.set(symbol, values);
            }
        } else if !rest.is_empty() {
            return Err(type_fault(format!("macro {name} takes not more than {count} argument(s)")));
        }
        let line = self.line;
        for (symbol, default) in missing {
            let value = if let Some(default) = default {
                self.evaluate(&scope, default)?
            } else {
                let parameter = repr::quoted(&self.ast.names[symbol as usize]);
                Value::undefined(format!("parameter {parameter} was not provided"))
            };
            scope.set(symbol, value);
        }
        let (text, _) = self.captured(&scope, &decl.body)?;
        self.line = line;
        Ok(Value::Str(text))
    }
}
