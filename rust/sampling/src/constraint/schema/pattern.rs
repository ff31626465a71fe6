//! Regular expressions of JSON schemas (ECMA-262) in the syntax of Rust's `regex` crate.
//!
//! What the engine cannot match (look-around, word boundaries, backreferences, anchors inside) is replaced by something that
//! matches at least as much, and the translation says so.

use crate::constraint::limits::MAX_NESTING;

/// An expression in Rust's syntax.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    pub(super) regex: String,
    /// What it matches although the original does not, in words.
    pub(super) weaker: Option<&'static str>,
}

/// Why an expression has no translation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PatternError {
    /// It is no regular expression.
    Invalid(String),
    /// It uses something without a counterpart.
    Unsupported(&'static str),
}

type Parsed<T> = Result<T, PatternError>;

/// The white space of ECMA-262, inside a class.
const SPACE: &str =
    r"\t\n\x0B\x0C\r \x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}";
const ANY: &str = "(?s:.)";

enum Node {
    Atom(String),
    Start,
    End,
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, String),
}

/// Translates `text`.
pub(super) fn translate(text: &str) -> Parsed<Translated> {
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, weaker: None };
    let node = parser.choice()?;
    if parser.at < parser.chars.len() {
        return Err(parser.invalid("unbalanced `)`"));
    }
    let mut regex = String::new();
    emit(&node, true, true, &mut regex, &mut parser.weaker);
    Ok(Translated { regex, weaker: parser.weaker })
}

fn emit(node: &Node, at_start: bool, at_end: bool, out: &mut String, weaker: &mut Option<&'static str>) {
    match node {
        Node::Atom(text) => out.push_str(text),
        Node::Start if at_start => out.push('^'),
        Node::End if at_end => out.push('$'),
        Node::Start | Node::End => *weaker = Some("an anchor inside the expression"),
        Node::Sequence(nodes) => {
            let first = nodes.iter().position(|node| !matches!(node, Node::Start)).unwrap_or(nodes.len());
            let last = nodes.iter().rposition(|node| !matches!(node, Node::End));
            for (i, node) in nodes.iter().enumerate() {
                let at_end = at_end && last.is_none_or(|last| i >= last);
                emit(node, at_start && i <= first, at_end, out, weaker);
            }
        }
        Node::Choice(nodes) => {
            out.push_str("(?:");
            for (i, node) in nodes.iter().enumerate() {
                if i > 0 {
                    out.push('|');
                }
                emit(node, at_start, at_end, out, weaker);
            }
            out.push(')');
        }
        Node::Repeat(node, times) => {
            out.push_str("(?:");
            emit(node, false, false, out, weaker);
            out.push(')');
            out.push_str(times);
        }
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    weaker: Option<&'static str>,
}

impl Parser {
    fn invalid(&self, message: &str) -> PatternError {
        PatternError::Invalid(format!("{message} at character {}", self.at + 1))
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn choice(&mut self) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(PatternError::Unsupported("groups nested too deeply"));
        }
        let mut branches = vec![self.sequence()?];
        while self.eat("|") {
            branches.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(match (branches.pop(), branches.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                branches.extend(last);
                Node::Choice(branches)
            }
        })
    }

    fn sequence(&mut self) -> Parsed<Node> {
        let mut nodes = Vec::new();
        while let Some(c) = self.peek() {
            if c == '|' || c == ')' {
                break;
            }
            let (node, repeatable) = self.term()?;
            match self.quantifier()? {
                Some(_) if !repeatable => return Err(self.invalid("nothing to repeat")),
                Some(times) => nodes.push(Node::Repeat(Box::new(node), times)),
                None => nodes.push(node),
            }
        }
        Ok(Node::Sequence(nodes))
    }

    /// One term, and whether a quantifier may follow.
    fn term(&mut self) -> Parsed<(Node, bool)> {
        let node = match self.next() {
            Some('^') => return Ok((Node::Start, false)),
            Some('$') => return Ok((Node::End, false)),
            Some('(') => self.group()?,
            Some('.') => Node::Atom(r"[^\n\r\x{2028}\x{2029}]".to_owned()),
            Some('[') => Node::Atom(self.class()?),
            Some('\\') => return self.escape(),
            Some('*' | '+' | '?') => return Err(self.invalid("nothing to repeat")),
            Some('{') => {
                self.at -= 1;
                if self.quantifier()?.is_some() {
                    return Err(self.invalid("nothing to repeat"));
                }
                self.at += 1;
                Node::Atom(literal('{'))
            }
            Some(c) => Node::Atom(literal(c)),
            None => return Err(self.invalid("unexpected end")),
        };
        Ok((node, true))
    }

    fn group(&mut self) -> Parsed<Node> {
        let mut flags = None;
        if self.eat("?=") || self.eat("?!") || self.eat("?<=") || self.eat("?<!") {
            self.choice()?;
            self.close()?;
            self.weaker = Some("look-around");
            return Ok(Node::Sequence(Vec::new()));
        }
        if self.eat("?<") || self.eat("?P<") {
            while let Some(c) = self.next() {
                if c == '>' {
                    break;
                }
                if !(c.is_alphanumeric() || c == '_' || c == '$') {
                    return Err(self.invalid("bad group name"));
                }
            }
        } else if self.eat("?i:") {
            flags = Some("(?i:");
        } else if self.eat("?i)") {
            // Only at the very beginning, where some dialects put it: it holds for the rest.
            if self.at != 4 {
                return Err(PatternError::Unsupported("a flag inside the expression"));
            }
            let mut rest = String::from("(?i:");
            let node = self.choice()?;
            emit(&node, true, true, &mut rest, &mut self.weaker);
            rest.push(')');
            return Ok(Node::Atom(rest));
        } else if !self.eat("?:") && self.peek() == Some('?') {
            return Err(self.invalid("unknown kind of group"));
        }
        let node = self.choice()?;
        self.close()?;
        if let Some(flags) = flags {
            let mut text = String::from(flags);
            emit(&node, false, false, &mut text, &mut self.weaker);
            text.push(')');
            return Ok(Node::Atom(text));
        }
        Ok(Node::Choice(vec![node]))
    }

    fn close(&mut self) -> Parsed<()> {
        if self.eat(")") { Ok(()) } else { Err(self.invalid("missing `)`")) }
    }

    /// The quantifier here in Rust's syntax, if there is one.
    fn quantifier(&mut self) -> Parsed<Option<String>> {
        let begin = self.at;
        let times = match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.at += 1;
                c.to_string()
            }
            Some('{') => {
                self.at += 1;
                let least = self.digits();
                let comma = self.eat(",");
                let most = if comma { self.digits() } else { least.clone() };
                if least.is_empty() || !self.eat("}") {
                    self.at = begin;
                    return Ok(None);
                }
                let bound = |text: &str| {
                    text.parse::<u32>().map_err(|_| PatternError::Unsupported("a count beyond 2^32"))
                };
                let low = bound(&least)?;
                if most.is_empty() {
                    format!("{{{low},}}")
                } else {
                    let high = bound(&most)?;
                    if low > high {
                        return Err(self.invalid("counts in the wrong order"));
                    }
                    format!("{{{low},{high}}}")
                }
            }
            _ => return Ok(None),
        };
        self.eat("?");
        Ok(Some(times))
    }

    fn digits(&mut self) -> String {
        let mut digits = String::new();
        while let Some(c) = self.peek().filter(char::is_ascii_digit) {
            digits.push(c);
            self.at += 1;
        }
        digits
    }

    fn escape(&mut self) -> Parsed<(Node, bool)> {
        let c = self.next().ok_or_else(|| self.invalid("`\\` at the end"))?;
        let text = match c {
            'b' | 'B' => {
                self.weaker = Some("a word boundary");
                return Ok((Node::Sequence(Vec::new()), false));
            }
            'A' => return Ok((Node::Start, false)),
            'z' | 'Z' => return Ok((Node::End, false)),
            '1'..='9' => {
                self.digits();
                self.weaker = Some("a backreference");
                format!("{ANY}*")
            }
            'k' if self.eat("<") => {
                while self.next().is_some_and(|c| c != '>') {}
                self.weaker = Some("a backreference");
                format!("{ANY}*")
            }
            _ => match self.set_escape(c)? {
                Some(set) => format!("[{set}]"),
                None => self.char_escape(c).map(literal)?,
            },
        };
        Ok((Node::Atom(text), true))
    }

    /// What a set such as `\d` is inside a class.
    fn set_escape(&mut self, c: char) -> Parsed<Option<String>> {
        Ok(Some(match c {
            'd' => "0-9".to_owned(),
            'D' => "[^0-9]".to_owned(),
            'w' => "0-9A-Za-z_".to_owned(),
            'W' => "[^0-9A-Za-z_]".to_owned(),
            's' => SPACE.to_owned(),
            'S' => format!("[^{SPACE}]"),
            'p' | 'P' if self.peek() == Some('{') => {
                let begin = self.at;
                while self.next().is_some_and(|c| c != '}') {}
                let name: String = self.chars[begin..self.at].iter().collect();
                if !name.ends_with('}') || name.len() < 3 || !name.is_ascii() {
                    return Err(self.invalid("bad property"));
                }
                format!(r"\{c}{name}")
            }
            _ => return Ok(None),
        }))
    }

    fn char_escape(&mut self, c: char) -> Parsed<char> {
        Ok(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\u{B}',
            'f' => '\u{C}',
            '0' => '\0',
            'c' => match self.next() {
                Some(letter) if letter.is_ascii_alphabetic() => char::from(letter as u8 % 32),
                _ => return Err(self.invalid("bad control escape")),
            },
            'x' => self.hex(2)?,
            'u' if self.eat("{") => {
                let begin = self.at;
                while self.next().is_some_and(|c| c != '}') {}
                let digits: String = self.chars[begin..self.at.max(begin + 1) - 1].iter().collect();
                u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .ok_or_else(|| self.invalid("bad code point"))?
            }
            'u' => self.utf16()?,
            c => c,
        })
    }

    fn hex_value(&mut self, n: usize) -> Option<u32> {
        let digits: String = self.chars.get(self.at..self.at + n)?.iter().collect();
        let value = digits
            .chars()
            .all(|c| c.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(&digits, 16).ok())??;
        self.at += n;
        Some(value)
    }

    fn hex(&mut self, n: usize) -> Parsed<char> {
        self.hex_value(n).and_then(char::from_u32).ok_or_else(|| self.invalid("bad hexadecimal escape"))
    }

    fn utf16(&mut self) -> Parsed<char> {
        let high = self.hex_value(4).ok_or_else(|| self.invalid("bad hexadecimal escape"))?;
        if (0xD800..0xDC00).contains(&high) && self.eat("\\u") {
            let low = self.hex_value(4).ok_or_else(|| self.invalid("bad hexadecimal escape"))?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                return char::from_u32(code).ok_or_else(|| self.invalid("bad surrogate pair"));
            }
        }
        char::from_u32(high).ok_or(PatternError::Unsupported("half of a surrogate pair"))
    }

    fn class(&mut self) -> Parsed<String> {
        let negated = self.eat("^");
        let mut items = String::new();
        loop {
            let c = self.next().ok_or_else(|| self.invalid("missing `]`"))?;
            if c == ']' {
                break;
            }
            let low = match self.class_item(c)? {
                Ok(low) => low,
                Err(set) => {
                    items.push_str(&set);
                    continue;
                }
            };
            let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|&c| c != ']');
            if !is_range {
                items.push_str(&code(low));
                continue;
            }
            self.at += 1;
            let c = self.next().ok_or_else(|| self.invalid("missing `]`"))?;
            match self.class_item(c)? {
                Ok(high) if low > high => return Err(self.invalid("range in the wrong order")),
                Ok(high) => items.extend([code(low), "-".to_owned(), code(high)]),
                Err(set) => items.extend([code(low), code('-'), set]),
            }
        }
        Ok(match (items.is_empty(), negated) {
            (true, true) => ANY.to_owned(),
            (true, false) => "[a&&b]".to_owned(),
            (false, true) => format!("[^{items}]"),
            (false, false) => format!("[{items}]"),
        })
    }

    /// A character, or as the error a set.
    fn class_item(&mut self, c: char) -> Parsed<Result<char, String>> {
        if c != '\\' {
            return Ok(Ok(c));
        }
        let c = self.next().ok_or_else(|| self.invalid("`\\` at the end"))?;
        if c == 'b' {
            return Ok(Ok('\u{8}'));
        }
        Ok(match self.set_escape(c)? {
            Some(set) => Err(set),
            None => Ok(self.char_escape(c)?),
        })
    }
}

/// A character outside a class.
fn literal(c: char) -> String {
    if c.is_ascii_alphanumeric() || !c.is_ascii() { c.to_string() } else { code(c) }
}

/// A character that means itself anywhere.
fn code(c: char) -> String {
    format!(r"\x{{{:X}}}", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> String {
        translate(text).unwrap().regex
    }

    #[test]
    fn keeps_what_both_dialects_share() {
        assert_eq!(regex("^a{2,3}?[b-d]+$"), r"^(?:a){2,3}(?:[\x{62}-\x{64}])+$");
        assert_eq!(regex("^(?<year>x|y)$"), "^(?:(?:x|y))$");
    }

    #[test]
    fn spells_what_differs() {
        assert_eq!(regex(r"\d\/\u0041\cJ"), r"[0-9]\x{2F}A\x{A}");
        assert_eq!(regex(r"[\w-\.]"), r"[0-9A-Za-z_\x{2D}\x{2E}]");
        assert_eq!(regex(r"\uD83D\uDE00"), "😀");
        assert_eq!(regex("a{,2}{"), r"a\x{7B}\x{2C}2\x{7D}\x{7B}");
    }

    #[test]
    fn weakens_what_cannot_be_matched() {
        for text in [r"^(?!x)a$", r"a(?=b)", r"\ba", r"(a)\1", "a^b", "(?:a$)b"] {
            assert!(translate(text).unwrap().weaker.is_some(), "{text}");
        }
        assert_eq!(regex(r"^(?!x)a$"), "^a$");
    }

    #[test]
    fn refuses_what_is_no_expression() {
        for text in
            ["(", ")", "[a", "*a", "a**", "a{3,2}", "[z-a]", "(?<n", "\\", "(?y)", "\\u{110000}", "^*"]
        {
            assert!(matches!(translate(text), Err(PatternError::Invalid(_))), "{text}");
        }
        let deep = format!("{}{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(matches!(translate(&deep), Err(PatternError::Unsupported(_))));
    }
}
