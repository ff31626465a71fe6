//! Which two symbols merge, and in which order.

use crate::hash::{HashKeys, table_size};

/// A merge of two symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Merge {
    /// The lowest goes first.
    pub(crate) rank: u32,
    /// What the two become.
    pub(crate) symbol: u32,
}

/// A slot: two symbols and their merge.
#[derive(Clone, Copy, Debug)]
struct Slot {
    left: u32,
    right: u32,
    merge: Merge,
}

/// Symbol of slots without an entry.
const EMPTY: u32 = u32::MAX;

/// Merges by the symbols that they join.
#[derive(Debug)]
pub(crate) struct PairTable {
    keys: HashKeys,
    slots: Vec<Slot>,
    len: usize,
}

impl PairTable {
    /// A table without merges that has room for `n`, which is the most it takes.
    pub(crate) fn with_room(n: usize) -> Self {
        let empty = Slot { left: EMPTY, right: EMPTY, merge: Merge { rank: 0, symbol: EMPTY } };
        Self { keys: HashKeys::new(), slots: vec![empty; table_size(n)], len: 0 }
    }

    /// How many merges there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The merge of two symbols.
    #[inline]
    pub(crate) fn get(&self, left: u32, right: u32) -> Option<Merge> {
        let slot = &self.slots[self.at(left, right)];
        (slot.left != EMPTY).then_some(slot.merge)
    }

    /// Adds a merge unless the two symbols have one.
    pub(crate) fn insert(&mut self, left: u32, right: u32, merge: Merge) {
        let at = self.at(left, right);
        if self.slots[at].left == EMPTY {
            self.slots[at] = Slot { left, right, merge };
            self.len += 1;
        }
    }

    #[inline]
    fn at(&self, left: u32, right: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.keys.pair(left, right) as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.left == left && slot.right == right || slot.left == EMPTY {
                return at;
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_merge_of_two_symbols_counts() {
        let mut table = PairTable::with_room(1000);
        for n in 0..1000 {
            table.insert(n, n + 1, Merge { rank: n, symbol: n * 2 });
        }
        table.insert(7, 8, Merge { rank: 0, symbol: 0 });
        assert_eq!((table.get(7, 8), table.len()), (Some(Merge { rank: 7, symbol: 14 }), 1000));
        assert_eq!((table.get(8, 7), table.get(u32::MAX - 1, 0)), (None, None));
    }
}
