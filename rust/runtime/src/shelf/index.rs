//! Which beginnings a shelf has.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::TokenId;
use crate::scheduler::common;

/// The tokens of all entries, in order, so that those that begin alike are neighbours.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeMap<Arc<[TokenId]>, u64>);

/// An entry that begins as a request does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(super) id: u64,
    pub(super) tokens: Arc<[TokenId]>,
    /// How many tokens they have in common.
    pub(crate) keep: usize,
}

impl Index {
    /// Adds an entry, and returns its number.
    pub(super) fn add(&mut self, tokens: &[TokenId]) -> u64 {
        let id = number(tokens);
        self.0.insert(tokens.into(), id);
        id
    }

    /// Forgets entries by their numbers.
    pub(super) fn forget(&mut self, ids: &[u64]) {
        self.0.retain(|_, id| !ids.contains(id));
    }

    /// The numbers of entries that `tokens` begin with and that are shorter.
    pub(super) fn beginnings(&self, tokens: &[TokenId]) -> Vec<u64> {
        let shorter =
            self.0.iter().filter(|(entry, _)| entry.len() < tokens.len() && tokens.starts_with(entry));
        shorter.map(|(_, id)| *id).collect()
    }

    /// Whether an entry has the cells of all of `tokens`, with `cuts` also one that goes on.
    pub(super) fn covers(&self, tokens: &[TokenId], cuts: bool) -> bool {
        // Those that begin with `tokens` come right after them.
        let next = self.from(tokens).next();
        next.is_some_and(|(entry, _)| entry.starts_with(tokens) && (cuts || entry.len() == tokens.len()))
    }

    /// The entry that has most tokens in common with the beginning of `tokens`; without `cuts`, the longest one that `tokens` begin with.
    pub(super) fn find(&self, tokens: &[TokenId], cuts: bool) -> Option<Found> {
        let found = |(entry, id): (&Arc<[TokenId]>, &u64)| Found {
            id: *id,
            keep: common(entry, tokens),
            tokens: Arc::clone(entry),
        };
        let mut before =
            self.0.range::<[TokenId], _>((Bound::Unbounded, Bound::Included(tokens))).rev().map(found);
        if !cuts {
            // The longest beginning is the last in order.
            return before.take_while(|entry| entry.keep > 0).find(|entry| entry.keep == entry.tokens.len());
        }
        // Of ordered lists, one of both neighbours has the most in common.
        let neighbours = before.next().into_iter().chain(self.from(tokens).next().map(found));
        neighbours.filter(|entry| entry.keep > 0).max_by_key(|entry| entry.keep)
    }

    fn from(&self, tokens: &[TokenId]) -> impl Iterator<Item = (&Arc<[TokenId]>, &u64)> {
        self.0.range::<[TokenId], _>((Bound::Included(tokens), Bound::Unbounded))
    }
}

/// The number of an entry: FNV-1a of its tokens, so that it is the same in each process. Two that share one, which nobody will see, replace each other.
fn number(tokens: &[TokenId]) -> u64 {
    let bytes = tokens.iter().flat_map(|token| token.to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn tokens() -> impl Strategy<Value = Vec<TokenId>> {
        prop::collection::vec(0..3, 0..7)
    }

    proptest! {
        #[test]
        fn finds_what_looking_at_all_finds(entries in prop::collection::vec(tokens(), 0..20), wanted in tokens()) {
            let mut index = Index::default();
            let ids: HashMap<u64, &Vec<TokenId>> = entries.iter().map(|entry| (index.add(entry), entry)).collect();
            let most = entries.iter().map(|entry| common(entry, &wanted)).max().filter(|n| *n > 0);
            prop_assert_eq!(index.find(&wanted, true).map(|found| found.keep), most);
            let whole = entries.iter().filter(|entry| !entry.is_empty() && wanted.starts_with(entry));
            let longest = whole.map(Vec::len).max();
            let found = index.find(&wanted, false);
            prop_assert_eq!(found.as_ref().map(|found| found.keep), longest);
            prop_assert!(found.is_none_or(|found| **ids[&found.id] == *found.tokens));
            let covers = entries.iter().any(|entry| entry.starts_with(&wanted));
            prop_assert_eq!(index.covers(&wanted, true), covers);
            prop_assert_eq!(index.covers(&wanted, false), entries.contains(&wanted));
            let mut shorter: Vec<Vec<TokenId>> =
                index.beginnings(&wanted).iter().map(|id| ids[id].clone()).collect();
            shorter.sort();
            let mut all: Vec<_> =
                entries.iter().filter(|e| e.len() < wanted.len() && wanted.starts_with(e)).cloned().collect();
            all.sort();
            all.dedup();
            prop_assert_eq!(shorter, all);
        }
    }
}
