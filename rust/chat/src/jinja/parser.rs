//! Statements of a template, from its tokens. Grammar and messages are those of Jinja 3.1 with loop controls.

use std::collections::HashMap;

use super::ast::{Arguments, Ast, Expr, ExprKind, Literal, Piece, Stmt, StmtKind, Symbol};
use super::fault::{Fault, FaultKind, Outcome};
use super::lexer::{Token, tokenize};
use super::repr::quoted;

/// How deep statements, and expressions, may lie in each other.
pub(super) const NESTING: u16 = 200;
/// Stack that is left before more is taken, and how much more.
const STACK: (usize, usize) = (128 << 10, 1 << 20);

/// Special names that a macro's body has read.
#[derive(Default, Clone, Copy)]
pub(super) struct Reads {
    pub(super) caller: bool,
    pub(super) kwargs: bool,
    pub(super) varargs: bool,
}

pub(super) struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    names: HashMap<String, Symbol>,
    literals: Vec<Literal>,
    pub(super) nesting: u16,
    pub(super) tags: Vec<String>,
    pub(super) ends: Vec<&'static [&'static str]>,
    /// What the macros around here have read, innermost last.
    pub(super) reads: Vec<Reads>,
    /// Filters and tests that don't exist, in the expression at hand: a fault unless a condition may pass over them.
    pub(super) unknown: Vec<Fault>,
    /// The first fault of a template that is well formed.
    pub(super) assertion: Option<Fault>,
    pub(super) soft: bool,
    pub(super) in_loop: bool,
    pub(super) blocks: Vec<String>,
}

/// Parses a template.
pub(crate) fn parse(source: &str) -> Outcome<Ast> {
    let (tokens, unreadable) = tokenize(source);
    let mut parser = Parser {
        tokens,
        at: 0,
        names: HashMap::new(),
        literals: Vec::new(),
        nesting: 0,
        tags: Vec::new(),
        ends: Vec::new(),
        reads: Vec::new(),
        unknown: Vec::new(),
        assertion: None,
        soft: false,
        in_loop: false,
        blocks: Vec::new(),
    };
    let parsed = parser.statements_until(None);
    // Jinja reads on as it parses, so a fault before the text that cannot be read comes first.
    if let Some(fault) = unreadable.filter(|_| parser.at + 1 >= parser.tokens.len()) {
        return Err(fault);
    }
    let body = parsed?;
    if let Some(fault) = parser.assertion {
        return Err(fault);
    }
    let mut names = vec![String::new(); parser.names.len()];
    for (name, symbol) in parser.names {
        names[symbol as usize] = name;
    }
    Ok(Ast { body, names, literals: parser.literals })
}

impl Parser {
    pub(super) fn current(&self) -> &Token {
        &self.tokens[self.at].0
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    pub(super) fn ahead(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    pub(super) fn next(&mut self) -> (Token, u32) {
        let token = self.tokens[self.at].clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    pub(super) fn fail(&self, message: impl Into<String>) -> Fault {
        Fault::at(FaultKind::Syntax, self.line(), message)
    }

    /// A fault that counts only once the whole template has been parsed.
    pub(super) fn assert(&mut self, fault: Fault) {
        self.assertion.get_or_insert(fault);
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.current(), Token::Op(found) if *found == op)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.current(), Token::Name(found) if found == name)
    }

    pub(super) fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expected(&self, what: &str) -> Fault {
        if *self.current() == Token::End {
            return self.fail(format!("unexpected end of template, expected {}.", quoted(what)));
        }
        self.fail(format!("expected token {}, got {}", quoted(what), quoted(&self.current().describe())))
    }

    pub(super) fn expect_op(&mut self, op: &'static str) -> Outcome<u32> {
        let line = self.line();
        if self.skip_op(op) { Ok(line) } else { Err(self.expected(op)) }
    }

    pub(super) fn expect_name(&mut self) -> Outcome<(String, u32)> {
        let line = self.line();
        if let Token::Name(name) = self.current() {
            let name = name.clone();
            self.next();
            return Ok((name, line));
        }
        Err(self.expected("name"))
    }

    pub(super) fn expect(&mut self, token: &Token) -> Outcome<()> {
        if self.current() == token {
            self.next();
            return Ok(());
        }
        Err(self.expected(&token.describe()))
    }

    pub(super) fn symbol(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.names.get(name) {
            return *symbol;
        }
        let symbol = self.names.len() as Symbol;
        self.names.insert(name.to_string(), symbol);
        symbol
    }

    pub(super) fn literal(&mut self, literal: Literal) -> usize {
        self.literals.push(literal);
        self.literals.len() - 1
    }

    /// Runs `parse` one level deeper, on enough stack.
    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.nesting >= NESTING {
            return Err(Fault::at(
                FaultKind::Limit,
                self.line(),
                format!("the template nests deeper than {NESTING} levels"),
            ));
        }
        self.nesting += 1;
        let parsed = stacker::maybe_grow(STACK.0, STACK.1, || parse(self));
        self.nesting -= 1;
        parsed
    }

    pub(super) fn unknown_tag(&self, name: Option<&str>, line: u32) -> Fault {
        let mut message = match name {
            None => vec!["Unexpected end of template.".to_string()],
            Some(name) => vec![format!("Encountered unknown tag {}.", quoted(name))],
        };
        if let Some(looking) = self.ends.last() {
            let looking = looking.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(" or ");
            let misplaced = name.is_some_and(|name| self.ends.iter().any(|ends| ends.contains(&name)));
            message.push(if misplaced {
                format!(
                    "You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for {looking}."
                )
            } else {
                format!("Jinja was looking for the following tags: {looking}.")
            });
        }
        if let Some(tag) = self.tags.last() {
            message.push(format!("The innermost block that needs to be closed is {}.", quoted(tag)));
        }
        let message = message.join(" ");
        Fault::at(FaultKind::Syntax, line, message)
    }

    /// Statements up to one of the tags, whose name is then the current token.
    fn statements_until(&mut self, ends: Option<&'static [&'static str]>) -> Outcome<Vec<Stmt>> {
        if let Some(ends) = ends {
            self.ends.push(ends);
        }
        let mut body = Vec::new();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut first = 0;
        loop {
            let line = self.line();
            match self.current().clone() {
                Token::Data(text) => {
                    first = if pieces.is_empty() { line } else { first };
                    pieces.push(Piece::Data(text));
                    self.next();
                }
                Token::VariableBegin => {
                    first = if pieces.is_empty() { line } else { first };
                    self.next();
                    let value = self.top(|parser| parser.tuple(true, &[], false))?;
                    pieces.push(Piece::Value(value));
                    self.expect(&Token::VariableEnd)?;
                }
                Token::BlockBegin => {
                    if !pieces.is_empty() {
                        body.push(Stmt { kind: StmtKind::Output(std::mem::take(&mut pieces)), line: first });
                    }
                    self.next();
                    if let (Some(ends), Token::Name(name)) = (ends, self.current())
                        && ends.contains(&name.as_str())
                    {
                        break;
                    }
                    let statement = self.deeper(Self::statement)?;
                    body.push(statement);
                    self.expect(&Token::BlockEnd)?;
                }
                _ => {
                    if !pieces.is_empty() {
                        body.push(Stmt { kind: StmtKind::Output(std::mem::take(&mut pieces)), line: first });
                    }
                    if ends.is_some() {
                        return Err(self.unknown_tag(None, self.line()));
                    }
                    break;
                }
            }
        }
        if ends.is_some() {
            self.ends.pop();
        }
        Ok(body)
    }

    /// The body of a tag: from the end of the tag to one of `ends`.
    pub(super) fn body(&mut self, ends: &'static [&'static str]) -> Outcome<Vec<Stmt>> {
        self.skip_op(":");
        self.expect(&Token::BlockEnd)?;
        self.statements_until(Some(ends))
    }

    pub(super) fn body_to(&mut self, ends: &'static [&'static str]) -> Outcome<Vec<Stmt>> {
        let body = self.body(ends)?;
        self.next();
        Ok(body)
    }

    /// An expression that stands by itself: what it names and does not exist is a fault, unless it may be passed over.
    pub(super) fn top<T>(&mut self, parse: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let before = self.unknown.len();
        let parsed = parse(self)?;
        let mut found = self.unknown.drain(before..);
        let first = found.next();
        drop(found);
        if let Some(fault) = first.filter(|_| !self.soft) {
            self.assert(fault);
        }
        Ok(parsed)
    }

    /// Runs `parse` where a missing filter is a fault at once (or not), and where `break` is allowed (or not).
    pub(super) fn within<T>(
        &mut self,
        soft: bool,
        in_loop: bool,
        parse: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<T> {
        let before = (self.soft, self.in_loop);
        (self.soft, self.in_loop) = (soft, in_loop);
        let parsed = parse(self);
        (self.soft, self.in_loop) = before;
        parsed
    }

    /// Builds a node over children of the given depth.
    pub(super) fn node(line: u32, kind: ExprKind, below: u16) -> Outcome<Expr> {
        if below >= NESTING {
            return Err(Fault::at(
                FaultKind::Limit,
                line,
                format!("an expression of the template nests deeper than {NESTING} levels"),
            ));
        }
        Ok(Expr { kind: Box::new(kind), line, depth: below + 1 })
    }
}

/// The depth of the deepest argument.
pub(super) fn depth_of(arguments: &Arguments) -> u16 {
    let all = arguments.positional.iter().chain(arguments.named.iter().map(|(_, value)| value));
    all.chain(&arguments.rest).chain(&arguments.named_rest).map(|value| value.depth).max().unwrap_or(0)
}
