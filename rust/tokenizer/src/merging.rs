//! Merging the symbols of a word, the best pair first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::pair_table::Merge;

/// Words of up to this many symbols are searched for their best pair; longer ones keep their pairs in a heap.
const FEW: usize = 48;
const NONE: u32 = u32::MAX;
/// How many steps of a long word are done between two checks of whether to stop.
pub(crate) const BETWEEN_LOOKS: usize = 1 << 14;

/// A symbol of a word: bytes `start..end` of the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) id: u32,
    /// The merge with the symbol behind it, while the word is short.
    rank: u32,
    merged: u32,
}

/// A symbol's neighbours in a long word.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

/// Two symbols that can merge: rank and index of the left one decide which do so first.
type Pair = Reverse<(u32, u32, Merged)>;

/// Bytes of both symbols, by which a pair is known to be outdated, and what they become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Merged {
    size: u32,
    symbol: u32,
}

/// The symbols of one word after another. Its memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    pub(crate) symbols: Vec<Symbol>,
    links: Vec<Link>,
    heap: BinaryHeap<Pair>,
}

impl Merging {
    /// Begins a word.
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
    }

    /// Adds a symbol to the word.
    #[inline]
    pub(crate) fn push(&mut self, start: usize, end: usize, id: u32) {
        self.symbols.push(Symbol { start: start as u32, end: end as u32, id, rank: NONE, merged: NONE });
    }

    /// Merges all that `merge` allows, the lowest rank first and of equal ones the leftmost (`llm_tokenizer_bpe_session::tokenize` in
    /// `src/llama-vocab.cpp`). False if `is_stopped` said so; then the work is not done.
    pub(crate) fn run(
        &mut self,
        merge: impl Fn(&Symbol, &Symbol) -> Option<Merge>,
        is_stopped: &dyn Fn() -> bool,
    ) -> bool {
        if self.symbols.len() <= FEW {
            self.run_short(merge);
            return true;
        }
        self.run_long(merge, is_stopped)
    }

    fn run_short(&mut self, merge: impl Fn(&Symbol, &Symbol) -> Option<Merge>) {
        let symbols = &mut self.symbols;
        let look = |symbols: &mut Vec<Symbol>, at: usize| {
            let found = symbols.get(at + 1).and_then(|right| merge(&symbols[at], right));
            let Merge { rank, symbol } = found.unwrap_or(Merge { rank: NONE, symbol: NONE });
            (symbols[at].rank, symbols[at].merged) = (rank, symbol);
        };
        for at in 0..symbols.len() {
            look(symbols, at);
        }
        loop {
            let (mut best, mut lowest) = (0, NONE);
            for (at, symbol) in symbols.iter().enumerate() {
                if symbol.rank < lowest {
                    (best, lowest) = (at, symbol.rank);
                }
            }
            if lowest == NONE {
                return;
            }
            symbols[best].id = symbols[best].merged;
            symbols[best].end = symbols[best + 1].end;
            symbols.remove(best + 1);
            look(symbols, best);
            if best > 0 {
                look(symbols, best - 1);
            }
        }
    }

    fn run_long(
        &mut self,
        merge: impl Fn(&Symbol, &Symbol) -> Option<Merge>,
        is_stopped: &dyn Fn() -> bool,
    ) -> bool {
        let Self { symbols, links, heap } = self;
        let last = symbols.len() as u32 - 1;
        links.clear();
        links.extend(
            (0..=last)
                .map(|at| Link { before: at.wrapping_sub(1), after: if at == last { NONE } else { at + 1 } }),
        );
        heap.clear();
        let look = |symbols: &[Symbol], heap: &mut BinaryHeap<Pair>, left: u32, right: u32| {
            if left == NONE || right == NONE {
                return;
            }
            let (one, other) = (&symbols[left as usize], &symbols[right as usize]);
            if let Some(Merge { rank, symbol }) = merge(one, other) {
                heap.push(Reverse((rank, left, Merged { size: other.end - one.start, symbol })));
            }
        };
        for at in 0..last {
            if (at as usize).is_multiple_of(BETWEEN_LOOKS) && is_stopped() {
                return false;
            }
            look(symbols, heap, at, at + 1);
        }
        let mut n_done = 0_usize;
        while let Some(Reverse((_, left, merged))) = heap.pop() {
            n_done += 1;
            if n_done.is_multiple_of(BETWEEN_LOOKS) && is_stopped() {
                return false;
            }
            // A symbol that was merged into the one before it is empty.
            let (one, Link { before, after: right }) = (symbols[left as usize], links[left as usize]);
            if one.start == one.end || right == NONE {
                continue;
            }
            let other = symbols[right as usize];
            if other.end - one.start != merged.size {
                continue;
            }
            symbols[left as usize].end = other.end;
            symbols[left as usize].id = merged.symbol;
            symbols[right as usize].start = other.end;
            let after = links[right as usize].after;
            links[left as usize].after = after;
            if after != NONE {
                links[after as usize].before = left;
            }
            look(symbols, heap, before, left);
            look(symbols, heap, left, after);
        }
        symbols.retain(|symbol| symbol.start < symbol.end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Merges pairs of equal symbols, and of a symbol and the next one, so that the order matters.
    fn merge(left: &Symbol, right: &Symbol) -> Option<Merge> {
        let (a, b) = (left.id, right.id);
        (a == b && a < 40 || b == a + 1).then(|| Merge { rank: (a * 7 + b * 3) % 11, symbol: (a + b) % 50 })
    }

    fn merged(ids: &[u32], is_long: bool) -> Vec<(u32, u32, u32)> {
        let mut merging = Merging::default();
        for (at, id) in ids.iter().enumerate() {
            merging.push(at, at + 1, *id);
        }
        if is_long {
            assert!(merging.run_long(merge, &|| false));
        } else {
            merging.run_short(merge);
        }
        merging.symbols.iter().map(|symbol| (symbol.start, symbol.end, symbol.id)).collect()
    }

    #[test]
    fn a_heap_gives_what_a_search_gives() {
        let mut state = 1_u64;
        for n in 1..200 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u32 % 6
            };
            let ids: Vec<u32> = (0..n).map(|_| next()).collect();
            assert_eq!(merged(&ids, true), merged(&ids, false), "{ids:?}");
        }
    }

    #[test]
    fn a_long_word_can_be_stopped() {
        let mut merging = Merging::default();
        for at in 0..100_000 {
            merging.push(at, at + 1, 1);
        }
        assert!(!merging.run(|_, _| Some(Merge { rank: 0, symbol: 1 }), &|| true));
    }
}
