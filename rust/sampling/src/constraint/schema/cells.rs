//! The cells that a few sets of strings cut out of all strings, of which every combination of these sets is made.

use super::text::Text;

/// The most sets of which combinations are split into cells: `n` of them have up to 2ⁿ.
pub(super) const MAX_PATTERNS: usize = 6;

impl Text {
    /// The sets that it combines, each once, in an order that is the same for all combinations of the same sets.
    pub(super) fn leaves(&self) -> Vec<Self> {
        let mut leaves = Vec::new();
        self.collect_leaves(&mut leaves);
        leaves.sort_by_cached_key(|leaf| format!("{leaf:?}"));
        leaves
    }

    fn collect_leaves(&self, leaves: &mut Vec<Self>) {
        match self {
            Self::All | Self::Never => {}
            Self::Not(inner) => inner.collect_leaves(leaves),
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.collect_leaves(leaves)),
            leaf if leaves.contains(leaf) => {}
            leaf => leaves.push(leaf.clone()),
        }
    }

    /// Whether it is the conjunction of sets that combine nothing, or of their opposites.
    pub(super) fn is_cell(&self) -> bool {
        let is_side = |side: &Self| match side {
            Self::Not(inner) => !matches!(**inner, Self::Not(_) | Self::And(_) | Self::Or(_)),
            side => !matches!(side, Self::And(_) | Self::Or(_)),
        };
        match self {
            Self::And(parts) => parts.iter().all(is_side),
            set => is_side(set),
        }
    }

    /// The cells that `patterns`, which are all that it combines, cut out of it, those included that have no member.
    pub(super) fn cells(&self, patterns: &[Self]) -> Vec<Self> {
        let cell = |bits: usize| {
            let is_in = |pattern: &Self| {
                patterns.iter().position(|other| other == pattern).is_some_and(|bit| bits >> bit & 1 == 1)
            };
            self.holds(&is_in).then(|| {
                let sides = patterns.iter().map(|one| if is_in(one) { one.clone() } else { one.not() });
                sides.fold(Self::All, |cell, side| cell.and(&side))
            })
        };
        (0..1 << patterns.len()).filter_map(cell).collect()
    }

    /// Whether a string is in the set of which `is_in` says in which of the combined sets it is.
    pub(super) fn holds(&self, is_in: &impl Fn(&Self) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Never => false,
            Self::Not(inner) => !inner.holds(is_in),
            Self::And(parts) => parts.iter().all(|part| part.holds(is_in)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(is_in)),
            leaf => is_in(leaf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Text {
        Text::pattern(text).unwrap().0
    }

    #[test]
    fn a_set_is_told_by_those_that_it_combines() {
        let (a, b) = (pattern("a"), pattern("^b"));
        let set = a.and(&b.not()).or(&a.not().and(&b));
        assert_eq!(set.leaves(), b.and(&a).leaves());
        assert_eq!(set.leaves().len(), 2);
        for text in ["a", "b", "ba", "c"] {
            assert_eq!(set.holds(&|leaf| leaf.contains(text)), set.contains(text), "{text}");
            let cells = set.cells(&set.leaves());
            assert_eq!(
                cells.iter().filter(|cell| cell.contains(text)).count(),
                usize::from(set.contains(text))
            );
        }
    }
}
