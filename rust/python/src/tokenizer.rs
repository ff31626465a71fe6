//! Tokenizers, which need no engine.

use crate::errors::IntoPyErr;
use crate::job;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyBytes;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tabagent_model::AbortFlag;
use tabagent_tokenizer as core;
use tabagent_tokenizer::TokenizerError;

/// Bytes or tokens that are done soon enough on the calling thread: some milliseconds.
const SHORT: usize = 1 << 16;

/// A tokenizer of a file.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Tokenizer {
    inner: Arc<core::Tokenizer>,
}

impl Tokenizer {
    /// Runs `work`, on a worker if it may be `long`.
    fn run<T: Send + 'static>(
        &self,
        py: Python<'_>,
        long: bool,
        work: impl FnOnce(&core::Tokenizer, core::Stop<'_>) -> Result<T, TokenizerError> + Send + 'static,
    ) -> PyResult<T> {
        let inner = Arc::clone(&self.inner);
        let done = job::run_if(py, long, move |flag: &AbortFlag| work(&inner, &|| flag.is_raised()))?;
        done.map_err(|e| e.into_py(py))
    }
}

#[pymethods]
impl Tokenizer {
    #[staticmethod]
    fn from_file(py: Python<'_>, path: String) -> PyResult<Self> {
        let read = job::run(py, move |_| core::Tokenizer::from_file(Path::new(&path)))?;
        Ok(Self { inner: Arc::new(read.map_err(|e| e.into_py(py))?) })
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.inner.kind().name()
    }

    fn vocab_size(&self) -> usize {
        self.inner.len()
    }

    /// BOS, EOS and the token of a line break.
    fn special_tokens(&self) -> (Option<i32>, Option<i32>, Option<i32>) {
        (self.inner.token_bos(), self.inner.token_eos(), self.inner.token_nl())
    }

    /// Whether BOS and EOS are added to texts.
    fn additions(&self) -> (bool, bool) {
        (self.inner.adds_bos(), self.inner.adds_eos())
    }

    fn is_eog(&self, token: i32) -> bool {
        self.inner.is_eog(token)
    }

    fn token_text(&self, py: Python<'_>, token: i32) -> PyResult<String> {
        self.inner.token_text(token).map_err(|e| e.into_py(py))
    }

    fn token_to_bytes<'py>(
        &self,
        py: Python<'py>,
        token: i32,
        special: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.inner.token_bytes(token, special).map_err(|e| e.into_py(py))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn tokenize(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<i32>> {
        self.run(py, text.len() > SHORT, move |tokenizer, stop| {
            tokenizer.tokenize_unless(&text, add_special, parse_special, stop)
        })
    }

    fn tokenize_batch(
        &self,
        py: Python<'_>,
        texts: Vec<PyBackedStr>,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<Vec<i32>>> {
        let n_bytes: usize = texts.iter().map(|text| text.len()).sum();
        self.run(py, n_bytes > SHORT || texts.len() > 64, move |tokenizer, stop| {
            tokenizer.tokenize_batch(&texts, add_special, parse_special, stop)
        })
    }

    /// Of each token the first character that it stands for, and the one behind its last.
    fn offsets(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<(usize, usize)>> {
        self.run(py, text.len() > SHORT, move |tokenizer, stop| {
            let encoding = tokenizer.encode_unless(&text, add_special, parse_special, stop)?;
            Ok(characters(text.as_bytes(), &encoding.spans))
        })
    }

    fn detokenize(
        &self,
        py: Python<'_>,
        tokens: Vec<i32>,
        remove_special: bool,
        unparse_special: bool,
    ) -> PyResult<String> {
        self.run(py, tokens.len() > SHORT, move |tokenizer, stop| {
            tokenizer.detokenize_unless(&tokens, remove_special, unparse_special, stop)
        })
    }

    fn detokenize_batch(
        &self,
        py: Python<'_>,
        lists: Vec<Vec<i32>>,
        remove_special: bool,
        unparse_special: bool,
    ) -> PyResult<Vec<String>> {
        let long = lists.iter().map(Vec::len).sum::<usize>() > SHORT || lists.len() > 64;
        self.run(py, long, move |tokenizer, stop| {
            tokenizer.detokenize_batch(&lists, remove_special, unparse_special, stop)
        })
    }

    fn __repr__(&self) -> Cow<'static, str> {
        format!("<Tokenizer {} of {} tokens>", self.inner.kind().name(), self.inner.len()).into()
    }
}

/// Spans of bytes as spans of characters. A span that begins or ends inside a character gets all of it. They are in the order of the text.
fn characters(text: &[u8], spans: &[Range<usize>]) -> Vec<(usize, usize)> {
    // How many characters begin before a byte.
    let mut count = (0, 0);
    let before = |from: &mut (usize, usize), byte: usize| {
        let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
        if byte < from.0 {
            *from = (0, 0);
        }
        *from = (byte, from.1 + text[from.0..byte].iter().filter(begins).count());
        from.1
    };
    let is_inside = |byte: usize| text.get(byte).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut ends = (0, 0);
    let places = spans.iter().map(|span| {
        let start = before(&mut count, span.start) - usize::from(is_inside(span.start));
        (start, before(&mut ends, span.end).max(start))
    });
    places.collect()
}
