//! How many threads the next step uses.
//!
//! ggml's threads wait for each other after every operation of a graph (`ggml_barrier` in ggml/src/ggml-cpu/ggml-cpu.c), so a step takes as long as the
//! thread that gets the least of a core. Beside other busy processes fewer threads are therefore faster, by any factor, and which number is best shows only in
//! how long steps take.
//!
//! A [`ThreadCount`] is told how long each step took and answers with the number for the next one. It keeps a mean time for each number that it has
//! tried, uses the number with the least, and tries others now and then, for a small part of the time. Steps that generate and steps
//! that read prompts are judged apart ([`pace::Pace`]).

mod ladder;
mod pace;
mod scale;

#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;

use pace::Pace;

/// Steps of at most so many tokens count as generating.
const FEW_TOKENS: usize = 16;

/// What a step is about to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Tokens in its batch.
    pub(crate) n_tokens: usize,
    /// Whether it can be cut short and decoded again.
    pub(crate) can_redo: bool,
}

/// How to run a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Threads that compute.
    pub(crate) threads: usize,
    /// The step is to be cut short after so many seconds, and done again as the next choice says.
    pub(crate) limit: Option<f64>,
}

/// Roughly how long a model's steps take on an undisturbed processor, before any was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guess {
    /// Size of the weights in bytes.
    pub(crate) bytes: f64,
    /// Number of weights.
    pub(crate) weights: f64,
}

impl Guess {
    /// Seconds for a step of `n_tokens` on `threads` threads: at 4 GB of weights a second, and 20 billion operations a second on each thread.
    fn seconds(self, n_tokens: usize, threads: usize) -> f64 {
        let operations = 2.0 * self.weights * n_tokens as f64;
        0.02 + self.bytes / 4e9 + operations / (20e9 * threads as f64)
    }
}

/// Chooses the number of threads of each step; see the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct ThreadCount {
    generation: Pace,
    prompt: Pace,
    /// As many threads read prompts, whatever is measured.
    fixed_prompt: Option<usize>,
    guess: Guess,
}

impl ThreadCount {
    /// Chooses from 1 to `most` threads, and begins with `most`; prompts have `fixed_prompt` threads where that is given.
    pub(crate) fn new(most: usize, fixed_prompt: Option<usize>, guess: Guess) -> Self {
        let pace = Pace::new(ladder::counts(most));
        Self { generation: pace.clone(), prompt: pace, fixed_prompt, guess }
    }

    /// Numbers of threads for steps that generate and for prompts, as of now.
    pub(crate) fn in_use(&self) -> (usize, usize) {
        (self.generation.threads(), self.fixed_prompt.unwrap_or_else(|| self.prompt.threads()))
    }

    /// How to run the next step.
    pub(crate) fn choose(&self, step: Step) -> Choice {
        if let Some(threads) = self.fixed(step) {
            return Choice { threads, limit: None };
        }
        let pace = if is_generation(step) { &self.generation } else { &self.prompt };
        let threads = pace.threads();
        let limit = (step.can_redo && threads > 1).then(|| {
            pace.limit(step.n_tokens).unwrap_or_else(|| 4.0 * self.guess.seconds(step.n_tokens, threads))
        });
        Choice { threads, limit }
    }

    /// Notes that the step, run as chosen, took `seconds`.
    pub(crate) fn note(&mut self, step: Step, seconds: f64) {
        if self.fixed(step).is_none() {
            self.pace(step).note(step, seconds);
        }
    }

    /// Notes that the step, run as chosen, was cut short after `seconds`.
    pub(crate) fn note_cut(&mut self, step: Step, seconds: f64) {
        let pace = self.pace(step);
        pace.note_cut(step, seconds);
        let threads = pace.threads();
        // A kind of step that has not been measured begins where the other one was driven to.
        for other in [&mut self.generation, &mut self.prompt] {
            other.begin_at(threads);
        }
    }

    /// Whether a step was cut short.
    #[cfg(test)]
    pub(crate) fn has_cut(&self) -> bool {
        self.generation.has_cut() || self.prompt.has_cut()
    }

    /// The number of threads that nothing changes, if the step has one.
    fn fixed(&self, step: Step) -> Option<usize> {
        self.fixed_prompt.filter(|_| !is_generation(step))
    }

    fn pace(&mut self, step: Step) -> &mut Pace {
        if is_generation(step) { &mut self.generation } else { &mut self.prompt }
    }
}

fn is_generation(step: Step) -> bool {
    step.n_tokens <= FEW_TOKENS
}
