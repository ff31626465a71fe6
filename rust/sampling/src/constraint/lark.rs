//! What a Lark grammar must keep to before the engine, which follows rules recursively, may see it.

use super::GrammarError;
use super::limits::MAX_RULES;

/// Refuses grammars whose rules or references could nest deeper than the stack: counts them, since each can nest at most once.
pub(crate) fn check(source: &str) -> Result<(), GrammarError> {
    if source.chars().all(char::is_whitespace) {
        return Err(GrammarError::syntax(1, 1, "the grammar is empty; it needs a rule `start`"));
    }
    let references = source.matches("$ref").count();
    let rules = count_rules(source);
    if rules > MAX_RULES || references > MAX_RULES {
        return Err(GrammarError::too_large(format!(
            "`{rules}` rules and `{references}` references, at most `{MAX_RULES}` of each are allowed; merge some"
        )));
    }
    Ok(())
}

/// The colons outside texts, expressions, comments and braces: one a rule at least.
fn count_rules(source: &str) -> usize {
    let mut rules = 0;
    let mut braces = 0usize;
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => skip(&mut chars, '"'),
            '/' if chars.peek() == Some(&'/') => skip_line(&mut chars),
            '/' => skip(&mut chars, '/'),
            '#' => skip_line(&mut chars),
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            ':' if braces == 0 => rules += 1,
            _ => {}
        }
    }
    rules
}

/// Goes on past the next `end` that no backslash precedes, or to the end of the line.
fn skip(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, end: char) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\n' => break,
            c if c == end => break,
            _ => {}
        }
    }
}

fn skip_line(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.next().is_some_and(|c| c != '\n') {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_rules_only() {
        assert_eq!(count_rules("start: \"a:b\\\":\" /x:\\/:/ # c:\n// :\nb: %json {\"a\": 1}\n"), 2);
    }
}
