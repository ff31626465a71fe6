//! A loaded model with its decode thread.

use crate::arguments::overrides;
use crate::context::Context;
use crate::errors::{IntoPyErr, raise, value_error};
use crate::grammar::{self, Grammar};
use crate::job;
use crate::load::{LoadRequest, load};
use crate::open_model::{Limits, Open};
use crate::stream::Stream;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use tabagent_llama as llama;
use tabagent_llama::{ContextConfig, FlashAttention};
use tabagent_runtime::{Engine, LlamaDecoder, LogprobsMode, Request, ScoreRequest, logits_hook};
use tabagent_sampling::{Sampler, SamplerConfig};
use tabagent_variants::{Hardware, default_threads};

/// A loaded model with its decode thread.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Model {
    /// `None` once closed.
    open: RwLock<Option<Open>>,
    process: u32,
}

/// Most tokens whose logits one decode gives: scoring takes longer with fewer, and each is a row of 4 bytes a token of the vocabulary.
const MAX_OUTPUTS: u32 = 32;
/// Sequences of a decode thread's context unless told otherwise, if they fit.
const SEQUENCES: u32 = 8;

impl Model {
    fn open(&self, py: Python<'_>) -> PyResult<Open> {
        if self.process != std::process::id() {
            let text = "this model was loaded before fork(); load it again in the child process, or use the spawn start method";
            return Err(raise(py, "ForkedError", text));
        }
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        open.ok_or_else(|| raise(py, "ClosedError", "the model is closed; load it again"))
    }

    fn vocab<T: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&llama::Vocab) -> Result<T, llama::VocabError> + Send,
    ) -> PyResult<T> {
        let open = self.open(py)?;
        py.detach(|| ask(open.model.vocab())).map_err(|e| e.into_py(py))
    }
}

impl Model {
    /// A sampler's configuration for this model, from a `SamplerConfig`'s `to_dict()`.
    pub(crate) fn sampling(&self, py: Python<'_>, config: &Bound<'_, PyAny>) -> PyResult<SamplerConfig> {
        self.open(py)?.sampling(py, config)
    }
}

#[pymethods]
impl Model {
    #[staticmethod]
    #[pyo3(signature = (path, *, library, module, gpu_layers, context_size, max_sequences, threads, batch_size, kv_type, use_mmap, mlock, vocab_only, check_tensors, metadata_overrides, progress))]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        library: PathBuf,
        module: Option<String>,
        gpu_layers: Option<u32>,
        context_size: Option<u32>,
        max_sequences: Option<u32>,
        threads: Option<u32>,
        batch_size: Option<u32>,
        kv_type: &str,
        use_mmap: bool,
        mlock: bool,
        vocab_only: bool,
        check_tensors: bool,
        metadata_overrides: &Bound<'_, PyDict>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let overrides = overrides(metadata_overrides)?;
        let context = ContextConfig {
            context_size,
            batch_size,
            max_sequences: max_sequences.unwrap_or(SEQUENCES),
            fits_sequences: max_sequences.is_none(),
            max_outputs: Some(MAX_OUTPUTS),
            threads: threads.or_else(|| u32::try_from(default_threads(&Hardware::probe())).ok()),
            kv_type: kv_type.parse().map_err(|e| crate::errors::config_error(&e))?,
            ..ContextConfig::default()
        };
        let configure = move |mut config: llama::ModelConfig| {
            config = config.with_mmap(use_mmap).with_mlock(mlock).with_vocab_only(vocab_only);
            config = config.with_check_tensors(check_tensors);
            if let Some(layers) = gpu_layers {
                config = config.with_gpu_layers(layers);
            }
            overrides.into_iter().fold(config, |config, (key, value)| config.with_override(key, value))
        };
        let request =
            LoadRequest { library, module, path, context, configure: Box::new(configure), vocab_only };
        let (model, context) = load(py, request, progress)?;
        let limits = context.as_ref().map_or_else(Limits::default, |c| Limits {
            context_size: c.context_size(),
            batch_size: c.batch_size(),
            max_sequences: c.max_sequences(),
            threads: c.threads(),
        });
        let engine = match context {
            Some(context) => {
                let spawn = |_: &_| Engine::spawn(LlamaDecoder::new(context), "tabagent-decode");
                Some(job::run(py, spawn)?.map_err(|e| e.into_py(py))?)
            }
            None => None,
        };
        let open = Open {
            model,
            engine,
            limits,
            end_tokens: Arc::default(),
            compiler: Arc::default(),
            vocabulary: Arc::default(),
        };
        Ok(Self { open: RwLock::new(Some(open)), process: std::process::id() })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let open = py.detach(|| self.open.write().unwrap_or_else(PoisonError::into_inner).take());
        let Some(open) = open else { return Ok(()) };
        if self.process != std::process::id() {
            // The threads and locks of the parent are not there; its memory goes with this process.
            std::mem::forget(open);
            return Ok(());
        }
        job::run(py, move |_| {
            if let Some(engine) = &open.engine {
                engine.close();
            }
            open.compiler.close();
        })
    }

    #[getter]
    fn closed(&self) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let open = self.open(py)?;
        let dict = crate::facts::to_dict(py, &open.model)?;
        dict.set_item("context_size", open.limits.context_size)?;
        dict.set_item("batch_size", open.limits.batch_size)?;
        dict.set_item("max_sequences", open.limits.max_sequences)?;
        dict.set_item("threads", open.limits.threads)?;
        Ok(dict)
    }

    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let open = self.open(py)?;
        let dict = PyDict::new(py);
        for (key, value) in open.model.metadata() {
            dict.set_item(key, value)?;
        }
        Ok(dict)
    }

    fn chat_template(&self, py: Python<'_>, name: Option<&str>) -> PyResult<Option<String>> {
        Ok(self.open(py)?.model.chat_template(name))
    }

    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::facts::special_tokens(py, &self.open(py)?.model)
    }

    fn is_eog(&self, py: Python<'_>, token: i32) -> PyResult<bool> {
        self.vocab(py, |v| v.check_tokens(&[token]).map(|()| v.is_eog(token)))
    }

    fn is_control(&self, py: Python<'_>, token: i32) -> PyResult<bool> {
        self.vocab(py, |v| v.check_tokens(&[token]).map(|()| v.is_control(token)))
    }

    fn token_text(&self, py: Python<'_>, token: i32) -> PyResult<String> {
        self.vocab(py, |v| v.token_text(token))
    }

    fn token_score(&self, py: Python<'_>, token: i32) -> PyResult<f32> {
        self.vocab(py, |v| v.token_score(token))
    }

    fn token_attributes(&self, py: Python<'_>, token: i32) -> PyResult<Vec<&'static str>> {
        self.vocab(py, |v| v.token_attributes(token).map(llama::TokenAttributes::names))
    }

    fn token_to_bytes<'py>(
        &self,
        py: Python<'py>,
        token: i32,
        special: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.vocab(py, |v| v.token_bytes(token, special))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// The tokens that `generate` makes of its prompt.
    fn prompt(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        add_special: bool,
        parse_special: bool,
        name: Option<&str>,
    ) -> PyResult<Vec<i32>> {
        self.open(py)?.prompt(py, prompt, add_special, parse_special, name)
    }

    /// A text's tokens where it goes on with one that ends in the token `last`.
    fn tokenize_after(
        &self,
        py: Python<'_>,
        last: Option<i32>,
        text: PyBackedStr,
        parse_special: bool,
    ) -> PyResult<Vec<i32>> {
        let open = self.open(py)?;
        let tokens = job::run_if(py, is_long(text.len(), 1), move |_| {
            open.model.vocab().tokenize_after(last, &text, parse_special)
        })?;
        tokens.map_err(|e| e.into_py(py))
    }

    fn tokenize(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<i32>> {
        self.open(py)?.tokenize(py, text, add_special, parse_special)
    }

    fn tokenize_batch(
        &self,
        py: Python<'_>,
        texts: Vec<PyBackedStr>,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<Vec<i32>>> {
        let open = self.open(py)?;
        let bytes = texts.iter().map(|text| text.len()).sum();
        let tokens = job::run_if(py, is_long(bytes, texts.len()), move |stop| {
            open.model.vocab().tokenize_batch_unless(&texts, add_special, parse_special, &|| stop.is_raised())
        })?;
        tokens.map_err(|e| e.into_py(py))
    }

    #[pyo3(signature = (tokens, remove_special, unparse_special, clean_up_tokenization_spaces=false, continuation=false))]
    fn detokenize(
        &self,
        py: Python<'_>,
        tokens: Vec<i32>,
        remove_special: bool,
        unparse_special: bool,
        clean_up_tokenization_spaces: bool,
        continuation: bool,
    ) -> PyResult<String> {
        let options = llama::DetokenizeOptions {
            remove_special,
            unparse_special,
            clean_up_tokenization_spaces,
            continuation,
        };
        let open = self.open(py)?;
        let text = job::run_if(py, is_long(tokens.len(), 1), move |_| {
            open.model.vocab().detokenize_with(&tokens, options)
        })?;
        text.map_err(|e| e.into_py(py))
    }

    #[pyo3(signature = (lists, remove_special, unparse_special, clean_up_tokenization_spaces=false, continuation=false))]
    fn detokenize_batch(
        &self,
        py: Python<'_>,
        lists: Vec<Vec<i32>>,
        remove_special: bool,
        unparse_special: bool,
        clean_up_tokenization_spaces: bool,
        continuation: bool,
    ) -> PyResult<Vec<String>> {
        let options = llama::DetokenizeOptions {
            remove_special,
            unparse_special,
            clean_up_tokenization_spaces,
            continuation,
        };
        let open = self.open(py)?;
        let tokens = lists.iter().map(Vec::len).sum();
        let texts = job::run_if(py, is_long(tokens, lists.len()), move |stop| {
            open.model.vocab().detokenize_batch_unless(&lists, options, &|| stop.is_raised())
        })?;
        texts.map_err(|e| e.into_py(py))
    }

    #[pyo3(signature = (prompt, *, add_special, parse_special, max_tokens, sampling, stop, stop_tokens, ignore_eos, logprobs, logprobs_mode, grammar, hooked, cache_prompt))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        add_special: bool,
        parse_special: bool,
        max_tokens: Option<usize>,
        sampling: &Bound<'_, PyAny>,
        stop: Vec<String>,
        stop_tokens: Vec<i32>,
        ignore_eos: bool,
        logprobs: Option<usize>,
        logprobs_mode: &str,
        grammar: Option<&Grammar>,
        hooked: bool,
        cache_prompt: bool,
    ) -> PyResult<Stream> {
        let open = self.open(py)?;
        let engine = open.engine(py)?;
        let mut config = open.sampling(py, sampling)?;
        let prompt = open.prompt(py, prompt, add_special, parse_special, Some("prompt"))?;
        if ignore_eos {
            config.logit_bias.extend(open.end_tokens().iter().map(|t| (*t, f32::NEG_INFINITY)));
        }
        let n_vocab = open.model.vocab().len();
        let (prompt, sampler) = job::run_if(py, is_long(prompt.len(), 1), move |_| {
            let mut sampler = Sampler::new(&config, n_vocab)?;
            for token in &prompt {
                sampler.accept(*token);
            }
            Ok((prompt, sampler))
        })?
        .map_err(|e: tabagent_sampling::ConfigError| value_error(e))?;
        let constraint = grammar.map(|grammar| open.constraint(py, grammar)).transpose()?;
        let (hook, worker) = if hooked {
            let (hook, worker) = logits_hook();
            (Some(hook), Some(worker))
        } else {
            (None, None)
        };
        let request = Request {
            max_tokens,
            stop,
            stop_tokens,
            ignore_eos,
            logprobs,
            logprobs_mode: mode(logprobs_mode)?,
            constraint,
            hook,
            cache_prompt,
            ..Request::new(prompt, Box::new(sampler))
        };
        let stream = py.detach(|| engine.submit(request)).map_err(|e| e.into_py(py))?;
        Ok(Stream::with_hook(stream, worker))
    }

    fn score(
        &self,
        py: Python<'_>,
        prompt: Vec<i32>,
        continuations: Vec<Vec<i32>>,
        cache_prompt: bool,
    ) -> PyResult<Stream> {
        let open = self.open(py)?;
        let engine = open.engine(py)?;
        let request = ScoreRequest { prompt, continuations, cache_prompt };
        let stream = py.detach(|| engine.score(request)).map_err(|e| e.into_py(py))?;
        Ok(Stream::new(stream))
    }

    fn compile_grammar(
        &self,
        py: Python<'_>,
        kind: &str,
        source: &Bound<'_, PyAny>,
        compact: bool,
        starts: Vec<Bound<'_, PyAny>>,
        free_after: bool,
        required: bool,
    ) -> PyResult<Grammar> {
        let open = self.open(py)?;
        let source = grammar::source(kind, source)?;
        let options = grammar::options(compact, starts, free_after, required)?;
        let compiled = job::run(py, move |_| {
            let compiler = open.compiler.get(&open.model, open.end_tokens())?;
            compiler.compile(&source, &options)
        })?;
        Ok(Grammar { inner: compiled.map_err(|e| e.into_py(py))? })
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let open = self.open(py)?;
        let stats = open.engine.as_ref().map(Engine::stats).unwrap_or_default();
        let dict = PyDict::new(py);
        dict.set_item("active", stats.active)?;
        dict.set_item("queued", stats.queued)?;
        dict.set_item("parked", stats.parked)?;
        dict.set_item("cells_used", stats.cells_used)?;
        Ok(dict)
    }

    #[pyo3(signature = (*, context_size, batch_size, micro_batch_size, max_sequences, threads, prompt_threads, kv_type, flash_attention, full_sliding_window))]
    fn create_context(
        &self,
        py: Python<'_>,
        context_size: Option<u32>,
        batch_size: Option<u32>,
        micro_batch_size: Option<u32>,
        max_sequences: u32,
        threads: Option<u32>,
        prompt_threads: Option<u32>,
        kv_type: &str,
        flash_attention: &str,
        full_sliding_window: bool,
    ) -> PyResult<Context> {
        let open = self.open(py)?;
        let config = ContextConfig {
            context_size,
            batch_size,
            micro_batch_size,
            max_sequences,
            fits_sequences: false,
            max_outputs: None,
            threads: threads.or(Some(open.limits.threads).filter(|count| *count > 0)),
            prompt_threads,
            kv_type: kv_type.parse().map_err(|e| crate::errors::config_error(&e))?,
            flash_attention: match flash_attention {
                "auto" => FlashAttention::Auto,
                "on" => FlashAttention::On,
                "off" => FlashAttention::Off,
                other => {
                    let text = format!("`flash_attention` must be `auto`, `on` or `off`, got `{other}`");
                    return Err(value_error(text));
                }
            },
            full_sliding_window,
        };
        let context = job::run(py, move |_| open.model.create_context_with(&config))?;
        Ok(Context::new(context.map_err(|e| e.into_py(py))?))
    }
}

/// Whether so many bytes or tokens, in so many pieces, take more time than waking a worker is worth. A tokenizer that is slow for a text still is
/// done with so little of it in some milliseconds.
pub(crate) fn is_long(size: usize, pieces: usize) -> bool {
    size > 4096 || pieces > 64
}

/// Which distribution log-probabilities are of, by its name.
fn mode(name: &str) -> PyResult<LogprobsMode> {
    match name {
        "raw" => Ok(LogprobsMode::Raw),
        "sampled" => Ok(LogprobsMode::Sampled),
        other => Err(value_error(format!("`logprobs_mode` must be `raw` or `sampled`, got `{other}`"))),
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.process == std::process::id() {
            // Waits for the decode thread to stop, so other Python threads must be able to go on.
            Python::attach(|py| {
                py.detach(|| {
                    if let Some(open) = &open {
                        open.compiler.close();
                    }
                    drop(open);
                });
            });
        } else {
            // The threads and locks of the parent are not there; its memory goes with this process.
            std::mem::forget(open);
        }
    }
}
