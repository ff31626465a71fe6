//! A conversation that is kept: its tokens, its sampler's state and its cells.

use std::sync::Arc;
use std::time::Duration;

use tabagent_llama::TokenId;
use tabagent_runtime::{
    AbortFlag, EngineError, HookWorker, Owner, Record, Recorded, RequestError, TokenStream,
};
use tabagent_sampling::constraint::Grammar;
use tabagent_sampling::{Draws, SamplerState};

use crate::changes::Changes;
use crate::error::Error;
use crate::generate::GenerateOptions;
use crate::generating::Begun;
use crate::model::Model;
use crate::prompt::PromptInput;
use crate::session_error::SessionError;
use crate::settings::SamplerSettings;

/// A text that is continued again and again: its tokens, the state of its sampler, and its cells in the model's memory, which stay there (or in host memory)
/// until the session is dropped. Made by [`Model::session`] and [`Model::load_session`](crate::Model::load_session).
///
/// One text of a session is generated at a time. What a stream generated belongs to the session, whether it was taken or not.
#[derive(Debug)]
pub struct Session {
    pub(crate) model: Model,
    pub(crate) changes: Changes,
    pub(crate) owner: Owner,
    pub(crate) tokens: Vec<TokenId>,
    settings: SamplerSettings,
    /// Where the sampler is; `None` before its first choice.
    pub(crate) draws: Option<Draws>,
    running: Option<Running>,
}

/// A text that is generated.
#[derive(Debug)]
struct Running {
    record: Record,
    cancelled: AbortFlag,
}

/// How long to wait at a time for a cancelled text to end.
const SLICE: Duration = Duration::from_millis(20);

impl Model {
    /// A session without tokens, whose texts are chosen as `settings` say and computed with `changes`.
    ///
    /// # Errors
    /// [`Error::Sampler`], [`Error::Adapter`], [`Error::Engine`], [`Error::Context`] for a model that does not generate.
    pub fn session(&self, settings: SamplerSettings, changes: Changes) -> Result<Session, Error> {
        let open = self.open()?;
        changes.check(&open.model)?;
        open.check_sampler(&settings)?;
        let owner = open.engine()?.owner();
        Ok(Session {
            model: self.clone(),
            changes,
            owner,
            tokens: Vec::new(),
            settings,
            draws: None,
            running: None,
        })
    }
}

impl Session {
    /// All tokens so far.
    ///
    /// # Errors
    /// [`SessionError::Running`]; [`Error::Stopped`] when `stop` is raised while a cancelled text ends.
    pub fn tokens(&mut self, stop: &AbortFlag) -> Result<&[TokenId], Error> {
        self.settle(stop)?;
        Ok(&self.tokens)
    }

    /// Whether a text is being generated that nobody has cancelled.
    pub fn is_running(&mut self) -> bool {
        if let Some(recorded) = self.running.as_ref().and_then(|running| running.record.take()) {
            self.take(&recorded);
        }
        self.running.as_ref().is_some_and(|running| !running.cancelled.is_raised())
    }

    /// Adds a text or tokens to the end, and returns what was added. A text is tokenized as one that continues what is there; the first one gets the special tokens that the model
    /// wants with `add_special`. They are decoded with the next text that is generated.
    ///
    /// # Errors
    /// [`Error::Vocab`]; [`Error::Request`] when there are more tokens than fit, or tokens that the model does not have; and those of [`tokens`](Self::tokens). Nothing is added then.
    pub fn append<T: AsRef<str>>(
        &mut self,
        input: PromptInput<T>,
        add_special: bool,
        parse_special: bool,
        stop: &AbortFlag,
    ) -> Result<Vec<TokenId>, Error> {
        self.settle(stop)?;
        let open = self.model.open()?;
        let more = match (input, self.tokens.last()) {
            (PromptInput::Text(text), Some(last)) => {
                open.model.vocab().tokenize_after(Some(*last), text.as_ref(), parse_special)?
            }
            (PromptInput::Tokens(tokens), Some(_)) => tokens,
            (first, None) => self.model.prompt(first, add_special, parse_special)?.tokens,
        };
        open.model.vocab().check_tokens(&more)?;
        let (n_prompt, n_ctx) = (self.tokens.len() + more.len(), open.sizes().sequence_size as usize);
        if n_prompt > n_ctx {
            return Err(RequestError::PromptTooLong { n_prompt, n_ctx }.into());
        }
        self.tokens.extend_from_slice(&more);
        Ok(more)
    }

    /// Continues the tokens. The sampler goes on where it was; `settings` replace it by another one. `sampling` and `changes` of the options do not count: the session has its own.
    ///
    /// # Errors
    /// Those of [`Model::generate`], [`SessionError::Running`], and those of [`tokens`](Self::tokens).
    pub fn generate(
        &mut self,
        mut options: GenerateOptions,
        settings: Option<SamplerSettings>,
        grammar: Option<&Arc<Grammar>>,
        hooked: bool,
        stop: &AbortFlag,
    ) -> Result<(TokenStream, Option<HookWorker>), Error> {
        self.settle(stop)?;
        let draws = if settings.is_none() { self.draws.clone() } else { None };
        options.sampling = settings.as_ref().unwrap_or(&self.settings).clone();
        options.changes = self.changes.clone();
        let record = Record::default();
        let begun = Begun {
            owner: Some(self.owner.clone()),
            record: Some(record.clone()),
            draws,
            ..Begun::default()
        };
        let (stream, worker) = self.model.begin(self.tokens.clone(), options, grammar, hooked, begun)?;
        if let Some(settings) = settings {
            (self.settings, self.draws) = (settings, None);
        }
        self.running = Some(Running { record, cancelled: stream.cancelled() });
        Ok((stream, worker))
    }

    /// Chooses tokens as these settings say from now on. The random generator goes on from where it is.
    ///
    /// # Errors
    /// [`Error::Sampler`], [`Error::Engine`].
    pub fn set_sampling(&mut self, settings: SamplerSettings) -> Result<(), Error> {
        self.model.open()?.check_sampler(&settings)?;
        self.settings = settings;
        Ok(())
    }

    /// Has other tokens in place of those that are there, to be computed with `changes`. Cells of those with which both begin are used again. The sampler begins anew.
    ///
    /// # Errors
    /// [`Error::Adapter`]; [`Error::Request`] when there are more tokens than fit, or tokens that the model does not have; and those of [`tokens`](Self::tokens). Nothing changes then.
    pub fn replace(&mut self, tokens: Vec<TokenId>, changes: Changes, stop: &AbortFlag) -> Result<(), Error> {
        self.settle(stop)?;
        changes.check(&self.model.open()?.model)?;
        self.begin_with(tokens, None)?;
        self.changes = changes;
        Ok(())
    }

    /// Takes the last `n` tokens back. The sampler's random generator stays where it is.
    ///
    /// # Errors
    /// [`SessionError::TooFar`], and those of [`tokens`](Self::tokens).
    pub fn rewind(&mut self, n: usize, stop: &AbortFlag) -> Result<(), Error> {
        self.settle(stop)?;
        let n_tokens = self.tokens.len();
        let keep = n_tokens.checked_sub(n).ok_or(SessionError::TooFar { n, n_tokens })?;
        self.tokens.truncate(keep);
        Ok(())
    }

    /// Another session with the same tokens and sampler state, which goes its own way from here. It shares the cells of what both begin with.
    ///
    /// # Errors
    /// Those of [`tokens`](Self::tokens), [`Error::Engine`].
    pub fn branch(&mut self, stop: &AbortFlag) -> Result<Self, Error> {
        self.settle(stop)?;
        let open = self.model.open()?;
        Ok(Self {
            model: self.model.clone(),
            changes: self.changes.clone(),
            owner: open.engine()?.owner(),
            tokens: self.tokens.clone(),
            settings: self.settings.clone(),
            draws: self.draws.clone(),
            running: None,
        })
    }

    /// Takes the tokens of a text that has ended. One that was cancelled ends soon; that is waited for.
    pub(crate) fn settle(&mut self, stop: &AbortFlag) -> Result<(), Error> {
        loop {
            let Some(running) = &self.running else { return Ok(()) };
            if let Some(recorded) = running.record.take() {
                self.take(&recorded);
                return Ok(());
            }
            if !running.cancelled.is_raised() {
                return Err(SessionError::Running.into());
            }
            // In a forked child nothing ends any more.
            match self.model.open() {
                Err(Error::Engine(EngineError::Forked)) => return Err(EngineError::Forked.into()),
                _ if stop.is_raised() => return Err(Error::Stopped),
                _ => {}
            }
            if let Some(recorded) = running.record.take_timeout(SLICE) {
                self.take(&recorded);
                return Ok(());
            }
        }
    }

    fn take(&mut self, recorded: &Recorded) {
        self.running = None;
        self.tokens.extend_from_slice(&recorded.tokens);
        let state = recorded.sampler.as_ref().and_then(|state| state.downcast_ref::<SamplerState>());
        if let Some(state) = state {
            self.draws = Some(state.draws());
        }
    }

    /// The session has none of the tokens of `tokens` yet.
    pub(crate) fn begin_with(&mut self, tokens: Vec<TokenId>, draws: Option<Draws>) -> Result<(), Error> {
        let open = self.model.open()?;
        open.model.vocab().check_tokens(&tokens)?;
        let (n_prompt, n_ctx) = (tokens.len(), open.sizes().sequence_size as usize);
        if n_prompt > n_ctx {
            return Err(RequestError::PromptTooLong { n_prompt, n_ctx }.into());
        }
        (self.tokens, self.draws) = (tokens, draws);
        Ok(())
    }
}
