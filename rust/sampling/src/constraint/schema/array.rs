//! Shapes of lists.

use super::parts::{Key, Parts};
use super::repeats::Origin;

/// What must be in a place of a list or an object, whether an applying schema has evaluated it, and which schema of the document that is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slot {
    pub(super) node: Key,
    pub(super) evaluated: bool,
    pub(super) origin: Origin,
}

/// Lists.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub(super) prefix: Vec<Slot>,
    pub(super) rest: Slot,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
    pub(super) contains: Vec<Contains>,
    /// Items that fit one of these count as evaluated.
    pub(super) contained: Vec<Key>,
    /// The number of the schema that demands that the items differ.
    pub(super) unique: Option<usize>,
    /// Whether something counts as evaluated although that is not certain.
    pub(super) loose: bool,
    pub(super) exact: bool,
    pub(super) origin: Origin,
}

/// How many items, from the one numbered `from` on, fit `node`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contains {
    pub(super) node: Key,
    pub(super) from: usize,
    pub(super) min: u64,
    pub(super) max: Option<u64>,
    /// The number of the schema that demands it, for what cannot be enforced.
    pub(super) place: usize,
}

impl Slot {
    pub(super) fn of(node: Key, evaluated: bool) -> Self {
        Self { node, evaluated, origin: Origin::default() }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            node: self.node.and(&other.node),
            evaluated: self.evaluated || other.evaluated,
            origin: self.origin.or(other.origin),
        }
    }
}

impl Default for Array {
    fn default() -> Self {
        Self {
            prefix: Vec::new(),
            rest: Slot::default(),
            min: 0,
            max: None,
            contains: Vec::new(),
            contained: Vec::new(),
            unique: None,
            loose: false,
            exact: true,
            origin: Origin::default(),
        }
    }
}

impl Array {
    pub(super) fn item(&self, index: usize) -> &Slot {
        self.prefix.get(index).unwrap_or(&self.rest)
    }

    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let n = self.prefix.len().max(other.prefix.len());
        let mut both = Self {
            prefix: (0..n).map(|i| self.item(i).and(other.item(i))).collect(),
            rest: self.rest.and(&other.rest),
            min: self.min.max(other.min),
            max: self.max.into_iter().chain(other.max).min(),
            contains: self.contains.clone(),
            contained: self.contained.clone(),
            unique: self.unique.or(other.unique),
            loose: self.loose || other.loose,
            exact: self.exact && other.exact,
            origin: self.origin.or(other.origin),
        };
        both.contains.extend(other.contains.iter().filter(|one| !self.contains.contains(one)).cloned());
        both.contained.extend(other.contained.iter().filter(|one| !self.contained.contains(one)).cloned());
        let first_never = (0..=n).find(|i| both.item(*i).node.is_never());
        both.max = both.max.into_iter().chain(first_never.map(|i| i as u64)).min();
        both.max.is_none_or(|max| both.min <= max).then_some(both)
    }

    pub(super) fn complement(&self, parts: &mut Parts<'_>) -> Vec<Self> {
        if !self.exact {
            return vec![Self { exact: false, ..Self::default() }];
        }
        let mut others = Vec::new();
        for (i, slot) in self.prefix.iter().enumerate().filter(|(_, slot)| !slot.node.is_any()) {
            let mut prefix = vec![Slot::default(); i];
            prefix.push(Slot::of(parts.not(&slot.node), false));
            others.push(Self { prefix, min: i as u64 + 1, ..Self::default() });
        }
        let contains = |node, from, min, max, place| Self {
            contains: vec![Contains { node, from, min, max, place }],
            ..Self::default()
        };
        let n = self.prefix.len();
        if self.rest.node.is_never() {
            others.push(Self { min: n as u64 + 1, ..Self::default() });
        } else if !self.rest.node.is_any() {
            others.push(contains(parts.not(&self.rest.node), n, 1, None, 0));
        }
        for one in &self.contains {
            if one.min > 0 {
                others.push(contains(one.node.clone(), one.from, 0, Some(one.min - 1), one.place));
            }
            if let Some(max) = one.max {
                others.push(contains(one.node.clone(), one.from, max + 1, None, one.place));
            }
        }
        if self.min > 0 {
            others.push(Self { max: Some(self.min - 1), ..Self::default() });
        }
        if let Some(max) = self.max {
            others.push(Self { min: max + 1, ..Self::default() });
        }
        others
    }
}
