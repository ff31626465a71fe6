//! Compiled grammars, and single sequences that follow one.

use crate::errors::{IntoPyErr, value_error};
use crate::job;
use numpy::PyArray1;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use tabagent_llama as llama;
use tabagent_runtime::token_table;
use tabagent_sampling::constraint::{
    self, AfterConstruct, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, Trigger,
    TriggerStart, Whitespace,
};

/// A model's compiler of grammars, made when it is first needed.
#[derive(Default)]
pub(crate) struct Compiler {
    made: OnceLock<Result<GrammarCompiler, GrammarError>>,
    /// What the tokenizer of forced tokens asks; taken away when the model closes, so that grammars do not keep the weights.
    model: Arc<RwLock<Option<llama::Model>>>,
}

impl Compiler {
    /// The compiler. Takes a fraction of a second the first time, while other threads that need it wait.
    pub(crate) fn get(
        &self,
        model: &llama::Model,
        end_tokens: &[i32],
    ) -> Result<&GrammarCompiler, GrammarError> {
        let made = self.made.get_or_init(|| {
            *self.model.write().unwrap_or_else(PoisonError::into_inner) = Some(model.clone());
            let asked = Arc::clone(&self.model);
            let tokenizer = Arc::new(move |bytes: &[u8]| {
                let model = asked.read().unwrap_or_else(PoisonError::into_inner).clone();
                match (model, std::str::from_utf8(bytes)) {
                    (Some(model), Ok(text)) => {
                        model.vocab().tokenize_within(text).ok().flatten().unwrap_or_default()
                    }
                    _ => Vec::new(),
                }
            });
            token_table(model.vocab(), end_tokens, tokenizer).map(GrammarCompiler::new)
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// Lets go of the model.
    pub(crate) fn close(&self) {
        self.model.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A compiled grammar.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Grammar {
    pub(crate) inner: Arc<constraint::Grammar>,
}

#[pymethods]
impl Grammar {
    fn start(&self, py: Python<'_>) -> PyResult<Constraint> {
        let inner = Arc::clone(&self.inner);
        let started = job::run(py, move |_| inner.start())?;
        Ok(Constraint { inner: Mutex::new(started.map_err(|e| e.into_py(py))?) })
    }

    #[getter]
    fn limitations(&self) -> Vec<(String, String, String)> {
        let parts = |l: &constraint::Limitation| (l.path.clone(), l.keyword.clone(), l.message.clone());
        self.inner.limitations().iter().map(parts).collect()
    }
}

/// One sequence that follows a grammar.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Constraint {
    inner: Mutex<constraint::Constraint>,
}

impl Constraint {
    fn lock(&self) -> MutexGuard<'_, constraint::Constraint> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the constraint, without the GIL.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&mut constraint::Constraint) -> Result<T, GrammarError> + Send,
    ) -> PyResult<T> {
        py.detach(|| ask(&mut self.lock())).map_err(|e| e.into_py(py))
    }
}

#[pymethods]
impl Constraint {
    /// `n_vocab` says how long the array is where everything is allowed.
    fn mask<'py>(&self, py: Python<'py>, n_vocab: usize) -> PyResult<Bound<'py, PyArray1<bool>>> {
        let bits = self.ask(py, |constraint| {
            let words = constraint.mask()?;
            let bit =
                |words: &[u32], i: usize| words.get(i / 32).is_some_and(|word| word >> (i % 32) & 1 == 1);
            Ok((0..n_vocab).map(|i| words.is_none_or(|words| bit(words, i))).collect::<Vec<bool>>())
        })?;
        Ok(PyArray1::from_vec(py, bits))
    }

    fn accept(&self, py: Python<'_>, token: i32) -> PyResult<()> {
        self.ask(py, |constraint| constraint.accept(token))
    }

    fn forced(&self, py: Python<'_>) -> PyResult<Vec<i32>> {
        self.ask(py, |constraint| Ok(constraint.forced()))
    }

    fn rollback(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        self.ask(py, |constraint| constraint.rollback(count))
    }

    #[getter]
    fn can_end(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |constraint| Ok(constraint.can_end()))
    }

    #[getter]
    fn is_finished(&self, py: Python<'_>) -> PyResult<bool> {
        self.ask(py, |constraint| Ok(constraint.is_finished()))
    }
}

/// A grammar's source from its kind and its text; `choices` alone has a list of texts.
pub(crate) fn source(kind: &str, source: &Bound<'_, PyAny>) -> PyResult<GrammarSource> {
    let text = || source.extract::<String>();
    Ok(match kind {
        "json_schema" => GrammarSource::JsonSchema(text()?),
        "json_object" => GrammarSource::JsonObject,
        "regex" => GrammarSource::Regex(text()?),
        "choices" => GrammarSource::Choices(source.extract()?),
        "lark" => GrammarSource::Lark(text()?),
        "gbnf" => GrammarSource::Gbnf(text()?),
        other => return Err(value_error(format!("there is no kind of grammar `{other}`"))),
    })
}

/// The options of a grammar. `starts` are texts and tokens; without any the grammar applies from the first token on.
pub(crate) fn options(
    compact: bool,
    starts: Vec<Bound<'_, PyAny>>,
    free_after: bool,
    required: bool,
) -> PyResult<GrammarOptions> {
    let whitespace = if compact { Whitespace::Compact } else { Whitespace::Flexible };
    let start = |value: Bound<'_, PyAny>| match value.extract::<String>() {
        Ok(text) => Ok(TriggerStart::Text(text)),
        Err(_) => value.extract::<i32>().map(TriggerStart::Token),
    };
    let starts = starts.into_iter().map(start).collect::<PyResult<Vec<_>>>();
    let starts = starts.map_err(|_| PyTypeError::new_err("a trigger starts at a str or a token id"))?;
    let then = if free_after { AfterConstruct::FreeText } else { AfterConstruct::Stop };
    let trigger = (!starts.is_empty()).then_some(Trigger { starts, then, required });
    Ok(GrammarOptions { whitespace, trigger })
}
