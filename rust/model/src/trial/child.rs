//! The child's side of a trial: it loads the model as its parent will, and computes some tokens.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value as Json;
use tabagent_gguf::{GgufFile, Value};
use tabagent_llama::{
    AtWork, MetadataOverride, ModelError, TokenId, catches_exceptions, die_by_signals, echo_log,
    leave_no_core,
};
use tabagent_runtime::{AbortFlag, Poll};

use crate::embed::EmbedOptions;
use crate::error::Error;
use crate::error_kind::ErrorKind;
use crate::failure::Failure as _;
use crate::generate::GenerateOptions;
use crate::library::OpenRequest;
use crate::load::LoadOptions;
use crate::model::Model;
use crate::prompt::PromptInput;

/// What the child says when it has computed its tokens.
pub(super) const SURVIVED: &str = "tabagent-child: survived";
/// What the child says when it got an error.
pub(super) const REFUSED: &str = "tabagent-child: refused";

/// Tokens of the batch, and those that are generated after it.
const PROMPT: usize = 2;
/// The key of the tokenizer's kind.
const MODEL: &str = "tokenizer.ggml.model";
const GENERATED: usize = 2;
/// A text with letters, a digit, white space and characters of several bytes.
const TEXT: &str = "A1 b\n\u{e9}\u{1f642}";

/// Tries a model: the options of the load come as a line of JSON on standard input, llama.cpp's log goes to stderr, and what came of it to stdout.
pub(crate) fn attempt(library: &OsStr, model: &OsStr) -> ExitCode {
    answer_parent(|request| match load_and_compute(library.as_ref(), model.as_ref(), request) {
        Ok(()) => SURVIVED.to_owned(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            REFUSED.to_owned()
        }
    })
}

/// Reads a line of JSON, and writes the line that `work` makes of it, in a process that ends when its parent does.
pub(crate) fn answer_parent(work: impl FnOnce(Json) -> String) -> ExitCode {
    leave_no_core();
    die_by_signals();
    echo_log();
    // An exit while llama.cpp is at work does not wait for it.
    let _at_work = AtWork::begin();
    let mut request = String::new();
    if io::stdin().lock().read_line(&mut request).is_err() {
        return ExitCode::from(2);
    }
    // Before the parent is watched: one that has gone already has asked for nothing.
    let Ok(request) = serde_json::from_str(&request) else { return ExitCode::from(2) };
    let watch = std::thread::Builder::new().name("parent".to_owned()).spawn(|| {
        // Nothing more comes: it ends when the parent has closed its side, or is no more.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    drop(watch);
    let answer = work(request);
    // A parent that is no more does not want to know.
    let _ = writeln!(io::stdout(), "{answer}");
    std::process::exit(0);
}

fn load_and_compute(library: &Path, path: &Path, mut request: Json) -> Result<(), Error> {
    let opening = OpenRequest::read(&request);
    let mut options = LoadOptions::read(request["options"].take().into())?;
    let vocab_only = options.vocab_only;
    opening.open(library)?;
    if !vocab_only && catches_exceptions() {
        leave_out_vocabulary(path, &mut options)?;
    }
    let model = Model::load(path.to_owned(), library, opening.module, &options, |_| true)?;
    let outcome = compute(&model, vocab_only);
    // The process ends now, which frees it faster.
    std::mem::forget(model);
    outcome
}

/// Has llama.cpp make tokens without texts, as many as the vocabulary has. Reading a large vocabulary takes longer than all the rest of a trial; its
/// tables are checked, and what is thrown while it is read is an error.
fn leave_out_vocabulary(path: &Path, options: &mut LoadOptions) -> Result<(), Error> {
    let file = GgufFile::open(path).map_err(ModelError::from)?;
    let tokens = file.metadata().get("tokenizer.ggml.tokens");
    let overridden = |key: &str| options.metadata_overrides.iter().any(|(name, _)| name == key);
    // Of a split model the first part has the metadata.
    let (Some(architecture), Some(tokens)) = (file.architecture(), tokens.as_ref().and_then(Value::as_array))
    else {
        return Ok(());
    };
    let size = format!("{architecture}.vocab_size");
    if [MODEL, "general.architecture", &size].into_iter().any(overridden) {
        return Ok(());
    }
    options.metadata_overrides.push((MODEL.to_owned(), MetadataOverride::Str("no_vocab".to_owned())));
    options.metadata_overrides.push((size, MetadataOverride::Int(tokens.len() as i64)));
    Ok(())
}

fn compute(model: &Model, vocab_only: bool) -> Result<(), Error> {
    match model.tokenize(TEXT, true, true) {
        Ok(_) => {}
        // A model may have no tokenizer.
        Err(error) if error.kind() == ErrorKind::UnsupportedModel => {}
        Err(error) => return Err(error),
    }
    if vocab_only {
        return Ok(());
    }
    let known = TokenId::try_from(model.llama()?.vocab().len()).unwrap_or(TokenId::MAX).max(1);
    let room = model.sizes()?.sequence_size as usize;
    let prompt: Vec<TokenId> =
        (0..).map(|i: TokenId| i % known).take(PROMPT.min(room.saturating_sub(GENERATED)).max(1)).collect();
    let options =
        GenerateOptions { max_tokens: Some(GENERATED), ignore_eos: true, ..GenerateOptions::default() };
    match model.generate(prompt.clone(), options, None, false) {
        Ok((stream, _)) => {
            while !matches!(stream.next_timeout(Duration::MAX), Poll::Finished) {}
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::UnsupportedModel => {
            let options = EmbedOptions::default();
            let texts = [PromptInput::<&str>::Tokens(prompt)];
            match model.embed(&texts, &options, &AbortFlag::new(), |_, _| true) {
                Err(error) if error.kind() != ErrorKind::UnsupportedModel => Err(error),
                Ok(_) | Err(_) => Ok(()),
            }
        }
        Err(error) => Err(error),
    }
}
