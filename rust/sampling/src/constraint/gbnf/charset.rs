//! Sets of characters.

use std::fmt::Write;

const SURROGATES: (u32, u32) = (0xD800, 0xDFFF);
const LAST: u32 = 0x10_FFFF;

/// A set of Unicode scalar values as sorted ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct CharSet(Vec<(u32, u32)>);

impl CharSet {
    pub(super) fn all() -> Self {
        Self(vec![(0, LAST)])
    }

    /// The characters of `ranges`, both ends included.
    pub(super) fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|&(low, high)| low <= high && low <= LAST);
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high.min(LAST))),
            }
        }
        Self(merged)
    }

    pub(super) fn negated(&self) -> Self {
        let mut rest = Vec::new();
        let mut from = 0;
        for &(low, high) in &self.0 {
            if low > from {
                rest.push((from, low - 1));
            }
            from = high + 1;
        }
        if from <= LAST {
            rest.push((from, LAST));
        }
        Self(rest)
    }

    /// Adds `other`; whether that changed anything.
    pub(super) fn add(&mut self, other: &Self) -> bool {
        if other.0.iter().all(|&range| self.holds(range)) {
            return false;
        }
        let mut ranges = std::mem::take(&mut self.0);
        ranges.extend(&other.0);
        *self = Self::new(ranges);
        true
    }

    fn holds(&self, (low, high): (u32, u32)) -> bool {
        let at = self.0.partition_point(|range| range.1 < low);
        self.0.get(at).is_some_and(|range| range.0 <= low && high <= range.1)
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        let (mut a, mut b) = (0, 0);
        while let (Some(one), Some(two)) = (self.0.get(a), other.0.get(b)) {
            if one.0 <= two.1 && two.0 <= one.1 {
                return true;
            }
            if one.1 < two.1 { a += 1 } else { b += 1 }
        }
        false
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set as a class in the syntax of Rust's `regex` crate.
    pub(super) fn regex(&self) -> String {
        let mut class = String::from("[");
        for &(low, high) in &self.0 {
            let low = if (SURROGATES.0..=SURROGATES.1).contains(&low) { SURROGATES.1 + 1 } else { low };
            let high = if (SURROGATES.0..=SURROGATES.1).contains(&high) { SURROGATES.0 - 1 } else { high };
            if low == high {
                let _ = write!(class, r"\x{{{low:X}}}");
            } else if low < high {
                let _ = write!(class, r"\x{{{low:X}}}-\x{{{high:X}}}");
            }
        }
        class.push(']');
        if class == "[]" { "[a&&b]".to_owned() } else { class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negation_and_meeting_agree() {
        let set = CharSet::new(vec![(97, 122), (48, 57), (100, 130)]);
        assert_eq!(set, CharSet::new(vec![(48, 57), (97, 130)]));
        assert!(!set.meets(&set.negated()));
        assert_eq!(set.negated().negated(), set);
        let mut both = set.clone();
        assert!(both.add(&set.negated()) && !both.add(&set));
        assert_eq!(both, CharSet::all());
    }
}
