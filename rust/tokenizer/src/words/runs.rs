//! Runs of characters of one set.

use super::set::Set;
use super::{Piece, Taker, by_matches};
use crate::characters::SPACE;

/// `lead?[set]+` or `[set]{1,most}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    pub(super) lead: Lead,
    pub(super) set: Set,
    /// How many characters of the set a match has at most.
    pub(super) most: usize,
}

/// What may stand before a run as part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// Nothing.
    None,
    /// A space.
    Space,
    /// `\s`.
    AnySpace,
}

impl Runs {
    /// Splits a piece of text at the runs.
    pub(super) fn split(&self, piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
        by_matches(piece, take, |piece, at| self.end(piece, at))
    }

    fn end(&self, piece: &Piece<'_>, at: usize) -> Option<usize> {
        let (class, next) = piece.step(at);
        let leads = match self.lead {
            Lead::None => false,
            Lead::Space => piece.byte(at) == b' ',
            Lead::AnySpace => class == SPACE,
        };
        let first = if leads { next } else { at };
        let end = self.set.skip(piece, first, self.most);
        (end > first).then_some(end)
    }
}

/// Splits a piece of text at the runs of each of the sets, which have no character in common.
pub(super) fn split_by_sets(sets: &[Set], piece: Piece<'_>, take: &mut Taker<'_>) -> bool {
    by_matches(piece, take, |piece, at| {
        sets.iter().map(|set| set.skip(piece, at, usize::MAX)).find(|end| *end > at)
    })
}
