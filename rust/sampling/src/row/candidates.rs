//! The tokens still in play once a stage has cut the row down.

use crate::row::goal::{Goal, Mass};
use crate::row::prefix_end::{PrefixEnd, rank, unrank};
use crate::row::rank_key::RankKey;
use crate::row::simd::{self, Level, Lines, Moments};
use crate::row::weight::Scale;

/// How many weights are computed at a time.
const CHUNK_LEN: usize = 64;

/// A token with the logit before the temperature and, after [`Candidates::weigh`], its weight relative to the best token's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: u32,
    pub(crate) logit: f32,
    pub(crate) weight: f32,
}

impl Candidate {
    /// Orders by falling logit, then by rising id.
    pub(crate) fn rank(&self) -> u64 {
        rank(self.id, self.logit)
    }
}

/// Candidates by rising id, never with an infinite logit. Every stage finds a cut and keeps this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    items: Vec<Candidate>,
    ranks: Vec<u64>,
    keys: Vec<f32>,
    weights: Vec<f32>,
    prefix: PrefixEnd,
}

impl Candidates {
    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }

    /// Adds a token with a higher id than all before it.
    pub(crate) fn push(&mut self, id: u32, logit: f32) {
        // Adding 0 turns -0 into 0, so that the two have one rank.
        self.items.push(Candidate { id, logit: logit + 0.0, weight: 0.0 });
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn items(&self) -> &[Candidate] {
        &self.items
    }

    pub(crate) fn change(&mut self, change: impl Fn(u32, f32) -> f32) {
        for item in &mut self.items {
            item.logit = change(item.id, item.logit) + 0.0;
        }
    }

    /// Sets the weights e^((logit − top) × `inverse_temperature`) and returns their sum.
    pub(crate) fn weigh(&mut self, inverse_temperature: f32) -> f64 {
        self.weigh_by(Scale::new(self.top(), inverse_temperature))
    }

    /// Sets the weights on a scale and returns their sum.
    pub(crate) fn weigh_by(&mut self, scale: Scale) -> f64 {
        let level = Level::best();
        let (mut logits, mut weights) = ([0.0; CHUNK_LEN], [0.0; CHUNK_LEN]);
        let mut total = 0.0;
        for items in self.items.chunks_mut(CHUNK_LEN) {
            logits.iter_mut().zip(&*items).for_each(|(logit, item)| *logit = item.logit);
            simd::weigh_each(level, &logits[..items.len()], scale, &mut weights[..items.len()]);
            for (item, &weight) in items.iter_mut().zip(&weights) {
                item.weight = weight;
                total += f64::from(weight);
            }
        }
        total
    }

    fn top(&self) -> f32 {
        self.items.iter().fold(f32::MIN, |top, item| top.max(item.logit))
    }

    /// The logits from the highest to the lowest.
    pub(crate) fn falling_logits(&mut self) -> impl Iterator<Item = f32> {
        self.ranks.clear();
        self.ranks.extend(self.items.iter().map(Candidate::rank));
        self.ranks.sort_unstable();
        self.ranks.iter().map(|&rank| unrank(rank).1)
    }

    /// Keeps the `k` highest logits, the lowest ids on ties.
    pub(crate) fn top_k(&mut self, k: usize) {
        if k == 0 || k >= self.items.len() {
            return;
        }
        self.ranks.clear();
        self.ranks.extend(self.items.iter().map(Candidate::rank));
        let cut = *self.ranks.select_nth_unstable(k - 1).1;
        self.items.retain(|item| item.rank() <= cut);
    }

    /// Keeps the shortest prefix, by falling key, that meets the goal; all if none does. [`weigh`](Self::weigh) comes first.
    pub(crate) fn keep_prefix(&mut self, key: RankKey, goal: Goal) {
        let Self { items, keys, weights, prefix, .. } = self;
        keys.clear();
        keys.extend(items.iter().map(|item| key.of(item.logit)));
        weights.clear();
        weights.extend(items.iter().map(|item| item.weight));
        let (mut high, mut low) = (f32::NEG_INFINITY, f32::INFINITY);
        for &key in &*keys {
            high = if key > high { key } else { high };
            low = if key < low { key } else { low };
        }
        let lines = Lines { high: high.next_up(), low };
        let end = prefix.end(Level::best(), (keys, weights), lines, Mass::default(), goal);
        if let Some((line, place)) = end {
            let last = rank(place as u32, line);
            let mut places = 0..;
            items.retain(|item| rank(places.next().unwrap_or(u32::MAX), key.of(item.logit)) <= last);
        }
    }

    /// The moments of the weights, and the scale that they belong to; [`weigh`](Self::weigh) comes first.
    pub(crate) fn moments(&self, inverse_temperature: f32) -> (Moments, Scale) {
        let scale = Scale::new(self.top(), inverse_temperature);
        let weighted = self.items.iter().map(|item| (f64::from(item.weight), scale.power(item.logit)));
        let (total, powers) = weighted.fold((0.0, 0.0), |(total, powers), (weight, power)| {
            (total + weight, powers + weight * f64::from(power))
        });
        (Moments { total, powers, n: self.items.len() }, scale)
    }

    /// Keeps what `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Candidate) -> bool) {
        self.items.retain(keep);
    }

    /// The candidate at which the cumulative weight exceeds `target`; [`weigh`](Self::weigh) comes first.
    pub(crate) fn choose(&self, target: f64) -> Option<Candidate> {
        let mut running = 0.0;
        let mut last = None;
        for item in self.items.iter().filter(|item| item.weight > 0.0) {
            last = Some(*item);
            running += f64::from(item.weight);
            if running > target {
                break;
            }
        }
        last
    }
}

impl Candidates {
    /// Replaces all logits, by rising id.
    pub(crate) fn change_in_order(&mut self, mut change: impl FnMut(f32) -> f32) {
        for item in &mut self.items {
            item.logit = change(item.logit) + 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(logits: &[f32]) -> Candidates {
        let mut list = Candidates::default();
        logits.iter().enumerate().for_each(|(id, &logit)| list.push(id as u32, logit));
        list
    }

    fn ids(list: &Candidates) -> Vec<u32> {
        list.items().iter().map(|item| item.id).collect()
    }

    #[test]
    fn top_k_prefers_low_ids_on_ties_and_keeps_their_order() {
        let mut list = candidates(&[1.0, -0.0, 2.0, 0.0, 0.0, -3.0]);
        list.top_k(4);
        assert_eq!(ids(&list), [0, 1, 2, 3]);
    }

    #[test]
    fn falling_logits_come_back_unchanged() {
        let mut list = candidates(&[1.5, -2.5, 0.0, f32::MIN, f32::MAX, 1.5]);
        let logits: Vec<f32> = list.falling_logits().collect();
        assert_eq!(logits, [f32::MAX, 1.5, 1.5, 0.0, -2.5, f32::MIN]);
    }

    #[test]
    fn top_mass_of_a_long_list_equals_the_sorted_definition() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5003) as f32 / 700.0).collect();
        for share in [0.01, 0.3, 0.7, 0.99] {
            let mut list = candidates(&logits);
            let target = list.weigh(1.0) * share;
            let mut sorted: Vec<Candidate> = list.items().to_vec();
            sorted.sort_by_key(Candidate::rank);
            let mut mass = 0.0;
            let kept = sorted.iter().take_while(|item| {
                let short = mass < target;
                mass += f64::from(item.weight);
                short
            });
            let mut want: Vec<u32> = kept.map(|item| item.id).collect();
            want.sort_unstable();
            list.keep_prefix(RankKey::Logit, Goal::at_least(target, 1));
            assert_eq!(ids(&list), want, "{share}");
        }
    }
}
