//! One request's way from logits to events.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::{
    Decoder, EngineError, Finish, FinishReason, Request, RequestError, StopMatch, StopMatcher, Timings,
    TokenEvent, TokenId, TokenSampler, Usage, Utf8Decoder, token_logprob,
};

/// Why a generation is over.
pub(crate) struct End {
    pub(crate) reason: FinishReason,
    pub(crate) stop_match: Option<StopMatch>,
}

impl End {
    pub(crate) fn new(reason: FinishReason) -> Self {
        Self { reason, stop_match: None }
    }

    pub(crate) fn error(error: EngineError) -> Self {
        Self::new(FinishReason::Error(error))
    }

    fn stop(stop_match: StopMatch) -> Self {
        Self { reason: FinishReason::Stop, stop_match: Some(stop_match) }
    }
}

/// What a chosen token led to.
pub(crate) enum Progress {
    /// Go on with this token.
    Token(TokenId),
    Ended(End),
}

/// Chooses tokens, makes text of them, and knows when to stop.
pub(crate) struct Generation {
    sampler: Box<dyn TokenSampler>,
    stop: Vec<String>,
    stop_tokens: Vec<TokenId>,
    ignore_eos: bool,
    logprobs: Option<usize>,
    /// Most tokens to generate, by the request and by the context.
    max_tokens: usize,
    n_vocab: usize,
    bytes: Utf8Decoder,
    stops: StopMatcher,
    /// Text between the two, kept for its memory.
    chars: String,
    /// Bytes of one token, kept for its memory.
    piece: Vec<u8>,
    /// What was not pushed yet.
    pending: TokenEvent,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
}

impl Generation {
    /// Takes over a request that was checked; returns its prompt too.
    pub(crate) fn new(
        request: Request,
        n_ctx: usize,
        n_vocab: usize,
    ) -> Result<(Self, Vec<TokenId>), RequestError> {
        let room = n_ctx.saturating_sub(request.prompt.len());
        let generation = Self {
            stops: StopMatcher::new(&request.stop)?,
            sampler: request.sampler,
            stop: request.stop,
            stop_tokens: request.stop_tokens,
            ignore_eos: request.ignore_eos,
            logprobs: request.logprobs,
            max_tokens: request.max_tokens.map_or(room, |n| n.min(room)),
            n_vocab,
            bytes: Utf8Decoder::new(),
            chars: String::new(),
            piece: Vec::new(),
            pending: TokenEvent::default(),
            usage: Usage { prompt_tokens: request.prompt.len(), ..Usage::default() },
            timings: Timings::default(),
        };
        Ok((generation, request.prompt))
    }

    /// Whether no more tokens may be generated.
    pub(crate) fn is_full(&self) -> bool {
        self.usage.completion_tokens >= self.max_tokens
    }

    /// Whether the first token is still to come.
    pub(crate) fn in_prompt(&self) -> bool {
        self.timings.first_token.is_none()
    }

    /// Counts the time of a micro-batch that began at `started`.
    pub(crate) fn count_time(&mut self, in_prompt: bool, started: Instant) {
        let total: &mut Duration =
            if in_prompt { &mut self.timings.prompt } else { &mut self.timings.decode };
        *total += started.elapsed();
    }

    /// Chooses the next token from the decoder's logits and makes text of it.
    pub(crate) fn advance(&mut self, decoder: &impl Decoder, submitted: Instant) -> Progress {
        let logits = decoder.logits();
        let token = match self.choose(logits) {
            Ok(token) => token,
            Err(message) => return Progress::Ended(End::error(EngineError::Sampler { message })),
        };
        self.timings.first_token.get_or_insert_with(|| submitted.elapsed());
        if self.stop_tokens.contains(&token) {
            return Progress::Ended(End::stop(StopMatch::Token(token)));
        }
        if !self.ignore_eos && decoder.is_eog(token) {
            return Progress::Ended(End::stop(StopMatch::Eog(token)));
        }
        self.usage.completion_tokens += 1;
        self.pending.token_ids.push(token);
        if let Some(n_top) = self.logprobs {
            self.pending.logprobs.push(token_logprob(logits, token, n_top));
        }
        self.chars.clear();
        self.piece.clear();
        decoder.push_token_bytes(token, &mut self.piece);
        self.bytes.push(&self.piece, &mut self.chars);
        if let Some(index) = self.stops.push(&self.chars, &mut self.pending.text) {
            return Progress::Ended(End::stop(self.stop_string(index)));
        }
        if self.is_full() {
            return Progress::Ended(End::new(FinishReason::Length));
        }
        Progress::Token(token)
    }

    /// What is ready to be pushed: text, with the tokens up to here.
    pub(crate) fn take_event(&mut self) -> Option<TokenEvent> {
        (!self.pending.text.is_empty()).then(|| std::mem::take(&mut self.pending))
    }

    /// Lets go of what was held back. Returns the last event and how it all ended; a stop string in the held text still counts.
    pub(crate) fn end(mut self, mut end: End) -> (Option<TokenEvent>, Finish) {
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
        let is_empty = self.pending.text.is_empty() && self.pending.token_ids.is_empty();
        let finish = Finish {
            reason: end.reason,
            stop_match: end.stop_match,
            usage: self.usage,
            timings: self.timings,
        };
        ((!is_empty).then_some(self.pending), finish)
    }

    fn stop_string(&self, index: usize) -> StopMatch {
        StopMatch::String(self.stop.get(index).cloned().unwrap_or_default())
    }

    /// Asks the sampler, whose panics and wrong tokens are errors of this request alone.
    fn choose(&mut self, logits: &[f32]) -> Result<TokenId, String> {
        let sampler = &mut self.sampler;
        let chosen = catch_unwind(AssertUnwindSafe(|| {
            let token = sampler.sample(logits)?;
            sampler.accept(token);
            Ok::<_, crate::SamplerError>(token)
        }));
        let token = chosen.map_err(|panic| panic_message(&*panic))?.map_err(|error| error.to_string())?;
        let in_range = usize::try_from(token).is_ok_and(|token| token < self.n_vocab);
        if in_range {
            Ok(token)
        } else {
            Err(format!("the sampler chose token {token} but the vocabulary has {} tokens", self.n_vocab))
        }
    }
}

/// What a caught panic says.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without text")
        .to_owned()
}
