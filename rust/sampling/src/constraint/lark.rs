//! What a Lark grammar must keep to before the engine, which follows rules recursively, may see it.

use super::GrammarError;
use super::forced_length;
use super::language::Barren;
use super::limits::MAX_RULES;

/// Refuses grammars whose rules or references could nest deeper than the stack: counts them, since each can nest at most once.
pub(crate) fn check(source: &str) -> Result<(), GrammarError> {
    if source.chars().all(char::is_whitespace) {
        return Err(GrammarError::syntax(1, 1, "the grammar is empty; it needs a rule `start`"));
    }
    let references = source.matches("$ref").count();
    let rules = rules(source).len();
    if rules > MAX_RULES || references > MAX_RULES {
        return Err(GrammarError::too_large(format!(
            "`{rules}` rules and `{references}` references, at most `{MAX_RULES}` of each are allowed; merge some"
        )));
    }
    for (kind, text) in quoted(source) {
        if kind == '/' {
            forced_length::check_expression(text)?;
        } else {
            forced_length::check_text(text.len())?;
        }
    }
    Ok(())
}

/// The expressions and texts, each with the sign that encloses it.
fn quoted(source: &str) -> Vec<(char, &str)> {
    let mut found = Vec::new();
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '/' if chars.peek().is_some_and(|(_, c)| *c == '/') => skip_line(&mut chars),
            '"' | '/' => {
                skip(&mut chars, c);
                let end = chars.peek().map_or(source.len(), |(at, _)| *at);
                found.push((c, source[at + 1..end].strip_suffix(c).unwrap_or(&source[at + 1..end])));
            }
            '#' => skip_line(&mut chars),
            _ => {}
        }
    }
    found
}

/// The error for a rule without a text.
pub(crate) fn refuse(source: &str, barren: &Barren) -> GrammarError {
    let rules = rules(source);
    // The engine adds rules of its own to those of the source.
    let named = barren.path.iter().rev().find_map(|name| rules.iter().find(|rule| rule.name == *name));
    let (name, line, column) =
        named.map_or(("start", 1, 1), |rule| (rule.name.as_str(), rule.line, rule.column));
    GrammarError::syntax(line, column, barren.cause.message(name))
}

/// A rule or terminal, and where it is defined.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    name: String,
    line: usize,
    column: usize,
}

/// What the colons outside texts, expressions, comments and braces define.
fn rules(source: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut braces = 0usize;
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => skip(&mut chars, '"'),
            '/' if chars.peek().is_some_and(|(_, c)| *c == '/') => skip_line(&mut chars),
            '/' => skip(&mut chars, '/'),
            '#' => skip_line(&mut chars),
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            ':' if braces == 0 => rules.push(Rule::before(source, at)),
            _ => {}
        }
    }
    rules
}

impl Rule {
    /// The one whose colon is at `colon`.
    fn before(source: &str, colon: usize) -> Self {
        let begin = source[..colon].rfind('\n').map_or(0, |at| at + 1);
        let head = &source[begin..colon];
        let name = head.trim_start_matches(|c: char| c.is_whitespace() || "?!".contains(c));
        let column = head.chars().count() - name.chars().count() + 1;
        let end = name.find(|c: char| !(c.is_alphanumeric() || "_-".contains(c))).unwrap_or(name.len());
        Self { name: name[..end].to_owned(), line: source[..begin].matches('\n').count() + 1, column }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

/// Goes on past the next `end` that no backslash precedes, or to the end of the line.
fn skip(chars: &mut Chars<'_>, end: char) {
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\n' => break,
            c if c == end => break,
            _ => {}
        }
    }
}

fn skip_line(chars: &mut Chars<'_>) {
    while chars.next().is_some_and(|(_, c)| c != '\n') {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_expressions_and_texts() {
        let source = "start: \"a:b\\\"c\" /x:\\/y/i # \"no\"\n// /no/\n | /(?:)/ \"";
        assert_eq!(quoted(source), [('"', "a:b\\\"c"), ('/', "x:\\/y"), ('/', "(?:)"), ('"', "")]);
    }

    #[test]
    fn finds_rules_only() {
        let source = "start: \"a:b\\\":\" /x:\\/:/ # c:\n// :\n  ?b-c[lazy] : %json {\"a\": 1}\n";
        let rule = |name: &str, line, column| Rule { name: name.to_owned(), line, column };
        assert_eq!(rules(source), [rule("start", 1, 1), rule("b-c", 3, 4)]);
    }
}
