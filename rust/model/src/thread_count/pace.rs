//! The number of threads for one kind of step.

use super::Step;
use super::scale::Scale;

/// A trial of another number pauses further ones until so many times what it cost has passed: they take at most 2 % of the time.
const PAYBACK: f64 = 60.0;
/// The same after a step that had to be cut short; doubled with each trial in a row that must be, up to `MAX_CUT_DOUBLINGS` times.
const PAYBACK_CUT: f64 = 2.0;
/// Doublings after the first trial that must be cut short: it was no lone disturbance.
const TWICE_CUT: u32 = 3;
/// The doublings are forgotten when no step had to be cut short for so many times as long as it took.
const CALM: f64 = 15.0;
/// The same after a single slow step, for acting on the next one.
const PAYBACK_ALARM: f64 = 30.0;
/// Steps between two trials, at least; doubled with each trial in a row that changed nothing, up to `MAX_DOUBLINGS` times.
const MIN_REST: f64 = 16.0;
const MAX_DOUBLINGS: u32 = 4;
const MAX_CUT_DOUBLINGS: u32 = 5;
/// Where steps cannot be cut short, a trial may take very long, and rests are longer by so much.
const CAREFUL: f64 = 4.0;
/// A step that takes so many times the mean leads to fewer threads at once.
const ALARM: f64 = 4.0;
/// A step counts as at most so many times the mean.
const OUTLIER: f64 = 4.0;
/// At the beginning, half as many threads are tried, and half as many again, until that takes so many times as long; from few threads, down to one.
const HOPELESS: f64 = 1.3;
const FEW_THREADS: usize = 4;
/// A trial step is cut short after so many times the mean of the steps before it.
const TRIAL_LIMIT: f64 = 2.0;
/// Any other step is cut short after so many times the mean, plus the time for which a thread may be off its core now and then.
const LIMIT: f64 = 8.0;
const LIMIT_SECONDS: f64 = 0.05;
/// Seconds that a step is taken to last, at least and at most.
const SHORTEST: f64 = 1e-9;
const LONGEST: f64 = 1e5;
/// How much slower than another number the present one must be, to be left after 1, 2 or 3, and more steps.
const LEAVE: [f64; 3] = [3.0, 1.5, 1.03];
/// Steps over which a level is averaged.
const MEMORY: usize = 8;

/// Chooses numbers of threads for steps of one kind.
///
/// A level is the time of a step relative to others of its width. Each number of threads (rung) has the mean level of its last steps.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    counts: Vec<usize>,
    /// The rung in use.
    at: usize,
    levels: Vec<Level>,
    scale: Scale,
    /// Seconds of all steps.
    clock: f64,
    /// Seconds of a step, lately.
    usual: f64,
    trial: Option<Trial>,
    /// Rungs to try first, the last one first.
    scan: Vec<usize>,
    /// The direction and the number of rungs of the next trial, while each leads to another one.
    climb: Option<Climb>,
    /// When to try another rung.
    try_at: f64,
    /// A rung whose steps had to be cut short, and when it may be tried again.
    ceiling: Option<(usize, f64)>,
    /// How many trials had to be cut short.
    n_ceilings: u32,
    /// When a step was cut short last.
    cut_at: f64,
    /// When a single slow step is acted on again.
    alarm_at: f64,
    /// Trials in a row that changed nothing.
    n_vain: u32,
    /// Steps in a row that were cut short.
    n_cut: u32,
    /// Seconds lost at this rung, as compared with the best other one.
    lost: f64,
    /// How long to rest for the trials since the last rest, in seconds.
    spent: f64,
    /// Steps cannot be cut short.
    is_careful: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// As of the last steps, however long ago.
    mean: Option<f64>,
    recent: [f64; MEMORY],
    /// Steps since the rung came into use.
    n: usize,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    /// The rung that was left for it.
    from: usize,
    /// Its level.
    reference: f64,
    /// Seconds that the trial has cost.
    cost: f64,
}

#[derive(Clone, Copy, Debug)]
struct Climb {
    up: bool,
    stride: usize,
    /// Rungs of the last step that was for the better.
    gained: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    Open,
}

impl Level {
    fn add(&mut self, level: f64) {
        self.recent[self.n % MEMORY] = match self.mean {
            Some(mean) if self.n > 0 => level.min(OUTLIER * mean),
            _ => level,
        };
        self.n += 1;
        let recent = &self.recent[..self.n.min(MEMORY)];
        let sum: f64 = recent.iter().sum();
        // One step may have been disturbed by anything.
        let (dropped, n) =
            if recent.len() < 4 { (0.0, 0) } else { (recent.iter().copied().fold(0.0, f64::max), 1) };
        self.mean = Some((sum - dropped) / (recent.len() - n) as f64);
    }
}

impl Pace {
    /// `counts` are the numbers to choose from, in increasing order; it begins with the last one.
    pub(super) fn new(counts: Vec<usize>) -> Self {
        let n = counts.len();
        let most = counts[n - 1];
        let is_half = |count: &usize| (1..usize::BITS).any(|times| most >> times == *count);
        Self {
            at: n - 1,
            scan: (0..n).filter(|rung| is_half(&counts[*rung])).collect(),
            levels: vec![Level::default(); n],
            scale: Scale::default(),
            clock: 0.0,
            usual: 0.0,
            trial: None,
            climb: None,
            try_at: 0.0,
            ceiling: None,
            n_ceilings: 0,
            cut_at: 0.0,
            alarm_at: 0.0,
            n_vain: 0,
            n_cut: 0,
            lost: 0.0,
            spent: 0.0,
            is_careful: false,
            counts,
        }
    }

    /// The number for the next step.
    pub(super) fn threads(&self) -> usize {
        self.counts[self.at]
    }

    /// Begins with a number, if nothing was measured.
    pub(super) fn begin_at(&mut self, threads: usize) {
        if self.clock == 0.0 {
            self.at = self.counts.iter().rposition(|count| *count <= threads).unwrap_or(0);
            self.scan.clear();
        }
    }

    /// Seconds after which the next step is to be cut short; `None` where nothing was measured.
    pub(super) fn limit(&self, n_tokens: usize) -> Option<f64> {
        if let Some(trial) = self.trial {
            return Some(TRIAL_LIMIT * self.scale.expect(n_tokens, trial.reference)?);
        }
        let level = self.levels[self.at].mean.unwrap_or(1.0);
        Some(LIMIT * self.scale.expect(n_tokens, level)? + LIMIT_SECONDS)
    }

    /// Whether a step was cut short.
    #[cfg(test)]
    pub(super) fn has_cut(&self) -> bool {
        self.cut_at > 0.0
    }

    /// Takes in a step.
    pub(super) fn note(&mut self, step: Step, seconds: f64) {
        let seconds = seconds.clamp(SHORTEST, LONGEST);
        self.clock += seconds;
        self.n_cut = 0;
        self.is_careful = !step.can_redo;
        let Some(level) = self.scale.read(step.n_tokens, seconds, self.present()) else { return };
        self.usual = if self.usual == 0.0 { seconds } else { self.usual + 0.1 * (seconds - self.usual) };
        match self.trial.take() {
            Some(trial) => self.judge(trial, level, seconds),
            None => self.go_on(level, seconds),
        }
    }

    /// Takes in a step that was cut short.
    pub(super) fn note_cut(&mut self, step: Step, seconds: f64) {
        let seconds = seconds.clamp(SHORTEST, LONGEST);
        self.clock += seconds;
        self.n_cut += 1;
        let present = self.present();
        let expected = self.scale.expect(step.n_tokens, present).unwrap_or(seconds / TRIAL_LIMIT);
        let level = present * (seconds / expected).max(TRIAL_LIMIT);
        self.levels[self.at] = Level { mean: Some(level), ..Level::default() };
        if self.trial.is_some() {
            self.n_ceilings = (self.n_ceilings + 1).max(TWICE_CUT);
        } else if self.clock - self.cut_at > CALM * seconds {
            self.n_ceilings = 0;
        }
        self.cut_at = self.clock;
        let rest = PAYBACK_CUT * doubled(self.n_ceilings, MAX_CUT_DOUBLINGS) * seconds;
        self.ceiling = Some((self.at, self.clock + rest));
        if let Some(trial) = self.trial.take() {
            self.come_back(trial.from);
            self.fail();
        } else {
            let ceiling = self.at;
            self.enter(if self.n_cut > 1 { 0 } else { self.lower() });
            let stride = ((ceiling - self.at) / 2).max(1);
            self.climb = Some(Climb { up: true, stride, gained: 0 });
            (self.try_at, self.n_vain) = (self.clock, 0);
        }
    }

    /// The level of the rung in use, as far as it is known.
    fn present(&self) -> f64 {
        let tried = self.trial.map(|trial| trial.reference);
        self.levels[self.at].mean.or(tried).unwrap_or(1.0)
    }

    /// Judges the rung on trial.
    fn judge(&mut self, mut trial: Trial, level: f64, seconds: f64) {
        self.levels[self.at].add(level);
        trial.cost += (seconds * (1.0 - trial.reference / level)).max(0.0);
        match self.verdict(&trial) {
            Verdict::Open => self.trial = Some(trial),
            Verdict::Better => {
                let up = self.at > trial.from;
                let gained = self.at.abs_diff(trial.from);
                self.climb = Some(Climb { up, stride: 2 * gained, gained });
                if self.ceiling.is_some_and(|(rung, _)| self.at >= rung) {
                    self.ceiling = None;
                }
                (self.n_vain, self.try_at, self.lost) = (0, self.clock, 0.0);
            }
            Verdict::Worse => {
                let ratio = self.present() / trial.reference;
                if ratio > HOPELESS && self.counts[trial.from] > FEW_THREADS {
                    self.scan.clear();
                }
                self.come_back(trial.from);
                self.spent += PAYBACK * trial.cost;
                self.fail();
            }
        }
    }

    fn verdict(&self, trial: &Trial) -> Verdict {
        let Level { mean, n, .. } = self.levels[self.at];
        let ratio = mean.unwrap_or(trial.reference) / trial.reference;
        let better = [0.0, 0.5, 0.7, 0.8, 0.9][n.min(4)];
        let worse = [f64::INFINITY, 1.5, 1.25, 1.15, 1.05][n.min(4)];
        if ratio < better {
            Verdict::Better
        } else if ratio > worse {
            Verdict::Worse
        } else if n < MEMORY {
            Verdict::Open
        } else if ratio < 0.98 {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }

    /// Tries a rung nearer by after a trial that changed nothing, then those that were passed over before; rests when there are none.
    fn fail(&mut self) {
        if !self.scan.is_empty() {
            return;
        }
        match &mut self.climb {
            Some(climb) if climb.stride > 1 => climb.stride /= 2,
            Some(climb) if climb.gained > 1 => {
                *climb = Climb { up: !climb.up, stride: climb.gained / 2, gained: 0 };
            }
            climb => {
                *climb = None;
                self.rest(0.0);
            }
        }
    }

    /// Tries nothing for so long, or longer where trials were dear or in vain.
    fn rest(&mut self, seconds: f64) {
        let seconds = seconds + std::mem::take(&mut self.spent);
        let steps = MIN_REST * doubled(self.n_vain, MAX_DOUBLINGS);
        let careful = if self.is_careful { CAREFUL } else { 1.0 };
        self.try_at = self.clock + careful * seconds.max(steps * self.usual);
        self.n_vain += 1;
    }

    /// Stays at the rung in use, or leaves it.
    fn go_on(&mut self, level: f64, seconds: f64) {
        let Level { mean, n, .. } = self.levels[self.at];
        let is_slow = mean.is_some_and(|mean| n >= 4 && level > ALARM * mean);
        if is_slow && self.at > 0 && self.clock >= self.alarm_at {
            // The step is not counted. If it was alone, the rung that is left is still the best one, and soon in use again.
            self.alarm_at = self.clock + PAYBACK_ALARM * seconds;
            return self.enter(self.lower());
        }
        self.levels[self.at].add(level);
        let Level { mean, n, .. } = self.levels[self.at];
        let mean = mean.unwrap_or(level);
        let others = (0..self.at).chain(self.at + 1..self.counts.len());
        if let Some((rung, best)) = self.best(others) {
            self.lost = if mean > best { self.lost + seconds * (1.0 - best / mean) } else { 0.0 };
            let leave = LEAVE[match n {
                0 | 1 => 0,
                2 | 3 => 1,
                _ => 2,
            }];
            if mean > leave * best {
                let rest = PAYBACK * self.lost;
                let n_down = self.at.saturating_sub(rung);
                self.climb = None;
                self.enter(rung);
                if n_down > 1 {
                    // The best rung may be between them.
                    self.climb = Some(Climb { up: true, stride: n_down / 2, gained: 0 });
                    self.spent += rest;
                    self.try_at = self.clock;
                } else if n_down == 1 {
                    self.rest(rest);
                }
                return;
            }
        }
        if n >= 4 && self.clock >= self.try_at {
            self.try_another(mean);
        }
    }

    /// Where to go from here when steps take far too long.
    fn lower(&self) -> usize {
        self.best(0..self.at).map_or(self.at / 2, |(rung, _)| rung)
    }

    /// The best rung of some that were tried, and its level.
    fn best(&self, rungs: impl Iterator<Item = usize>) -> Option<(usize, f64)> {
        let known = rungs.filter_map(|rung| Some((rung, self.levels[rung].mean?)));
        known.min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    fn try_another(&mut self, reference: f64) {
        let top = self.counts.len() - 1;
        if top == 0 {
            return;
        }
        // More threads are tried twice as often as fewer: too many are noticed without a trial.
        let ceiling = self.ceiling.filter(|(_, until)| self.clock < *until);
        let top = ceiling.map_or(top, |(rung, _)| rung - 1);
        let up = self.at == 0 || (self.at < top && self.n_vain % 3 != 2);
        while let Some(target) = self.scan.pop() {
            if target < self.at {
                self.climb = Some(Climb { up: false, stride: self.at - target, gained: 0 });
                self.trial = Some(Trial { from: self.at, reference, cost: 0.0 });
                return self.enter(target);
            }
        }
        let climb = *self.climb.get_or_insert(Climb { up, stride: 1, gained: 0 });
        let highest = top.max(self.at);
        let target = if climb.up {
            (self.at + climb.stride).min(highest)
        } else {
            self.at.saturating_sub(climb.stride)
        };
        if target == self.at {
            self.climb = Some(Climb { stride: 1, ..climb });
            self.fail();
            if let Some((_, until)) = ceiling {
                self.try_at = self.try_at.min(until);
            }
            return;
        }
        self.climb = Some(Climb { stride: target.abs_diff(self.at), ..climb });
        self.trial = Some(Trial { from: self.at, reference, cost: 0.0 });
        self.enter(target);
    }

    fn enter(&mut self, rung: usize) {
        self.at = rung;
        self.levels[rung].n = 0;
        self.lost = 0.0;
    }

    /// Returns to a rung that was left a moment ago.
    fn come_back(&mut self, rung: usize) {
        self.at = rung;
        self.lost = 0.0;
    }
}

/// 2 to the power of `times`, which counts as `most` at most.
fn doubled(times: u32, most: u32) -> f64 {
    f64::from(1_u32 << times.min(most))
}
