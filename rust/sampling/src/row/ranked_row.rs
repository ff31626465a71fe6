//! A row whose tokens are ranked by a key, and lines through it.

use crate::row::blocks::{Block, Blocks};
use crate::row::rank_key::RankKey;
use crate::row::weight::{FLOOR, Scale};

/// How far a line moves that missed what it was drawn for, in bits.
const MOVE: f32 = 2.0;

/// A row whose tokens are ranked by `key`.
#[derive(Clone, Copy)]
pub(crate) struct RankedRow<'a> {
    pub(crate) blocks: Blocks<'a>,
    pub(crate) maxima: &'a [Block],
    pub(crate) scale: Scale,
    pub(crate) key: RankKey,
    /// The weight of all tokens, if it is known or not wanted: then no pass adds it up.
    pub(crate) total: Option<f64>,
}

impl RankedRow<'_> {
    /// The key that is so many bits below the best one; the lowest finite one where nothing has a weight any more.
    pub(crate) fn line_at(self, depth: f32) -> f32 {
        let line = self.key.best(self.scale.top) - depth / self.scale.slope;
        if depth <= -FLOOR && line > f32::MIN { line } else { f32::MIN }
    }

    fn depth(self, line: f32) -> f32 {
        (self.key.best(self.scale.top) - line) * self.scale.slope
    }

    /// A higher line; in the end one that nothing is above.
    pub(crate) fn raised(self, line: f32) -> f32 {
        let depth = self.depth(line) - MOVE;
        let line = if depth > 0.0 { self.line_at(depth).max(line) } else { f32::MAX };
        line.min(self.key.best(self.scale.top).next_up())
    }

    /// A lower line, in the end the lowest.
    pub(crate) fn lowered(self, line: f32) -> f32 {
        self.line_at(self.depth(line) + MOVE).min(line)
    }
}
