//! A simulated machine, to see what a policy costs there.

use super::{Guess, Step, ThreadCount};

/// A small generator of random numbers, the same in each run (splitmix64).
#[derive(Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// From 0 to 1.
    pub(super) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What else runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Others {
    /// So many busy threads of the same priority.
    Equal(usize),
    /// So many busy threads of higher priority.
    Higher(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub(super) cores: usize,
    /// Part of a step's work that threads share.
    pub(super) parallel: f64,
    /// Standard deviation of a step's time, relative.
    pub(super) noise: f64,
    /// Part of the steps that something disturbs, and how many times as long they take at most.
    pub(super) tail: (f64, f64),
    /// Seconds of a step of one token on one thread.
    pub(super) second: f64,
}

impl Machine {
    pub(super) fn new(cores: usize) -> Self {
        Self { cores, parallel: 0.9, noise: 0.03, tail: (0.0, 1.0), second: 0.01 }
    }

    /// Mean seconds of a step of `n_tokens`.
    fn mean(&self, n_tokens: usize, threads: usize, others: Others) -> f64 {
        let wide = 0.7 + 0.3 * n_tokens as f64;
        let quiet = self.second * wide * (1.0 - self.parallel + self.parallel / threads as f64);
        let (Others::Equal(busy) | Others::Higher(busy)) = others;
        let over = (threads + busy).saturating_sub(self.cores);
        match others {
            _ if over == 0 => quiet,
            // A lone thread gets its share of a core.
            Others::Equal(_) if threads == 1 => quiet * (busy + 1) as f64 / self.cores as f64,
            Others::Equal(_) => quiet * (2.7 + over as f64 / self.cores as f64),
            Others::Higher(_) if threads == 1 => quiet * 3.0,
            Others::Higher(_) => quiet + 14.0,
        }
    }

    fn step(&self, n_tokens: usize, threads: usize, others: Others, dice: &mut Dice) -> f64 {
        let normal: f64 = (0..4).map(|_| dice.roll() - 0.5).sum::<f64>() * 1.7;
        let tail = if dice.roll() < self.tail.0 { 1.0 + dice.roll() * (self.tail.1 - 1.0) } else { 1.0 };
        self.mean(n_tokens, threads, others) * (1.0 + self.noise * normal).max(0.3) * tail
    }
}

/// Widths of steps and what else runs, as they follow each other.
pub(super) type Course<'a> = &'a dyn Fn(usize) -> (usize, Others);

/// Seconds that `n_steps` take with a fixed number of threads.
pub(super) fn fixed(machine: &Machine, n_steps: usize, threads: usize, course: Course<'_>) -> f64 {
    let mut dice = Dice(7);
    (0..n_steps)
        .map(|step| {
            let (n_tokens, others) = course(step);
            machine.step(n_tokens, threads, others, &mut dice)
        })
        .sum()
}

/// Seconds with the fixed number that is best.
pub(super) fn best_fixed(machine: &Machine, n_steps: usize, course: Course<'_>) -> f64 {
    let all = (1..=machine.cores).map(|threads| fixed(machine, n_steps, threads, course));
    all.min_by(f64::total_cmp).unwrap()
}

/// Seconds with a policy.
pub(super) struct Spent {
    pub(super) seconds: f64,
    /// The longest step, all its attempts together.
    pub(super) longest: f64,
}

/// Runs a policy, as `LlamaDecoder::decode` does.
pub(super) fn adapt(
    policy: &mut ThreadCount,
    machine: &Machine,
    n_steps: usize,
    can_redo: bool,
    course: Course<'_>,
) -> Spent {
    let mut dice = Dice(11);
    let mut spent = Spent { seconds: 0.0, longest: 0.0 };
    for index in 0..n_steps {
        let (n_tokens, others) = course(index);
        let step = Step { n_tokens, can_redo };
        let before = spent.seconds;
        loop {
            let choice = policy.choose(step);
            assert!((1..=machine.cores).contains(&choice.threads));
            assert!(can_redo || choice.limit.is_none());
            let seconds = machine.step(n_tokens, choice.threads, others, &mut dice);
            // Whether to stop is asked between two operations, of which each may wait for a thread.
            let Some(cut) = choice.limit.map(|limit| limit + 0.02).filter(|cut| *cut < seconds) else {
                policy.note(step, seconds);
                spent.seconds += seconds;
                break;
            };
            policy.note_cut(step, cut);
            spent.seconds += cut;
        }
        spent.longest = spent.longest.max(spent.seconds - before);
    }
    spent
}

/// A policy for a machine.
pub(super) fn policy(machine: &Machine) -> ThreadCount {
    ThreadCount::new(machine.cores, None, Guess { bytes: 90e6, weights: 135e6 })
}
