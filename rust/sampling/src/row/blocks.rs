//! A row of logits in blocks: most lie in the row itself, those that were changed in private copies.

/// How many logits one maximum stands for.
pub(crate) const BLOCK: usize = 128;

/// [`BLOCK`] consecutive logits.
pub(crate) type Block = [f32; BLOCK];

/// Marks a block that is read from the row itself.
pub(crate) const UNTOUCHED: u32 = u32::MAX;

/// The blocks of one row, first to last. The last one may be short in the row: it is always a copy, filled up with negative infinity.
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    /// The row without its short end.
    pub(crate) row: &'a [Block],
    /// For each block, the short end included, its place in `copies`, or `UNTOUCHED`.
    pub(crate) places: &'a [u32],
    pub(crate) copies: &'a [Block],
}

impl<'a> Blocks<'a> {
    pub(crate) fn len(self) -> usize {
        self.places.len()
    }

    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn get(self, index: usize) -> &'a Block {
        match self.places[index] {
            UNTOUCHED => &self.row[index],
            place => &self.copies[place as usize],
        }
    }
}
