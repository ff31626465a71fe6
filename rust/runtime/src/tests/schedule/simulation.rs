//! Any course of events, against an account of the memory that knows nothing of the scheduler's.
//!
//! One file, although it is long: the account and what changes it are read together.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use crate::scheduler::{Capacity, JobId, NewJob, OwnerId, Scheduler, Span, Step, TURN};
use crate::{Split, TokenId};

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
        priority: i32,
        group: u64,
        owner: OwnerId,
        only_cells: bool,
        /// Which request it is a fork of.
        donor: Option<usize>,
    },
    /// An owner lets go of everything.
    Release {
        owner: OwnerId,
    },
    /// A state comes in from outside.
    Adopt {
        n_tokens: usize,
        variant: TokenId,
        group: u64,
        owner: OwnerId,
    },
    Stall {
        pick: usize,
        stalled: bool,
    },
    Wait {
        pick: usize,
    },
    Suspect {
        pick: usize,
    },
    Cancel {
        pick: usize,
    },
    Rewind {
        pick: usize,
        keep: usize,
    },
    Draft {
        pick: usize,
        n: usize,
    },
    Chunk {
        chunk: usize,
        burst: usize,
    },
    Steps(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let pick = any::<usize>;
    prop_oneof![
        4 => (1usize..40, 0usize..20, 0usize..30, any::<bool>(), 0..3i32, 0..2i32, 0..3u64, 0..6u64, 0..5)
            .prop_map(|(n_prompt, n_generate, scored, cache, variant, priority, group, owner, kind)| {
                let scored = scored.saturating_sub(15);
                // Half of the requests have none.
                let owner = owner.saturating_sub(3);
                let only_cells = kind == 0;
                let cache = cache || owner > 0 || only_cells;
                let scored = if only_cells { 0 } else { scored };
                let donor = (kind == 1).then_some(n_prompt + n_generate);
                Change::Submit {
                    n_prompt,
                    n_generate,
                    scored,
                    cache,
                    variant,
                    priority,
                    group,
                    owner,
                    only_cells,
                    donor,
                }
            }),
        1 => (1..3u64).prop_map(|owner| Change::Release { owner }),
        1 => (1usize..40, 0..3i32, 0..3u64, 1..3u64)
            .prop_map(|(n_tokens, variant, group, owner)| Change::Adopt { n_tokens, variant, group, owner }),
        3 => (pick(), any::<bool>()).prop_map(|(pick, stalled)| Change::Stall { pick, stalled }),
        1 => pick().prop_map(|pick| Change::Wait { pick }),
        1 => pick().prop_map(|pick| Change::Suspect { pick }),
        1 => pick().prop_map(|pick| Change::Cancel { pick }),
        1 => (pick(), pick()).prop_map(|(pick, keep)| Change::Rewind { pick, keep }),
        3 => (pick(), 1usize..20).prop_map(|(pick, n)| Change::Draft { pick, n }),
        1 => (0usize..30, 0usize..60).prop_map(|(chunk, burst)| Change::Chunk { chunk, burst }),
        6 => (1usize..30).prop_map(Change::Steps),
    ]
}

/// A request as the test knows it.
#[derive(Debug)]
struct Job {
    id: JobId,
    priority: i32,
    group: u64,
    n_left: usize,
    logits_from: Option<usize>,
    /// Stalled, or waiting for its hook.
    held: bool,
    /// Waiting for its hook.
    waits: bool,
    cache: bool,
    owner: OwnerId,
    only_cells: bool,
    donor: Option<JobId>,
    tokens: Vec<TokenId>,
    /// How many of the last ones are drafts that were not looked at yet.
    n_drafted: usize,
    parked: Option<Vec<usize>>,
    alone: bool,
}

impl Job {
    fn wanted_from(&self) -> usize {
        self.logits_from.unwrap_or(self.tokens.len() - 1 - self.n_drafted)
    }
}

/// An independent account of the memory, checked against every step. Each cell has a number of its own.
struct Simulation {
    capacity: Capacity,
    scheduler: Scheduler,
    jobs: Vec<Job>,
    /// The cells of each sequence.
    memory: Vec<Vec<usize>>,
    /// The token and the group in each cell that there ever was.
    cells: Vec<(TokenId, u64)>,
    owners: Vec<Option<JobId>>,
    stored: HashMap<u64, Vec<usize>>,
    /// Who keeps what is left in each sequence, and in each state in host memory.
    keepers: Vec<OwnerId>,
    stored_keepers: HashMap<u64, OwnerId>,
    is_split: bool,
    n_submitted: JobId,
    n_suspected: usize,
    chunk: usize,
    burst: usize,
    can_cut: bool,
    steps: Vec<Step>,
    /// The request that comes first, and for how many decodes its group had no turn.
    waited: Option<(JobId, usize)>,
}

impl Simulation {
    fn new(capacity: Capacity, can_cut: bool) -> Self {
        Self {
            capacity,
            scheduler: Scheduler::new(capacity),
            jobs: Vec::new(),
            memory: vec![Vec::new(); capacity.n_seq_max],
            cells: Vec::new(),
            owners: vec![None; capacity.n_seq_max],
            stored: HashMap::new(),
            keepers: vec![0; capacity.n_seq_max],
            stored_keepers: HashMap::new(),
            is_split: false,
            n_submitted: 0,
            n_suspected: 0,
            chunk: capacity.n_batch,
            burst: 0,
            can_cut,
            steps: Vec::new(),
            waited: None,
        }
    }

    fn picked(&self, pick: usize) -> Option<JobId> {
        (!self.jobs.is_empty()).then(|| self.jobs[pick % self.jobs.len()].id)
    }

    fn submit(&mut self, change: &Change) {
        let Change::Submit {
            n_prompt,
            n_generate,
            scored,
            cache,
            variant,
            priority,
            group,
            owner,
            only_cells,
            donor,
        } = *change
        else {
            return;
        };
        let donor = donor.and_then(|pick| self.picked(pick));
        let n_prompt = n_prompt.min(self.capacity.n_ctx - 1);
        let logits_from = (scored > 0).then(|| n_prompt.saturating_sub(scored));
        let generates = scored == 0 && !only_cells;
        let n_left = if generates { n_generate.min(self.capacity.n_ctx - n_prompt - 1) } else { 0 };
        let tokens = text(n_prompt, variant);
        self.n_submitted += 1;
        let id = self.n_submitted;
        let n_max = n_prompt + n_left;
        let new = NewJob {
            tokens: tokens.clone(),
            n_max,
            priority,
            cache,
            least_reuse: if n_prompt % 3 == 0 { 16 } else { 1 },
            logits_from,
            group,
            owner,
            donor,
            only_cells,
        };
        self.scheduler.submit(id, new);
        self.jobs.push(Job {
            id,
            priority,
            group,
            n_left,
            logits_from,
            held: false,
            waits: false,
            cache,
            owner,
            only_cells,
            donor,
            tokens,
            n_drafted: 0,
            parked: None,
            alone: false,
        });
    }

    fn apply(&mut self, change: &Change) {
        match *change {
            Change::Submit { .. } => self.submit(change),
            Change::Release { owner } => {
                self.scheduler.release(owner);
                self.disown(owner);
                self.jobs.iter_mut().filter(|job| job.owner == owner).for_each(|job| job.owner = 0);
                self.trim();
            }
            Change::Adopt { n_tokens, variant, group, owner } => {
                let tokens = text(n_tokens.min(self.capacity.n_ctx - 1), variant);
                self.disown(owner);
                let cells: Vec<usize> = tokens.iter().map(|token| self.add((*token, group))).collect();
                let id = self.scheduler.adopted(tokens, group, owner, cells.len());
                self.stored.insert(id, cells);
                self.stored_keepers.insert(id, owner);
                self.trim();
            }
            Change::Stall { pick, stalled } => {
                let Some(id) = self.picked(pick) else { return };
                (self.job(id).held, self.job(id).waits) = (stalled, false);
                self.scheduler.set_stalled(id, stalled);
            }
            Change::Wait { pick } => {
                let Some(id) = self.picked(pick) else { return };
                (self.job(id).held, self.job(id).waits) = (true, true);
                self.scheduler.set_waiting(id);
            }
            Change::Suspect { pick } => {
                let Some(id) = self.picked(pick) else { return };
                self.job(id).alone = true;
                self.n_suspected += 1;
                self.scheduler.suspect(id);
            }
            Change::Cancel { pick } => {
                let Some(id) = self.picked(pick) else { return };
                self.finish(id, true);
            }
            Change::Rewind { pick, keep } => {
                let Some(id) = self.picked(pick) else { return };
                let Some((seq, n_past)) = self.scheduler.seq(id) else { return };
                let job = self.job(id);
                let keep = 1 + keep % (job.tokens.len() - job.n_drafted);
                job.tokens.truncate(keep);
                job.n_drafted = 0;
                let kept = n_past.min(keep - 1);
                self.memory[seq as usize].truncate(kept);
                self.scheduler.rewound(id, keep, kept, &[]);
            }
            Change::Draft { pick, n } => {
                let Some(id) = self.picked(pick) else { return };
                let Some((_, n_past)) = self.scheduler.seq(id) else { return };
                let job = self.job(id);
                let n = n.min(job.n_left.saturating_sub(1));
                if job.only_cells
                    || job.logits_from.is_some()
                    || job.n_drafted > 0
                    || n_past + 1 != job.tokens.len()
                {
                    return;
                }
                let draft = vec![DRAFTED; n];
                job.tokens.extend(&draft);
                job.n_drafted = n;
                self.scheduler.drafted(id, &draft);
            }
            Change::Chunk { chunk, burst } => {
                (self.chunk, self.burst) = (chunk, burst);
                self.scheduler.set_chunk(chunk, burst);
                self.scheduler.set_apart(chunk);
            }
            Change::Steps(n) => (0..n).for_each(|_| {
                self.step();
            }),
        }
    }

    /// What an owner keeps is as what others left behind.
    fn disown(&mut self, owner: OwnerId) {
        let keepers = self.keepers.iter_mut().chain(self.stored_keepers.values_mut());
        keepers.filter(|keeper| **keeper == owner).for_each(|keeper| *keeper = 0);
    }

    fn trim(&mut self) {
        let dropped = self.scheduler.trim();
        self.drop_stored(dropped.into_iter().map(|entry| entry.id).collect());
        let loose = self.stored.iter().filter(|(id, _)| self.stored_keepers[id] == 0);
        let n_loose: usize = loose.map(|(_, cells)| cells.len()).sum();
        assert!(n_loose <= self.capacity.n_stored_bytes);
    }

    fn drop_stored(&mut self, ids: Vec<u64>) {
        for id in ids {
            assert!(self.stored.remove(&id).is_some());
            assert_eq!(self.stored_keepers.remove(&id), Some(0), "what somebody keeps is never dropped");
        }
    }

    /// Ends a request that wants nothing decoded, which has a sequence now.
    fn note_cells(&mut self, id: JobId) {
        let has = self.scheduler.has_its_cells(id);
        let (seq, n_past) = self.scheduler.seq(id).expect("it has just come into memory");
        let job = self.job(id);
        assert_eq!(has, job.only_cells);
        assert_eq!(self.memory[seq as usize].len(), n_past);
        if has {
            self.finish(id, true);
        }
    }

    fn finish(&mut self, id: JobId, keep: bool) {
        let owner = self.jobs.iter().find(|job| job.id == id).map_or(0, |job| job.owner);
        self.jobs.retain(|job| job.id != id);
        let freed = self.scheduler.remove(id, keep);
        for seq in 0..self.owners.len() {
            if self.owners[seq] == Some(id) {
                self.owners[seq] = None;
                if freed == Some(seq as u32) {
                    self.memory[seq].clear();
                } else {
                    if owner != 0 {
                        self.disown(owner);
                    }
                    self.keepers[seq] = owner;
                }
            }
        }
        self.trim();
    }

    fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs.iter_mut().find(|job| job.id == id).expect("a step is for a request that exists")
    }

    /// The first request that can run, by priority and age.
    fn first(&self) -> Option<JobId> {
        let free = self.jobs.iter().filter(|job| !job.held);
        free.min_by_key(|job| (-job.priority, job.id)).map(|job| job.id)
    }

    fn n_used(&self) -> usize {
        self.memory.iter().flatten().collect::<HashSet<_>>().len()
    }

    /// Puts the first `keep` cells of a beginning into an empty sequence.
    fn begin(&mut self, id: JobId, seq: u32, cells: Vec<usize>, donor: Option<JobId>) {
        assert_eq!(self.owners[seq as usize].replace(id), None);
        let shares = donor.is_none_or(|donor| self.job(donor).cache);
        let job = self.job(id);
        let is_fork = donor.is_some() && job.donor == donor;
        assert!(job.cache && shares || is_fork, "only those that allow it begin with what is there");
        let (tokens, group) = (job.tokens.clone(), job.group);
        assert!(cells.len() < tokens.len() || (job.only_cells && cells.len() == tokens.len()));
        for (cell, token) in cells.iter().zip(&tokens) {
            assert_eq!(self.cells[*cell], (*token, group));
        }
        self.memory[seq as usize] = cells;
    }

    /// Does the next step; false when there is none.
    fn step(&mut self) -> bool {
        let memory = &self.memory;
        let can_cut = |seq: u32, n: usize| {
            assert!(n < memory[seq as usize].len());
            self.can_cut
        };
        let step = self.scheduler.plan(&can_cut);
        assert_eq!(step, self.scheduler.plan(&can_cut), "planning changes nothing");
        self.steps.push(step.clone());
        let first = self.first();
        if first.is_none() {
            assert_eq!(step, Step::Idle);
        }
        if step == Step::Idle {
            // A hook may keep the place of others for a while, and a prompt may have to wait for a step without prompts.
            self.scheduler.lapse(false);
            return false;
        }
        if let Step::Park { job, .. } = step {
            // A waiting request keeps its place, for a while.
            let waits = self.jobs.iter().any(|job| job.waits);
            assert!(waits || Some(job) != first, "the first one is not parked");
            let leftover =
                (0..self.owners.len()).any(|i| self.owners[i].is_none() && !self.memory[i].is_empty());
            assert!(!leftover, "leftovers go first");
        }
        self.execute(step);
        assert_eq!(self.scheduler.n_cells(), self.n_used());
        assert!(self.n_used() <= self.capacity.n_ctx);
        if let Some(split) = self.capacity.split.filter(|_| self.is_split) {
            assert!(self.memory.iter().all(|cells| cells.len() <= split.n_cells));
            assert!(self.memory.iter().skip(split.n_seq).all(Vec::is_empty));
        }
        true
    }

    /// Does what was planned.
    fn execute(&mut self, step: Step) {
        match step {
            Step::Idle => panic!("there is something to do"),
            Step::Stuck { job } => panic!("request {job} fits and yet is stuck"),
            Step::Arrange { split, before } => {
                for step in before {
                    self.execute(step);
                }
                assert_eq!(self.n_used(), 0, "only an empty memory is rearranged");
                assert_ne!(split, self.is_split);
                self.is_split = split;
                self.scheduler.arranged(split);
            }
            Step::Evict { seq } => {
                assert_eq!(self.owners[seq as usize], None, "only leftovers are evicted");
                assert_eq!(self.keepers[seq as usize], 0, "what somebody keeps is not evicted");
                self.memory[seq as usize].clear();
                self.scheduler.evicted(seq);
            }
            Step::Stow { seq } => {
                assert_eq!(self.owners[seq as usize], None, "only leftovers are stowed");
                let cells = std::mem::take(&mut self.memory[seq as usize]);
                let (id, replaced) = self.scheduler.stowed(seq, cells.len());
                self.stored.insert(id, cells);
                self.stored_keepers.insert(id, std::mem::take(&mut self.keepers[seq as usize]));
                self.drop_stored(replaced);
                self.trim();
            }
            Step::Park { job, seq } => {
                assert_eq!(self.owners[seq as usize].take(), Some(job));
                let state = std::mem::take(&mut self.memory[seq as usize]);
                self.job(job).parked = Some(state);
                self.scheduler.parked(job);
            }
            Step::Place { job, seq } => {
                assert_eq!((self.owners[seq as usize], self.memory[seq as usize].len()), (None, 0));
                self.owners[seq as usize] = Some(job);
                self.scheduler.placed(job, seq);
                self.note_cells(job);
            }
            Step::Copy { job, from, seq, keep } => {
                let source = self.memory[from as usize].clone();
                assert!(self.can_cut || keep == source.len());
                assert!(self.memory[seq as usize].is_empty());
                self.begin(job, seq, source[..keep].to_vec(), self.owners[from as usize]);
                self.scheduler.copied(job, from, seq, keep);
                self.note_cells(job);
            }
            Step::Take { job, seq, keep } => {
                let source = self.memory[seq as usize].clone();
                assert!(self.can_cut || keep == source.len());
                let keeper = std::mem::take(&mut self.keepers[seq as usize]);
                assert!(keeper == 0 || keeper == self.job(job).owner, "nobody takes what another one keeps");
                self.begin(job, seq, source[..keep].to_vec(), None);
                self.scheduler.taken(job, seq, keep);
                self.note_cells(job);
            }
            Step::Fetch { job, entry, seq, keep } => {
                let state = self.stored[&entry].clone();
                assert!(self.memory[seq as usize].is_empty());
                assert!(
                    self.n_used() + state.len() < self.capacity.n_ctx,
                    "all of it is put back before it is cut"
                );
                if self.can_cut || keep == state.len() {
                    let fresh = self.copies(&state[..keep]);
                    self.begin(job, seq, fresh, None);
                    self.scheduler.fetched(job, entry, seq, keep);
                    self.note_cells(job);
                } else {
                    self.scheduler.stored_cannot_be_cut();
                    self.owners[seq as usize] = Some(job);
                    self.scheduler.placed(job, seq);
                    self.note_cells(job);
                }
            }
            Step::Restore { job, seq } => {
                assert_eq!((self.owners[seq as usize], self.memory[seq as usize].len()), (None, 0));
                self.owners[seq as usize] = Some(job);
                let state = self.job(job).parked.take().expect("it was parked");
                self.memory[seq as usize] = self.copies(&state);
                self.scheduler.restored(job, seq);
            }
            Step::Decode(spans) => self.decode(&spans),
        }
    }

    /// New cells with the contents of old ones.
    fn copies(&mut self, cells: &[usize]) -> Vec<usize> {
        cells.iter().map(|cell| self.add(self.cells[*cell])).collect()
    }

    fn add(&mut self, content: (TokenId, u64)) -> usize {
        self.cells.push(content);
        self.cells.len() - 1
    }

    /// Counts how long the group of the first request waits for its turn.
    fn note_turn(&mut self, groups: &HashSet<u64>) {
        // One that waits for its hook may keep the place of the first.
        let first = self.first().filter(|_| self.jobs.iter().all(|job| !job.waits));
        let first = first.filter(|id| !groups.contains(&self.job(*id).group));
        let before = self.waited.filter(|(id, _)| Some(*id) == first).map_or(0, |(_, n)| n);
        self.waited = first.map(|id| (id, before + 1));
        // Each other request may bring its group a turn before, and a step each time that it is a suspect.
        let most = TURN * self.n_submitted as usize + self.n_suspected;
        assert!(before <= most, "a group waits for {before} decodes");
    }

    fn decode(&mut self, spans: &[Span]) {
        let n_tokens: usize = spans.iter().map(|span| span.len).sum();
        assert!((1..=self.capacity.n_batch).contains(&n_tokens));
        assert!(spans.iter().map(|span| span.rows).sum::<usize>() <= self.capacity.n_outputs);
        assert!(spans.len() <= self.capacity.n_running);
        let different: HashSet<JobId> = spans.iter().map(|span| span.job).collect();
        assert_eq!(different.len(), spans.len());
        let groups: HashSet<u64> = spans.iter().map(|span| self.job(span.job).group).collect();
        assert_eq!(groups.len(), 1, "one set of adapters a batch");
        self.note_turn(&groups);
        let alone = spans.iter().any(|span| self.job(span.job).alone);
        assert!(!alone || spans.len() == 1, "a suspect is decoded alone");
        let n_pending =
            |simulation: &Self, span: &Span| simulation.scheduler.tokens(span.job).len() - span.pos;
        if spans.iter().any(|span| n_pending(self, span) == 1) {
            let prompts = spans.iter().filter(|span| n_pending(self, span) > 16);
            let most = (4 * self.chunk * self.jobs.len()).max(self.burst);
            assert!(prompts.map(|span| span.len).sum::<usize>() <= most, "prompts leave room for others");
        }
        for span in spans {
            let Span { job: id, seq, pos, len, rows, last } = *span;
            assert!(!self.job(id).held && !self.job(id).only_cells);
            let from = self.job(id).wanted_from();
            let wanted = (pos..pos + len).filter(|&place| place >= from);
            assert_eq!(rows, wanted.count(), "the logits that are wanted are the last ones");
            assert_eq!(self.owners[seq as usize], Some(id));
            assert_eq!(self.memory[seq as usize].len(), pos);
            let (tokens, group) = (self.scheduler.tokens(id).to_vec(), self.job(id).group);
            assert_eq!(tokens, self.job(id).tokens);
            assert_eq!(last, pos + len == tokens.len());
            for token in &tokens[pos..pos + len] {
                let cell = self.add((*token, group));
                self.memory[seq as usize].push(cell);
            }
            self.job(id).alone = false;
        }
        self.scheduler.decoded(spans);
        for span in spans {
            self.look_at(span);
        }
    }

    /// Chooses tokens by the logits of a span.
    fn look_at(&mut self, span: &Span) {
        let id = span.job;
        let places = (span.pos..span.pos + span.len).skip(span.len - span.rows);
        if self.job(id).logits_from.is_some() || self.job(id).n_left == 0 {
            if span.last {
                self.finish(id, true);
            }
            return;
        }
        for place in places {
            let token = TokenId::from(!place.is_multiple_of(3));
            let job = self.job(id);
            job.n_left -= 1;
            if job.n_drafted == 0 {
                assert!(span.last && place + 1 == job.tokens.len());
                job.tokens.push(token);
                return self.scheduler.generated(id, &[token]);
            }
            if token != DRAFTED {
                job.n_drafted = 0;
                job.tokens.truncate(place + 1);
                job.tokens.push(token);
                self.memory[span.seq as usize].truncate(place + 1);
                return self.scheduler.rewound(id, place + 1, place + 1, &[token]);
            }
            job.n_drafted -= 1;
        }
    }
}

/// The texts of requests, which begin alike.
fn text(n: usize, variant: TokenId) -> Vec<TokenId> {
    (0..n as TokenId).map(|i| if i < 20 { 0 } else { variant }).collect()
}

/// The token that comes in two of three places.
const DRAFTED: TokenId = 1;

fn capacity() -> impl Strategy<Value = Capacity> {
    (2usize..80, 1usize..20, 1usize..6, 1usize..6, 1usize..6, 0usize..40, 0usize..100, any::<bool>())
        .prop_map(|(n_ctx, n_batch, n_seq_max, n_outputs, n_running, n_idle, n_stored_bytes, splits)| {
            let n_running = n_running.min(n_seq_max);
            let split = Split { n_seq: n_running, n_cells: n_ctx / n_running, n_worth: 8 };
            Capacity {
                n_ctx,
                n_batch,
                n_seq_max,
                n_outputs,
                n_running,
                split: (splits && split.n_cells > 1).then_some(split),
                n_idle,
                n_stored_bytes,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn any_course_of_events_keeps_the_rules_and_ends(
        capacity in capacity(),
        can_cut in any::<bool>(),
        changes in prop::collection::vec(change(), 1..60),
    ) {
        let mut simulation = Simulation::new(capacity, can_cut);
        for change in &changes {
            simulation.apply(change);
        }
        for pick in 0..simulation.jobs.len() {
            simulation.apply(&Change::Stall { pick, stalled: false });
        }
        simulation.apply(&Change::Chunk { chunk: 1, burst: 0 });
        // Each token takes a decode at most, each turn of a request no more than a step for every slot and two for itself.
        let n_jobs = simulation.jobs.len();
        let n_tokens: usize = simulation.jobs.iter().map(|job| job.tokens.len() + job.n_left + 1).sum();
        let bound = (n_tokens + n_jobs) * (2 * capacity.n_seq_max + 3);
        let n_steps = (0..=bound).take_while(|_| simulation.step()).count();
        let last = &simulation.steps[simulation.steps.len().saturating_sub(12)..];
        prop_assert!(n_steps <= bound, "{n_steps} steps for {n_tokens} tokens of {n_jobs} requests: {last:?}");
        prop_assert!(simulation.jobs.is_empty(), "{:?}", simulation.jobs);
        prop_assert_eq!(simulation.scheduler.len(), 0);
    }
}
