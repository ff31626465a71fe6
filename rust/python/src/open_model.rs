//! What a loaded model holds until it is closed.

use crate::errors::{IntoPyErr, raise, value_error};
use crate::grammar::{Compiler, Grammar};
use crate::job;
use crate::model::is_long;
use crate::sampling::sampler_config;
use crate::vocabulary_facts::VocabularyFacts;
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyString;
use std::ffi::CString;
use std::sync::{Arc, OnceLock};
use tabagent_llama as llama;
use tabagent_runtime::{Engine, TokenConstraint};
use tabagent_sampling::SamplerConfig;

/// What `close` takes away. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) model: llama::Model,
    /// `None` with `vocab_only`.
    pub(crate) engine: Option<Engine>,
    pub(crate) limits: Limits,
    pub(crate) end_tokens: Arc<OnceLock<Vec<i32>>>,
    pub(crate) compiler: Arc<Compiler>,
    pub(crate) vocabulary: Arc<VocabularyFacts>,
}

/// A prompt of more bytes is measured before it is tokenized.
const LONG_TEXT: usize = 1 << 18;

/// Limits of the decode thread's context; zeros with `vocab_only`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) context_size: u32,
    pub(crate) batch_size: u32,
    pub(crate) max_sequences: u32,
    pub(crate) threads: u32,
}

impl Open {
    pub(crate) fn engine(&self, py: Python<'_>) -> PyResult<&Engine> {
        self.engine.as_ref().ok_or_else(|| llama::ContextError::VocabOnly.into_py(py))
    }

    /// A prompt's tokens: those of a text, or as they are. With `add_special` the special tokens that the model wants at its ends are
    /// there once; where the prompt had them already, a warning that calls it `name` says so, unless there is no name.
    pub(crate) fn prompt(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        add_special: bool,
        parse_special: bool,
        name: Option<&str>,
    ) -> PyResult<Vec<i32>> {
        let prompt = if let Ok(text) = prompt.cast::<PyString>() {
            let text = PyBackedStr::try_from(text.clone())?;
            self.check_length(py, &text)?;
            let model = self.model.clone();
            job::run_if(py, is_long(text.len(), 1), move |_| {
                if add_special {
                    model.vocab().tokenize_prompt(&text, parse_special)
                } else {
                    let tokens = model.vocab().tokenize(&text, false, parse_special)?;
                    Ok(llama::Prompt { tokens, ..llama::Prompt::default() })
                }
            })?
        } else {
            let tokens: Vec<i32> = prompt.extract()?;
            // A model without a tokenizer wants nothing at the ends.
            if !add_special || self.model.vocab().kind() == llama::VocabKind::None {
                return Ok(tokens);
            }
            job::here(py, || self.model.vocab().with_special_once(tokens))?
        };
        let prompt = prompt.map_err(|e| e.into_py(py))?;
        if let Some(name) = name {
            self.warn_of_doubled(py, &prompt, name)?;
        }
        Ok(prompt.tokens)
    }

    /// Refuses a text that surely has more tokens than the context holds, before it is tokenized.
    fn check_length(&self, py: Python<'_>, text: &PyBackedStr) -> PyResult<()> {
        let n_ctx = self.limits.context_size as usize;
        if text.len() > LONG_TEXT {
            let (model, measured) = (self.model.clone(), text.to_string());
            let fewest = job::run(py, move |_| model.vocab().fewest_tokens(&measured))?;
            if fewest > n_ctx {
                let text = format!(
                    "prompt has at least {fewest} tokens but the context holds {n_ctx}; raise `context_size` or shorten the prompt"
                );
                return Err(raise(py, "ContextFullError", text));
            }
        }
        Ok(())
    }

    /// Tells the caller of the Python function that called us of special tokens that would have been there twice.
    fn warn_of_doubled(&self, py: Python<'_>, prompt: &llama::Prompt, name: &str) -> PyResult<()> {
        let vocab = self.model.vocab();
        // The `text` of `perplexity` has no such option.
        let or_not =
            if name == "prompt" { ", or pass `add_special=False`, which takes it as it is" } else { "" };
        let ends = [("begins", "begin", prompt.doubled_front), ("ends", "end", prompt.doubled_back)];
        for (does, end, token) in ends {
            let Some(token) = token else { continue };
            let marker = vocab.token_text(token).map_err(|e| e.into_py(py))?;
            let text = format!(
                "`{name}` {does} with `{marker}` (token {token}), with which all texts of this model {end} anyway, so it was not put there \
                 again; leave it out of `{name}`{or_not}"
            );
            let text = CString::new(text.replace('\0', "\u{FFFD}")).map_err(value_error)?;
            PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 2)?;
        }
        Ok(())
    }

    /// A text's tokens.
    pub(crate) fn tokenize(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<i32>> {
        let tokens = if is_long(text.len(), 1) {
            let model = self.model.clone();
            job::run(py, move |_| model.vocab().tokenize(&text, add_special, parse_special))?
        } else {
            job::here(py, || self.model.vocab().tokenize(&text, add_special, parse_special))?
        };
        tokens.map_err(|e| e.into_py(py))
    }

    /// What `grammar` says for one stream; a grammar of another model is refused.
    pub(crate) fn constraint(&self, py: Python<'_>, grammar: &Grammar) -> PyResult<Box<dyn TokenConstraint>> {
        let (open, grammar) = (self.clone(), Arc::clone(&grammar.inner));
        let started = job::run(py, move |_| {
            let ours = open.compiler.get(&open.model, open.end_tokens())?.table();
            if !Arc::ptr_eq(ours, grammar.table()) {
                return Ok(None);
            }
            grammar.start().map(Some)
        })?;
        match started.map_err(|e: tabagent_sampling::constraint::GrammarError| e.into_py(py))? {
            Some(constraint) => Ok(Box::new(constraint)),
            None => Err(value_error(
                "`grammar` was compiled by another model; compile it with this model's `compile_grammar`",
            )),
        }
    }

    /// See [`Model::sampling`].
    pub(crate) fn sampling(&self, py: Python<'_>, config: &Bound<'_, PyAny>) -> PyResult<SamplerConfig> {
        let mut given = sampler_config(config)?;
        let (breakers, pieces) = (given.needs_breakers(), given.needs_pieces());
        if !breakers && !pieces {
            return Ok(given.config);
        }
        let open = self.clone();
        let config = job::run(py, move |_| {
            let vocab = open.model.vocab();
            if breakers {
                given.config.dry_breakers = open.vocabulary.breakers(vocab, &given.breakers)?;
            }
            if pieces {
                given.config.pieces = Some(open.vocabulary.pieces(vocab, open.end_tokens())?);
            }
            Ok(given.config)
        })?;
        config.map_err(|e: llama::VocabError| e.into_py(py))
    }

    /// All tokens that end a generation.
    pub(crate) fn end_tokens(&self) -> &[i32] {
        self.end_tokens.get_or_init(|| {
            let vocab = self.model.vocab();
            (0..vocab.len() as i32).filter(|token| vocab.is_eog(*token)).collect()
        })
    }
}
