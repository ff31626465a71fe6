//! What a step takes: how many tokens of prompts go into one that other requests share, and what drafts cost.

use crate::speculation::StepCost;

/// How much longer than a step without prompts a shared step may take.
const STRETCH: f64 = 2.4;
/// The first chunk, before anything was measured.
const FIRST: usize = 16;
/// The smallest chunk: a prompt always goes on.
const LEAST: usize = 4;
/// After so many shared steps, one without prompts is measured anew.
const REMEASURE: usize = 64;
/// Seconds that requests which generate may wait while several others get their first token.
const BURST: f64 = 2.5;
/// A step of fewer tokens says little about how long many take.
const MANY: usize = 32;
/// What a drafted token is thought to cost before it was measured, as a part of the time that a token takes without drafts.
const DRAFT: f64 = 0.5;
/// What it costs at least: the choice from its logits.
const LEAST_DRAFT: f64 = 0.02;
/// After how many steps without drafts those that were dear are tried again: a measurement may have been disturbed. Each time that they are dear
/// again, it takes twice as many.
const RETRY: (usize, usize) = (64, 4096);
/// How many tokens are drafted to try again.
const TRY: usize = 2;

/// Measures steps, and chooses the size of the next chunk so that the streams of others go on at a steady rate.
///
/// A step takes the time of its generating requests plus a time for each token of prompts. Both drift (with the number of requests, with
/// the length of their texts, with other work on the machine), so both are measured all the time.
#[derive(Debug)]
pub(crate) struct Pace {
    most: usize,
    chunk: usize,
    /// Seconds of a step in which requests only generate.
    plain: Option<f64>,
    /// How many requests these were.
    n_plain: usize,
    /// Seconds of a token of a prompt, in steps in which no request generates.
    per_prompt: Option<f64>,
    /// Seconds that a drafted token adds to a step, once it was measured.
    per_draft: Option<f64>,
    /// Steps in which requests only generate, since the last one with drafts.
    n_undrafted: usize,
    /// After how many of them drafts that were dear are tried again.
    patience: usize,
    /// Steps with prompts or drafts since then.
    n_shared: usize,
}

impl Pace {
    /// `most` is the size of a batch.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            chunk: FIRST.min(most),
            plain: None,
            n_plain: 1,
            per_prompt: None,
            per_draft: None,
            n_undrafted: 0,
            patience: RETRY.0,
            n_shared: 0,
        }
    }

    /// Maximum number of tokens of prompts in the next step, if other requests generate in it; 0 where such a step has to be measured first.
    pub(crate) fn chunk(&self) -> usize {
        if self.plain.is_none() || self.n_shared >= REMEASURE { 0 } else { self.chunk }
    }

    /// Maximum number of tokens of prompts that are decoded at once where more requests wait for their first token than generate.
    pub(crate) fn burst(&self) -> usize {
        self.per_prompt.map_or(0, |seconds| (BURST / seconds) as usize)
    }

    /// Maximum number of tokens of prompts in a step of their own while requests generate that cannot be in it: they wait as long as for `n_steps` of
    /// the steps that they could share.
    pub(crate) fn apart(&self, n_steps: usize) -> usize {
        let measured = self.plain.zip(self.per_prompt);
        let one = measured.map_or(FIRST as f64, |(plain, per_token)| (STRETCH - 1.0) * plain / per_token);
        // Fewer would not be measured.
        ((n_steps as f64 * one) as usize).clamp(MANY, self.most.max(MANY))
    }

    /// What a token takes without drafts, and what a drafted one takes; `None` where a step without drafts has to be measured first.
    pub(crate) fn draft_cost(&self) -> Option<StepCost> {
        let plain = self.plain.filter(|_| self.n_shared < REMEASURE)?;
        let token = plain / self.n_plain as f64;
        let measured = self.per_draft.filter(|_| !self.tries_again());
        let drafted = measured.map_or(DRAFT, |seconds| (seconds / token).max(LEAST_DRAFT));
        Some(StepCost { drafted, token })
    }

    /// Maximum number of tokens to draft in a step.
    pub(crate) fn most_drafted(&self) -> usize {
        if self.tries_again() { TRY } else { usize::MAX }
    }

    /// Whether drafts were so dear that nobody drafted for long.
    fn tries_again(&self) -> bool {
        self.n_undrafted >= self.patience && self.is_dear()
    }

    /// Whether a drafted token takes longer than it is thought to before it was measured.
    fn is_dear(&self) -> bool {
        let share = self.plain.map(|plain| plain / self.n_plain as f64);
        self.per_draft.zip(share).is_some_and(|(seconds, share)| seconds > DRAFT * share)
    }

    /// Notes a step of `seconds` in which `n_generating` requests generated, and in which `n_prompt` tokens of prompts and `n_drafted` drafts were decoded, too.
    pub(crate) fn note(&mut self, n_generating: usize, n_prompt: usize, n_drafted: usize, seconds: f64) {
        if n_generating == 0 {
            if n_prompt >= MANY {
                let now = seconds / n_prompt as f64;
                let old = self.per_prompt.unwrap_or(now);
                self.per_prompt = Some((old + 0.25 * (now - old)).max(1e-9));
            }
            return;
        }
        if n_prompt == 0 && n_drafted == 0 {
            let old = self.plain.unwrap_or(seconds);
            // After shared steps the measurement is what the next chunk goes by.
            self.plain = Some(if self.n_shared > 0 { seconds } else { old + 0.25 * (seconds - old) });
            self.n_plain = n_generating;
            self.n_shared = 0;
            self.n_undrafted += 1;
            return;
        }
        self.n_shared += 1;
        let Some(plain) = self.plain else { return };
        let per_token = ((seconds - plain) / (n_prompt + n_drafted) as f64).max(1e-9);
        if n_prompt == 0 {
            let again = self.tries_again();
            let old = self.per_draft.filter(|_| !again).unwrap_or(per_token);
            self.per_draft = Some(old + 0.25 * (per_token - old));
            if again || !self.is_dear() {
                self.patience = if self.is_dear() { (2 * self.patience).min(RETRY.1) } else { RETRY.0 };
            }
            self.n_undrafted = 0;
            return;
        }
        let fitting = (STRETCH - 1.0) * plain / per_token;
        let chunk = self.chunk as f64;
        // One step may have been disturbed, so the chunk shrinks at once but at most to the half, and grows slowly.
        self.chunk = (fitting.clamp(chunk * 0.5, chunk * 1.5) as usize).clamp(LEAST, self.most.max(LEAST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs shared steps on a machine with the given costs, and returns the last chunk and the longest step after the first five.
    fn settle(plain: f64, per_token: f64) -> (usize, f64) {
        let mut pace = Pace::new(2048);
        assert_eq!(pace.chunk(), 0);
        pace.note(4, 0, 0, plain);
        let mut longest = 0.0_f64;
        for step in 0..60 {
            let n_prompt = pace.chunk();
            let seconds = plain + per_token * n_prompt as f64;
            pace.note(4, n_prompt, 0, seconds);
            if step > 5 {
                longest = longest.max(seconds);
            }
        }
        (pace.chunk(), longest)
    }

    #[test]
    fn prompts_apart_take_as_long_as_the_steps_that_they_stand_for() {
        let mut pace = Pace::new(2048);
        assert_eq!(pace.apart(4), 4 * FIRST, "enough to be measured");
        for _ in 0..40 {
            pace.note(0, pace.apart(4), 0, pace.apart(4) as f64 * 0.001);
            pace.note(2, 0, 0, 0.05);
        }
        let seconds = pace.apart(4) as f64 * 0.001;
        assert!((0.25..0.29).contains(&seconds), "4 steps of 50 ms may take {seconds} s longer");
        // On a slow machine a step of prompts has enough tokens to be measured.
        (0..40).for_each(|_| pace.note(0, pace.apart(4), 0, pace.apart(4) as f64));
        assert_eq!(pace.apart(4), MANY);
        assert_eq!(Pace::new(8).apart(4), MANY, "a batch is no larger for it");
    }

    #[test]
    fn steps_take_at_most_three_times_as_long_with_a_prompt() {
        for (plain, per_token) in [(0.01, 0.001), (0.2, 0.05), (0.03, 0.000_1), (0.001, 0.000_01)] {
            let (chunk, longest) = settle(plain, per_token);
            assert!(longest < 3.0 * plain, "{plain} {per_token}: {longest}");
            let best = ((STRETCH - 1.0) * plain / per_token) as usize;
            assert!(chunk.abs_diff(best.clamp(LEAST, 2048)) <= 1 + best / 10, "{chunk} instead of {best}");
        }
    }

    #[test]
    fn a_prompt_goes_on_however_slow_the_machine_is() {
        assert_eq!(settle(0.01, 1.0).0, LEAST);
    }

    #[test]
    fn steps_without_prompts_are_measured_again_now_and_then() {
        let mut pace = Pace::new(512);
        pace.note(1, 0, 0, 0.01);
        for _ in 0..REMEASURE {
            assert!(pace.chunk() > 0);
            pace.note(1, pace.chunk(), 0, 0.02);
        }
        assert_eq!(pace.chunk(), 0);
        pace.note(1, 0, 0, 0.03);
        assert!(pace.chunk() > 0);
    }

    #[test]
    fn drafts_cost_what_they_were_measured_to() {
        let mut pace = Pace::new(512);
        assert_eq!(pace.draft_cost(), None);
        pace.note(2, 0, 0, 0.02);
        assert_eq!(pace.draft_cost(), Some(StepCost { drafted: DRAFT, token: 0.01 }));
        for _ in 0..30 {
            pace.note(2, 0, 5, 0.02 + 5.0 * 0.004);
        }
        // A token takes 10 ms without drafts.
        assert!((pace.draft_cost().unwrap().drafted - 0.4).abs() < 1e-9);
        for _ in 0..REMEASURE {
            pace.note(2, 0, 5, 0.01);
        }
        assert!(pace.draft_cost().is_none());
        pace.note(2, 0, 0, 0.02);
        assert_eq!(pace.draft_cost(), Some(StepCost { drafted: LEAST_DRAFT, token: 0.01 }));
    }

    #[test]
    fn drafts_that_were_dear_are_tried_again() {
        let mut pace = Pace::new(512);
        pace.note(1, 0, 0, 0.01);
        // Something else took the processor.
        pace.note(1, 0, 5, 0.5);
        assert!(pace.draft_cost().unwrap().drafted > 1.0);
        (0..RETRY.0).for_each(|_| pace.note(1, 0, 0, 0.01));
        assert_eq!((pace.draft_cost().unwrap().drafted, pace.most_drafted()), (DRAFT, TRY));
        pace.note(1, 0, TRY, 0.01 + TRY as f64 * 0.001);
        assert!((pace.draft_cost().unwrap().drafted - 0.1).abs() < 1e-9);
        assert_eq!(pace.most_drafted(), usize::MAX);
    }

    #[test]
    fn drafts_that_are_dear_are_seldom_tried() {
        let mut pace = Pace::new(512);
        pace.note(1, 0, 0, 0.01);
        let (mut n_tries, n_steps) = (0, 20_000);
        for _ in 0..n_steps {
            let cost = pace.draft_cost().map_or(f64::INFINITY, |cost| cost.drafted);
            let n_drafted = if cost < 1.0 { pace.most_drafted().min(8) } else { 0 };
            n_tries += n_drafted;
            pace.note(1, 0, n_drafted, 0.01 + 0.011 * n_drafted as f64);
        }
        assert!((8..40).contains(&n_tries), "{n_tries} tokens were drafted for nothing");
    }

    #[test]
    fn bursts_take_as_many_tokens_as_the_time_allows() {
        let mut pace = Pace::new(512);
        assert_eq!(pace.burst(), 0, "nothing is known yet");
        pace.note(0, 5, 0, 0.5);
        assert_eq!(pace.burst(), 0);
        pace.note(0, 100, 0, 0.2);
        assert_eq!(pace.burst(), (BURST / 0.002) as usize);
        for _ in 0..50 {
            pace.note(0, 100, 0, 0.4);
        }
        assert!(pace.burst().abs_diff((BURST / 0.004) as usize) <= 1);
    }
}
