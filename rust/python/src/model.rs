//! A loaded model with its decode thread.

use crate::adapter::{Adapter, Changes, ControlVector};
use crate::chat_template::{ChatTemplate, conversation_of};
use crate::context::Context;
use crate::embed::{Stop, inputs, part, to_array};
use crate::errors::{IntoPyErr, value_error};
use crate::grammar::Grammar;
use crate::job;
use crate::prepared_chat::{Asked, PreparedChat, chat_request};
use crate::progress::Progress;
use crate::session::{self, Session};
use crate::stream::Stream;
use crate::value::value_of;
use numpy::{PyArray2, PyReadonlyArray1};
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tabagent_model as core;
use tabagent_model::{
    AbortFlag, DetokenizeOptions, EmbedOptions, GenerateOptions, LoadOptions, Overflow, PromptInput,
    RerankOptions, ScoreRequest,
};

/// A loaded model with its decode thread.
#[pyclass(frozen, module = "tabagent._native")]
pub(crate) struct Model {
    core: core::Model,
}

/// How often Python hears of the progress of work and runs signal handlers.
const SLICE: Duration = Duration::from_millis(10);

impl Model {
    /// The model, for work that may outlive the call.
    pub(crate) fn core(&self) -> core::Model {
        self.core.clone()
    }

    /// It as one that drafts for another one.
    pub(crate) fn draft(&self, limits: &Bound<'_, PyDict>) -> PyResult<core::Draft> {
        let limits = core::DraftLimits::read(value_of(limits)?).map_err(|e| e.into_py(limits.py()))?;
        Ok(core::Draft { model: self.core(), limits })
    }

    /// Asks the vocabulary something that it answers at once.
    fn vocab<T: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&core::Vocab) -> Result<T, core::VocabError> + Send,
    ) -> PyResult<T> {
        let model = self.core();
        let answer = py.detach(move || Ok(ask(model.llama()?.vocab())?));
        answer.map_err(|e: core::Error| e.into_py(py))
    }

    /// Runs `work` on the model, on a worker if it may be `long`.
    fn run<T: Send + 'static>(
        &self,
        py: Python<'_>,
        long: bool,
        work: impl FnOnce(&core::Model, &AbortFlag) -> Result<T, core::Error> + Send + 'static,
    ) -> PyResult<T> {
        let model = self.core();
        job::run_if(py, long, move |stop| work(&model, stop))?.map_err(|e| e.into_py(py))
    }

    /// What changes the model for a request.
    fn changes(&self, py: Python<'_>, changes: Option<Changes<'_>>) -> PyResult<core::Changes> {
        let Some(changes) = changes else { return Ok(core::Changes::default()) };
        let (adapters, vectors, layers) = changes.to_core()?;
        self.run(py, false, move |model, _| model.changes(&adapters, &vectors, layers))
    }

    /// Runs long `work` on the model, which another thread may end by `stop` and `progress` hears of.
    fn attend<T: Send + 'static>(
        &self,
        py: Python<'_>,
        stop: &Stop,
        progress: Option<Py<PyAny>>,
        work: impl FnOnce(&core::Model, &AbortFlag, &dyn Fn(f32) -> bool) -> Result<T, core::Error>
        + Send
        + 'static,
    ) -> PyResult<T> {
        let model = self.core();
        let mut progress = Progress::new(progress, &stop.flag);
        let tell = progress.teller();
        let work = move |stop: &AbortFlag| work(&model, stop, &tell);
        let done = job::run_listening(py, &stop.flag, SLICE, work, |py| progress.report(py))?;
        let done = done.map_err(|e| e.into_py(py))?;
        progress.finish(py)?;
        Ok(done)
    }
}

#[pymethods]
impl Model {
    #[staticmethod]
    #[pyo3(signature = (path, *, library, module, options, progress))]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        library: PathBuf,
        module: Option<String>,
        options: &Bound<'_, PyDict>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let options = LoadOptions::read(value_of(options)?).map_err(|e| e.into_py(py))?;
        let stop = AbortFlag::new();
        let mut progress = Progress::new(progress, &stop);
        let tell = progress.teller();
        let work = move |_: &AbortFlag| core::Model::load(path, &library, module, &options, tell);
        let loaded = job::run_listening(py, &stop, SLICE, work, |py| progress.report(py))?;
        let loaded = loaded.map_err(|e| e.into_py(py))?;
        progress.finish(py)?;
        Ok(Self { core: loaded })
    }

    #[staticmethod]
    #[pyo3(signature = (path, *, library, module, options))]
    fn predict_memory<'py>(
        py: Python<'py>,
        path: PathBuf,
        library: PathBuf,
        module: Option<String>,
        options: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let options = LoadOptions::read(value_of(options)?).map_err(|e| e.into_py(py))?;
        let predicted = job::run(py, move |_| core::Model::predict_memory(path, &library, module, &options))?;
        crate::memory::prediction(py, &predicted.map_err(|e| e.into_py(py))?)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let model = self.core();
        job::run(py, move |_| model.close())
    }

    #[getter]
    fn closed(&self) -> bool {
        self.core.is_closed()
    }

    fn library(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.core.library_elsewhere().map_err(|e| e.into_py(py))
    }

    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let llama = self.core.llama().map_err(|e| e.into_py(py))?;
        let sizes = self.core.sizes().map_err(|e| e.into_py(py))?;
        let dict = crate::facts::to_dict(py, &llama)?;
        dict.set_item("context_size", sizes.context_size)?;
        dict.set_item("batch_size", sizes.batch_size)?;
        dict.set_item("max_sequences", sizes.max_sequences)?;
        dict.set_item("threads", sizes.threads)?;
        let (keys, values) = self.core.kv_types().map_err(|e| e.into_py(py))?;
        dict.set_item("kv_types", (keys.name(), values.name()))?;
        dict.set_item("memory", crate::memory::need(py, &self.core.memory().map_err(|e| e.into_py(py))?)?)?;
        let fitted = self.core.fitted().map_err(|e| e.into_py(py))?;
        let fitted = fitted.map(|f| crate::memory::fitted(py, &f)).transpose()?;
        dict.set_item("fitted", fitted)?;
        let offload = self.core.offload().map_err(|e| e.into_py(py))?;
        dict.set_item("gpu_layers", offload.layers)?;
        dict.set_item("why_fewer_gpu_layers", offload.why_fewer)?;
        let own = self.core.own_engine().map_err(|e| e.into_py(py))?;
        dict.set_item("engine", if own.is_some() { "rust" } else { "llama.cpp" })?;
        if let Some(own) = own {
            dict.set_item("parameters", own.parameters)?;
            dict.set_item("size", own.size)?;
        }
        let rewritten = self.core.rewritten().map_err(|e| e.into_py(py))?;
        dict.set_item("rewritten", rewritten.map(|file| (file.path, file.is_new)))?;
        let used: Vec<String> = llama.devices().iter().map(tabagent_model::Device::user_name).collect();
        dict.set_item("used_devices", used)?;
        Ok(dict)
    }

    /// How the process of the model ended after which the model was moved from its devices to the CPU.
    fn moved_to_cpu(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.core.moved_to_cpu().map_err(|e| e.into_py(py))
    }

    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let llama = self.core.llama().map_err(|e| e.into_py(py))?;
        let dict = PyDict::new(py);
        for (key, value) in llama.metadata() {
            dict.set_item(key, value)?;
        }
        Ok(dict)
    }

    fn chat_template(&self, py: Python<'_>, name: Option<&str>) -> PyResult<Option<String>> {
        Ok(self.core.llama().map_err(|e| e.into_py(py))?.chat_template(name))
    }

    fn chat_tokens(&self, py: Python<'_>) -> PyResult<(String, String)> {
        self.run(py, false, |model, _| model.chat_tokens())
    }

    fn chat_template_for(&self, py: Python<'_>, tools: bool, documents: bool) -> PyResult<ChatTemplate> {
        let inner = self.run(py, false, move |model, _| model.chat_template_for(tools, documents))?;
        Ok(ChatTemplate { inner })
    }

    fn chat_prompt(
        &self,
        py: Python<'_>,
        template: &ChatTemplate,
        request: &Bound<'_, PyDict>,
    ) -> PyResult<(String, Vec<i32>)> {
        let conversation = conversation_of(py, request)?;
        let template = Arc::clone(&template.inner);
        // Texts make up nearly all of a request.
        let long = is_long(conversation.messages.iter().map(|message| message.text().len()).sum(), 1);
        let prompt = self.run(py, long, move |model, _| model.chat_prompt(&template, &conversation))?;
        Ok((prompt.text, prompt.tokens))
    }

    /// A request for an answer, made ready. `template` is the file's if there is none.
    fn prepare_chat(
        &self,
        py: Python<'_>,
        template: Option<&ChatTemplate>,
        conversation: &Bound<'_, PyDict>,
        asked: Asked<'_>,
    ) -> PyResult<PreparedChat> {
        let request = chat_request(py, template, conversation, asked)?;
        let size = request.conversation.messages.iter().map(|message| message.text().len()).sum();
        // Grammars are compiled for tools and forms.
        let compiles = request.conversation.tools.is_some() || request.structure.is_some();
        let prepared =
            self.run(py, compiles || is_long(size, 1), move |model, _| model.prepare_chat(request))?;
        Ok(prepared.into())
    }

    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::facts::special_tokens(py, &self.core.llama().map_err(|e| e.into_py(py))?)
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
        self.vocab(py, |v| v.token_attributes(token).map(core::TokenAttributes::names))
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

    /// A prompt's tokens. With `must_fit`, a text that is surely too long is an error. If the prompt already had the special tokens at its ends, a warning says so and calls the prompt `name`; without a
    /// name there is no warning.
    #[pyo3(signature = (prompt, add_special, parse_special, name, must_fit=true))]
    fn prompt(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        add_special: bool,
        parse_special: bool,
        name: Option<&str>,
        must_fit: bool,
    ) -> PyResult<Vec<i32>> {
        let (prompt, long) = prompt_input(prompt)?;
        let prompt = self.run(py, long, move |model, _| {
            if must_fit {
                return model.prompt(prompt, add_special, parse_special);
            }
            model.long_prompt(prompt, add_special, parse_special)
        })?;
        if let Some(name) = name {
            self.warn_of_doubled(py, &prompt, name)?;
        }
        Ok(prompt.tokens)
    }

    /// A text's tokens where it continues a text that ends in the token `last`.
    fn tokenize_after(
        &self,
        py: Python<'_>,
        last: Option<i32>,
        text: PyBackedStr,
        parse_special: bool,
    ) -> PyResult<Vec<i32>> {
        let long = is_long(text.len(), 1);
        self.run(py, long, move |model, _| model.tokenize_after(last, &text, parse_special))
    }

    fn tokenize(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<i32>> {
        let long = is_long(text.len(), 1);
        self.run(py, long, move |model, _| model.tokenize(&text, add_special, parse_special))
    }

    fn tokenize_batch(
        &self,
        py: Python<'_>,
        texts: Vec<PyBackedStr>,
        add_special: bool,
        parse_special: bool,
    ) -> PyResult<Vec<Vec<i32>>> {
        let long = is_long(texts.iter().map(|text| text.len()).sum(), texts.len());
        self.run(py, long, move |model, stop| model.tokenize_batch(&texts, add_special, parse_special, stop))
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
        let options =
            DetokenizeOptions { remove_special, unparse_special, clean_up_tokenization_spaces, continuation };
        let long = is_long(tokens.len(), 1);
        self.run(py, long, move |model, stop| model.detokenize_unless(&tokens, options, stop))
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
        let options =
            DetokenizeOptions { remove_special, unparse_special, clean_up_tokenization_spaces, continuation };
        let long = is_long(lists.iter().map(Vec::len).sum(), lists.len());
        self.run(py, long, move |model, stop| model.detokenize_batch(&lists, options, stop))
    }

    #[pyo3(signature = (prompt, *, add_special, parse_special, options, grammar, hooked, changes=None, fork=None, draft=None))]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        add_special: bool,
        parse_special: bool,
        options: &Bound<'_, PyDict>,
        grammar: Option<&Grammar>,
        hooked: bool,
        changes: Option<Changes<'_>>,
        fork: Option<(PyRef<'_, Stream>, Vec<i32>)>,
        draft: Option<(PyRef<'_, Model>, Bound<'_, PyDict>)>,
    ) -> PyResult<Stream> {
        let mut options = GenerateOptions::read(value_of(options)?).map_err(|e| e.into_py(py))?;
        options.changes = self.changes(py, changes)?;
        options.draft = draft.map(|(model, limits)| model.draft(&limits)).transpose()?;
        // Of a fork, the first stream's prompt has told already.
        let name = fork.is_none().then_some("prompt");
        let must_fit = options.overflow == Overflow::Error;
        let prompt = self.prompt(py, prompt, add_special, parse_special, name, must_fit)?;
        let grammar = grammar.map(|grammar| Arc::clone(&grammar.inner));
        let long = grammar.is_some()
            || options.draft.is_some()
            || options.sampling.needs_vocabulary()
            || is_long(prompt.len(), 1);
        let fork = fork.map(|(stream, tokens)| (stream.id(), tokens));
        let (stream, worker) = self.run(py, long, move |model, _| match fork {
            None => model.generate(prompt, options, grammar.as_ref(), hooked),
            Some(fork) => model.fork(prompt, options, grammar.as_ref(), hooked, fork),
        })?;
        Ok(Stream::with_hook(stream, worker))
    }

    /// A session whose texts are chosen as `sampling` says.
    #[pyo3(signature = (sampling, changes=None))]
    fn session(
        &self,
        py: Python<'_>,
        sampling: &Bound<'_, PyDict>,
        changes: Option<Changes<'_>>,
    ) -> PyResult<Session> {
        let settings = session::settings(py, sampling)?;
        let changes = self.changes(py, changes)?;
        self.run(py, settings.needs_vocabulary(), move |model, _| model.session(settings, changes))
            .map(Session::new)
    }

    #[pyo3(signature = (path, changes=None))]
    fn load_session(
        &self,
        py: Python<'_>,
        path: PathBuf,
        changes: Option<Changes<'_>>,
    ) -> PyResult<(Session, String)> {
        let changes = self.changes(py, changes)?;
        let work = move |model: &core::Model, stop: &AbortFlag| model.load_session(&path, changes, stop);
        let (session, note) = self.run(py, true, work)?;
        Ok((Session::new(session), note))
    }

    #[pyo3(signature = (prompt, continuations, cache_prompt, changes=None))]
    fn score(
        &self,
        py: Python<'_>,
        prompt: Vec<i32>,
        continuations: Vec<Vec<i32>>,
        cache_prompt: bool,
        changes: Option<Changes<'_>>,
    ) -> PyResult<Stream> {
        let changes = self.changes(py, changes)?;
        let request = ScoreRequest { prompt, continuations, cache_prompt, ..ScoreRequest::default() };
        self.run(py, false, move |model, _| model.score(request, &changes)).map(Stream::new)
    }

    fn embed<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'_, PyList>,
        options: &Bound<'_, PyDict>,
        stop: &Stop,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let options = EmbedOptions::read(value_of(options)?).map_err(|e| e.into_py(py))?;
        let texts = inputs(texts)?;
        let vectors = self.attend(py, stop, progress, move |model, stop, tell| {
            model.embed(&texts, &options, stop, |done, total| tell(part(done, total)))
        })?;
        to_array(py, vectors)
    }

    fn embed_tokens<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'_, PyAny>,
        options: &Bound<'_, PyDict>,
        stop: &Stop,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let options = EmbedOptions::read(value_of(options)?).map_err(|e| e.into_py(py))?;
        let text = prompt_input(text)?.0;
        let vectors =
            self.attend(py, stop, None, move |model, stop, _| model.embed_tokens(text, &options, stop))?;
        to_array(py, vectors)
    }

    fn rerank(
        &self,
        py: Python<'_>,
        query: PyBackedStr,
        documents: Vec<PyBackedStr>,
        truncate: bool,
        stop: &Stop,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Vec<f32>> {
        let options = RerankOptions { truncate };
        self.attend(py, stop, progress, move |model, stop, tell| {
            model.rerank(&query, &documents, options, stop, |done, total| tell(part(done, total)))
        })
    }

    fn infill_prompt(&self, py: Python<'_>, request: &Bound<'_, PyDict>) -> PyResult<Vec<i32>> {
        let request = core::InfillRequest::read(value_of(request)?).map_err(|e| e.into_py(py))?;
        let bytes = request.extra.iter().map(|file| file.text.len()).sum::<usize>();
        let long = is_long(bytes + request.prefix.len() + request.suffix.len(), 1);
        self.run(py, long, move |model, _| model.infill_prompt(&request))
    }

    fn compile_grammar(&self, py: Python<'_>, request: &Bound<'_, PyDict>) -> PyResult<Grammar> {
        let request = core::GrammarRequest::read(value_of(request)?).map_err(|e| e.into_py(py))?;
        let inner = self.run(py, true, move |model, _| model.compile_grammar(&request))?;
        Ok(Grammar { inner })
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.core.stats().map_err(|e| e.into_py(py))?;
        let dict = PyDict::new(py);
        dict.set_item("active", stats.active)?;
        dict.set_item("queued", stats.queued)?;
        dict.set_item("parked", stats.parked)?;
        dict.set_item("cells_used", stats.cells_used)?;
        let threads = self.core.threads_in_use().map_err(|e| e.into_py(py))?;
        dict.set_item("threads", threads.generation)?;
        dict.set_item("prompt_threads", threads.prompt)?;
        Ok(dict)
    }

    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metrics = self.core.metrics().map_err(|e| e.into_py(py))?;
        crate::metrics::to_dict(py, &metrics)
    }

    fn prometheus(&self, py: Python<'_>) -> PyResult<String> {
        self.core.prometheus().map_err(|e| e.into_py(py))
    }

    fn create_context(&self, py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Context> {
        let options = value_of(options)?;
        self.run(py, true, move |model, _| model.create_context(options)).map(Context::new)
    }

    fn load_adapter(&self, py: Python<'_>, path: PathBuf) -> PyResult<Adapter> {
        self.run(py, true, move |model, _| model.load_adapter(&path)).map(Adapter::new)
    }

    fn load_control_vector(&self, py: Python<'_>, path: PathBuf) -> PyResult<ControlVector> {
        let inner = self.run(py, true, move |model, _| model.load_control_vector(&path))?;
        Ok(ControlVector { inner })
    }

    fn control_vector(
        &self,
        py: Python<'_>,
        name: String,
        directions: Vec<(u32, PyReadonlyArray1<'_, f32>)>,
    ) -> PyResult<ControlVector> {
        let directions = directions
            .into_iter()
            .map(|(layer, direction)| Ok((layer, direction.as_array().to_vec())))
            .collect::<PyResult<_>>()?;
        let inner = self.run(py, false, move |model, _| model.control_vector(&name, directions))?;
        Ok(ControlVector { inner })
    }
}

impl Model {
    /// Warns the caller of the Python function that called us of special tokens that would have been there twice.
    fn warn_of_doubled(&self, py: Python<'_>, prompt: &core::Prompt, name: &str) -> PyResult<()> {
        // The `text` of `perplexity` has no such option.
        let or_not =
            if name == "prompt" { ", or pass `add_special=False`, which takes it as it is" } else { "" };
        let remarks = self.core.prompt_remarks(prompt, name, or_not).map_err(|e| e.into_py(py))?;
        for text in remarks {
            let text = CString::new(text.replace('\0', "\u{FFFD}")).map_err(value_error)?;
            PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 2)?;
        }
        Ok(())
    }
}

/// A prompt as it was given, and whether making tokens of it may take long.
pub(crate) fn prompt_input(prompt: &Bound<'_, PyAny>) -> PyResult<(PromptInput<PyBackedStr>, bool)> {
    if let Ok(text) = prompt.cast::<PyString>() {
        let text = PyBackedStr::try_from(text.clone())?;
        let long = is_long(text.len(), 1);
        return Ok((PromptInput::Text(text), long));
    }
    Ok((PromptInput::Tokens(prompt.extract()?), false))
}

/// Whether `size` bytes or tokens in so many pieces take long enough that waking a worker is worth it. Even a tokenizer that is slow for a text
/// is done with less than that in some milliseconds.
fn is_long(size: usize, pieces: usize) -> bool {
    size > 4096 || pieces > 64
}

impl Drop for Model {
    fn drop(&mut self) {
        let core = std::mem::replace(&mut self.core, core::Model::closed());
        // Waits for the decode thread to stop, so other Python threads must be able to go on.
        Python::attach(|py| py.detach(move || drop(core)));
    }
}
