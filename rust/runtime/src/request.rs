//! One request: what to continue, how, and when to stop.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::{
    ContextShift, Drafter, Group, LogitsHook, LogprobsMode, Lookup, Overflow, Owner, Record, RequestError,
    StreamId, ThoughtBudget, TokenConstraint, TokenId, TokenSampler,
};

/// What to generate.
///
/// Make one with [`Request::new`] and change the fields that matter.
pub struct Request {
    /// The tokens to continue; at least one.
    pub prompt: Vec<TokenId>,
    /// Maximum number of tokens to generate; `None` for as many as the context holds. With 0 nothing is generated and the reason is
    /// [`FinishReason::Length`](crate::FinishReason::Length); together with `cache_prompt` the prompt is still decoded, to be there for the next request.
    pub max_tokens: Option<usize>,
    /// Strings that end the generation; none is ever part of the text.
    pub stop: Vec<String>,
    /// Texts that must not come: none is ever part of the text, in this spelling (upper and lower case differ). Where one comes, the generation goes
    /// back to before its first token that was not shown yet, and makes another choice there; text that may still become one is held back. A
    /// stop string that begins before a banned text is complete ends the text first. Ends with [`EngineError::Banned`](crate::EngineError::Banned)
    /// where no other text is found.
    pub ban: Vec<String>,
    /// Tokens that end the generation, besides the model's own end-of-generation tokens.
    pub stop_tokens: Vec<TokenId>,
    /// Go on after an end-of-generation token. Keeping such a token from being chosen is the sampler's job.
    pub ignore_eos: bool,
    /// Give the log-probability of each token and of this many most probable ones (0 for the chosen one alone).
    pub logprobs: Option<usize>,
    /// The distribution that the log-probabilities are taken from.
    pub logprobs_mode: LogprobsMode,
    /// Chooses the tokens.
    pub sampler: Box<dyn TokenSampler>,
    /// What the text must look like. The generation ends where nothing may follow, `ignore_eos` or not. Forced tokens are taken without asking
    /// the model and decoded together, except with `logprobs` and with a `hook`, which need the logits at every place.
    pub constraint: Option<Box<dyn TokenConstraint>>,
    /// How long it may think; see [`ThoughtBudget`].
    pub thought: Option<ThoughtBudget>,
    /// Changes the logits before a token is chosen; see [`logits_hook`](crate::logits_hook).
    pub hook: Option<LogitsHook>,
    /// Draft the tokens that followed the last few ones when they came before, and decode them together where that is faster. The choice of tokens stays as it is.
    /// Without effect with a `hook`, which sees one row of logits at a time, with [`deterministic`](crate::EngineConfig::deterministic), and where the memory cannot
    /// take tokens back ([`Decoder::can_rewind`](crate::Decoder::can_rewind)).
    pub lookup: Option<Lookup>,
    /// Decode what this drafter guesses together with the token before, where that is faster, so many tokens a step or none; more than one step has room for are cut. As `lookup` otherwise,
    /// which does not count beside it.
    pub drafter: Option<(Box<dyn Drafter>, RangeInclusive<usize>)>,
    /// What to do when the text does not fit the context.
    pub overflow: Overflow,
    /// Begin with what other requests with this option have decoded, and leave this one's tokens for others. Reused tokens were decoded
    /// in batches of other sizes, so logits may differ in their last bits.
    pub cache_prompt: bool,
    /// A beginning of fewer tokens is not worth reusing, unless it is the owner's own.
    pub least_reuse: usize,
    /// Keeps what this request leaves behind, for the next one of this owner; it counts as `cache_prompt`. Without effect with
    /// [`deterministic`](crate::EngineConfig::deterministic).
    pub owner: Option<Owner>,
    /// The request goes on where a running one has come to.
    pub fork: Option<Fork>,
    /// Where to note how far the request came, for who goes on from there.
    pub record: Option<Record>,
    /// What it is decoded with besides the model; see [`Group`].
    pub group: Group,
    /// Show control tokens, such as `<tool_call>`, as their text, which is left out of the text otherwise.
    pub show_special: bool,
    /// Hand the whole text over in one event, at the end. Such a request never waits for its consumer.
    pub collect: bool,
    /// Tell after each step of a prompt how far it has come, unless the consumer is far behind; see [`TokenEvent::prompt`](crate::TokenEvent::prompt).
    pub progress: bool,
    /// Requests of higher priority are served first; among equals the older ones.
    pub priority: i32,
    /// How long the request may take from its submission on, in the queue and at work. Then it ends with
    /// [`FinishReason::Timeout`](crate::FinishReason::Timeout) and what came so far.
    pub timeout: Option<Duration>,
}

/// Where a request begins in the middle of another one's text.
///
/// Its stream has what comes after `tokens`, as that of the other request would have it: characters and stop strings may lie across. The tokens count as generated, for
/// `max_tokens` too. Its sampler must know of them already.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The request whose cells it shares, if they are still in memory and can be cut there; else its tokens are decoded.
    pub of: StreamId,
    /// What that one generated so far.
    pub tokens: Vec<TokenId>,
}

impl Request {
    /// A request that generates until the model ends it or the context is full.
    pub fn new(prompt: Vec<TokenId>, sampler: Box<dyn TokenSampler>) -> Self {
        Self {
            prompt,
            max_tokens: None,
            stop: Vec::new(),
            ban: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            logprobs_mode: LogprobsMode::default(),
            sampler,
            constraint: None,
            thought: None,
            hook: None,
            lookup: None,
            drafter: None,
            overflow: Overflow::default(),
            cache_prompt: false,
            least_reuse: 1,
            owner: None,
            fork: None,
            record: None,
            group: Group::default(),
            show_special: false,
            collect: false,
            progress: false,
            priority: 0,
            timeout: None,
        }
    }

    /// Checks everything that can be checked before the request runs. [`Engine::submit`](crate::Engine::submit) does so itself.
    ///
    /// # Errors
    ///
    /// Any [`RequestError`], the first one found.
    pub fn check(&self, n_ctx: usize, n_vocab: usize) -> Result<(), RequestError> {
        if self.prompt.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        let begun = self.fork.as_ref().map_or(&[][..], |fork| &fork.tokens);
        let n_prompt = self.prompt.len() + begun.len();
        match self.overflow {
            Overflow::Stop if begun.is_empty() => {}
            Overflow::Error | Overflow::Stop if n_prompt > n_ctx => {
                return Err(RequestError::PromptTooLong { n_prompt, n_ctx });
            }
            Overflow::Error | Overflow::Stop => {}
            Overflow::Shift(shift) => self.check_shift(shift, n_ctx)?,
        }
        if self.fork.is_some() && !self.ban.is_empty() {
            return Err(RequestError::ForkWithBan);
        }
        check_tokens("prompt", &self.prompt, n_vocab)?;
        check_tokens("fork", begun, n_vocab)?;
        check_tokens("stop_tokens", &self.stop_tokens, n_vocab)?;
        for kind in self.thought.iter().flat_map(|thought| &thought.kinds) {
            check_tokens("closing", &kind.closing, n_vocab)?;
        }
        if let Some(index) = self.stop.iter().position(String::is_empty) {
            return Err(RequestError::EmptyStop { index });
        }
        match self.ban.iter().position(String::is_empty) {
            Some(index) => Err(RequestError::EmptyBan { index }),
            None => Ok(()),
        }
    }
}

impl Request {
    fn check_shift(&self, shift: ContextShift, n_ctx: usize) -> Result<(), RequestError> {
        if shift.keep.saturating_add(2) > n_ctx {
            return Err(RequestError::KeepsTooMuch { keep: shift.keep, n_ctx });
        }
        let fixed = [("ban", !self.ban.is_empty()), ("fork", self.fork.is_some())];
        let fixed = fixed.into_iter().find(|(_, given)| *given);
        if let Some((name, _)) = fixed {
            return Err(RequestError::ShiftWith { name });
        }
        if self.record.is_some() || self.owner.is_some() {
            return Err(RequestError::ShiftWith { name: "session" });
        }
        Ok(())
    }

    /// Makes a prompt fit the context as `overflow` says.
    pub(crate) fn fit(&mut self, n_ctx: usize) {
        match self.overflow {
            Overflow::Stop if self.prompt.len() > n_ctx => {
                self.prompt.truncate(n_ctx);
                (self.max_tokens, self.cache_prompt) = (Some(0), false);
            }
            Overflow::Shift(shift) => shift.shorten(&mut self.prompt, n_ctx),
            Overflow::Error | Overflow::Stop => {}
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("prompt", &self.prompt)
            .field("max_tokens", &self.max_tokens)
            .field("stop", &self.stop)
            .field("ban", &self.ban)
            .field("stop_tokens", &self.stop_tokens)
            .field("ignore_eos", &self.ignore_eos)
            .field("logprobs", &self.logprobs)
            .field("logprobs_mode", &self.logprobs_mode)
            .field("constrained", &self.constraint.is_some())
            .field("thought", &self.thought)
            .field("hook", &self.hook)
            .field("lookup", &self.lookup)
            .field("drafts", &self.drafter.is_some())
            .field("overflow", &self.overflow)
            .field("cache_prompt", &self.cache_prompt)
            .field("owner", &self.owner)
            .field("fork", &self.fork)
            .field("record", &self.record)
            .field("group", &self.group)
            .field("show_special", &self.show_special)
            .field("collect", &self.collect)
            .field("progress", &self.progress)
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

pub(crate) fn check_tokens(
    list: &'static str,
    tokens: &[TokenId],
    n_vocab: usize,
) -> Result<(), RequestError> {
    let out_of_range = |&token: &TokenId| usize::try_from(token).map_or(true, |token| token >= n_vocab);
    match tokens.iter().position(out_of_range) {
        Some(index) => Err(RequestError::TokenOutOfRange { list, index, token: tokens[index], n_vocab }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SamplerError;

    struct First;

    impl TokenSampler for First {
        fn sample(
            &mut self,
            _logits: &[f32],
            _mask: Option<&crate::TokenMask>,
        ) -> Result<TokenId, SamplerError> {
            Ok(0)
        }
        fn kept(&self, _n: usize, _out: &mut Vec<(TokenId, f32)>) {}
        fn accept(&mut self, _token: TokenId) {}
    }

    fn error_of(change: impl FnOnce(&mut Request)) -> String {
        let mut request = Request::new(vec![1, 2, 3], Box::new(First));
        assert_eq!(request.check(3, 4), Ok(()));
        change(&mut request);
        request.check(3, 4).unwrap_err().to_string()
    }

    #[test]
    fn each_wrong_field_is_named() {
        assert!(error_of(|r| r.prompt.clear()).starts_with("prompt has no tokens"));
        assert!(error_of(|r| r.prompt.push(1)).starts_with("prompt has 4 tokens but the context holds 3;"));
        assert_eq!(
            error_of(|r| r.prompt[1] = 4),
            "`prompt[1]` is token 4 but the vocabulary has tokens 0 to 3"
        );
        assert_eq!(
            error_of(|r| r.stop_tokens.push(-1)),
            "`stop_tokens[0]` is token -1 but the vocabulary has tokens 0 to 3"
        );
        let thought = |closing| crate::Thought { closing, ..crate::Thought::default() };
        assert_eq!(
            error_of(|r| {
                r.thought =
                    Some(ThoughtBudget { kinds: vec![thought(vec![0, 7])], ..ThoughtBudget::default() });
            }),
            "`closing[1]` is token 7 but the vocabulary has tokens 0 to 3"
        );
        assert!(error_of(|r| r.stop.push(String::new())).starts_with("`stop[0]` is empty"));
        assert!(error_of(|r| r.ban = vec!["a".to_owned(), String::new()]).starts_with("`ban[1]` is empty"));
    }
}
