//! Runs the statements of a template.

use crate::interrupt::Interrupt;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Ast, ForLoop, Piece, Stmt, StmtKind, Symbol, Target};
use super::fault::{Fault, FaultKind, Outcome, type_fault, value_fault};
use super::iterate::{Generator, Loop, Stage};
use super::meter::Meter;
use super::moment::Moment;
use super::repr;
use super::scope::Scope;
use super::text::{Builder, Run, Text};
use super::value::{Dict, Function, Namespace, Value};

/// How many bodies and expressions may run inside of each other.
const DEPTH: u32 = 2_000;
/// Stack that is left before more is taken, and how much more.
const STACK: (usize, usize) = (128 << 10, 1 << 20);

/// What a render may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps: about one for each operation of the template and each 64 bytes that it copies.
    pub steps: u64,
    /// Bytes of the text that comes out.
    pub output_bytes: usize,
    /// Bytes that the template's values hold at a time, apart from the conversation.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 50_000_000, output_bytes: 64 << 20, memory_bytes: 256 << 20 }
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
}

/// Runs one template once.
pub(crate) struct Interpreter<'t> {
    pub(crate) ast: &'t Ast,
    pub(crate) meter: Rc<Meter>,
    pub(crate) now: Moment,
    /// The line of the statement at hand.
    pub(crate) line: u32,
    output_bytes: usize,
    constants: Vec<Option<Value>>,
    functions: Vec<Option<Function>>,
    loop_symbol: Option<Symbol>,
    depth: u32,
    root: Rc<Scope>,
    /// What can hold itself: emptied at the end.
    namespaces: Vec<Rc<Namespace>>,
    pub(super) scopes: Vec<Rc<Scope>>,
    loops: Vec<Rc<Loop>>,
    /// Where the text of `generation` blocks lies in the output.
    pub(crate) generated: Vec<(usize, usize)>,
}

/// What a render gives: the text, its parts by origin, and where the assistant's own text lies.
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) runs: Vec<Run>,
    pub(crate) generated: Vec<(usize, usize)>,
}

/// The function of this name.
fn function(name: &str) -> Option<Function> {
    Some(match name {
        "range" => Function::Range,
        "dict" => Function::Dict,
        "namespace" => Function::Namespace,
        "cycler" => Function::Cycler,
        "joiner" => Function::Joiner,
        "lipsum" => Function::Lipsum,
        "raise_exception" => Function::RaiseException,
        "strftime_now" => Function::StrftimeNow,
        _ => return None,
    })
}

impl<'t> Interpreter<'t> {
    pub(crate) fn new(ast: &'t Ast, limits: Limits, interrupt: Option<Interrupt>, now: Moment) -> Self {
        Self {
            ast,
            meter: Meter::new(limits.steps, limits.memory_bytes, interrupt),
            now,
            line: 1,
            output_bytes: limits.output_bytes,
            constants: vec![None; ast.literals.len()],
            functions: ast.names.iter().map(|name| function(name)).collect(),
            loop_symbol: ast.symbol("loop"),
            depth: 0,
            root: Scope::root(),
            namespaces: Vec::new(),
            scopes: Vec::new(),
            loops: Vec::new(),
            generated: Vec::new(),
        }
    }

    /// Renders the template with these variables.
    pub(crate) fn run(mut self, variables: impl IntoIterator<Item = (String, Value)>) -> Outcome<Rendered> {
        let context = Scope::root();
        for (name, value) in variables {
            if let Some(symbol) = self.ast.symbol(&name) {
                context.set(symbol, value);
            }
        }
        self.root = Scope::inside(&context);
        let root = Rc::clone(&self.root);
        let ast = self.ast;
        let mut out = Builder::new(&self.meter)?;
        let ended = self.body(&root, &ast.body, &mut out, true);
        self.clean();
        root.clear();
        context.clear();
        match ended {
            Ok(_) => {
                let (text, runs) = out.into_parts();
                Ok(Rendered { text, runs, generated: std::mem::take(&mut self.generated) })
            }
            Err(fault) => Err(fault.in_line(self.line)),
        }
    }

    /// Empties what can hold itself.
    fn clean(&mut self) {
        for namespace in &self.namespaces {
            if let (Ok(mut dict), Ok(empty)) =
                (namespace.dict.try_borrow_mut(), Dict::new(&Meter::new(u64::MAX, usize::MAX, None)))
            {
                drop(std::mem::replace(&mut *dict, empty));
            }
        }
        for found in &self.loops {
            found.clear();
        }
        for scope in &self.scopes {
            scope.clear();
        }
    }

    /// Runs `run` one level deeper, on enough stack.
    pub(crate) fn nested<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth >= DEPTH {
            return Err(Fault::new(
                FaultKind::Limit,
                format!("the template recurses deeper than {DEPTH} levels"),
            ));
        }
        self.depth += 1;
        let ran = stacker::maybe_grow(STACK.0, STACK.1, || run(self));
        self.depth -= 1;
        ran
    }

    pub(crate) fn constant(&mut self, at: usize) -> Outcome<Value> {
        use super::ast::Literal;
        if let Some(value) = &self.constants[at] {
            return Ok(value.clone());
        }
        let value = match &self.ast.literals[at] {
            Literal::None => Value::None,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Int(value) => Value::Int(*value),
            Literal::Float(value) => Value::Float(*value),
            Literal::Str(text) => Value::Str(Text::new(&self.meter, text, false)?),
        };
        self.constants[at] = Some(value.clone());
        Ok(value)
    }

    pub(crate) fn variable(&self, scope: &Scope, symbol: Symbol) -> Value {
        scope.get(symbol).unwrap_or_else(|| match self.functions[symbol as usize] {
            Some(function) => Value::Function(function),
            None => {
                Value::undefined(format!("{} is undefined", repr::quoted(&self.ast.names[symbol as usize])))
            }
        })
    }

    /// Runs statements; `outer` says that their text is the output itself.
    pub(crate) fn body(
        &mut self,
        scope: &Rc<Scope>,
        body: &[Stmt],
        out: &mut Builder,
        outer: bool,
    ) -> Outcome<Flow> {
        self.nested(|this| {
            for stmt in body {
                this.line = stmt.line;
                this.meter.spend(1)?;
                let flow = this.statement(scope, stmt, out, outer)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    /// The text that a body writes.
    pub(super) fn captured(&mut self, scope: &Rc<Scope>, body: &[Stmt]) -> Outcome<(Text, Flow)> {
        let mut out = Builder::new(&self.meter)?;
        let flow = self.body(scope, body, &mut out, false)?;
        Ok((out.finish(), flow))
    }

    fn statement(&mut self, scope: &Rc<Scope>, stmt: &Stmt, out: &mut Builder, outer: bool) -> Outcome<Flow> {
        match &stmt.kind {
            StmtKind::Output(pieces) => self.output(scope, pieces, out)?,
            StmtKind::If(arms, otherwise) => {
                for (test, line, body) in arms {
                    self.line = *line;
                    if self.evaluate(scope, test)?.truth() {
                        return self.body(scope, body, out, outer);
                    }
                }
                return self.body(scope, otherwise, out, outer);
            }
            StmtKind::For(rule) => {
                let iterable = self.evaluate(scope, &rule.iter)?;
                self.for_loop(scope, rule, iterable, 0, out, outer)?;
            }
            StmtKind::Set(target, value) => {
                let value = self.evaluate(scope, value)?;
                self.assign(scope, target, value)?;
            }
            StmtKind::SetBlock(target, filter, body) => {
                let (text, flow) = self.captured(&Scope::inside(scope), body)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
                self.line = stmt.line;
                let mut value = Value::Str(text);
                if let Some(filter) = filter {
                    value = self.filtered(scope, filter, Some(value))?;
                }
                self.assign(scope, target, value)?;
            }
            StmtKind::Macro(name, decl) => {
                let value = self.macro_value(scope, decl);
                scope.set(*name, value);
            }
            StmtKind::CallBlock(call, decl) => {
                let caller = self.macro_value(scope, decl);
                let value = self.evaluate_call(scope, call, Some(caller))?;
                self.write(out, &value)?;
            }
            StmtKind::FilterBlock(filter, body) => {
                let (text, flow) = self.captured(&Scope::inside(scope), body)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
                self.line = stmt.line;
                let value = self.filtered(scope, filter, Some(Value::Str(text)))?;
                self.write(out, &value)?;
            }
            StmtKind::With(values, body) => {
                let inner = Scope::inside(scope);
                let mut found = Vec::with_capacity(values.len());
                for (target, value) in values {
                    found.push((target, self.evaluate(scope, value)?));
                }
                for (target, value) in found {
                    self.assign(&inner, target, value)?;
                }
                return self.body(&inner, body, out, outer);
            }
            StmtKind::Scope { body, from_root } => {
                let inner = Scope::inside(if *from_root { &self.root } else { scope });
                return self.body(&inner, body, out, outer);
            }
            StmtKind::Generation(body) => {
                let begin = out.len();
                self.body(&Scope::inside(scope), body, out, outer)?;
                if outer {
                    self.generated.push((begin, out.len()));
                }
            }
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Load(template) => {
                self.evaluate(scope, template)?;
                return Err(type_fault("no loader for this environment specified"));
            }
        }
        Ok(Flow::Next)
    }

    fn output(&mut self, scope: &Rc<Scope>, pieces: &[Piece], out: &mut Builder) -> Outcome<()> {
        for piece in pieces {
            match piece {
                Piece::Data(text) => out.push_str(text, false)?,
                Piece::Value(expr) => {
                    self.line = expr.line;
                    let value = self.evaluate(scope, expr)?;
                    self.write(out, &value)?;
                }
            }
            self.check_length(out)?;
        }
        Ok(())
    }

    fn write(&self, out: &mut Builder, value: &Value) -> Outcome<()> {
        repr::write_str(out, value)?;
        self.check_length(out)
    }

    fn check_length(&self, out: &Builder) -> Outcome<()> {
        if out.len() > self.output_bytes {
            return Err(Fault::new(
                FaultKind::Limit,
                format!("the template writes more than {} bytes", self.output_bytes),
            ));
        }
        Ok(())
    }

    pub(crate) fn assign(&mut self, scope: &Rc<Scope>, target: &Target, value: Value) -> Outcome<()> {
        match target {
            Target::Name(symbol) => scope.set(*symbol, value),
            Target::Attribute(symbol, name) => {
                let Value::Namespace(namespace) = self.variable(scope, *symbol) else {
                    return Err(Fault::new(
                        FaultKind::Type,
                        "cannot assign attribute on non-namespace object",
                    ));
                };
                check_name(name)?;
                let key = Text::new(&self.meter, name, false)?;
                let mut dict =
                    namespace.dict.try_borrow_mut().map_err(|_| value_fault("the namespace is in use"))?;
                dict.insert(Value::Str(key), value)?;
            }
            Target::Tuple(targets) => {
                let values = self.collect(&value)?;
                if values.len() < targets.len() {
                    return Err(value_fault(format!(
                        "not enough values to unpack (expected {}, got {})",
                        targets.len(),
                        values.len()
                    )));
                }
                if values.len() > targets.len() {
                    return Err(value_fault(format!(
                        "too many values to unpack (expected {})",
                        targets.len()
                    )));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(scope, target, value)?;
                }
            }
        }
        Ok(())
    }

    fn for_loop(
        &mut self,
        scope: &Rc<Scope>,
        rule: &Arc<ForLoop>,
        iterable: Value,
        depth0: usize,
        out: &mut Builder,
        outer: bool,
    ) -> Outcome<()> {
        let line = self.line;
        let iterable = match rule.test {
            None => iterable,
            Some(_) => Generator::value(
                iterable,
                Stage::Condition { rule: Arc::clone(rule), scope: Rc::clone(scope) },
            )?,
        };
        let recurse = rule.recursive.then(|| (Arc::clone(rule), Rc::clone(scope)));
        let found = Rc::new(Loop::new(iterable, recurse, depth0)?);
        let mut ran = false;
        let mut inner = Scope::inside(scope);
        while let Some(value) = self.loop_next(&found)? {
            ran = true;
            if Rc::strong_count(&inner) == 1 {
                inner.clear();
            } else {
                inner = Scope::inside(scope);
            }
            if let Some(symbol) = self.loop_symbol {
                inner.set(symbol, Value::Loop(Rc::clone(&found)));
            }
            self.assign(&inner, &rule.target, value)?;
            if self.body(&inner, &rule.body, out, outer)? == Flow::Break {
                break;
            }
            // Taking the next value is the work of the `for` itself.
            self.line = line;
        }
        if Rc::strong_count(&found) > 1 {
            self.loops.push(found);
        }
        if !ran {
            self.body(&Scope::inside(scope), &rule.otherwise, out, outer)?;
        }
        Ok(())
    }

    /// Calls `loop(…)`: the body once more, over other values.
    pub(crate) fn recurse(&mut self, found: &Loop, iterable: Value) -> Outcome<Value> {
        let Some((rule, scope)) = &found.recurse else {
            return Err(type_fault("The loop must have the 'recursive' marker to be called recursively."));
        };
        let line = self.line;
        let mut out = Builder::new(&self.meter)?;
        self.nested(|this| this.for_loop(scope, rule, iterable, found.depth0 + 1, &mut out, false))?;
        self.line = line;
        Ok(Value::Str(out.finish()))
    }

    /// A namespace with these attributes.
    pub(crate) fn namespace(&mut self, dict: Dict) -> Value {
        let namespace = Rc::new(Namespace { dict: std::cell::RefCell::new(dict) });
        self.namespaces.push(Rc::clone(&namespace));
        Value::Namespace(namespace)
    }
}

/// Refuses names of attributes that begin with an underscore.
pub(crate) fn check_name(name: &str) -> Outcome<()> {
    if name.starts_with('_') {
        return Err(Fault::new(
            FaultKind::Security,
            format!(
                "Chat templates cannot store underscore-prefixed attributes on a namespace, but got {}. Please rename the attribute.",
                repr::quoted(name)
            ),
        ));
    }
    Ok(())
}
