//! Everything that can go wrong with a request.

use crate::TokenId;

/// Why a stream ended early, or why the engine takes no requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine was closed.
    #[error("the model is closed; load it again to generate more")]
    Closed,
    /// The engine is used in a child of the process that it was made in.
    #[error(
        "this model was loaded before `fork`; load it again in the child process, or use the spawn start method"
    )]
    Forked,
    /// The engine panicked; all its streams ended.
    #[error("the decode thread failed with `{message}`; close the model and load it again")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// A decode made no progress; all streams of the engine ended.
    #[error(
        "the decode thread hangs: a decode was still at work after {seconds} s, many times longer than usual; close the model and load it again"
    )]
    Hung {
        /// How long the decode was watched.
        seconds: u64,
    },
    /// What the engine computes with has died; the next request starts it again.
    #[error("{words}; the next call starts it again")]
    Crashed {
        /// How it died, and its last words.
        words: String,
    },
    /// The engine could not decode a micro-batch of this request.
    #[error("cannot decode this request: {message}")]
    Decode {
        /// What the engine said.
        message: String,
    },
    /// The memory has no room for the request, although no other request is in it.
    #[error(
        "the context memory has no room for {n_tokens} tokens; raise `context_size` or shorten the prompt"
    )]
    NoSpace {
        /// How many tokens the request has so far.
        n_tokens: usize,
    },
    /// The sampler could not choose a token.
    #[error("cannot choose the next token: {message}")]
    Sampler {
        /// What the sampler said.
        message: String,
    },
    /// The request's constraint could not go on.
    #[error("the constraint cannot go on: {message}")]
    Constraint {
        /// What the constraint said.
        message: String,
    },
    /// Every way on that was tried brought a banned text.
    #[error(
        "found no text without a banned one in {n_tries} tries; loosen `ban`, or what else the text must be"
    )]
    Banned {
        /// How many choices were excluded since the last token that stayed.
        n_tries: usize,
    },
    /// The request's logits hook failed, or its thread has gone.
    #[error("the logits hook failed: {message}")]
    Hook {
        /// What the hook said.
        message: String,
    },
    /// Bytes that are not the cells of the tokens that they are said to be.
    #[error("the bytes are no cells of these {n_tokens} tokens in this model's memory")]
    NoCells {
        /// How many tokens.
        n_tokens: usize,
    },
    /// The operating system gave no thread.
    #[error("cannot start the decode thread: {message}")]
    Spawn {
        /// What the operating system said.
        message: String,
    },
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No tokens to begin with.
    #[error("prompt has no tokens; give at least one, such as the beginning-of-text token")]
    EmptyPrompt,
    /// More tokens than the context holds.
    #[error(
        "prompt has {} tokens but the context holds {}; raise `context_size` or shorten the prompt",
        Grouped(*n_prompt),
        Grouped(*n_ctx)
    )]
    PromptTooLong {
        /// Tokens in the prompt.
        n_prompt: usize,
        /// Tokens that the context holds.
        n_ctx: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("`{list}[{index}]` is token {token} but the vocabulary has tokens 0 to {}", n_vocab.saturating_sub(1))]
    TokenOutOfRange {
        /// `prompt`, `stop_tokens`, `fork` or `continuation`.
        list: &'static str,
        /// Where in the list.
        index: usize,
        /// The token.
        token: TokenId,
        /// Tokens in the vocabulary.
        n_vocab: usize,
    },
    /// Nothing to score.
    #[error("there are no continuations to score; give at least one")]
    NoContinuations,
    /// A continuation without tokens has no probability.
    #[error("continuation {index} has no tokens; give it text")]
    EmptyContinuation {
        /// Which one.
        index: usize,
    },
    /// A prompt and a continuation that the context cannot hold together.
    #[error(
        "the prompt and continuation {index} have {} tokens but the context holds {}; raise `context_size` or shorten them",
        Grouped(*n_tokens),
        Grouped(*n_ctx)
    )]
    ContinuationTooLong {
        /// Which continuation.
        index: usize,
        /// Tokens of both together.
        n_tokens: usize,
        /// Tokens that the context holds.
        n_ctx: usize,
    },
    /// A stop string without text would match everywhere.
    #[error("`stop[{index}]` is empty; remove it or give it text")]
    EmptyStop {
        /// Where in the list.
        index: usize,
    },
    /// A banned text without text would match everywhere.
    #[error("`ban[{index}]` is empty; remove it or give it text")]
    EmptyBan {
        /// Where in the list.
        index: usize,
    },
    /// Where a text was forked, nothing can be taken back.
    #[error(
        "a text with `ban` cannot be forked, as what is before the fork cannot be taken back; leave one of them out"
    )]
    ForkWithBan,
    /// A context that is to be shifted must hold tokens that may leave.
    #[error(
        "`keep` is {} but the context holds {} tokens, of which at least two must be free to leave; lower `keep` or raise `context_size`",
        Grouped(*keep),
        Grouped(*n_ctx)
    )]
    KeepsTooMuch {
        /// Tokens to be kept.
        keep: usize,
        /// Tokens that the context holds.
        n_ctx: usize,
    },
    /// A text that is shifted cannot be gone back to.
    #[error(
        "a text that may lose its middle cannot be gone back to, as `{name}` needs it; leave `{name}` out, or let the text end"
    )]
    ShiftWith {
        /// `ban`, `fork` or `session`.
        name: &'static str,
    },
    /// The memory cannot lose tokens of its middle.
    #[error(
        "this model's memory cannot lose tokens of its middle (it has a sliding window or a recurrent state); leave `overflow` out and shorten the text yourself"
    )]
    CannotShift,
    /// Banned texts need choices to be taken back.
    #[error("`ban` needs a sampler that can take its choices back; give one that can `save` its state")]
    BanNeedsSnapshots,
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The request is wrong.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine takes no requests.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// As many requests wait as may.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
}

/// As many requests wait for their beginning as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the queue is full: {n_waiting} requests wait, as many as `max_queue` allows; try again when one has begun, or raise `max_queue`"
)]
pub struct QueueFull {
    /// How many wait.
    pub n_waiting: usize,
}

/// Writes a number with commas between its thousands.
struct Grouped(usize);

impl std::fmt::Display for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{}", self.0);
        }
        write!(f, "{},{:03}", Grouped(self.0 / 1000), self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_prompt_names_both_sizes_in_thousands() {
        let error = RequestError::PromptTooLong { n_prompt: 1_009_120, n_ctx: 192 };
        assert_eq!(
            error.to_string(),
            "prompt has 1,009,120 tokens but the context holds 192; raise `context_size` or shorten the prompt"
        );
    }
}
