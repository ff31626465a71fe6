//! What sequences hold: keys and values of their tokens, in pages that they share.

use std::collections::HashSet;
use std::sync::Arc;

/// Keys and values of a page's tokens, of each layer.
pub(crate) type Leaf<P> = Arc<Vec<P>>;

/// The tokens of one sequence.
#[derive(Clone, Debug)]
pub(crate) struct Sequence<P> {
    pub(crate) leaves: Vec<Leaf<P>>,
    pub(crate) n_tokens: usize,
}

impl<P> Default for Sequence<P> {
    fn default() -> Self {
        Self { leaves: Vec::new(), n_tokens: 0 }
    }
}

/// The memory of all sequences: so many pages, of `page` tokens each, of which several sequences may hold one.
///
/// A page that somebody else holds, too, is copied before its sequence writes into it.
#[derive(Debug)]
pub(crate) struct Memory<P> {
    sequences: Vec<Sequence<P>>,
    page: usize,
    n_pages: usize,
    /// Pages that nobody holds any more, to be used again.
    spare: Vec<Leaf<P>>,
}

/// No page is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<P: Clone> Memory<P> {
    /// A memory of `n_cells` tokens for `n_seq` sequences. As a sequence's last page may be half empty, and the one where it left another, too, it has two
    /// more pages for each.
    pub(crate) fn new(n_cells: usize, n_seq: usize, page: usize) -> Self {
        let sequences = (0..n_seq).map(|_| Sequence::default()).collect();
        Self { sequences, page, n_pages: n_cells.div_ceil(page) + 2 * n_seq, spare: Vec::new() }
    }

    pub(crate) fn n_seq(&self) -> usize {
        self.sequences.len()
    }

    /// The most pages that sequences can hold.
    pub(crate) fn n_pages(&self) -> usize {
        self.n_pages
    }

    pub(crate) fn get(&self, seq: u32) -> Option<&Sequence<P>> {
        self.sequences.get(seq as usize)
    }

    /// How many tokens a sequence has; 0 for one that does not exist.
    pub(crate) fn n_tokens(&self, seq: u32) -> usize {
        self.get(seq).map_or(0, |sequence| sequence.n_tokens)
    }

    /// Makes room for `n` more tokens in each of some sequences, all of which exist, or leaves all as it is. `new` makes a page.
    pub(crate) fn reserve(&mut self, more: &[(u32, usize)], new: impl Fn() -> Vec<P>) -> Result<(), Full> {
        let needs = |&(seq, n): &(u32, usize)| {
            let sequence = &self.sequences[seq as usize];
            let n_pages = (sequence.n_tokens + n).div_ceil(self.page);
            // The last page is written into, and one that is shared copied.
            let is_copied = sequence.n_tokens < sequence.leaves.len() * self.page
                && sequence.leaves.last().is_some_and(|leaf| Arc::strong_count(leaf) > 1);
            n_pages.saturating_sub(sequence.leaves.len()) + usize::from(is_copied)
        };
        let n_new: usize = more.iter().map(needs).sum();
        if n_new > 0 && self.n_used() + n_new > self.n_pages {
            return Err(Full);
        }
        for &(seq, n) in more {
            let sequence = &mut self.sequences[seq as usize];
            if sequence.n_tokens < sequence.leaves.len() * self.page
                && let Some(leaf) = sequence.leaves.last_mut()
            {
                Arc::make_mut(leaf);
            }
            while sequence.leaves.len() * self.page < sequence.n_tokens + n {
                let leaf = self.spare.pop().unwrap_or_else(|| Arc::new(new()));
                sequence.leaves.push(leaf);
            }
        }
        Ok(())
    }

    /// The page of token `index` of a sequence, to be written into after [`reserve`](Self::reserve).
    pub(crate) fn leaf_mut(&mut self, seq: u32, index: usize) -> Option<&mut Vec<P>> {
        let sequence = self.sequences.get_mut(seq as usize)?;
        Arc::get_mut(sequence.leaves.get_mut(index / self.page)?)
    }

    /// Counts tokens in that were written.
    pub(crate) fn grow(&mut self, seq: u32, n: usize) {
        if let Some(sequence) = self.sequences.get_mut(seq as usize) {
            sequence.n_tokens += n;
        }
    }

    /// Forgets the tokens of a sequence from `n` on, and the pages that it no longer needs.
    pub(crate) fn truncate(&mut self, seq: u32, n: usize) {
        let Some(sequence) = self.sequences.get_mut(seq as usize) else { return };
        sequence.n_tokens = sequence.n_tokens.min(n);
        let n_leaves = sequence.n_tokens.div_ceil(self.page);
        let freed = sequence.leaves.split_off(n_leaves.min(sequence.leaves.len()));
        for mut leaf in freed {
            if Arc::get_mut(&mut leaf).is_some() && self.spare.len() < self.n_pages {
                self.spare.push(leaf);
            }
        }
    }

    /// Puts tokens into a sequence in place of its own. False, with nothing changed, if there is no such sequence or no room.
    pub(crate) fn replace(&mut self, seq: u32, with: Sequence<P>) -> bool {
        if self.get(seq).is_none() {
            return false;
        }
        let held = self.held(Some(seq));
        let n_new = with.leaves.iter().filter(|leaf| !held.contains(&Arc::as_ptr(leaf))).count();
        if held.len() + n_new > self.n_pages {
            return false;
        }
        self.truncate(seq, 0);
        self.sequences[seq as usize] = with;
        true
    }

    /// The first `n` tokens of a sequence, in the same pages.
    pub(crate) fn beginning(&self, seq: u32, n: usize) -> Option<Sequence<P>> {
        let sequence = self.get(seq).filter(|sequence| n <= sequence.n_tokens)?;
        let leaves = sequence.leaves.iter().take(n.div_ceil(self.page)).cloned().collect();
        Some(Sequence { leaves, n_tokens: n })
    }

    /// Pages in use.
    fn n_used(&self) -> usize {
        self.held(None).len()
    }

    /// The pages that sequences hold, but for one of them.
    fn held(&self, except: Option<u32>) -> HashSet<*const Vec<P>> {
        let others = self.sequences.iter().enumerate().filter(|(seq, _)| Some(*seq as u32) != except);
        others.flat_map(|(_, sequence)| sequence.leaves.iter().map(Arc::as_ptr)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4;

    /// A memory whose pages are the tokens themselves.
    fn memory(n_cells: usize, n_seq: usize) -> Memory<[u32; PAGE]> {
        Memory::new(n_cells, n_seq, PAGE)
    }

    fn append(memory: &mut Memory<[u32; PAGE]>, seq: u32, tokens: &[u32]) -> Result<(), Full> {
        memory.reserve(&[(seq, tokens.len())], || vec![[0; PAGE]])?;
        let start = memory.n_tokens(seq);
        for (index, token) in (start..).zip(tokens) {
            memory.leaf_mut(seq, index).unwrap()[0][index % PAGE] = *token;
        }
        memory.grow(seq, tokens.len());
        Ok(())
    }

    fn tokens(memory: &Memory<[u32; PAGE]>, seq: u32) -> Vec<u32> {
        let sequence = memory.get(seq).unwrap();
        sequence.leaves.iter().flat_map(|leaf| leaf[0]).take(sequence.n_tokens).collect()
    }

    #[test]
    fn sequences_share_pages_until_one_writes() {
        let mut memory = memory(16, 3);
        append(&mut memory, 0, &[1, 2, 3, 4, 5, 6]).unwrap();
        let beginning = memory.beginning(0, 5).unwrap();
        assert!(memory.replace(1, beginning));
        assert_eq!(memory.n_used(), 2);
        append(&mut memory, 1, &[9, 8]).unwrap();
        append(&mut memory, 0, &[7]).unwrap();
        assert_eq!(tokens(&memory, 0), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(tokens(&memory, 1), [1, 2, 3, 4, 5, 9, 8]);
        assert_eq!(memory.n_used(), 3);
        memory.truncate(0, 0);
        assert_eq!(memory.n_used(), 2);
        assert!(memory.beginning(0, 1).is_none());
    }

    #[test]
    fn a_full_memory_leaves_all_as_it_was() {
        let mut memory = memory(8, 2);
        append(&mut memory, 0, &[1; 9]).unwrap();
        append(&mut memory, 1, &[2; 11]).unwrap();
        // Six pages: two of the cells and four more.
        assert_eq!(append(&mut memory, 1, &[3; 2]), Err(Full));
        assert_eq!(tokens(&memory, 1), [2; 11]);
        append(&mut memory, 1, &[3]).unwrap();
        assert_eq!(append(&mut memory, 0, &[1; 4]), Err(Full));
        memory.truncate(1, 4);
        append(&mut memory, 0, &[1; 4]).unwrap();
        assert_eq!(memory.n_tokens(0), 13);
    }

    #[test]
    fn what_is_held_elsewhere_stays_as_it_is() {
        let mut memory = memory(16, 1);
        append(&mut memory, 0, &[1, 2, 3]).unwrap();
        let saved = memory.get(0).unwrap().clone();
        append(&mut memory, 0, &[4, 5]).unwrap();
        memory.truncate(0, 1);
        append(&mut memory, 0, &[7, 7]).unwrap();
        assert_eq!(tokens(&memory, 0), [1, 7, 7]);
        assert!(memory.replace(0, saved));
        assert_eq!(tokens(&memory, 0), [1, 2, 3]);
        assert!(!memory.replace(5, Sequence::default()));
    }
}
