//! The tokens still in play once a stage has cut the row down.

use crate::exp::exp;

/// A part this short is sorted rather than split further.
const SORTED_LEN: usize = 32;

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
        let bits = self.logit.to_bits();
        let falling = if bits >> 31 == 1 { bits } else { !(bits | 1 << 31) };
        u64::from(falling) << 32 | u64::from(self.id)
    }
}

/// Candidates by rising id, never with an infinite logit. Every stage finds a cut and keeps this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    items: Vec<Candidate>,
    ranks: Vec<u64>,
    weighted: Vec<(u64, f32)>,
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
        let top = self.top();
        let mut total = 0.0;
        for item in &mut self.items {
            item.weight = exp((item.logit - top) * inverse_temperature);
            total += f64::from(item.weight);
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
        self.ranks.iter().map(|rank| {
            let falling = (rank >> 32) as u32;
            f32::from_bits(if falling >> 31 == 1 { falling } else { !falling & (u32::MAX >> 1) })
        })
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

    /// Keeps the shortest prefix, by falling logit, with a weight of at least `target` and at least `min_keep` tokens.
    pub(crate) fn top_mass(&mut self, target: f64, min_keep: usize) {
        self.weighted.clear();
        self.weighted.extend(self.items.iter().map(|item| (item.rank(), item.weight)));
        if let Some(cut) = mass_cut(&mut self.weighted, |mass, n| mass >= target && n >= min_keep) {
            self.items.retain(|item| item.rank() <= cut);
        }
    }

    /// Keeps the tokens with a weight of at least `least`; false, with all kept, if they are fewer than `min_keep`.
    pub(crate) fn at_least(&mut self, least: f32, min_keep: usize) -> bool {
        let enough = self.items.iter().filter(|item| item.weight >= least).count() >= min_keep;
        if enough {
            self.items.retain(|item| item.weight >= least);
        }
        enough
    }

    /// Keeps the tokens whose surprise is nearest to the entropy until they hold more than `p` of the probability
    /// (Meister et al. 2022; `llama_sampler_typical_apply` in `src/llama-sampler.cpp`), the lowest ids on ties.
    ///
    /// Surprise and entropy share the term ln Z, so their difference needs no logarithm: with d = (top − logit) / temperature it
    /// is d minus the mean of d.
    pub(crate) fn typical(&mut self, p: f32, min_keep: usize, inverse_temperature: f32) {
        let total = self.weigh(inverse_temperature);
        let top = self.top();
        let depth = |item: &Candidate| f64::from((top - item.logit) * inverse_temperature);
        let heavy = self.items.iter().filter(|item| item.weight > 0.0);
        let mean = heavy.map(|item| f64::from(item.weight) * depth(item)).sum::<f64>() / total;
        let key = |item: &Candidate| {
            let distance = (depth(item) - mean).abs() as f32;
            u64::from(distance.to_bits()) << 32 | u64::from(item.id)
        };
        self.weighted.clear();
        self.weighted.extend(self.items.iter().map(|item| (key(item), item.weight)));
        let target = f64::from(p) * total;
        if let Some(cut) = mass_cut(&mut self.weighted, |mass, n| mass > target && n >= min_keep) {
            self.items.retain(|item| key(item) <= cut);
        }
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

/// The key of the last item of the shortest prefix, by rising key, whose mass and length are `enough`; `None` if none is.
///
/// Splits by selection and goes on in the half with the end of the prefix, so the time is linear and nothing is sorted.
fn mass_cut(items: &mut [(u64, f32)], enough: impl Fn(f64, usize) -> bool) -> Option<u64> {
    let (mut low, mut high, mut mass) = (0, items.len(), 0.0);
    while high - low > SORTED_LEN {
        let middle = low + (high - low) / 2;
        items[low..high].select_nth_unstable_by_key(middle - low, |item| item.0);
        let with_lower = mass + items[low..middle].iter().map(|item| f64::from(item.1)).sum::<f64>();
        if enough(with_lower, middle) {
            high = middle;
        } else {
            (low, mass) = (middle, with_lower);
        }
    }
    let rest = &mut items[low..high];
    rest.sort_unstable_by_key(|item| item.0);
    for (at, &(key, weight)) in rest.iter().enumerate() {
        mass += f64::from(weight);
        if enough(mass, low + at + 1) {
            return Some(key);
        }
    }
    // The lower half of the last split was enough, by a sum in another order; its last item ends the prefix.
    (high < items.len()).then(|| items[low..high].last().map(|item| item.0)).flatten()
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
            list.top_mass(target, 1);
            assert_eq!(ids(&list), want, "{share}");
        }
    }
}
