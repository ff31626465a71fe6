//! One request's way from logits to events.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use crate::logprobs::kept_logprob;
use crate::progress::{End, Progress};
use crate::vocabulary::bytes_of;
use crate::{
    ConstraintError, EngineError, Finish, FinishReason, LogitsHook, LogprobsMode, Request, RequestError,
    StopMatch, StopMatcher, Timings, TokenConstraint, TokenEvent, TokenId, TokenLogprob, TokenMask,
    TokenSampler, Usage, Utf8Decoder, Vocabulary, token_logprob,
};

/// Chooses tokens, makes text of them, and knows when to stop.
pub(crate) struct Generation {
    sampler: Box<dyn TokenSampler>,
    constraint: Option<Box<dyn TokenConstraint>>,
    hook: Option<LogitsHook>,
    /// The hook has the logits.
    waiting: bool,
    stop: Vec<String>,
    stop_tokens: Vec<TokenId>,
    ignore_eos: bool,
    collect: bool,
    logprobs: Option<usize>,
    logprobs_mode: LogprobsMode,
    /// Maximum number of tokens to generate, by the request and by the context.
    max_tokens: usize,
    n_vocab: usize,
    vocabulary: Arc<dyn Vocabulary>,
    bytes: Utf8Decoder,
    stops: StopMatcher,
    /// Text on its way from the UTF-8 decoder to the stop matcher, kept to reuse its memory.
    chars: String,
    /// Bytes of one token, kept to reuse their memory.
    piece: Vec<u8>,
    /// The logits before the hook changed them, if their log-probabilities are wanted.
    raw: Vec<f32>,
    /// What the constraint allows, kept to reuse its memory.
    mask: TokenMask,
    /// What the last token was drawn from, kept to reuse its memory.
    kept: Vec<(TokenId, f32)>,
    /// The tokens that the last step led to.
    next: Vec<TokenId>,
    /// What was not pushed yet.
    pending: TokenEvent,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
}

impl Generation {
    /// Takes over a request that was checked; returns its prompt too.
    pub(crate) fn new(
        mut request: Request,
        n_ctx: usize,
        vocabulary: Arc<dyn Vocabulary>,
    ) -> Result<(Self, Vec<TokenId>), RequestError> {
        if let (Some(n_top), LogprobsMode::Sampled) = (request.logprobs, request.logprobs_mode) {
            request.sampler.remember(n_top);
        }
        let n_vocab = vocabulary.n_tokens();
        let room = n_ctx.saturating_sub(request.prompt.len());
        let generation = Self {
            stops: StopMatcher::new(&request.stop)?,
            sampler: request.sampler,
            constraint: request.constraint,
            hook: request.hook,
            waiting: false,
            stop: request.stop,
            stop_tokens: request.stop_tokens,
            ignore_eos: request.ignore_eos,
            collect: request.collect,
            logprobs: request.logprobs,
            logprobs_mode: request.logprobs_mode,
            max_tokens: request.max_tokens.map_or(room, |n| n.min(room)),
            n_vocab,
            vocabulary,
            bytes: Utf8Decoder::new(),
            chars: String::new(),
            piece: Vec::new(),
            raw: Vec::new(),
            mask: TokenMask::new(n_vocab),
            kept: Vec::new(),
            next: Vec::new(),
            pending: TokenEvent::default(),
            usage: Usage { prompt_tokens: request.prompt.len(), ..Usage::default() },
            timings: Timings::default(),
        };
        Ok((generation, request.prompt))
    }

    /// Maximum number of tokens to generate, by the request and by the context.
    pub(crate) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Whether no more tokens may be generated.
    pub(crate) fn is_full(&self) -> bool {
        self.usage.completion_tokens >= self.max_tokens
    }

    /// Takes the logits after `tokens`: chooses the next token from them and makes text of it, or sends them to the hook.
    pub(crate) fn advance(&mut self, logits: &[f32], tokens: &[TokenId], submitted: Instant) -> Progress {
        let Some(hook) = &mut self.hook else { return self.step(logits, submitted) };
        if self.logprobs.is_some() && self.logprobs_mode == LogprobsMode::Raw {
            self.raw.clear();
            self.raw.extend_from_slice(logits);
        }
        hook.send(tokens, logits);
        self.waiting = true;
        Progress::Waiting
    }

    /// Whether the hook has the logits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Goes on with the hook's logits, if they are back.
    pub(crate) fn resume(&mut self, submitted: Instant) -> Option<Progress> {
        if !self.waiting {
            return None;
        }
        let answer = self.hook.as_ref()?.take_answer()?;
        self.waiting = false;
        let progress = match answer {
            Ok(row) if row.len() == self.n_vocab => {
                let progress = self.step(&row, submitted);
                if let Some(hook) = &mut self.hook {
                    hook.recycle(row);
                }
                progress
            }
            Ok(row) => {
                let message = format!(
                    "it gave {} logits back but the vocabulary has {} tokens",
                    row.len(),
                    self.n_vocab
                );
                Progress::Ended(End::error(EngineError::Hook { message }))
            }
            Err(message) => Progress::Ended(End::error(EngineError::Hook { message })),
        };
        Some(progress)
    }

    /// The tokens that the last step led to.
    pub(crate) fn next_tokens(&self) -> &[TokenId] {
        &self.next
    }

    /// Chooses the next token from `logits`, and takes the tokens that the constraint forces around it.
    fn step(&mut self, logits: &[f32], submitted: Instant) -> Progress {
        self.next.clear();
        let end = self.jump(submitted);
        let end = match end {
            None if self.next.is_empty() => self.draw(logits, submitted).or_else(|| self.jump(submitted)),
            end => end,
        };
        end.map_or(Progress::Tokens, Progress::Ended)
    }

    /// Chooses one token.
    fn draw(&mut self, logits: &[f32], submitted: Instant) -> Option<End> {
        let token = match self.choose(logits) {
            Ok(token) => token,
            // The end, which the sampler is not to choose, may be all that the constraint allows.
            Err(EngineError::Sampler { .. }) if self.ignore_eos && self.can_end() => {
                return Some(End::stop(StopMatch::Constraint));
            }
            Err(error) => return Some(End::error(error)),
        };
        self.timings.first_token.get_or_insert_with(|| submitted.elapsed());
        if let Some(end) = self.ending_token(token) {
            return Some(end);
        }
        if let Err(error) = self.guarded(|constraint| constraint.accept(token)) {
            return Some(End::error(error));
        }
        if let Some(n_top) = self.logprobs {
            let entry = self.logprob(logits, token, n_top);
            self.pending.logprobs.push(entry);
        }
        self.append(token)
    }

    /// Takes the tokens that the constraint forces, without looking at their logits. Log-probabilities and a hook need the logits, so with them
    /// these tokens are chosen one by one as all others are; so is a token that the sampler must not choose.
    fn jump(&mut self, submitted: Instant) -> Option<End> {
        if self.constraint.is_none() || self.logprobs.is_some() || self.hook.is_some() {
            return None;
        }
        let forced = match self.guarded(|constraint| Ok(constraint.forced())) {
            Ok(forced) => forced.unwrap_or_default(),
            Err(error) => return Some(End::error(error)),
        };
        for token in forced {
            match self.note_forced(token) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Some(End::error(error)),
            }
            self.timings.first_token.get_or_insert_with(|| submitted.elapsed());
            if let Some(end) = self.ending_token(token) {
                return Some(end);
            }
            if let Err(error) = self.guarded(|constraint| constraint.accept(token)) {
                return Some(End::error(error));
            }
            self.usage.forced_tokens += 1;
            if let Some(end) = self.append(token) {
                return Some(end);
            }
        }
        None
    }

    /// The end of the generation that `token` causes, if any.
    fn ending_token(&self, token: TokenId) -> Option<End> {
        if self.stop_tokens.contains(&token) {
            return Some(End::stop(StopMatch::Token(token)));
        }
        // A constraint lets such a token through only where the text may end, and nothing could follow it.
        let ends = self.vocabulary.is_eog(token) && (!self.ignore_eos || self.constraint.is_some());
        ends.then(|| End::stop(StopMatch::Eog(token)))
    }

    /// Adds a token to the text.
    fn append(&mut self, token: TokenId) -> Option<End> {
        self.usage.completion_tokens += 1;
        self.next.push(token);
        self.pending.token_ids.push(token);
        self.chars.clear();
        self.piece.clear();
        self.vocabulary.push_token_bytes(token, false, &mut self.piece);
        self.bytes.push(&self.piece, &mut self.chars);
        if let Some(index) = self.stops.push(&self.chars, &mut self.pending.text) {
            return Some(End::stop(self.stop_string(index)));
        }
        match self.guarded(|constraint| Ok(constraint.is_finished())) {
            Ok(Some(true)) => return Some(End::stop(StopMatch::Constraint)),
            Ok(_) => {}
            Err(error) => return Some(End::error(error)),
        }
        self.is_full().then(|| End::new(FinishReason::Length))
    }

    fn logprob(&mut self, logits: &[f32], token: TokenId, n_top: usize) -> TokenLogprob {
        let bytes_of = |token| bytes_of(&*self.vocabulary, token);
        match self.logprobs_mode {
            LogprobsMode::Raw if self.hook.is_some() => token_logprob(&self.raw, token, n_top, bytes_of),
            LogprobsMode::Raw => token_logprob(logits, token, n_top, bytes_of),
            LogprobsMode::Sampled => {
                self.kept.clear();
                self.sampler.kept(n_top, &mut self.kept);
                kept_logprob(&mut self.kept, token, n_top, bytes_of)
            }
        }
    }

    /// The event that is ready to be pushed: text, with the tokens up to here.
    pub(crate) fn take_event(&mut self) -> Option<TokenEvent> {
        let is_ready = !self.collect && !self.pending.text.is_empty();
        is_ready.then(|| std::mem::take(&mut self.pending))
    }

    /// Releases the text that was held back. Returns the last event, if there is one, and how the stream ended; a stop string in the held text
    /// still counts.
    pub(crate) fn end(mut self, mut end: End) -> (Vec<TokenEvent>, Finish) {
        let matched_string = matches!(end.stop_match, Some(StopMatch::String(_)));
        if !matched_string {
            self.chars.clear();
            self.bytes.finish(&mut self.chars);
            let text = &mut self.pending.text;
            let index = self.stops.push(&self.chars, text).or_else(|| self.stops.finish(text));
            if let Some(index) = index
                && matches!(end.reason, FinishReason::Length | FinishReason::Stop)
            {
                end = End::stop(self.stop_string(index));
            }
        }
        let constraint_complete = self.is_complete(&end);
        let is_empty = self.pending.text.is_empty() && self.pending.token_ids.is_empty();
        let finish = Finish {
            reason: end.reason,
            stop_match: end.stop_match,
            usage: self.usage,
            timings: self.timings,
            constraint_complete,
        };
        let last = if is_empty { Vec::new() } else { vec![self.pending] };
        (last, finish)
    }

    /// Whether the constraint, if there is one, accepts the text as complete.
    fn is_complete(&mut self, end: &End) -> Option<bool> {
        self.constraint.as_ref()?;
        let cut = matches!(end.reason, FinishReason::Error(_))
            || matches!(end.stop_match, Some(StopMatch::String(_)));
        Some(!cut && self.can_end())
    }

    /// Whether the constraint lets the text end here; false without one.
    fn can_end(&mut self) -> bool {
        matches!(self.guarded(|constraint| Ok(constraint.can_end())), Ok(Some(true)))
    }

    fn stop_string(&self, index: usize) -> StopMatch {
        StopMatch::String(self.stop.get(index).cloned().unwrap_or_default())
    }

    /// Asks the constraint and the sampler; their panics and wrong tokens become errors of this request alone.
    fn choose(&mut self, logits: &[f32]) -> Result<TokenId, EngineError> {
        let words = match &mut self.constraint {
            Some(constraint) => catch_unwind(AssertUnwindSafe(move || {
                // Moved in, so that the mask may outlive the closure.
                let constraint = constraint;
                constraint.mask()
            }))
            .unwrap_or_else(|panic| Err(panic_message(&*panic).into()))
            .map_err(|error| EngineError::Constraint { message: error.to_string() })?,
            None => None,
        };
        let mask = words.map(|words| {
            self.mask.copy_from_words(words);
            &self.mask
        });
        let sampler = &mut self.sampler;
        let chosen = catch_unwind(AssertUnwindSafe(|| {
            let token = sampler.sample(logits, mask)?;
            sampler.accept(token);
            Ok::<_, crate::SamplerError>(token)
        }));
        let token = sampled(chosen)?;
        let in_range = usize::try_from(token).is_ok_and(|token| token < self.n_vocab);
        if in_range {
            Ok(token)
        } else {
            let message =
                format!("the sampler chose token {token} but the vocabulary has {} tokens", self.n_vocab);
            Err(EngineError::Sampler { message })
        }
    }

    /// Tells the sampler of a forced token. Returns false and tells it nothing if the sampler must not choose that token.
    fn note_forced(&mut self, token: TokenId) -> Result<bool, EngineError> {
        if !usize::try_from(token).is_ok_and(|token| token < self.n_vocab) {
            let message = format!("it forced token {token} but the vocabulary has {} tokens", self.n_vocab);
            return Err(EngineError::Constraint { message });
        }
        let sampler = &mut self.sampler;
        sampled(catch_unwind(AssertUnwindSafe(|| {
            let allowed = sampler.allows(token);
            if allowed {
                sampler.accept(token);
            }
            Ok(allowed)
        })))
    }

    /// Asks the constraint, if there is one; its panics become errors of this request alone.
    fn guarded<T>(
        &mut self,
        ask: impl FnOnce(&mut dyn TokenConstraint) -> Result<T, ConstraintError>,
    ) -> Result<Option<T>, EngineError> {
        let Some(constraint) = &mut self.constraint else { return Ok(None) };
        catch_unwind(AssertUnwindSafe(|| ask(&mut **constraint)))
            .unwrap_or_else(|panic| Err(panic_message(&*panic).into()))
            .map(Some)
            .map_err(|error| EngineError::Constraint { message: error.to_string() })
    }
}

/// The result of a sampler, with a panic turned into an error.
fn sampled<T>(outcome: std::thread::Result<Result<T, crate::SamplerError>>) -> Result<T, EngineError> {
    let result = outcome.map_err(|panic| panic_message(&*panic));
    let result = result.and_then(|result| result.map_err(|error| error.to_string()));
    result.map_err(|message| EngineError::Sampler { message })
}

/// What a caught panic says.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text")
        .to_owned()
}
