//! From sources to grammars.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;

use super::cache::Cache;
use super::engine::{build_parser, build_parser_of, check_regex, with_stack};
use super::forced_length;
use super::gbnf;
use super::language::{self, Barren, Cause};
use super::lark;
use super::limits::{MAX_CHOICES, MAX_SOURCE_BYTES};
use super::schema::{Written, write, write_frame};
use super::{Frame, Grammar, GrammarError, GrammarOptions, GrammarSource, TokenTable, TriggerStart};

/// Compiles grammars for one vocabulary and keeps the last ones. Share it between threads.
pub struct GrammarCompiler {
    table: Arc<TokenTable>,
    cache: Cache,
}

impl std::fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrammarCompiler")
            .field("table", &self.table)
            .field("cached", &self.cache.len())
            .finish()
    }
}

impl GrammarCompiler {
    /// A compiler for the vocabulary of `table`.
    pub fn new(table: Arc<TokenTable>) -> Self {
        Self { table, cache: Cache::default() }
    }

    /// The vocabulary.
    pub fn table(&self) -> &Arc<TokenTable> {
        &self.table
    }

    /// The grammar of `source`, from the cache if it was compiled before. Takes milliseconds otherwise, and a thread for that time. The
    /// first mask is computed as well.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Schema`], [`GrammarError::Syntax`], [`GrammarError::TooLarge`], [`GrammarError::Argument`] for a trigger
    /// that cannot be, [`GrammarError::Dead`] and [`GrammarError::Unwritable`] if the vocabulary cannot write how a text begins,
    /// [`GrammarError::Internal`] if the engine fails.
    pub fn compile(
        &self,
        source: &GrammarSource,
        options: &GrammarOptions,
    ) -> Result<Arc<Grammar>, GrammarError> {
        let key = (source.clone(), options.clone());
        if let Some(grammar) = self.cache.get(&key) {
            return Ok(grammar);
        }
        self.check_options(options)?;
        check_size(source)?;
        let grammar = with_stack(|| self.compile_now(source, options))?;
        Ok(self.cache.put(key, Arc::new(grammar)))
    }

    fn check_options(&self, options: &GrammarOptions) -> Result<(), GrammarError> {
        let Some(trigger) = &options.trigger else { return Ok(()) };
        if trigger.starts.is_empty() {
            return Err(GrammarError::argument(
                "a trigger needs at least one text or token that starts the construct",
            ));
        }
        for start in &trigger.starts {
            match start {
                TriggerStart::Text(text) if text.is_empty() => {
                    return Err(GrammarError::argument(
                        "the text of a trigger must not be empty; leave the trigger out",
                    ));
                }
                TriggerStart::Token(token) if self.table.is_eos(*token) => {
                    return Err(GrammarError::argument(format!(
                        "the trigger token `{token}` ends the generation; nothing comes after it"
                    )));
                }
                TriggerStart::Token(token)
                    if usize::try_from(*token).map_or(true, |id| id >= self.table.n_vocab()) =>
                {
                    return Err(GrammarError::argument(format!(
                        "the trigger token `{token}` is not in the vocabulary of `{}` tokens",
                        self.table.n_vocab()
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn compile_now(&self, source: &GrammarSource, options: &GrammarOptions) -> Result<Grammar, GrammarError> {
        let grammar = match source {
            GrammarSource::JsonSchema(text) => return self.compile_schema(text, options),
            GrammarSource::Frame(frame) => return self.compile_frame(frame, options),
            GrammarSource::JsonObject => return self.compile_schema(r#"{"type": "object"}"#, options),
            GrammarSource::Regex(regex) => {
                check_regex(regex)?;
                forced_length::check_expression(regex)?;
                // Two slashes would begin a comment.
                TopLevelGrammar::from_regex(if regex.is_empty() { "(?:)" } else { regex })
            }
            GrammarSource::Choices(choices) => {
                forced_length::check_text(choices.iter().map(String::len).max().unwrap_or(0))?;
                TopLevelGrammar::from_lark(choices_to_lark(choices))
            }
            GrammarSource::Lark(lark) => {
                lark::check(lark)?;
                TopLevelGrammar::from_lark(lark.clone())
            }
            GrammarSource::Gbnf(gbnf) => TopLevelGrammar::from_lark(gbnf::to_lark(gbnf, &self.table)?),
        };
        let is_lark = matches!(source, GrammarSource::Lark(_));
        let mut parser = build_parser(&self.table, grammar).map_err(|message| {
            // Only a grammar in Lark comes to the engine as it was written.
            if is_lark { message.into_error() } else { message.into_error_without_place() }
        })?;
        if let Some(barren) = language::barren(&mut parser, &self.table, is_lark)? {
            return Err(match source {
                GrammarSource::Lark(lark) => lark::refuse(lark, &barren),
                GrammarSource::Regex(_) => {
                    GrammarError::syntax(1, 1, "no text matches the expression; loosen it")
                }
                _ => GrammarError::Dead,
            });
        }
        Grammar::new(Arc::clone(&self.table), options.clone(), Vec::new(), parser)
    }

    fn compile_schema(&self, text: &str, options: &GrammarOptions) -> Result<Grammar, GrammarError> {
        self.compile_written(write(text, options.whitespace)?, options)
    }

    fn compile_frame(&self, frame: &Frame, options: &GrammarOptions) -> Result<Grammar, GrammarError> {
        self.compile_written(
            write_frame(frame, options.whitespace, &|text| self.table.find_special(text))?,
            options,
        )
    }

    fn compile_written(&self, written: Written, options: &GrammarOptions) -> Result<Grammar, GrammarError> {
        let Written { grammar, limitations } = written;
        let mut parser =
            build_parser_of(&self.table, grammar).map_err(|message| match message.into_error() {
                GrammarError::Syntax { message, .. } => GrammarError::schema("", message),
                error => error,
            })?;
        if let Some(barren) = language::barren(&mut parser, &self.table, false)? {
            return Err(unsatisfiable(&barren));
        }
        Grammar::new(Arc::clone(&self.table), options.clone(), limitations, parser)
    }
}

/// The error for a schema whose grammar has no text.
fn unsatisfiable(barren: &Barren) -> GrammarError {
    let why = match barren.cause {
        Cause::Endless => {
            "whatever fits it would have to go on without an end; give its recursion a way to end"
        }
        Cause::Empty | Cause::End(_) => "its parts contradict each other; loosen it",
    };
    GrammarError::schema("", format!("nothing can fit this schema: {why}"))
}

fn check_size(source: &GrammarSource) -> Result<(), GrammarError> {
    let bytes = match source {
        GrammarSource::JsonObject => 0,
        GrammarSource::Frame(frame) => frame.len(),
        GrammarSource::JsonSchema(text)
        | GrammarSource::Regex(text)
        | GrammarSource::Lark(text)
        | GrammarSource::Gbnf(text) => text.len(),
        GrammarSource::Choices(choices) => {
            if choices.is_empty() {
                return Err(GrammarError::argument("a list of choices needs at least one"));
            }
            if choices.len() > MAX_CHOICES {
                return Err(GrammarError::too_large(format!(
                    "`{}` choices, at most `{MAX_CHOICES}` are allowed",
                    choices.len()
                )));
            }
            choices.iter().map(String::len).sum()
        }
    };
    if bytes > MAX_SOURCE_BYTES {
        return Err(GrammarError::too_large(format!(
            "`{bytes}` bytes, at most `{MAX_SOURCE_BYTES}` are allowed"
        )));
    }
    Ok(())
}

/// One terminal with all choices, so that one may be the beginning of another.
fn choices_to_lark(choices: &[String]) -> String {
    let quoted: Vec<String> =
        choices.iter().map(|choice| serde_json::Value::from(choice.as_str()).to_string()).collect();
    format!("start: CHOICE\nCHOICE: {}\n", quoted.join("\n | "))
}
