//! The logits of a row that lie between two lines, packed side by side while a pass goes over the blocks.

use crate::row::blocks::BLOCK;

/// Vectors are stored whole, so there is a vector's room behind the last logit of a block.
const SLACK: usize = 16;

/// Room for the logits of one block.
pub(crate) type Room = [f32; BLOCK + SLACK];

/// Logits, or keys made of them, in the order of their tokens. Tokens are not stored: each block's end is known, and within a block the
/// logits are those between the lines, first to last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bracketed {
    /// The first `len` are in use; the rest is left over from longer rows.
    buffer: Vec<f32>,
    len: usize,
    /// For each block, how many logits it and the blocks before it contributed.
    ends: Vec<u32>,
}

impl Bracketed {
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.ends.clear();
    }

    /// Where the logits of the next block are written.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn room(&mut self) -> &mut Room {
        let end = self.len + BLOCK + SLACK;
        if self.buffer.len() < end {
            self.grow(end);
        }
        let (rooms, _) = self.buffer[self.len..].as_chunks_mut();
        &mut rooms[0]
    }

    #[cold]
    fn grow(&mut self, least: usize) {
        self.buffer.resize((2 * self.buffer.len()).max(least), 0.0);
    }

    /// Ends a block that wrote `n` logits into the room.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn end_block(&mut self, n: usize) {
        self.len += n;
        self.ends.push(self.len as u32);
    }

    pub(crate) fn numbers(&self) -> &[f32] {
        &self.buffer[..self.len]
    }

    /// Replaces every number.
    pub(crate) fn change(&mut self, change: impl Fn(f32) -> f32) {
        self.buffer[..self.len].iter_mut().for_each(|number| *number = change(*number));
    }

    /// How many logits the blocks before `block` contributed.
    pub(crate) fn start(&self, block: usize) -> usize {
        block.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |&end| end as usize)
    }

    /// The block of the logit at a place, and how many of its logits come before it.
    pub(crate) fn block_of(&self, place: usize) -> (usize, usize) {
        let block = self.ends.partition_point(|&end| end as usize <= place);
        (block, place - self.start(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_tell_the_blocks_that_they_came_from() {
        let mut between = Bracketed::default();
        for (block, n) in [0, 3, 0, BLOCK, 1].into_iter().enumerate() {
            between.room()[..n].fill(block as f32);
            between.end_block(n);
        }
        let places: Vec<(usize, usize)> =
            (0..between.numbers().len()).map(|at| between.block_of(at)).collect();
        let want: Vec<(usize, usize)> = [(1, 3), (3, BLOCK), (4, 1)]
            .iter()
            .flat_map(|&(block, n)| (0..n).map(move |at| (block, at)))
            .collect();
        assert_eq!(places, want);
        assert!(between.numbers().iter().zip(&places).all(|(&logit, place)| logit as usize == place.0));
        assert_eq!(
            (0..6).map(|block| between.start(block)).collect::<Vec<_>>(),
            [0, 0, 3, 3, 3 + BLOCK, 4 + BLOCK]
        );
        between.clear();
        assert!(between.numbers().is_empty());
    }
}
