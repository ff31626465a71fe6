//! Reading GBNF, by the rules of `llama_grammar_parser` in `src/llama-grammar.cpp` of the pinned tree.

use std::collections::HashMap;

use super::ast::{Grammar, Id, Node, Token};
use super::charset::CharSet;
use crate::constraint::limits::{MAX_GBNF_PARTS, MAX_GBNF_REPEATS, MAX_NESTING, MAX_RULES};
use crate::constraint::{GrammarError, TokenTable};

/// Reads `source`.
pub(super) fn parse(source: &str, table: &TokenTable) -> Result<Grammar, GrammarError> {
    let mut parser = Parser {
        chars: source.chars().collect(),
        at: 0,
        depth: 0,
        table,
        grammar: Grammar::default(),
        rules: HashMap::new(),
        roots: Vec::new(),
        uses: Vec::new(),
    };
    parser.space(true);
    while parser.peek().is_some() {
        parser.rule()?;
    }
    parser.finish()
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    table: &'a TokenTable,
    grammar: Grammar,
    rules: HashMap<String, usize>,
    /// The root of each rule that is defined.
    roots: Vec<Option<Id>>,
    /// Where each rule is named first.
    uses: Vec<usize>,
}

type Parsed<T> = Result<T, GrammarError>;

impl Parser<'_> {
    /// The line and the column of a place in the source.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.chars[..at.min(self.chars.len())];
        let line = before.iter().filter(|&&c| c == '\n').count() + 1;
        (line, before.iter().rev().take_while(|&&c| c != '\n').count() + 1)
    }

    fn error_at(&self, at: usize, message: impl Into<String>) -> GrammarError {
        let (line, column) = self.place(at);
        GrammarError::syntax(line, column, message)
    }

    fn error(&self, message: impl Into<String>) -> GrammarError {
        self.error_at(self.at, message)
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn space(&mut self, newlines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' if newlines => self.at += 1,
                '#' => {
                    while self.peek().is_some_and(|c| c != '\r' && c != '\n') {
                        self.at += 1;
                    }
                }
                _ => break,
            }
        }
    }

    fn name(&mut self) -> Parsed<String> {
        let begin = self.at;
        while self.peek().is_some_and(is_word) {
            self.at += 1;
        }
        if begin == self.at {
            return Err(self.error("expected the name of a rule (letters, digits and `-`)"));
        }
        Ok(self.chars[begin..self.at].iter().collect())
    }

    fn rule_index(&mut self, name: String, at: usize) -> Parsed<usize> {
        if let Some(&index) = self.rules.get(&name) {
            return Ok(index);
        }
        let index = self.roots.len();
        if index >= MAX_RULES {
            return Err(GrammarError::too_large(format!(
                "a grammar may have `{MAX_RULES}` rules; merge some"
            )));
        }
        self.roots.push(None);
        self.uses.push(at);
        self.grammar.names.push(name.clone());
        self.grammar.places.push((1, 1));
        self.rules.insert(name, index);
        Ok(index)
    }

    fn rule(&mut self) -> Parsed<()> {
        let begin = self.at;
        let name = self.name()?;
        self.space(false);
        if !self.eat("::=") {
            return Err(self.error("expected `::=` after the name of the rule"));
        }
        self.space(true);
        let index = self.rule_index(name, begin)?;
        let (root, _) = self.choice(false)?;
        self.roots[index] = Some(root);
        self.grammar.places[index] = self.place(begin);
        if self.peek().is_some() && !self.eat("\r\n") && !self.eat("\r") && !self.eat("\n") {
            return Err(self.error("expected the end of the line, `|` or another part of the rule"));
        }
        self.space(true);
        Ok(())
    }

    fn finish(mut self) -> Parsed<Grammar> {
        let Some(&start) = self.rules.get("root") else {
            return Err(self.error_at(0, "there is no rule `root`; name the rule to begin with `root`"));
        };
        for (index, root) in self.roots.iter().enumerate() {
            let Some(root) = root else {
                let message = format!("the rule `{}` is not defined", self.grammar.names[index]);
                return Err(self.error_at(self.uses[index], message));
            };
            self.grammar.rules.push(*root);
        }
        self.grammar.start = start;
        Ok(self.grammar)
    }

    fn add(&mut self, node: Node) -> Parsed<Id> {
        if self.grammar.nodes.len() >= MAX_GBNF_PARTS {
            return Err(GrammarError::too_large(format!(
                "a grammar may have `{MAX_GBNF_PARTS}` parts; make it smaller"
            )));
        }
        Ok(self.grammar.add(node))
    }

    /// Alternatives, and how often repetitions in them multiply.
    fn choice(&mut self, nested: bool) -> Parsed<(Id, u64)> {
        let (first, mut weight) = self.sequence(nested)?;
        let mut branches = vec![first];
        while self.eat("|") {
            self.space(true);
            let (branch, heavier) = self.sequence(nested)?;
            branches.push(branch);
            weight = weight.max(heavier);
        }
        let id = if branches.len() == 1 { first } else { self.add(Node::Choice(branches))? };
        Ok((id, weight))
    }

    fn sequence(&mut self, nested: bool) -> Parsed<(Id, u64)> {
        let mut parts: Vec<(Id, u64)> = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    let id = self.literal()?;
                    parts.push((id, 1));
                }
                '[' => {
                    let id = self.class()?;
                    parts.push((id, 1));
                }
                '<' | '!' => {
                    let id = self.token()?;
                    parts.push((id, 1));
                }
                '.' => {
                    self.at += 1;
                    let id = self.add(Node::Chars(CharSet::all()))?;
                    parts.push((id, 1));
                }
                '(' => {
                    if self.depth >= MAX_NESTING {
                        return Err(GrammarError::too_large(format!(
                            "groups nest deeper than `{MAX_NESTING}`; give the inner ones rules of their own"
                        )));
                    }
                    self.depth += 1;
                    self.at += 1;
                    self.space(true);
                    let group = self.choice(true)?;
                    self.depth -= 1;
                    if !self.eat(")") {
                        return Err(self.error("expected `)`"));
                    }
                    parts.push(group);
                }
                '*' | '+' | '?' | '{' => {
                    let at = self.at;
                    let (least, most) = self.times(nested)?;
                    let Some((part, weight)) = parts.pop() else {
                        return Err(self.error_at(at, "nothing stands before this repetition"));
                    };
                    let repeated = self.repeat(part, weight, least, most)?;
                    parts.push(repeated);
                }
                c if is_word(c) => {
                    let at = self.at;
                    let name = self.name()?;
                    let index = self.rule_index(name, at)?;
                    let id = self.add(Node::Rule(index))?;
                    parts.push((id, 1));
                }
                _ => break,
            }
            self.space(nested);
        }
        let weight = parts.iter().map(|(_, weight)| *weight).max().unwrap_or(1);
        let id = match parts.as_slice() {
            [(only, _)] => *only,
            _ => self.add(Node::Sequence(parts.iter().map(|(id, _)| *id).collect()))?,
        };
        Ok((id, weight))
    }

    fn times(&mut self, nested: bool) -> Parsed<(u64, Option<u64>)> {
        let c = self.peek();
        self.at += 1;
        match c {
            Some('*') => return Ok((0, None)),
            Some('+') => return Ok((1, None)),
            Some('?') => return Ok((0, Some(1))),
            _ => {}
        }
        self.space(nested);
        let least = self.number()?.ok_or_else(|| self.error("expected how often at least, as in `{2,5}`"))?;
        self.space(nested);
        if self.eat("}") {
            return Ok((least, Some(least)));
        }
        if !self.eat(",") {
            return Err(self.error("expected `,` or `}`"));
        }
        self.space(nested);
        let most = self.number()?;
        self.space(nested);
        if self.eat("}") { Ok((least, most)) } else { Err(self.error("expected `}`")) }
    }

    fn number(&mut self) -> Parsed<Option<u64>> {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.chars[begin..self.at].iter().collect();
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| self.error_at(begin, "the number is too large"))
    }

    fn repeat(&mut self, part: Id, weight: u64, least: u64, most: Option<u64>) -> Parsed<(Id, u64)> {
        if least > MAX_GBNF_REPEATS {
            return Err(GrammarError::too_large(format!(
                "a part may be repeated `{MAX_GBNF_REPEATS}` times, got `{least}`"
            )));
        }
        // As in llama.cpp, a maximum beyond the limit is none.
        let most = most.filter(|&most| most <= MAX_GBNF_REPEATS);
        if most.is_some_and(|most| most < least) {
            return Err(self.error("the repetition has a maximum below its minimum"));
        }
        let weight = weight * most.unwrap_or(least).max(1);
        if weight > MAX_GBNF_REPEATS {
            return Err(GrammarError::too_large(format!(
                "nested repetitions multiply to `{weight}`, at most `{MAX_GBNF_REPEATS}` are allowed; repeat less"
            )));
        }
        let id = match (&self.grammar.nodes[part], least, most) {
            (Node::Sequence(parts), ..) if parts.is_empty() => part,
            (_, _, Some(0)) => self.add(Node::Sequence(Vec::new()))?,
            (_, 1, Some(1)) => part,
            _ => self.add(Node::Repeat(part, least as u32, most.map(|most| most as u32)))?,
        };
        Ok((id, weight))
    }

    fn literal(&mut self) -> Parsed<Id> {
        let begin = self.at;
        self.at += 1;
        let mut chars = Vec::new();
        while !self.eat("\"") {
            if self.peek().is_none() {
                return Err(self.error_at(begin, "the text has no closing `\"`"));
            }
            let c = self.character()?;
            chars.push(self.add(Node::Chars(CharSet::new(vec![(c, c)])))?);
        }
        match chars.as_slice() {
            [only] => Ok(*only),
            _ => self.add(Node::Sequence(chars)),
        }
    }

    fn class(&mut self) -> Parsed<Id> {
        let begin = self.at;
        self.at += 1;
        let negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            if self.peek().is_none() {
                return Err(self.error_at(begin, "the class has no closing `]`"));
            }
            let low = self.character()?;
            let mut high = low;
            if self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|&c| c != ']') {
                self.at += 1;
                high = self.character()?;
            }
            if high < low {
                return Err(self.error("the range is in the wrong order"));
            }
            ranges.push((low, high));
        }
        if ranges.is_empty() {
            return self.add(Node::Sequence(Vec::new()));
        }
        let set = CharSet::new(ranges);
        self.add(Node::Chars(if negated { set.negated() } else { set }))
    }

    fn character(&mut self) -> Parsed<u32> {
        let at = self.at;
        let c = self.peek().ok_or_else(|| self.error("unexpected end of the grammar"))?;
        self.at += 1;
        if c != '\\' {
            return Ok(u32::from(c));
        }
        let c = self.peek();
        self.at += 1;
        match c {
            Some('x') => self.hex(2),
            Some('u') => self.hex(4),
            Some('U') => self.hex(8),
            Some('t') => Ok(9),
            Some('r') => Ok(13),
            Some('n') => Ok(10),
            Some(c @ ('\\' | '"' | '[' | ']' | '-')) => Ok(u32::from(c)),
            _ => Err(self.error_at(at, r#"unknown escape; known are \x \u \U \t \r \n \\ \" \[ \] and \-"#)),
        }
    }

    fn hex(&mut self, n: usize) -> Parsed<u32> {
        let digits: String = self.chars.iter().skip(self.at).take(n).collect();
        let hex = digits.len() == n && digits.chars().all(|c| c.is_ascii_hexdigit());
        let code = u32::from_str_radix(&digits, 16).ok().filter(|_| hex);
        let code = code.ok_or_else(|| self.error(format!("expected {n} hexadecimal digits")))?;
        if char::from_u32(code).is_none() {
            return Err(self.error(format!("`{digits}` is no character")));
        }
        self.at += n;
        Ok(code)
    }

    fn token(&mut self) -> Parsed<Id> {
        let begin = self.at;
        let negated = self.eat("!");
        if !self.eat("<") {
            return Err(self.error("expected `<`, as in `!<[12]>`"));
        }
        let name_begin = self.at - 1;
        let id = if self.eat("[") {
            let id = self.number()?.ok_or_else(|| self.error("expected the id of a token"))?;
            if !self.eat("]>") {
                return Err(self.error("expected `]>`"));
            }
            id
        } else {
            while self.peek().is_some_and(|c| c != '>') {
                self.at += 1;
            }
            if !self.eat(">") {
                return Err(self.error_at(begin, "the token has no closing `>`"));
            }
            let name: String = self.chars[name_begin..self.at].iter().collect();
            let found = self.table.find(name.as_bytes());
            found.ok_or_else(|| self.error_at(begin, format!("the vocabulary has no token `{name}`")))? as u64
        };
        if id >= self.table.n_vocab() as u64 {
            let n = self.table.n_vocab();
            return Err(
                self.error_at(begin, format!("token `{id}` is not in the vocabulary of `{n}` tokens"))
            );
        }
        self.add(Node::Token(Token { id: id as u32, negated }))
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}
