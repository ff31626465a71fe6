//! The statements of a template, from their tokens.

use std::sync::Arc;

use super::ast::{Expr, ExprKind, ForLoop, MacroDecl, Piece, Stmt, StmtKind, Symbol, Target};
use super::fault::{Fault, FaultKind, Outcome};
use super::lexer::Token;
use super::parser::{Parser, Reads};
use super::repr::quoted;

impl Parser {
    pub(super) fn statement(&mut self) -> Outcome<Stmt> {
        let line = self.line();
        let Token::Name(name) = self.current().clone() else { return Err(self.fail("tag name expected")) };
        self.tags.push(name.clone());
        let kind = match name.as_str() {
            "for" => self.for_loop(),
            "if" => self.if_chain(),
            "set" => self.set(),
            "macro" => self.macro_decl(),
            "call" => self.call_block(),
            "filter" => self.filter_block(),
            "with" => self.with(),
            "block" => self.block(),
            "autoescape" => {
                self.next();
                self.top(|parser| parser.expression(true))?;
                let body = self.within(false, self.in_loop, |parser| parser.body_to(&["endautoescape"]))?;
                Ok(StmtKind::Scope { body, from_root: false })
            }
            "print" => self.print(),
            "generation" => {
                self.next();
                let body = self.within(false, false, |parser| parser.body_to(&["endgeneration"]))?;
                Ok(StmtKind::Generation(body))
            }
            "break" | "continue" => {
                self.next();
                if !self.in_loop {
                    let what = if name == "break" {
                        "'break' outside loop"
                    } else {
                        "'continue' not properly in loop"
                    };
                    self.assert(Fault::at(FaultKind::Syntax, line, what));
                }
                Ok(if name == "break" { StmtKind::Break } else { StmtKind::Continue })
            }
            "include" | "import" | "from" | "extends" => self.load(),
            _ => {
                self.tags.pop();
                return Err(self.unknown_tag(Some(&name), line));
            }
        }?;
        self.tags.pop();
        Ok(Stmt { kind, line })
    }

    fn load(&mut self) -> Outcome<StmtKind> {
        self.next();
        let template = self.top(|parser| parser.expression(true))?;
        // The rest of the tag says what to take from the other template; there is none.
        while !matches!(self.current(), Token::BlockEnd | Token::End) {
            self.next();
        }
        Ok(StmtKind::Load(template))
    }

    fn for_loop(&mut self) -> Outcome<StmtKind> {
        self.next();
        let target = self.target(&["in"], false)?;
        if !self.skip_name("in") {
            return Err(self.expected("in"));
        }
        let iter = self.top(|parser| parser.tuple(false, &["recursive"], false))?;
        let mut test = None;
        if self.skip_name("if") {
            let soft = self.soft;
            self.soft = false;
            test = Some(self.top(|parser| parser.expression(true))?);
            self.soft = soft;
        }
        let recursive = self.skip_name("recursive");
        let body = self.within(false, true, |parser| parser.body(&["endfor", "else"]))?;
        let (end, _) = self.next();
        let otherwise = if end == Token::Name("else".into()) {
            let in_loop = self.in_loop;
            self.within(false, in_loop, |parser| parser.body_to(&["endfor"]))?
        } else {
            Vec::new()
        };
        Ok(StmtKind::For(Arc::new(ForLoop { target, iter, test, recursive, body, otherwise })))
    }

    fn if_chain(&mut self) -> Outcome<StmtKind> {
        let line = self.line();
        self.next();
        let mut arms = Vec::new();
        let mut line = line;
        self.within(true, self.in_loop, |parser| {
            loop {
                let test = parser.top(|parser| parser.tuple(false, &[], false))?;
                let body = parser.body(&["elif", "else", "endif"])?;
                arms.push((test, line, body));
                let (end, _) = parser.next();
                line = parser.line();
                match end {
                    Token::Name(name) if name == "elif" => {}
                    Token::Name(name) if name == "else" => {
                        return Ok(StmtKind::If(arms, parser.body_to(&["endif"])?));
                    }
                    _ => return Ok(StmtKind::If(arms, Vec::new())),
                }
            }
        })
    }

    fn set(&mut self) -> Outcome<StmtKind> {
        self.next();
        let target = self.target(&[], true)?;
        if self.skip_op("=") {
            let value = self.top(|parser| parser.tuple(true, &[], false))?;
            return Ok(StmtKind::Set(target, value));
        }
        let soft = std::mem::replace(&mut self.soft, false);
        let filter = if self.is_op("|") { Some(self.top(|parser| parser.filter_chain(None))?) } else { None };
        self.soft = soft;
        let body = self.within(false, self.in_loop, |parser| parser.body_to(&["endset"]))?;
        Ok(StmtKind::SetBlock(target, filter, body))
    }

    /// Parameters in parentheses, with their defaults.
    fn signature(&mut self) -> Outcome<Vec<(Symbol, Option<Expr>)>> {
        self.expect_op("(")?;
        let mut parameters: Vec<(Symbol, Option<Expr>)> = Vec::new();
        while !self.is_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
            }
            let (name, _) = self.expect_name()?;
            self.assignable(&name)?;
            let symbol = self.symbol(&name);
            let default = if self.skip_op("=") {
                Some(self.top(|parser| parser.expression(true))?)
            } else if parameters.iter().any(|(_, default)| default.is_some()) {
                return Err(self.fail("non-default argument follows default argument"));
            } else {
                None
            };
            parameters.push((symbol, default));
        }
        self.expect_op(")")?;
        Ok(parameters)
    }

    fn assignable(&self, name: &str) -> Outcome<()> {
        if matches!(name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(self.fail("can't assign to 'name'"));
        }
        Ok(())
    }

    /// The parameters' and the body's declaration, up to the tag `end`.
    fn declaration(
        &mut self,
        name: Option<String>,
        parameters: Vec<(Symbol, Option<Expr>)>,
        end: &'static [&'static str],
        line: u32,
    ) -> Outcome<MacroDecl> {
        self.reads.push(Reads::default());
        let body = self.within(false, false, |parser| parser.body_to(end))?;
        let reads = self.reads.pop().unwrap_or_default();
        let has = |parser: &mut Self, name: &str| {
            let symbol = parser.symbol(name);
            parameters.iter().position(|(parameter, _)| *parameter == symbol)
        };
        let caller = has(self, "caller");
        if let Some(at) = caller
            && reads.caller
            && parameters[at].1.is_none()
        {
            let message = "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.";
            self.assert(Fault::at(FaultKind::Syntax, line, message));
        }
        let catches_args = reads.varargs && has(self, "varargs").is_none();
        let catches_kwargs = reads.kwargs && has(self, "kwargs").is_none();
        Ok(MacroDecl { name, parameters, body, catches_args, catches_kwargs, uses_caller: reads.caller })
    }

    fn macro_decl(&mut self) -> Outcome<StmtKind> {
        let (_, line) = self.next();
        let (name, _) = self.expect_name()?;
        self.assignable(&name)?;
        let symbol = self.symbol(&name);
        let soft = std::mem::replace(&mut self.soft, false);
        let parameters = self.signature()?;
        let decl = self.declaration(Some(name), parameters, &["endmacro"], line)?;
        self.soft = soft;
        Ok(StmtKind::Macro(symbol, Arc::new(decl)))
    }

    fn call_block(&mut self) -> Outcome<StmtKind> {
        let (_, line) = self.next();
        let parameters = if self.is_op("(") { self.signature()? } else { Vec::new() };
        let call = self.top(|parser| parser.expression(true))?;
        if !matches!(*call.kind, ExprKind::Call(..)) {
            return Err(Fault::at(FaultKind::Syntax, line, "expected call"));
        }
        let decl = self.declaration(None, parameters, &["endcall"], line)?;
        Ok(StmtKind::CallBlock(call, Arc::new(decl)))
    }

    fn filter_block(&mut self) -> Outcome<StmtKind> {
        self.next();
        let soft = std::mem::replace(&mut self.soft, false);
        let filter = self.top(Self::filter_chain_inline)?;
        self.soft = soft;
        let body = self.within(false, self.in_loop, |parser| parser.body_to(&["endfilter"]))?;
        Ok(StmtKind::FilterBlock(filter, body))
    }

    fn with(&mut self) -> Outcome<StmtKind> {
        self.next();
        let soft = std::mem::replace(&mut self.soft, false);
        let mut values = Vec::new();
        while *self.current() != Token::BlockEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_op("=")?;
            values.push((target, self.top(|parser| parser.expression(true))?));
        }
        self.soft = soft;
        let body = self.within(false, self.in_loop, |parser| parser.body_to(&["endwith"]))?;
        Ok(StmtKind::With(values, body))
    }

    fn block(&mut self) -> Outcome<StmtKind> {
        let (_, line) = self.next();
        let (name, _) = self.expect_name()?;
        let scoped = self.skip_name("scoped");
        let required = self.skip_name("required");
        if self.is_op("-") {
            return Err(self.fail(
                "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore instead.",
            ));
        }
        let body = self.within(false, false, |parser| parser.body_to(&["endblock"]))?;
        let blank =
            |piece: &Piece| matches!(piece, Piece::Data(text) if text.chars().all(super::letters::is_space));
        if required
            && !body
                .iter()
                .all(|stmt| matches!(&stmt.kind, StmtKind::Output(pieces) if pieces.iter().all(blank)))
        {
            return Err(self.fail("Required blocks can only contain comments or whitespace"));
        }
        if required {
            self.assert(Fault::at(
                FaultKind::Syntax,
                line,
                format!("Required block {} not found", quoted(&name)),
            ));
        }
        if self.blocks.contains(&name) {
            self.assert(Fault::at(FaultKind::Syntax, line, format!("block {} defined twice", quoted(&name))));
        }
        self.skip_name(&name);
        self.blocks.push(name);
        Ok(StmtKind::Scope { body, from_root: !scoped })
    }

    fn print(&mut self) -> Outcome<StmtKind> {
        self.next();
        let mut pieces = Vec::new();
        while *self.current() != Token::BlockEnd {
            if !pieces.is_empty() {
                self.expect_op(",")?;
            }
            pieces.push(Piece::Value(self.top(|parser| parser.expression(true))?));
        }
        Ok(StmtKind::Output(pieces))
    }

    /// What is assigned to: names, tuples of them, and attributes of namespaces where allowed.
    fn target(&mut self, ends: &[&str], attributes: bool) -> Outcome<Target> {
        let mut targets = Vec::new();
        let mut tuple = false;
        loop {
            if !targets.is_empty() {
                self.expect_op(",")?;
            }
            let ended = match self.current() {
                Token::VariableEnd | Token::BlockEnd => true,
                Token::Op(op) => *op == ")",
                Token::Name(name) => ends.contains(&name.as_str()),
                _ => false,
            };
            if ended {
                break;
            }
            targets.push(self.deeper(|parser| parser.single_target(attributes))?);
            if !self.is_op(",") {
                break;
            }
            tuple = true;
        }
        if tuple {
            return Ok(Target::Tuple(targets));
        }
        targets.pop().ok_or_else(|| {
            self.fail(format!("Expected an expression, got {}", quoted(&self.current().describe())))
        })
    }

    fn single_target(&mut self, attributes: bool) -> Outcome<Target> {
        let line = self.line();
        match self.current().clone() {
            Token::Name(name) => {
                self.next();
                if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None") {
                    return Err(Fault::at(FaultKind::Syntax, line, "can't assign to 'const'"));
                }
                let symbol = self.symbol(&name);
                if attributes && self.skip_op(".") {
                    let (attribute, _) = self.expect_name()?;
                    return Ok(Target::Attribute(symbol, attribute));
                }
                Ok(Target::Name(symbol))
            }
            Token::Op("(") => {
                self.next();
                let inner = self.target(&[], attributes)?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Token::Str(_) | Token::Int(_) | Token::Float(_) => {
                Err(Fault::at(FaultKind::Syntax, line, "can't assign to 'const'"))
            }
            Token::Op("[") => Err(Fault::at(FaultKind::Syntax, line, "can't assign to 'list'")),
            Token::Op("{") => Err(Fault::at(FaultKind::Syntax, line, "can't assign to 'dict'")),
            other => {
                Err(Fault::at(FaultKind::Syntax, line, format!("unexpected {}", quoted(&other.describe()))))
            }
        }
    }
}
