//! The end of the shortest prefix, by falling key, that holds enough: what every cut by a share of the probability looks for.

use crate::row::goal::{Goal, Mass};
use crate::row::simd::{self, Level, Lines};

/// A part this short is ranked rather than split further.
const PART_LEN: usize = 64;
/// How often a part is split.
const MAX_SPLITS: usize = 24;
/// How far from the expected end a part is split, as a share of the part: first on one side, then on the other, so that the end gets
/// enclosed.
const ASIDE: f64 = 1.0 / 16.0;
/// A part this short is sorted rather than halved by selection.
const SORTED_LEN: usize = 32;

/// A number that orders items by falling key, then by rising place; -0 counts as 0.
pub(crate) fn rank(place: u32, key: f32) -> u64 {
    let bits = (key + 0.0).to_bits();
    let falling = if bits >> 31 == 1 { bits } else { !(bits | 1 << 31) };
    u64::from(falling) << 32 | u64::from(place)
}

/// The place and the key of a [`rank`].
pub(crate) fn unrank(rank: u64) -> (u32, f32) {
    let falling = (rank >> 32) as u32;
    (rank as u32, f32::from_bits(if falling >> 31 == 1 { falling } else { !falling & (u32::MAX >> 1) }))
}

/// Finds the ends of prefixes; scratch memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrefixEnd {
    /// Ranks and weights of the part with the end.
    ranked: Vec<(u64, f32)>,
}

impl PrefixEnd {
    /// The key and the place of the last item, by falling key and rising place, of the shortest prefix of the items between the lines
    /// that meets the goal together with what is `above` them; `None` if all of them do not.
    ///
    /// Splits the items by a line near the expected end and goes on with the half that holds it, until few are left. A split is one pass
    /// over all items; nothing is sorted.
    pub(crate) fn end(
        &mut self,
        level: Level,
        (keys, weights): (&[f32], &[f32]),
        lines: Lines,
        above: Mass,
        goal: Goal,
    ) -> Option<(f32, usize)> {
        let mass_above = |line: f32| above.and(simd::mass(level, keys, weights, line));
        let Lines { mut high, mut low } = lines;
        let (mut outside, mut inside) = (above, mass_above(low));
        if !inside.meets(goal) {
            return None;
        }
        for split in 0..MAX_SPLITS {
            if inside.n - outside.n <= PART_LEN {
                break;
            }
            let middle = high - (high - low) * (fraction(outside, inside, goal, split) as f32);
            if middle <= low || middle >= high || middle.is_nan() {
                break;
            }
            let mass = mass_above(middle);
            if mass.meets(goal) {
                (low, inside) = (middle, mass);
            } else {
                (high, outside) = (middle, mass);
            }
        }
        self.ranked.clear();
        simd::between(level, keys, Lines { high, low }, |place, key| {
            self.ranked.push((rank(place as u32, key), weights[place]));
        });
        let end = end_of(&mut self.ranked, outside, goal);
        // The sums above were taken in another order and may differ in the last bit. If the part falls short by that, its last item is the end.
        let end = end.or_else(|| self.ranked.iter().map(|item| item.0).max())?;
        let (place, key) = unrank(end);
        Some((key, place as usize))
    }
}

/// Where to split a part, as a share of its height from above. If the weight were spread evenly, the goal would be met at `expected`; the
/// split goes a little below it, then a little above it, and every third time into the middle, which ends the search for any weights.
fn fraction(outside: Mass, inside: Mass, goal: Goal, split: usize) -> f64 {
    let by_weight = (goal.weight() - outside.weight) / (inside.weight - outside.weight);
    let by_number = goal.n().saturating_sub(outside.n) as f64 / (inside.n - outside.n) as f64;
    let expected = if by_number > by_weight { by_number } else { by_weight };
    let aside = match split % 3 {
        0 => expected + ASIDE,
        1 => expected - ASIDE,
        _ => 0.5,
    };
    aside.clamp(ASIDE / 2.0, 1.0 - ASIDE / 2.0)
}

/// The rank of the last item of the shortest prefix, by rising rank, that meets the goal together with what is `above`; `None` if none
/// does.
///
/// Splits by selection and goes on in the half with the end, so the time is linear and little is sorted, also where all keys are equal.
fn end_of(items: &mut [(u64, f32)], above: Mass, goal: Goal) -> Option<u64> {
    let (mut low, mut high, mut weight) = (0, items.len(), above.weight);
    while high - low > SORTED_LEN {
        let middle = low + (high - low) / 2;
        items[low..high].select_nth_unstable_by_key(middle - low, |item| item.0);
        let with_lower = weight + items[low..middle].iter().map(|item| f64::from(item.1)).sum::<f64>();
        if goal.is_met(with_lower, above.n + middle) {
            high = middle;
        } else {
            (low, weight) = (middle, with_lower);
        }
    }
    let rest = &mut items[low..high];
    rest.sort_unstable_by_key(|item| item.0);
    for (at, &(rank, more)) in rest.iter().enumerate() {
        weight += f64::from(more);
        if goal.is_met(weight, above.n + low + at + 1) {
            return Some(rank);
        }
    }
    // The half was chosen by a sum in another order, which may differ in the last bit. If the half falls short by that, its last item is
    // the end.
    (high < items.len()).then(|| items[low..high].last().map(|item| item.0)).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The end by a full sort.
    fn sorted(keys: &[f32], weights: &[f32], above: Mass, goal: Goal) -> Option<(f32, usize)> {
        let mut order: Vec<u64> =
            keys.iter().enumerate().map(|(place, &key)| rank(place as u32, key)).collect();
        order.sort_unstable();
        let (mut weight, mut n) = (above.weight, above.n);
        let end = order.into_iter().find(|&item| {
            weight += f64::from(weights[unrank(item).0 as usize]);
            n += 1;
            goal.is_met(weight, n)
        });
        end.map(|item| (unrank(item).1, unrank(item).0 as usize))
    }

    proptest! {
        #[test]
        fn ends_agree_with_a_full_sort(
            // Sums of small integers are exact, in any order.
            items in prop::collection::vec((prop_oneof![-9.0..9f32, (-3..3i8).prop_map(f32::from)], 0..9u8), 1..3000),
            (share, n_least) in (0.0..1.1f64, prop_oneof![3 => Just(1usize), 1 => 0..3000usize]),
            (before, n_before) in (0..50u8, 0..5usize),
            strict in any::<bool>(),
        ) {
            let (keys, weights): (Vec<f32>, Vec<f32>) = items.iter().map(|&(key, weight)| (key, f32::from(weight))).unzip();
            let target = (share * weights.iter().map(|&x| f64::from(x)).sum::<f64>()).round();
            let goal = if strict { Goal::more_than(target, n_least) } else { Goal::at_least(target, n_least) };
            let above = Mass { weight: f64::from(before), n: n_before };
            // A prefix has at least one item.
            prop_assume!(!above.meets(goal));
            let lines = Lines { high: 9.0, low: -9.0 };
            for level in Level::all() {
                let got = PrefixEnd::default().end(level, (&keys, &weights), lines, above, goal);
                prop_assert_eq!(got, sorted(&keys, &weights, above, goal));
            }
        }
    }

    #[test]
    fn ranks_order_by_falling_key_and_come_back_unchanged() {
        let keys = [f32::MAX, 1.5, 1.5, 0.0, -2.5, f32::MIN, f32::NEG_INFINITY];
        let ranks: Vec<u64> = keys.iter().enumerate().map(|(place, &key)| rank(place as u32, key)).collect();
        assert!(ranks.is_sorted());
        assert_eq!(rank(7, -0.0), rank(7, 0.0));
        let back: Vec<(u32, f32)> = ranks.into_iter().map(unrank).collect();
        assert_eq!(back, keys.into_iter().enumerate().map(|(at, key)| (at as u32, key)).collect::<Vec<_>>());
    }
}
