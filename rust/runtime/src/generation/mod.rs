//! One request's way from logits to events.

mod bans;
mod budget;
mod chooser;
mod text;

use std::sync::Arc;
use std::time::Instant;

use bans::{Bans, Chosen, MAX_TRIES};
use budget::Budget;
use chooser::{Chooser, Excluded};
use text::Text;

use crate::decoded::Decoded;
use crate::progress::{End, Progress};
use crate::record::Recorder;
use crate::scheduler::Gap;
use crate::speculation::{PastTexts, Speculator, StepCost};
use crate::vocabulary::bytes_of;
use crate::{
    ContextShift, EngineError, Finish, FinishReason, LogitsHook, LogprobsMode, Overflow, Request,
    RequestError, StopMatch, Timings, TokenEvent, TokenId, TokenLogprob, Usage, Vocabulary, token_logprob,
};

pub(crate) use chooser::panic_message;

/// Chooses tokens, makes text of them, and knows when to stop.
pub(crate) struct Generation {
    chooser: Chooser,
    hook: Option<LogitsHook>,
    /// The hook has the logits.
    waiting: bool,
    stop_tokens: Vec<TokenId>,
    ignore_eos: bool,
    collect: bool,
    progress: bool,
    logprobs: Option<usize>,
    logprobs_mode: LogprobsMode,
    /// Maximum number of tokens to generate, by the request and by the context.
    max_tokens: usize,
    n_ctx: usize,
    shift: Option<ContextShift>,
    n_vocab: usize,
    vocabulary: Arc<dyn Vocabulary>,
    text: Text,
    bans: Option<Bans>,
    speculator: Option<Speculator>,
    recorder: Option<Recorder>,
    /// Text on its way to the bans, kept to reuse its memory.
    piece: String,
    /// The logits before the hook changed them, if their log-probabilities are wanted.
    raw: Vec<f32>,
    /// The tokens that the last step led to.
    next: Vec<TokenId>,
    /// What was not pushed yet.
    pending: TokenEvent,
    /// No more tokens come, and what was held back for them has been looked at.
    closed: bool,
    /// How it ends before its first step, if it does.
    over: Option<End>,
    pub(crate) usage: Usage,
    pub(crate) timings: Timings,
}

/// What becomes of a step other than its tokens.
enum Turn {
    End(End),
    /// The token of this index (the first generated one has 0) must not be chosen there.
    Back(usize),
}

impl From<EngineError> for Turn {
    fn from(error: EngineError) -> Self {
        Self::End(End::error(error))
    }
}

impl Generation {
    /// Takes over a request that was checked and fits the context, of whose prompt there were `n_prompt` tokens before; returns its prompt too.
    pub(crate) fn new(
        mut request: Request,
        n_prompt: usize,
        n_ctx: usize,
        vocabulary: Arc<dyn Vocabulary>,
        past: &Arc<PastTexts>,
    ) -> Result<(Self, Vec<TokenId>), RequestError> {
        if let (Some(n_top), LogprobsMode::Sampled) = (request.logprobs, request.logprobs_mode) {
            request.sampler.remember(n_top);
        }
        if !request.ban.is_empty() && request.sampler.save().is_none() {
            return Err(RequestError::BanNeedsSnapshots);
        }
        let lookup = request.lookup.filter(|_| request.hook.is_none());
        let drafter = request.drafter.filter(|_| request.hook.is_none());
        let n_vocab = vocabulary.n_tokens();
        let dropped_tokens = n_prompt - request.prompt.len();
        let (shift, room) = match request.overflow {
            Overflow::Shift(shift) => (Some(shift), usize::MAX),
            Overflow::Error | Overflow::Stop => (None, n_ctx.saturating_sub(request.prompt.len())),
        };
        let last = request.prompt.last().copied().unwrap_or_default();
        let mut generation = Self {
            text: Text::new(Arc::clone(&vocabulary), request.show_special, request.stop)?,
            bans: (!request.ban.is_empty()).then(|| Bans::new(&request.ban, last)),
            recorder: request.record.map(Recorder::new),
            speculator: drafter
                .map(|(drafter, sizes)| Speculator::asking(drafter, sizes))
                .or_else(|| lookup.map(|lookup| Speculator::looking_up(&lookup, &request.prompt, past))),
            piece: String::new(),
            chooser: Chooser::new(
                request.sampler,
                request.constraint,
                request.thought.map(|thought| Budget::new(thought, Arc::clone(&vocabulary))),
                n_vocab,
            ),
            hook: request.hook,
            waiting: false,
            stop_tokens: request.stop_tokens,
            ignore_eos: request.ignore_eos,
            collect: request.collect,
            progress: request.progress,
            logprobs: request.logprobs,
            logprobs_mode: request.logprobs_mode,
            max_tokens: request.max_tokens.map_or(room, |n| n.min(room)),
            n_ctx,
            shift,
            n_vocab,
            vocabulary,
            raw: Vec::new(),
            next: Vec::new(),
            pending: TokenEvent::default(),
            closed: false,
            over: None,
            usage: Usage { prompt_tokens: n_prompt, dropped_tokens, ..Usage::default() },
            timings: Timings::default(),
        };
        let mut tokens = request.prompt;
        if let Some(fork) = request.fork {
            generation.go_through(&fork.tokens);
            tokens.extend(fork.tokens);
        }
        Ok((generation, tokens))
    }

    /// Takes tokens that were generated, and shown, before.
    fn go_through(&mut self, tokens: &[TokenId]) {
        for &token in tokens {
            let turn = match self.chooser.accept(token) {
                Ok(()) => self.append(Chosen { token, forced: false, logprob: None }),
                Err(error) => Some(error.into()),
            };
            if let Some(turn) = turn {
                let Turn::End(end) = turn else { break };
                self.over = Some(end);
                break;
            }
        }
        self.next.clear();
        self.pending = TokenEvent::default();
    }

    /// How it ends before its first step, if it does.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        self.over.take()
    }

    /// Maximum number of tokens that it will have; it begins with `n_tokens`, generated ones included.
    pub(crate) fn n_max(&self, n_tokens: usize) -> usize {
        let n_more = self.max_tokens.saturating_sub(self.usage.completion_tokens);
        n_tokens.saturating_add(n_more).min(self.n_ctx.max(n_tokens))
    }

    /// Which of its `n_tokens` tokens must leave memory before there is room for the last ones: so many of them after the first `keep` ones. They count as gone then.
    pub(crate) fn shift(&mut self, n_tokens: usize) -> Option<Gap> {
        let shift = self.shift.filter(|_| n_tokens > self.n_ctx)?;
        let len = shift.n_dropped(n_tokens, self.n_ctx);
        self.usage.dropped_tokens += len;
        Some(Gap { keep: shift.keep, len })
    }

    /// Whether no more tokens may be generated.
    pub(crate) fn is_full(&self) -> bool {
        self.usage.completion_tokens >= self.max_tokens
    }

    /// How many tokens the text has, those of the prompt included and those that left the context not.
    fn n_tokens(&self) -> usize {
        self.usage.prompt_tokens + self.usage.completion_tokens - self.usage.dropped_tokens
    }

    /// Takes the logits of a decode, row by row as long as the tokens that are chosen are those that were drafted. `None`: there is more to decode first.
    pub(crate) fn advance(&mut self, decoded: &Decoded<'_>, submitted: Instant) -> Option<Progress> {
        for (at, row) in (decoded.first..).zip(decoded.rows) {
            let n_known = self.n_tokens();
            if at + 1 < n_known {
                // A constraint has chosen what comes here.
                continue;
            }
            let progress = self.take(row, &decoded.tokens[..n_known], submitted);
            let Progress::Tokens = progress else { return Some(progress) };
            let drafted = &decoded.tokens[n_known..];
            let n_same = self.next.iter().zip(drafted).take_while(|(chosen, draft)| chosen == draft).count();
            self.usage.accepted_tokens += n_same;
            if n_same < self.next.len() {
                let tail = self.next.split_off(n_same);
                if n_same < drafted.len() {
                    return Some(Progress::Rewind { keep: n_known + n_same, tail });
                }
                self.next = tail;
                return Some(Progress::Tokens);
            }
        }
        None
    }

    /// Puts tokens that may come next into `out`, at most `n`; see [`Speculator::draft`].
    pub(crate) fn draft(&mut self, tokens: &[TokenId], n: usize, cost: StepCost, out: &mut Vec<TokenId>) {
        let n_left = self.max_tokens.saturating_sub(self.usage.completion_tokens + 1);
        let n_left = n_left.min(self.n_ctx.saturating_sub(tokens.len()));
        if let Some(speculator) = &mut self.speculator {
            speculator.draft(tokens, n.min(n_left), cost, out);
            self.usage.drafted_tokens += out.len();
        }
    }

    /// Whether its consumer wants to know how far the prompt is.
    pub(crate) fn reports_prompt(&self) -> bool {
        self.progress
    }

    /// Whether it may draft tokens.
    pub(crate) fn speculates(&self) -> bool {
        self.speculator.is_some()
    }

    /// Takes the logits after `tokens`: chooses the next token from them and makes text of it, or sends them to the hook.
    fn take(&mut self, logits: &[f32], tokens: &[TokenId], submitted: Instant) -> Progress {
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
        let known = self.usage.completion_tokens;
        loop {
            let turn = match self.jump(submitted) {
                None if self.next.is_empty() => self.draw(logits, submitted).or_else(|| self.jump(submitted)),
                turn => turn,
            };
            let index = match turn {
                None => return Progress::Tokens,
                Some(Turn::End(end)) => match self.close(end) {
                    Ok(end) => return Progress::Ended(end),
                    Err((index, _)) => index,
                },
                Some(Turn::Back(index)) => index,
            };
            let previous = match self.go_back(index).and_then(|previous| self.try_again().map(|()| previous))
            {
                Ok(previous) => previous,
                Err(error) => return Progress::Ended(End::error(error)),
            };
            if index < known {
                // The logits there are gone: they come again with those of the token before.
                let keep = self.usage.prompt_tokens + index - 1;
                return Progress::Rewind { keep, tail: vec![previous] };
            }
            self.next.truncate(index - known);
            if index > known {
                return Progress::Tokens;
            }
        }
    }

    /// Chooses one token.
    fn draw(&mut self, logits: &[f32], submitted: Instant) -> Option<Turn> {
        if let Err(error) = self.open_place() {
            return Some(error.into());
        }
        let excluded = self.bans.as_ref().map_or_else(Excluded::default, Bans::excluded);
        let is_narrowed = !excluded.tokens.is_empty();
        let token = match self.chooser.choose(logits, excluded) {
            Ok(token) => token,
            // The end, which the sampler is not to choose, may be all that the constraint allows.
            Err(EngineError::Sampler { .. }) if self.ignore_eos && self.chooser.can_end() => {
                return Some(Turn::End(End::stop(StopMatch::Constraint)));
            }
            Err(EngineError::Sampler { .. })
                if is_narrowed && self.bans.as_mut().is_some_and(Bans::loosen) =>
            {
                return self.draw(logits, submitted);
            }
            Err(EngineError::Sampler { .. }) if is_narrowed => return Some(self.before_last()),
            Err(error) => return Some(error.into()),
        };
        self.timings.first_token.get_or_insert_with(|| submitted.elapsed());
        if let Some(end) = self.ending_token(token) {
            return Some(Turn::End(end));
        }
        if let Err(error) = self.chooser.accept(token) {
            return Some(error.into());
        }
        let logprob = self.logprobs.map(|n_top| self.logprob(logits, token, n_top));
        self.append(Chosen { token, forced: false, logprob })
    }

    /// Takes the tokens that the constraint or the end of a thought forces, without looking at their logits. Log-probabilities and a hook need the logits, so with them
    /// these tokens are chosen one by one as all others are; so is a token that the sampler must not choose, and a place where a token is excluded.
    fn jump(&mut self, submitted: Instant) -> Option<Turn> {
        if !self.chooser.can_force() || self.logprobs.is_some() || self.hook.is_some() {
            return None;
        }
        let forced = match self.chooser.forced() {
            Ok(forced) => forced,
            Err(error) => return Some(error.into()),
        };
        for token in forced {
            if let Err(error) = self.open_place() {
                return Some(error.into());
            }
            if self.bans.as_ref().is_some_and(|bans| bans.excluded().tokens.contains(&token)) {
                break;
            }
            match self.chooser.note_forced(token) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Some(error.into()),
            }
            self.timings.first_token.get_or_insert_with(|| submitted.elapsed());
            if let Some(end) = self.ending_token(token) {
                return Some(Turn::End(end));
            }
            if let Err(error) = self.chooser.accept(token) {
                return Some(error.into());
            }
            if let Some(turn) = self.append(Chosen { token, forced: true, logprob: None }) {
                return Some(turn);
            }
        }
        None
    }

    /// Notes the state before the next token, which a banned text may lead back to.
    fn open_place(&mut self) -> Result<(), EngineError> {
        if let Some(bans) = &mut self.bans
            && !bans.is_open()
            && let Some(chooser) = self.chooser.state()?
        {
            bans.open(self.text.mark(), chooser, self.text.state());
        }
        Ok(())
    }

    /// No choice is left at the next place: the one before was wrong, if it can still be taken back.
    fn before_last(&self) -> Turn {
        let n_settled = self.bans.as_ref().map_or(0, Bans::n_settled);
        let n_tries = self.bans.as_ref().map_or(0, Bans::n_tries);
        let n_tokens = self.usage.completion_tokens;
        if n_tokens > n_settled { Turn::Back(n_tokens - 1) } else { EngineError::Banned { n_tries }.into() }
    }

    /// Gives up after too many tries.
    fn try_again(&mut self) -> Result<(), EngineError> {
        let Some(bans) = &mut self.bans else { return Ok(()) };
        if bans.n_tries() > MAX_TRIES {
            return Err(EngineError::Banned { n_tries: MAX_TRIES });
        }
        bans.look_through(&*self.vocabulary);
        Ok(())
    }

    /// Goes back to before token `index` and excludes it there. Returns the token before it.
    fn go_back(&mut self, index: usize) -> Result<TokenId, EngineError> {
        let Some(back) = self.bans.as_mut().and_then(|bans| bans.go_back(index)) else {
            return Err(EngineError::Banned { n_tries: 0 });
        };
        let n_tokens = self.usage.completion_tokens - index;
        self.text.set_state(back.before.text);
        self.usage.completion_tokens = index;
        if let Some(speculator) = &mut self.speculator {
            speculator.go_back(n_tokens);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.truncate(index);
        }
        self.usage.forced_tokens -= back.n_forced;
        self.closed = false;
        self.chooser.go_back(n_tokens, &back.before.chooser)?;
        Ok(back.previous)
    }

    /// The end of the generation that `token` causes, if any.
    fn ending_token(&self, token: TokenId) -> Option<End> {
        if self.stop_tokens.contains(&token) {
            return Some(End::stop(StopMatch::Token(token)));
        }
        // A constraint lets such a token through only where the text may end, and nothing could follow it.
        let ends = self.vocabulary.is_eog(token) && (!self.ignore_eos || self.chooser.is_constrained());
        ends.then(|| End::stop(StopMatch::Eog(token)))
    }

    /// Adds a token to the text.
    fn append(&mut self, chosen: Chosen) -> Option<Turn> {
        let token = chosen.token;
        self.usage.completion_tokens += 1;
        self.usage.forced_tokens += usize::from(chosen.forced);
        self.next.push(token);
        if let Some(speculator) = &mut self.speculator {
            speculator.push(token);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.push(token);
        }
        let stopped = match &mut self.bans {
            None => {
                self.pending.token_ids.push(token);
                self.pending.logprobs.extend(chosen.logprob);
                self.text.push(token, &mut self.pending.text)
            }
            Some(bans) => {
                bans.choose(chosen);
                self.piece.clear();
                let stopped = self.text.push(token, &mut self.piece);
                if let Some(index) = bans.push(&self.piece) {
                    return Some(Turn::Back(index));
                }
                stopped
            }
        };
        if let Some(index) = stopped {
            return Some(Turn::End(self.stop_string(index)));
        }
        match self.chooser.is_finished() {
            Ok(true) => return Some(Turn::End(End::stop(StopMatch::Constraint))),
            Ok(false) => {}
            Err(error) => return Some(error.into()),
        }
        if self.is_full() {
            return Some(Turn::End(End::new(FinishReason::Length)));
        }
        if let Some(bans) = &mut self.bans {
            bans.settle(self.text.mark(), &mut self.pending);
        }
        None
    }

    fn logprob(&mut self, logits: &[f32], token: TokenId, n_top: usize) -> TokenLogprob {
        let bytes_of = |token| bytes_of(&*self.vocabulary, token);
        match self.logprobs_mode {
            LogprobsMode::Raw if self.hook.is_some() => token_logprob(&self.raw, token, n_top, bytes_of),
            LogprobsMode::Raw => token_logprob(logits, token, n_top, bytes_of),
            LogprobsMode::Sampled => self.chooser.logprob(token, n_top, bytes_of),
        }
    }

    /// The event that is ready to be pushed: text, with the tokens up to here.
    pub(crate) fn take_event(&mut self) -> Option<TokenEvent> {
        let is_ready = !self.collect && !self.pending.text.is_empty();
        is_ready.then(|| std::mem::take(&mut self.pending))
    }

    /// Looks at the text that was held back, now that no more tokens come; a stop string in it still counts. Returns how the generation ends, or the
    /// index of the token that must not be chosen because a banned text is in that text.
    fn close(&mut self, mut end: End) -> Result<End, (usize, End)> {
        self.closed = true;
        if matches!(end.stop_match, Some(StopMatch::String(_))) {
            return Ok(end);
        }
        let index = match &mut self.bans {
            None => self.text.finish(&mut self.pending.text),
            Some(bans) => {
                self.piece.clear();
                let index = self.text.finish(&mut self.piece);
                if let Some(index) = bans.push(&self.piece) {
                    return Err((index, end));
                }
                index
            }
        };
        if let Some(index) = index
            && matches!(end.reason, FinishReason::Length | FinishReason::Stop)
        {
            end = self.stop_string(index);
        }
        Ok(end)
    }

    /// Releases the text that was held back. Returns the last event, if there is one, and how the stream ended.
    pub(crate) fn end(mut self, end: End) -> (Vec<TokenEvent>, Finish) {
        let end = if self.closed { Ok(end) } else { self.close(end) };
        let end = end.unwrap_or_else(|(index, end)| match self.go_back(index) {
            // It ends from outside, so what leads to a banned text is left out.
            Ok(_) => end,
            Err(error) => End::error(error),
        });
        if let Some(bans) = &mut self.bans {
            bans.settle_all(&mut self.pending);
        }
        if let Some(recorder) = self.recorder.take() {
            // A sampler that cannot tell its state has said why already.
            let state = self.chooser.state().unwrap_or_default();
            recorder.finish(state.map(|state| state.sampler));
        }
        if let Some(speculator) = self.speculator.take() {
            speculator.finish();
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
        if !self.chooser.is_constrained() {
            return None;
        }
        let cut = matches!(end.reason, FinishReason::Error(_))
            || matches!(end.stop_match, Some(StopMatch::String(_)));
        Some(!cut && self.chooser.can_end())
    }

    fn stop_string(&self, index: usize) -> End {
        End::stop(StopMatch::String(self.text.stop_string(index)))
    }
}
