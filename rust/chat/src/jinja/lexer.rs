//! The template's text as tokens, with the white space that tags take away.

use super::fault::{Fault, FaultKind, Outcome};
use super::letters::is_space;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

impl Token {
    /// The token as Jinja's own messages name it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Data(_) => "template data / text".into(),
            Self::VariableBegin => "begin of print statement".into(),
            Self::VariableEnd => "end of print statement".into(),
            Self::BlockBegin => "begin of statement block".into(),
            Self::BlockEnd => "end of statement block".into(),
            Self::Name(text) | Self::Str(text) => text.clone(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Op(op) => (*op).into(),
            Self::End => "end of template".into(),
        }
    }
}

/// The operators, longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

fn syntax(line: u32, message: impl Into<String>) -> Fault {
    Fault::at(FaultKind::Syntax, line, message)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    line_starting: bool,
    tokens: Vec<(Token, u32)>,
}

/// Splits a template into tokens, up to what is none.
pub(crate) fn tokenize(source: &str) -> (Vec<(Token, u32)>, Option<Fault>) {
    let mut normal = source.replace("\r\n", "\n").replace('\r', "\n");
    if normal.ends_with('\n') {
        normal.pop();
    }
    let mut lexer = Lexer { source: &normal, at: 0, line: 1, line_starting: true, tokens: Vec::new() };
    let fault = lexer.root().err();
    // The end has the line of the last token, as Jinja counts.
    let line = lexer.tokens.last().map_or(1, |(_, line)| *line);
    lexer.tokens.push((Token::End, line));
    (lexer.tokens, fault)
}

#[derive(Clone, Copy, PartialEq)]
enum Tag {
    Variable,
    Block,
    Comment,
    Raw,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    /// Goes on by `bytes`, counting lines.
    fn advance(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        self.line += passed.matches('\n').count() as u32;
        self.at += bytes;
        self.line_starting = passed.ends_with('\n');
    }

    fn root(&mut self) -> Outcome<()> {
        while self.at < self.source.len() {
            let Some((begin, tag, sign, length)) = self.next_tag() else {
                let text = self.rest().to_string();
                self.push(Token::Data(text));
                self.advance(self.source.len() - self.at);
                break;
            };
            self.data(begin, tag != Tag::Variable, sign);
            self.advance(length);
            match tag {
                Tag::Comment => self.comment()?,
                Tag::Raw => self.raw()?,
                Tag::Variable => {
                    self.push(Token::VariableBegin);
                    self.inside(true)?;
                }
                Tag::Block => {
                    self.push(Token::BlockBegin);
                    self.inside(false)?;
                }
            }
        }
        Ok(())
    }

    /// Gives out the text up to `begin`, less the white space that the tag there takes.
    fn data(&mut self, begin: usize, block: bool, sign: Option<u8>) {
        let text = &self.source[self.at..begin];
        let kept = match sign {
            Some(b'-') => text.trim_end_matches(is_space),
            Some(_) => text,
            None if !block => text,
            None => {
                let from = text.rfind('\n').map_or(0, |at| at + 1);
                if (from > 0 || self.line_starting) && text[from..].chars().all(is_space) {
                    &text[..from]
                } else {
                    text
                }
            }
        };
        if !kept.is_empty() {
            self.push(Token::Data(kept.to_string()));
        }
        self.advance(text.len());
    }

    /// The next tag: where it begins, what it is, its sign and the length of its beginning.
    fn next_tag(&self) -> Option<(usize, Tag, Option<u8>, usize)> {
        let mut from = self.at;
        loop {
            let begin = from + memchr::memchr(b'{', &self.source.as_bytes()[from..])?;
            let after = &self.source.as_bytes()[begin + 1..];
            let tag = match after.first() {
                Some(b'{') => Tag::Variable,
                Some(b'%') => Tag::Block,
                Some(b'#') => Tag::Comment,
                _ => {
                    from = begin + 1;
                    continue;
                }
            };
            let sign = after.get(1).copied().filter(|sign| matches!(sign, b'-' | b'+'));
            if tag == Tag::Block
                && let Some(length) = raw_begin(&self.source[begin..])
            {
                return Some((begin, Tag::Raw, sign, length));
            }
            return Some((begin, tag, sign, 2 + usize::from(sign.is_some())));
        }
    }

    /// The length of `%}` or `#}` here, with its sign and the white space it takes.
    fn tag_end(&self, end: &str) -> Option<usize> {
        let rest = self.rest();
        if let Some(after) = rest.strip_prefix('+')
            && after.starts_with(end)
        {
            return Some(1 + end.len());
        }
        if let Some(after) = rest.strip_prefix('-').and_then(|after| after.strip_prefix(end)) {
            return Some(1 + end.len() + after.len() - after.trim_start_matches(is_space).len());
        }
        let after = rest.strip_prefix(end)?;
        Some(end.len() + usize::from(after.starts_with('\n')))
    }

    fn comment(&mut self) -> Outcome<()> {
        let line = self.line;
        let begin = self.at;
        while self.at < self.source.len() {
            let Some(hash) = memchr::memchr3(b'#', b'-', b'+', self.rest().as_bytes()) else { break };
            self.advance(hash);
            if let Some(length) = self.tag_end("#}") {
                self.advance(length);
                return Ok(());
            }
            self.advance(1);
        }
        // Jinja takes a comment that begins where the template ends.
        if begin == self.source.len() { Ok(()) } else { Err(syntax(line, "Missing end of comment tag")) }
    }

    fn raw(&mut self) -> Outcome<()> {
        let line = self.line;
        let mut from = self.at;
        if from == self.source.len() {
            return Ok(());
        }
        while let Some(found) = self.source[from..].find("{%") {
            let begin = from + found;
            let after = &self.source[begin + 2..];
            let sign = after.bytes().next().filter(|sign| matches!(sign, b'-' | b'+'));
            let word = after[usize::from(sign.is_some())..].trim_start_matches(is_space);
            if let Some(tail) = word.strip_prefix("endraw") {
                let tail = tail.trim_start_matches(is_space);
                let end = self.source.len() - tail.len();
                let length =
                    Self { source: self.source, at: end, line: 0, line_starting: false, tokens: Vec::new() }
                        .tag_end("%}");
                if let Some(length) = length {
                    self.data(begin, true, sign);
                    self.advance(end + length - self.at);
                    return Ok(());
                }
            }
            from = begin + 2;
        }
        Err(syntax(line, "Missing end of raw directive"))
    }

    /// The tokens of one tag, with its end.
    fn inside(&mut self, variable: bool) -> Outcome<()> {
        let mut open: Vec<&'static str> = Vec::new();
        while self.at < self.source.len() {
            if open.is_empty() {
                let end = if variable { self.variable_end() } else { self.tag_end("%}") };
                if let Some(length) = end {
                    self.push(if variable { Token::VariableEnd } else { Token::BlockEnd });
                    self.advance(length);
                    return Ok(());
                }
            }
            let rest = self.rest();
            let spaces = rest.len() - rest.trim_start_matches(is_space).len();
            if spaces > 0 {
                self.advance(spaces);
                continue;
            }
            if self.number()? || self.name()? || self.string()? {
                continue;
            }
            self.operator(&mut open)?;
        }
        Ok(())
    }

    fn variable_end(&self) -> Option<usize> {
        let rest = self.rest();
        if let Some(after) = rest.strip_prefix("-}}") {
            return Some(3 + after.len() - after.trim_start_matches(is_space).len());
        }
        rest.starts_with("}}").then_some(2)
    }

    fn operator(&mut self, open: &mut Vec<&'static str>) -> Outcome<()> {
        let rest = self.rest();
        let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) else {
            let char = rest.chars().next().unwrap_or_default();
            let at = self.source[..self.at].chars().count();
            return Err(syntax(
                self.line,
                format!("unexpected char {} at {at}", super::repr::quoted(&char.to_string())),
            ));
        };
        match *op {
            "{" => open.push("}"),
            "(" => open.push(")"),
            "[" => open.push("]"),
            "}" | ")" | "]" => match open.pop() {
                None => return Err(syntax(self.line, format!("unexpected '{op}'"))),
                Some(expected) if expected != *op => {
                    return Err(syntax(self.line, format!("unexpected '{op}', expected '{expected}'")));
                }
                Some(_) => {}
            },
            _ => {}
        }
        self.push(Token::Op(op));
        self.advance(op.len());
        Ok(())
    }

    fn name(&mut self) -> Outcome<bool> {
        let rest = self.rest();
        let length = rest.find(|char: char| !(char.is_alphanumeric() || char == '_')).unwrap_or(rest.len());
        if length == 0 || rest.starts_with(|char: char| char.is_ascii_digit()) {
            return Ok(false);
        }
        if rest.starts_with(|char: char| char.is_numeric()) {
            return Err(syntax(self.line, "Invalid character in identifier"));
        }
        self.push(Token::Name(rest[..length].to_string()));
        self.advance(length);
        Ok(true)
    }

    fn number(&mut self) -> Outcome<bool> {
        let rest = self.rest();
        if !rest.starts_with(|char: char| char.is_ascii_digit()) {
            return Ok(false);
        }
        let before = self.source[..self.at].ends_with('.');
        if !before && let Some(length) = float_length(rest) {
            let digits = rest[..length].replace('_', "");
            let value = digits.parse().map_err(|_| syntax(self.line, format!("`{digits}` is no number")))?;
            self.push(Token::Float(value));
            self.advance(length);
            return Ok(true);
        }
        let (radix, prefix) = match rest.as_bytes().get(1) {
            Some(b'x' | b'X') if rest.starts_with('0') => (16, 2),
            Some(b'o' | b'O') if rest.starts_with('0') => (8, 2),
            Some(b'b' | b'B') if rest.starts_with('0') => (2, 2),
            _ => (10, 0),
        };
        let mut length = digits_length(&rest[prefix..], radix, prefix > 0) + prefix;
        let (radix, prefix) = if length == prefix { (10, 0) } else { (radix, prefix) };
        if prefix == 0 {
            // A decimal number begins with a digit that is not zero, or is all zeros.
            length = if rest.starts_with('0') {
                let zeros = rest.find(|char: char| char != '0' && char != '_').unwrap_or(rest.len());
                rest[..zeros].trim_end_matches('_').len()
            } else {
                digits_length(rest, 10, false)
            };
        }
        let digits = rest[prefix..length].replace('_', "");
        let value = i128::from_str_radix(&digits, radix).map_err(|_| {
            Fault::at(FaultKind::Limit, self.line, format!("the number `{digits}` is too large"))
        })?;
        self.push(Token::Int(value));
        self.advance(length);
        Ok(true)
    }

    fn string(&mut self) -> Outcome<bool> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|char| matches!(char, '"' | '\'')) else {
            return Ok(false);
        };
        let mut escaped = false;
        for (at, char) in rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
            } else if char == '\\' {
                escaped = true;
            } else if char == quote {
                let value = unescape(&rest[1..at]).map_err(|message| syntax(self.line, message))?;
                self.push(Token::Str(value));
                self.advance(at + 1);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The length of `{% raw %}` here.
fn raw_begin(text: &str) -> Option<usize> {
    let after = text.strip_prefix("{%")?;
    let after = after.strip_prefix(['-', '+']).unwrap_or(after);
    let after = after.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    let end = match after.strip_prefix("-%}") {
        Some(end) => end.trim_start_matches(is_space),
        None => after.strip_prefix("%}")?,
    };
    Some(text.len() - end.len())
}

/// The length of digits with single underscores between them.
fn digits_length(text: &str, radix: u32, underscore_first: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if (bytes[at] as char).is_digit(radix) {
            at += 1;
        } else if bytes[at] == b'_'
            && (at > 0 || underscore_first)
            && bytes.get(at + 1).is_some_and(|next| (*next as char).is_digit(radix))
        {
            at += 2;
        } else {
            break;
        }
    }
    at
}

/// The length of a number with a fraction or an exponent.
fn float_length(text: &str) -> Option<usize> {
    let whole = digits_length(text, 10, false);
    let mut at = whole;
    if text[at..].starts_with('.') {
        let fraction = digits_length(&text[at + 1..], 10, false);
        if fraction > 0 {
            at += 1 + fraction;
        }
    }
    let with_fraction = at > whole;
    if text[at..].starts_with(['e', 'E']) {
        let sign = usize::from(text[at + 1..].starts_with(['+', '-']));
        let exponent = digits_length(&text[at + 1 + sign..], 10, false);
        if exponent > 0 {
            return Some(at + 1 + sign + exponent);
        }
    }
    with_fraction.then_some(at)
}

/// The value of a string literal, with Python's escapes.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.char_indices();
    while let Some((_, char)) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        let Some((at, escape)) = chars.next() else { return Err("\\ at end of string".into()) };
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escape),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            '0'..='7' => {
                let digits =
                    text[at..].bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let code = u32::from_str_radix(&text[at..at + digits], 8).unwrap_or(0);
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                for _ in 1..digits {
                    chars.next();
                }
            }
            'x' | 'u' | 'U' => {
                let (digits, kind) = match escape {
                    'x' => (2, "\\xXX"),
                    'u' => (4, "\\uXXXX"),
                    _ => (8, "\\UXXXXXXXX"),
                };
                let code = text
                    .get(at + 1..at + 1 + digits)
                    .filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let Some(code) = code else { return Err(format!("truncated {kind} escape")) };
                let code = u32::from_str_radix(code, 16).unwrap_or(u32::MAX);
                out.push(char::from_u32(code).ok_or("the escape of a string names no character")?);
                for _ in 0..digits {
                    chars.next();
                }
            }
            _ => {
                out.push('\\');
                out.push(escape);
            }
        }
    }
    Ok(out)
}
