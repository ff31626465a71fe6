//! Whose turn it is: requests of different groups are never decoded together, so groups take turns.
//!
//! A turn lasts a few steps, because an engine may have to prepare for each group anew: llama.cpp lays out its graph again for other adapters, which takes
//! 5 ms for SmolLM2-135M where a step takes 8 ms. The next turn is that of the group none of whose requests was served for longest. (Not of the request
//! served longest ago: prompts for which a step has no room would bring their group one turn after another.) Only groups with a request of the highest priority
//! have turns; others have to wait, as they would for a place.

use std::collections::HashMap;

use super::job::{Job, Rank};

/// How many steps a turn lasts while requests of other groups wait. One in which requests generate beside a prompt counts for two, and one of prompts alone
/// for all.
pub(crate) const TURN: usize = 4;

/// The turn that is now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    group: u64,
    /// Steps of it so far; 0 before the first one.
    n_steps: usize,
}

impl Turn {
    /// A step of `group` was done, which counts for `weight`.
    pub(super) fn note(&mut self, group: u64, weight: usize) {
        if group != self.group {
            *self = Self { group, n_steps: 0 };
        }
        self.n_steps += weight;
    }

    /// Which group of these requests comes next: one with a request of the highest priority. `None` without any.
    pub(super) fn next(self, jobs: &[&Job]) -> Option<u64> {
        let first = jobs.first()?.group;
        if jobs.iter().all(|job| job.group == first) {
            return Some(first);
        }
        let urgency = jobs.iter().map(|job| job.rank.urgency).min()?;
        let mut groups: HashMap<u64, (u64, Rank)> = HashMap::new();
        for job in jobs {
            let (served, rank) = groups.entry(job.group).or_insert((job.served, job.rank));
            (*served, *rank) = (job.served.max(*served), job.rank.min(*rank));
        }
        groups.retain(|_, (_, rank)| rank.urgency == urgency);
        if (1..TURN).contains(&self.n_steps) && groups.contains_key(&self.group) {
            return Some(self.group);
        }
        let order = |(group, (served, rank)): &(u64, (u64, Rank))| (*served, *group == self.group, *rank);
        groups.into_iter().min_by_key(order).map(|(group, _)| group)
    }
}
