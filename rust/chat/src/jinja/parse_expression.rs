//! Expressions of a template, from its tokens.

use super::ast::{Arguments, BinaryOp, CompareOp, Expr, ExprKind, Literal};
use super::fault::{Fault, FaultKind, Outcome};
use super::filters;
use super::lexer::Token;
use super::parser::{Parser, depth_of};
use super::predicates;
use super::repr::quoted;

impl Parser {
    pub(super) fn expression(&mut self, with_condition: bool) -> Outcome<Expr> {
        self.deeper(|parser| if with_condition { parser.condition() } else { parser.or() })
    }

    fn condition(&mut self) -> Outcome<Expr> {
        let mut line = self.line();
        let unknown = self.unknown.len();
        let mut then = self.or()?;
        while self.skip_name("if") {
            let test = self.or()?;
            let otherwise = if self.skip_name("else") { Some(self.deeper(Self::condition)?) } else { None };
            // What a condition may pass over need not exist.
            self.unknown.truncate(unknown);
            let depth = test.depth.max(then.depth).max(otherwise.as_ref().map_or(0, |value| value.depth));
            then = Self::node(line, ExprKind::If { test, then, otherwise }, depth)?;
            line = self.line();
        }
        Ok(then)
    }

    fn or(&mut self) -> Outcome<Expr> {
        let mut line = self.line();
        let mut left = self.and()?;
        while self.skip_name("or") {
            let right = self.and()?;
            let depth = left.depth.max(right.depth);
            left = Self::node(line, ExprKind::Or(left, right), depth)?;
            line = self.line();
        }
        Ok(left)
    }

    fn and(&mut self) -> Outcome<Expr> {
        let mut line = self.line();
        let mut left = self.not()?;
        while self.skip_name("and") {
            let right = self.not()?;
            let depth = left.depth.max(right.depth);
            left = Self::node(line, ExprKind::And(left, right), depth)?;
            line = self.line();
        }
        Ok(left)
    }

    fn not(&mut self) -> Outcome<Expr> {
        let line = self.line();
        if self.skip_name("not") {
            let inner = self.deeper(Self::not)?;
            let depth = inner.depth;
            return Self::node(line, ExprKind::Not(inner), depth);
        }
        self.compare()
    }

    fn compare(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let op = match self.current() {
                Token::Op("==") => CompareOp::Eq,
                Token::Op("!=") => CompareOp::Ne,
                Token::Op("<") => CompareOp::Lt,
                Token::Op("<=") => CompareOp::Le,
                Token::Op(">") => CompareOp::Gt,
                Token::Op(">=") => CompareOp::Ge,
                Token::Name(name) if name == "in" => CompareOp::In,
                Token::Name(name) if name == "not" && *self.ahead() == Token::Name("in".into()) => {
                    self.next();
                    CompareOp::NotIn
                }
                _ => break,
            };
            self.next();
            rest.push((op, self.sum()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let depth = rest.iter().map(|(_, value)| value.depth).max().unwrap_or(0).max(first.depth);
        Self::node(line, ExprKind::Compare(first, rest), depth)
    }

    fn sum(&mut self) -> Outcome<Expr> {
        let mut line = self.line();
        let mut left = self.concat()?;
        loop {
            let op = match self.current() {
                Token::Op("+") => BinaryOp::Add,
                Token::Op("-") => BinaryOp::Sub,
                _ => return Ok(left),
            };
            self.next();
            let right = self.concat()?;
            let depth = left.depth.max(right.depth);
            left = Self::node(line, ExprKind::Binary(op, left, right), depth)?;
            line = self.line();
        }
    }

    fn concat(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_op("~") {
            parts.push(self.product()?);
        }
        let depth = parts.iter().map(|part| part.depth).max().unwrap_or(0);
        Self::node(line, ExprKind::Concat(parts), depth)
    }

    fn product(&mut self) -> Outcome<Expr> {
        let mut line = self.line();
        let mut left = self.power()?;
        loop {
            let op = match self.current() {
                Token::Op("*") => BinaryOp::Mul,
                Token::Op("/") => BinaryOp::Div,
                Token::Op("//") => BinaryOp::FloorDiv,
                Token::Op("%") => BinaryOp::Mod,
                _ => return Ok(left),
            };
            self.next();
            let right = self.power()?;
            let depth = left.depth.max(right.depth);
            left = Self::node(line, ExprKind::Binary(op, left, right), depth)?;
            line = self.line();
        }
    }

    fn power(&mut self) -> Outcome<Expr> {
        let mut line = self.line();
        let mut left = self.unary(true)?;
        while self.skip_op("**") {
            let right = self.unary(true)?;
            let depth = left.depth.max(right.depth);
            left = Self::node(line, ExprKind::Binary(BinaryOp::Pow, left, right), depth)?;
            line = self.line();
        }
        Ok(left)
    }

    fn unary(&mut self, with_filter: bool) -> Outcome<Expr> {
        let line = self.line();
        let mut value = if self.skip_op("-") {
            let inner = self.deeper(|parser| parser.unary(false))?;
            let depth = inner.depth;
            Self::node(line, ExprKind::Negate(inner), depth)?
        } else if self.skip_op("+") {
            let inner = self.deeper(|parser| parser.unary(false))?;
            let depth = inner.depth;
            Self::node(line, ExprKind::Plus(inner), depth)?
        } else {
            self.primary()?
        };
        value = self.postfix(value)?;
        if with_filter {
            value = self.filters_and_tests(value)?;
        }
        Ok(value)
    }

    fn constant(&mut self, line: u32, literal: Literal) -> Outcome<Expr> {
        let at = self.literal(literal);
        Self::node(line, ExprKind::Const(at), 0)
    }

    pub(super) fn primary(&mut self) -> Outcome<Expr> {
        let line = self.line();
        match self.current().clone() {
            Token::Name(name) => {
                self.next();
                match name.as_str() {
                    "true" | "True" => self.constant(line, Literal::Bool(true)),
                    "false" | "False" => self.constant(line, Literal::Bool(false)),
                    "none" | "None" => self.constant(line, Literal::None),
                    _ => {
                        for reads in &mut self.reads {
                            reads.caller |= name == "caller";
                            reads.kwargs |= name == "kwargs";
                            reads.varargs |= name == "varargs";
                        }
                        let symbol = self.symbol(&name);
                        Self::node(line, ExprKind::Name(symbol), 0)
                    }
                }
            }
            Token::Str(mut text) => {
                self.next();
                while let Token::Str(more) = self.current() {
                    text.push_str(more);
                    self.next();
                }
                self.constant(line, Literal::Str(text))
            }
            Token::Int(value) => {
                self.next();
                self.constant(line, Literal::Int(value))
            }
            Token::Float(value) => {
                self.next();
                self.constant(line, Literal::Float(value))
            }
            Token::Op("(") => {
                self.next();
                let inner = self.deeper(|parser| parser.tuple(true, &[], true))?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Token::Op("[") => self.list(line),
            Token::Op("{") => self.dict(line),
            other => Err(self.fail(format!("unexpected {}", quoted(&other.describe())))),
        }
    }

    /// Expressions with commas between them make a tuple; one without a comma is itself.
    pub(super) fn tuple(
        &mut self,
        with_condition: bool,
        ends: &[&str],
        in_parentheses: bool,
    ) -> Outcome<Expr> {
        let mut line = self.line();
        let mut items = Vec::new();
        let mut tuple = false;
        loop {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            let ended = match self.current() {
                Token::VariableEnd | Token::BlockEnd | Token::Op(")") => true,
                Token::Name(name) => ends.contains(&name.as_str()),
                _ => false,
            };
            if ended {
                break;
            }
            items.push(self.expression(with_condition)?);
            if !self.is_op(",") {
                break;
            }
            tuple = true;
            line = self.line();
        }
        if !tuple {
            if let Some(only) = items.pop() {
                return Ok(only);
            }
            if !in_parentheses {
                return Err(
                    self.fail(format!("Expected an expression, got {}", quoted(&self.current().describe())))
                );
            }
        }
        let depth = items.iter().map(|item| item.depth).max().unwrap_or(0);
        Self::node(line, ExprKind::Tuple(items), depth)
    }

    fn list(&mut self, line: u32) -> Outcome<Expr> {
        self.next();
        let mut items = Vec::new();
        while !self.is_op("]") {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op("]") {
                break;
            }
            items.push(self.expression(true)?);
        }
        self.expect_op("]")?;
        let depth = items.iter().map(|item| item.depth).max().unwrap_or(0);
        Self::node(line, ExprKind::List(items), depth)
    }

    fn dict(&mut self, line: u32) -> Outcome<Expr> {
        self.next();
        let mut items = Vec::new();
        while !self.is_op("}") {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op("}") {
                break;
            }
            let key = self.expression(true)?;
            self.expect_op(":")?;
            items.push((key, self.expression(true)?));
        }
        self.expect_op("}")?;
        let depth = items.iter().map(|(key, value)| key.depth.max(value.depth)).max().unwrap_or(0);
        Self::node(line, ExprKind::Dict(items), depth)
    }

    pub(super) fn postfix(&mut self, mut value: Expr) -> Outcome<Expr> {
        loop {
            value = match self.current() {
                Token::Op("." | "[") => self.subscript(value)?,
                Token::Op("(") => self.call(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn filters_and_tests(&mut self, mut value: Expr) -> Outcome<Expr> {
        loop {
            value = match self.current() {
                Token::Op("|") => self.filter_chain(Some(value))?,
                Token::Op("(") => self.call(value)?,
                Token::Name(name) if name == "is" => self.test(value)?,
                _ => return Ok(value),
            };
        }
    }

    fn subscript(&mut self, value: Expr) -> Outcome<Expr> {
        let (token, line) = self.next();
        let depth = value.depth;
        if token == Token::Op(".") {
            return match self.next() {
                (Token::Name(name), _) => Self::node(line, ExprKind::Attribute(value, name), depth),
                (Token::Int(number), at) => {
                    let index = self.constant(at, Literal::Int(number))?;
                    Self::node(line, ExprKind::Item(value, index), depth)
                }
                (_, at) => Err(Fault::at(FaultKind::Syntax, at, "expected name or number")),
            };
        }
        let mut items = Vec::new();
        while !self.is_op("]") {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            items.push(self.subscribed()?);
        }
        self.expect_op("]")?;
        let below = items.iter().map(|item| item.depth).max().unwrap_or(0).max(depth);
        let single = if items.len() == 1 { items.pop() } else { None };
        let item = match single {
            Some(item) => item,
            None => Self::node(line, ExprKind::Tuple(items), below)?,
        };
        let below = item.depth.max(depth);
        Self::node(line, ExprKind::Item(value, item), below)
    }

    fn subscribed(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let start = if self.is_op(":") {
            None
        } else {
            let value = self.expression(true)?;
            if !self.is_op(":") {
                return Ok(value);
            }
            Some(value)
        };
        self.expect_op(":")?;
        let ends = |parser: &Self| parser.is_op("]") || parser.is_op(",");
        let stop = if self.is_op(":") || ends(self) { None } else { Some(self.expression(true)?) };
        let step = if self.skip_op(":") && !ends(self) { Some(self.expression(true)?) } else { None };
        let depth = [&start, &stop, &step].into_iter().flatten().map(|part| part.depth).max().unwrap_or(0);
        Self::node(line, ExprKind::Slice(start, stop, step), depth)
    }

    fn call(&mut self, value: Expr) -> Outcome<Expr> {
        let line = self.line();
        let arguments = self.call_arguments()?;
        let depth = depth_of(&arguments).max(value.depth);
        Self::node(line, ExprKind::Call(value, arguments), depth)
    }

    /// A name with dots, as filters and tests have them.
    fn dotted_name(&mut self) -> Outcome<(String, u32)> {
        let (mut name, line) = self.expect_name()?;
        while self.skip_op(".") {
            name.push('.');
            name.push_str(&self.expect_name()?.0);
        }
        Ok((name, line))
    }

    pub(super) fn filter_chain(&mut self, mut value: Option<Expr>) -> Outcome<Expr> {
        while self.skip_op("|") {
            value = Some(self.one_filter(value.take())?);
        }
        value.ok_or_else(|| self.expected("|"))
    }

    pub(super) fn filter_chain_inline(&mut self) -> Outcome<Expr> {
        let first = self.one_filter(None)?;
        if self.is_op("|") { self.filter_chain(Some(first)) } else { Ok(first) }
    }

    fn one_filter(&mut self, value: Option<Expr>) -> Outcome<Expr> {
        let (name, line) = self.dotted_name()?;
        let arguments = if self.is_op("(") { self.call_arguments()? } else { Arguments::default() };
        if !filters::exists(&name) {
            self.unknown.push(Fault::at(
                FaultKind::Syntax,
                line,
                format!("No filter named {}.", quoted(&name)),
            ));
        }
        let depth = depth_of(&arguments).max(value.as_ref().map_or(0, |value| value.depth));
        Self::node(line, ExprKind::Filter(value, name, arguments), depth)
    }

    fn test(&mut self, value: Expr) -> Outcome<Expr> {
        let (_, line) = self.next();
        let negated = self.skip_name("not");
        let (name, _) = self.dotted_name()?;
        let mut arguments = Arguments::default();
        let takes_one = match self.current() {
            Token::Name(name) => !matches!(name.as_str(), "else" | "or" | "and"),
            Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => true,
            _ => false,
        };
        if self.is_op("(") {
            arguments = self.call_arguments()?;
        } else if takes_one {
            if self.is_name("is") {
                return Err(self.fail("You cannot chain multiple tests with is"));
            }
            let argument = self.deeper(Self::primary)?;
            arguments.positional.push(self.postfix(argument)?);
        }
        if !predicates::exists(&name) {
            self.unknown.push(Fault::at(
                FaultKind::Syntax,
                line,
                format!("No test named {}.", quoted(&name)),
            ));
        }
        let depth = depth_of(&arguments).max(value.depth);
        let test = Self::node(line, ExprKind::Test(value, name, arguments), depth)?;
        if negated { Self::node(line, ExprKind::Not(test), depth + 1) } else { Ok(test) }
    }
}
