//! Calls into the grammar engine: panics become errors, and compiling has a stack of its own.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use llguidance::TokenParser;
use llguidance::api::{GrammarInit, StopReason, TopLevelGrammar};
use llguidance::panic_utils::catch_unwind;

use super::{GrammarError, TokenTable, limits};

/// Any error of the engine.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Runs `f`, with a panic or an error of the engine as [`GrammarError::Internal`].
pub(crate) fn guard<T, E: Display>(f: impl FnOnce() -> Result<T, E>) -> Result<T, GrammarError> {
    let mut result = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        result = Some(f());
        Ok(())
    }));
    match (outcome, result) {
        (Ok(()), Some(Ok(value))) => Ok(value),
        (Ok(()), Some(Err(error))) => Err(internal(&error)),
        (Err(panic), _) => Err(internal(&panic)),
        (Ok(()), None) => Err(internal(&"no result")),
    }
}

fn internal(error: &impl Display) -> GrammarError {
    GrammarError::Internal { message: first_line(&error.to_string()) }
}

/// The gist of what the engine said: the first line, and the line that names the error where another parser's report is inside.
pub(crate) fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("no message");
    match lines.find_map(|line| line.strip_prefix("error: ")) {
        Some(error) => format!("{} {error}", first.trim_end_matches(':').to_owned() + ":"),
        None => first.to_owned(),
    }
}

/// Refuses a regular expression that the engine cannot parse, with the column it names.
pub(crate) fn check_regex(regex: &str) -> Result<(), GrammarError> {
    let mut message = String::new();
    let parsed = guard(|| {
        let mut builder = llguidance::derivre::RegexBuilder::new();
        Ok::<_, String>(builder.mk_regex(regex).map_err(|error| message = error.to_string()).is_ok())
    })?;
    if parsed {
        return Ok(());
    }
    let caret = message.lines().find(|line| !line.is_empty() && line.trim_start().starts_with('^'));
    let column = caret.and_then(|line| line.find('^')).map_or(1, |at| at.saturating_sub(4) + 1);
    let what = message.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&message);
    Err(GrammarError::syntax(1, column, first_line(what)))
}

/// Runs `f` with a large stack, since the engine recurses over what it compiles.
pub(crate) fn with_stack<T>(f: impl FnOnce() -> Result<T, GrammarError>) -> Result<T, GrammarError> {
    // The stack panics where there is no memory for it.
    guard(|| Ok::<_, String>(stacker::grow(limits::COMPILE_STACK_BYTES, f)))?
}

/// A parser at the beginning of `grammar`, with the engine's own words on failure.
pub(crate) fn build_parser(
    table: &TokenTable,
    grammar: TopLevelGrammar,
) -> Result<TokenParser, EngineMessage> {
    build_parser_of(table, GrammarInit::Serialized(grammar))
}

/// A parser at the beginning of a grammar that may have been built already.
pub(crate) fn build_parser_of(
    table: &TokenTable,
    grammar: GrammarInit,
) -> Result<TokenParser, EngineMessage> {
    let mut parser = table
        .factory()
        .create_parser_from_init_default(grammar)
        .map_err(|error| EngineMessage(format!("{error:#}")))?;
    parser.bias_computer = table.masks();
    parser.start_without_prompt();
    Ok(parser)
}

/// What the engine said when it refused a grammar.
#[derive(Debug)]
pub(crate) struct EngineMessage(pub(crate) String);

impl EngineMessage {
    pub(crate) fn is_panic(&self) -> bool {
        self.0.starts_with("panic: ")
    }

    /// Whether the grammar is beyond a limit rather than wrong.
    pub(crate) fn is_size(&self) -> bool {
        const SIGNS: [&str; 8] = [
            "too big",
            "too large",
            "too complex",
            "too deeply nested",
            "limit",
            "fuel",
            "stack level",
            "exceeds",
        ];
        let text = self.0.to_lowercase();
        SIGNS.iter().any(|sign| text.contains(sign))
    }

    /// The error for a grammar that the engine was given as its author wrote it.
    pub(crate) fn into_error(self) -> GrammarError {
        let (line, column, message) = position(&first_line(&self.0));
        if let Some(token) = message.strip_prefix("Token range end too large: ") {
            return GrammarError::syntax(line, column, format!("token `{token}` is not in the vocabulary"));
        }
        // It would go on with the names of all there are.
        if let Some((name, _)) = message
            .strip_prefix("unknown special token: \"")
            .and_then(|rest| rest.split_once("\"; following special tokens"))
        {
            let message = format!("the vocabulary has no special token `{name}`");
            return GrammarError::syntax(line, column, message);
        }
        if self.is_panic() {
            GrammarError::Internal { message }
        } else if self.is_size() {
            GrammarError::too_large(format!("{message}; make it smaller"))
        } else {
            GrammarError::syntax(line, column, message)
        }
    }

    /// The error for a grammar that was translated for the engine: the places that it names are not in the source.
    pub(crate) fn into_error_without_place(self) -> GrammarError {
        match self.into_error() {
            GrammarError::Syntax { message, .. } => GrammarError::Internal { message },
            error => error,
        }
    }
}

/// Splits the engine's `at LINE(COLUMN): message`.
fn position(text: &str) -> (usize, usize, String) {
    let parse = || {
        let rest = text.strip_prefix("at ").unwrap_or(text);
        let (line, rest) = rest.split_once('(')?;
        let (column, message) = rest.split_once("): ")?;
        Some((line.parse().ok()?, column.parse().ok()?, message.to_owned()))
    };
    parse().unwrap_or_else(|| (1, 1, text.to_owned()))
}

/// What to say when a parser stopped although it should go on.
pub(crate) fn stopped(parser: &TokenParser, message: &str) -> GrammarError {
    explained(parser.stop_reason(), message)
}

/// Refuses to go on with a parser that has met a limit: it tells only when it is asked for its next mask.
pub(crate) fn check_limits(parser: &TokenParser) -> Result<(), GrammarError> {
    match guard(|| Ok::<_, String>(parser.parser.get_error()))? {
        Some(error) => Err(explained(error.stop_reason(), &error.message())),
        None => Ok(()),
    }
}

fn explained(reason: StopReason, message: &str) -> GrammarError {
    match reason {
        StopReason::NoExtensionBias | StopReason::NoExtension => GrammarError::Dead,
        // The engine follows a forced text to its end before it says anything else.
        StopReason::ParserTooComplex if message.contains("ff_tokens") => GrammarError::too_large(
            "it leaves no choice for very long, or without an end; give every rule a way to end",
        ),
        StopReason::LexerTooComplex | StopReason::ParserTooComplex => {
            GrammarError::too_large(format!("{}; simplify it", first_line(message)))
        }
        _ => GrammarError::Internal { message: first_line(message) },
    }
}
