//! The streams of one request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tabagent_model::{
    AbortFlag, ChatEvent, ChatFinish, ChatPoll, ChatRequest, ChatStream, Delta, FinishReason,
    GenerateOptions, PreparedChat, PromptProgress, TokenId, TokenLogprob,
};
use tokio::sync::Notify;

use crate::app::App;
use crate::error::{ApiError, Problem};
use crate::models::Served;
use crate::numbers::{predicted, rate};
use crate::place::Place;
use crate::slots::{Request, Slot};
use crate::stop::stopping;

/// What a stream gives.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on its way to who writes it")]
pub(crate) enum Step {
    /// More of it.
    Event(ChatEvent),
    /// Its end.
    End(ChatFinish),
}

/// A stream that has ended, with everything it gave.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) finish: ChatFinish,
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) logprobs: Vec<TokenLogprob>,
}

/// All streams of a request, in the order of their choices. Dropping it cancels them.
pub(crate) struct Running {
    app: App,
    /// The model, which stays loaded as long as the streams run.
    served: Arc<Served>,
    parts: Vec<Part>,
    woken: Arc<Notify>,
    /// Where to look first.
    turn: usize,
    /// Time for the text after its first token; it ends after a line break then.
    pub(crate) time_limit: Option<Duration>,
    pub(crate) began: Instant,
}

/// One of the streams.
pub(crate) struct Part {
    stream: ChatStream,
    slot: Slot,
    place: Place,
    /// What it gave, where no slot keeps it.
    tokens: Vec<TokenId>,
    ended: bool,
    /// The time was up.
    cut: bool,
    has_line_break: bool,
    /// The prompt's tokens.
    pub(crate) prompt: Arc<[TokenId]>,
    /// When its first token came.
    pub(crate) first: Option<Instant>,
    /// Tokens that came.
    pub(crate) decoded: usize,
    /// How far its prompt had come when that was told of last.
    progress: Option<PromptProgress>,
}

/// The options of the `index`th of several texts of a prompt.
pub(crate) fn varied(options: &GenerateOptions, index: usize) -> GenerateOptions {
    let mut options = options.clone();
    if let Some(seed) = &mut options.sampling.config.seed {
        *seed = seed.wrapping_add(index as u64);
    }
    options
}

impl Running {
    /// For `n` streams, none of which has begun.
    pub(crate) fn new(app: &App, served: &Arc<Served>, n: usize) -> Self {
        Self {
            app: app.clone(),
            served: Arc::clone(served),
            // Most requests have one, and may wait long.
            parts: Vec::with_capacity(n),
            woken: Arc::default(),
            turn: 0,
            time_limit: None,
            began: Instant::now(),
        }
    }

    /// Begins `n` answers to a conversation. Blocks.
    pub(crate) fn chat(
        app: &App,
        served: &Arc<Served>,
        request: ChatRequest,
        n: usize,
        place: Place,
    ) -> Result<Self, ApiError> {
        let prepared = served.model.prepare_chat(request)?;
        Self::prepared_chat(app, served, &prepared, n, place)
    }

    /// Begins `n` answers to a conversation whose prompt is made. Blocks.
    pub(crate) fn prepared_chat(
        app: &App,
        served: &Arc<Served>,
        prepared: &PreparedChat,
        n: usize,
        mut place: Place,
    ) -> Result<Self, ApiError> {
        let mut running = Self::new(app, served, n);
        let tokens: Arc<[TokenId]> = prepared.prompt.tokens.as_slice().into();
        for index in 0..n {
            let mut options = varied(&prepared.options, index);
            let most = options.max_tokens;
            let stream = match place.session(&served.model, &mut options)? {
                Some(session) => served.model.start_chat_in(session, prepared, options, &AbortFlag::new())?,
                None => served.model.start_chat(prepared, options)?,
            };
            running.push(stream, &tokens, most, std::mem::take(&mut place));
        }
        Ok(running)
    }

    /// Adds a stream that has begun.
    pub(crate) fn push(
        &mut self,
        stream: ChatStream,
        prompt: &Arc<[TokenId]>,
        max_tokens: Option<usize>,
        place: Place,
    ) {
        let request = Request { prompt_tokens: prompt.len(), max_tokens, ..Request::default() };
        let woken = Arc::clone(&self.woken);
        stream.set_waker(Box::new(move || woken.notify_one()));
        self.parts.push(Part {
            stream,
            slot: self.served.state.slots.take(request, place.number),
            tokens: Vec::new(),
            place,
            ended: false,
            cut: false,
            has_line_break: false,
            prompt: Arc::clone(prompt),
            first: None,
            decoded: 0,
            progress: None,
        });
    }

    /// How many streams there are.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// One of them.
    pub(crate) fn part(&self, index: usize) -> &Part {
        &self.parts[index]
    }

    /// What comes next, and of which stream; `None` once all have ended.
    ///
    /// # Errors
    /// What ended a stream, if that was an error; all others are cancelled when this is dropped.
    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Step), ApiError>> {
        loop {
            if self.parts.iter().all(|part| part.ended) {
                return None;
            }
            for offset in 0..self.parts.len() {
                let index = (self.turn + offset) % self.parts.len();
                let limit = self.time_limit;
                if let Some(step) = self.parts[index].poll(limit) {
                    self.turn = index + 1;
                    if let Ok(Step::End(finish)) = &step {
                        self.served.state.counts.ended(&finish.finish.usage);
                    }
                    if self.parts[index].ended {
                        self.parts[index].leave(&self.served);
                    }
                    return Some(step.map(|step| (index, step)));
                }
            }
            tokio::select! {
                () = self.woken.notified() => {}
                () = self.app.stop.ending() => return Some(Err(stopping())),
            }
        }
    }

    /// Takes note of how far a prompt has come, and tells of it in llama-server's words: each time `prompt_progress` and `timings`, the first time of what was there before.
    pub(crate) fn note_progress(&mut self, index: usize, now: PromptProgress) -> Vec<(Value, Value)> {
        let since = self.began.elapsed();
        let is_first = self.parts[index].progress.replace(now).is_none();
        let begins = (is_first && now.done > now.cached).then_some((now.cached, Duration::ZERO));
        let told = begins.into_iter().chain([(now.done, since)]);
        told.map(|(done, since)| {
            let progress = json!({
                "total": now.total, "cache": now.cached, "processed": done, "time_ms": since.as_millis() as u64,
            });
            let mut timings = json!({"cache_n": now.cached});
            rate(&mut timings, "prompt", done.saturating_sub(now.cached), since.as_secs_f64());
            predicted(&mut timings, 0, 0.0);
            (progress, timings)
        })
        .collect()
    }

    /// Waits for the ends of all streams.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub(crate) async fn collect(mut self) -> Result<Vec<Whole>, ApiError> {
        let mut gathered: Vec<(Vec<TokenId>, Vec<TokenLogprob>)> = vec![<_>::default(); self.parts.len()];
        let mut finished: Vec<Option<ChatFinish>> = vec![None; self.parts.len()];
        while let Some(step) = self.next().await {
            match step? {
                (index, Step::Event(event)) => {
                    gathered[index].0.extend(event.token_ids);
                    gathered[index].1.extend(event.logprobs);
                }
                (index, Step::End(finish)) => finished[index] = Some(finish),
            }
        }
        let whole = finished
            .into_iter()
            .zip(gathered)
            .filter_map(|(finish, (tokens, logprobs))| Some(Whole { finish: finish?, tokens, logprobs }));
        Ok(whole.collect())
    }
}

impl Part {
    /// The number under which it runs.
    pub(crate) fn slot(&self) -> usize {
        self.place.number.unwrap_or(self.slot.number)
    }

    /// What it leaves in its slot.
    fn leave(&mut self, served: &Served) {
        if self.place.number.is_none() {
            let tokens = [&*self.prompt, &std::mem::take(&mut self.tokens)].concat();
            served.state.held.remember(self.slot.number, tokens);
        }
        // Others may have the slot now.
        self.place.held = None;
    }

    fn poll(&mut self, time_limit: Option<Duration>) -> Option<Result<Step, ApiError>> {
        if self.ended {
            return None;
        }
        match self.stream.try_next() {
            ChatPoll::Pending => None,
            ChatPoll::Event(event) => {
                self.count(&event, time_limit);
                Some(Ok(Step::Event(event)))
            }
            ChatPoll::Finished => {
                self.ended = true;
                Some(self.end())
            }
        }
    }

    fn count(&mut self, event: &ChatEvent, time_limit: Option<Duration>) {
        if event.prompt.is_some() {
            return;
        }
        let first = *self.first.get_or_insert_with(Instant::now);
        self.decoded += event.token_ids.len();
        self.slot.count(event.token_ids.len());
        if self.place.number.is_none() {
            self.tokens.extend_from_slice(&event.token_ids);
        }
        let Some(limit) = time_limit else { return };
        self.has_line_break |=
            event.deltas.iter().any(|delta| matches!(delta, Delta::Content(text) if text.contains('\n')));
        if self.has_line_break && first.elapsed() > limit && !self.cut {
            self.cut = true;
            self.stream.cancel();
        }
    }

    fn end(&self) -> Result<Step, ApiError> {
        let Some(mut finish) = self.stream.finish() else {
            return Err(ApiError::new(
                Problem::Internal,
                "the stream ended without a reason; this is a defect of tabagent",
            ));
        };
        match &finish.finish.reason {
            FinishReason::Error(error) => Err(error.clone().into()),
            FinishReason::Cancelled if self.cut => {
                finish.finish.reason = FinishReason::Length;
                Ok(Step::End(finish))
            }
            FinishReason::Cancelled => Err(stopping()),
            FinishReason::Stop | FinishReason::Length | FinishReason::Timeout => Ok(Step::End(finish)),
        }
    }
}
