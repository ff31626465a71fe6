//! Properties of the scheduler, without threads or decoder.

use proptest::prelude::*;

use crate::TokenId;
use crate::scheduler::{Capacity, JobId, Scheduler, Step};

/// What may happen between two steps.
#[derive(Clone, Debug)]
enum Change {
    /// `scored`: how many tokens of the prompt's end need logits; 0 for a request that generates.
    Submit {
        n_prompt: usize,
        n_generate: usize,
        scored: usize,
        cache: bool,
        variant: TokenId,
    },
    Pause {
        pick: usize,
        paused: bool,
    },
    Cancel {
        pick: usize,
    },
    Steps(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1usize..40, 0usize..20, 0usize..30, any::<bool>(), 0..3i32).prop_map(
            |(n_prompt, n_generate, scored, cache, variant)| {
                Change::Submit { n_prompt, n_generate, scored: scored.saturating_sub(15), cache, variant }
            }
        ),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(pick, paused)| Change::Pause { pick, paused }),
        1 => any::<usize>().prop_map(|pick| Change::Cancel { pick }),
        6 => (1usize..30).prop_map(Change::Steps),
    ]
}

/// A request as the test knows it.
#[derive(Debug)]
struct Job {
    id: JobId,
    n_left: usize,
    logits_from: Option<usize>,
    paused: bool,
    tokens: Vec<TokenId>,
    parked: Option<Vec<TokenId>>,
}

/// An independent account of the memory, checked against every step.
struct Simulation {
    capacity: Capacity,
    scheduler: Scheduler,
    jobs: Vec<Job>,
    /// The tokens in each sequence.
    memory: Vec<Vec<TokenId>>,
    owners: Vec<Option<JobId>>,
    n_submitted: JobId,
}

impl Simulation {
    fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            scheduler: Scheduler::new(capacity),
            jobs: Vec::new(),
            memory: vec![Vec::new(); capacity.n_seq_max],
            owners: vec![None; capacity.n_seq_max],
            n_submitted: 0,
        }
    }

    fn apply(&mut self, change: &Change) {
        match *change {
            Change::Submit { n_prompt, n_generate, scored, cache, variant } => {
                let n_prompt = n_prompt.min(self.capacity.n_ctx - 1);
                let logits_from = (scored > 0).then(|| n_prompt.saturating_sub(scored));
                let n_left = if scored > 0 { 0 } else { n_generate.min(self.capacity.n_ctx - n_prompt - 1) };
                let tokens: Vec<TokenId> =
                    (0..n_prompt as TokenId).map(|i| if i < 5 { 0 } else { variant }).collect();
                self.n_submitted += 1;
                let id = self.n_submitted;
                self.scheduler.submit(id, tokens.clone(), cache, logits_from);
                self.jobs.push(Job { id, n_left, logits_from, paused: false, tokens, parked: None });
            }
            Change::Pause { pick, paused } if !self.jobs.is_empty() => {
                let pick = pick % self.jobs.len();
                self.jobs[pick].paused = paused;
                self.scheduler.set_paused(self.jobs[pick].id, paused);
            }
            Change::Cancel { pick } if !self.jobs.is_empty() => {
                let id = self.jobs[pick % self.jobs.len()].id;
                self.finish(id, true);
            }
            Change::Pause { .. } | Change::Cancel { .. } => {}
            Change::Steps(n) => (0..n).for_each(|_| {
                self.step();
            }),
        }
    }

    fn finish(&mut self, id: JobId, keep: bool) {
        self.jobs.retain(|job| job.id != id);
        let freed = self.scheduler.remove(id, keep);
        for seq in 0..self.owners.len() {
            if self.owners[seq] == Some(id) {
                self.owners[seq] = None;
                if freed == Some(seq as u32) {
                    self.memory[seq].clear();
                }
            }
        }
    }

    fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs.iter_mut().find(|job| job.id == id).expect("a step is for a request that exists")
    }

    /// Does the next step; false when there is none.
    fn step(&mut self) -> bool {
        let step = self.scheduler.plan();
        assert_eq!(step, self.scheduler.plan(), "planning changes nothing");
        let oldest = self.jobs.iter().filter(|job| !job.paused).map(|job| job.id).min();
        assert_eq!(step == Step::Idle, oldest.is_none());
        match step {
            Step::Idle => return false,
            Step::Stuck { job } => panic!("request {job} fits and yet is stuck"),
            Step::Evict { seq } => {
                assert_eq!(self.owners[seq as usize], None, "only cached prefixes are evicted");
                self.memory[seq as usize].clear();
                self.scheduler.evicted(seq);
            }
            Step::Park { job, seq } => {
                assert_ne!(Some(job), oldest, "the one to run is not parked");
                let cached =
                    (0..self.owners.len()).any(|i| self.owners[i].is_none() && !self.memory[i].is_empty());
                assert!(!cached, "cached prefixes go first");
                assert_eq!(self.owners[seq as usize].take(), Some(job));
                let state = std::mem::take(&mut self.memory[seq as usize]);
                self.job(job).parked = Some(state);
                self.scheduler.parked(job);
            }
            Step::Place { job, seq } => {
                assert_eq!((self.owners[seq as usize], self.memory[seq as usize].len()), (None, 0));
                self.owners[seq as usize] = Some(job);
                self.scheduler.placed(job, seq, 0);
            }
            Step::Reuse { job, seq, keep, whole } => {
                assert_eq!(whole, self.memory[seq as usize].len() == keep);
                assert_eq!(self.owners[seq as usize].replace(job), None);
                self.memory[seq as usize].truncate(keep);
                self.scheduler.placed(job, seq, keep);
            }
            Step::Restore { job, seq } => {
                assert_eq!((self.owners[seq as usize], self.memory[seq as usize].len()), (None, 0));
                self.owners[seq as usize] = Some(job);
                self.memory[seq as usize] = self.job(job).parked.take().expect("it was parked");
                self.scheduler.restored(job, seq);
            }
            Step::Decode { job, seq, pos, len, rows, last } => {
                assert_eq!(Some(job), oldest, "the oldest that can run is served");
                let wanted = (pos..pos + len).filter(|&place| match self.job(job).logits_from {
                    Some(from) => place >= from,
                    None => last && place + 1 == pos + len,
                });
                assert_eq!(rows, wanted.count(), "the logits that are wanted are the last ones");
                assert!(rows <= self.capacity.n_outputs);
                self.decode(job, seq, pos, len, last);
            }
        }
        let cells: usize = self.memory.iter().map(Vec::len).sum();
        assert_eq!(self.scheduler.cells(), cells);
        assert!(cells <= self.capacity.n_ctx);
        true
    }

    fn decode(&mut self, id: JobId, seq: u32, pos: usize, len: usize, last: bool) {
        let memory = &mut self.memory[seq as usize];
        assert_eq!(self.owners[seq as usize], Some(id));
        assert!((1..=self.capacity.n_batch).contains(&len));
        assert_eq!(memory.len(), pos);
        let tokens = self.scheduler.tokens(id);
        memory.extend_from_slice(&tokens[pos..pos + len]);
        assert_eq!(last, pos + len == tokens.len());
        let memory = memory.clone();
        self.scheduler.decoded(id, len);
        let token = (pos % 3) as TokenId;
        let job = self.job(id);
        assert!(job.tokens.starts_with(&memory), "a sequence holds its own request's tokens only");
        if !last {
            return;
        }
        if job.n_left == 0 {
            self.finish(id, true);
            return;
        }
        job.n_left -= 1;
        job.tokens.push(token);
        self.scheduler.generated(id, &[token]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn any_course_of_events_keeps_the_rules_and_ends(
        (n_ctx, n_batch, n_seq_max, n_outputs) in (2usize..80, 1usize..20, 1usize..5, 1usize..6),
        changes in prop::collection::vec(change(), 1..60),
    ) {
        let mut simulation = Simulation::new(Capacity { n_ctx, n_batch, n_seq_max, n_outputs });
        for change in &changes {
            simulation.apply(change);
        }
        for pick in 0..simulation.jobs.len() {
            simulation.apply(&Change::Pause { pick, paused: false });
        }
        // Each token takes a decode at most, each turn of a request no more than a step for every slot and two for itself.
        let n_jobs = simulation.jobs.len();
        let n_tokens: usize = simulation.jobs.iter().map(|job| job.tokens.len() + job.n_left + 1).sum();
        let bound = n_tokens * (n_seq_max + 1) + n_jobs * (n_seq_max + 2);
        let n_steps = (0..=bound).take_while(|_| simulation.step()).count();
        prop_assert!(n_steps <= bound);
        prop_assert!(simulation.jobs.is_empty());
        prop_assert_eq!(simulation.scheduler.census().active, 0);
        prop_assert_eq!(simulation.scheduler.census().parked, 0);
    }
}

#[test]
fn least_recently_served_makes_room() {
    let mut scheduler = Scheduler::new(Capacity { n_ctx: 100, n_batch: 10, n_seq_max: 2, n_outputs: 1 });
    for id in [1, 2, 3] {
        scheduler.submit(id, vec![0; 10], false, None);
    }
    for (id, seq) in [(1, 0), (2, 1)] {
        assert_eq!(scheduler.plan(), Step::Place { job: id, seq });
        scheduler.placed(id, seq, 0);
        assert_eq!(scheduler.plan(), Step::Decode { job: id, seq, pos: 0, len: 10, rows: 1, last: true });
        scheduler.decoded(id, 10);
        scheduler.generated(id, &[7]);
        scheduler.set_paused(id, true);
    }
    scheduler.set_paused(1, false);
    assert_eq!(scheduler.plan(), Step::Decode { job: 1, seq: 0, pos: 10, len: 1, rows: 1, last: true });
    scheduler.decoded(1, 1);
    scheduler.set_paused(1, true);
    assert_eq!(scheduler.plan(), Step::Park { job: 2, seq: 1 });
}

#[test]
fn longest_cached_prefix_is_reused() {
    let mut scheduler = Scheduler::new(Capacity { n_ctx: 100, n_batch: 10, n_seq_max: 3, n_outputs: 1 });
    for (id, prompt) in [(1, vec![1, 2, 3]), (2, vec![1, 2, 4, 5])] {
        let len = prompt.len();
        scheduler.submit(id, prompt, true, None);
        scheduler.placed(id, id as u32, 0);
        scheduler.decoded(id, len);
        assert_eq!(scheduler.remove(id, true), None);
    }
    scheduler.submit(3, vec![1, 2, 4, 9, 9], true, None);
    assert_eq!(scheduler.plan(), Step::Reuse { job: 3, seq: 2, keep: 3, whole: false });
    scheduler.submit(4, vec![8, 8], true, None);
    scheduler.set_paused(3, true);
    assert_eq!(scheduler.plan(), Step::Place { job: 4, seq: 0 });
}
