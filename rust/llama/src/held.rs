//! What the sequences of a context hold, for builds that do not tell.
//!
//! Before build 5429 `llama_kv_self_seq_pos_max` answers 0 for a sequence that is empty as well as for one of one token, and nothing tells the first position.

use crate::batch::{Batch, SeqId};
use std::ops::Range;

/// The first position of each sequence; `None` for those that hold nothing.
#[derive(Clone, Debug)]
pub(crate) struct Held(Vec<Option<u32>>);

impl Held {
    /// `n` empty sequences.
    pub(crate) fn new(n: u32) -> Self {
        Self(vec![None; n as usize])
    }

    /// The first position of a sequence; `None` when it is empty.
    pub(crate) fn first(&self, sequence: SeqId) -> Option<u32> {
        self.0.get(sequence as usize).copied().flatten()
    }

    /// Notes the first position of a sequence.
    pub(crate) fn set(&mut self, sequence: SeqId, first: Option<u32>) {
        if let Some(held) = self.0.get_mut(sequence as usize) {
            *held = first;
        }
    }

    /// Notes that all sequences are empty.
    pub(crate) fn clear(&mut self) {
        self.0.fill(None);
    }

    /// Notes that a batch was computed.
    pub(crate) fn decoded(&mut self, batch: &Batch) {
        for (sequence, start) in Self::starts(batch) {
            if self.first(sequence).is_none() {
                self.set(sequence, Some(start));
            }
        }
    }

    /// The sequences of a batch, each with the first of its positions there.
    pub(crate) fn starts(batch: &Batch) -> Vec<(SeqId, u32)> {
        let mut starts: Vec<(SeqId, u32)> = Vec::new();
        for (sequences, position) in batch.sequences.iter().zip(&batch.positions) {
            for sequence in sequences {
                let sequence = sequence.cast_unsigned();
                if !starts.iter().any(|(known, _)| *known == sequence) {
                    starts.push((sequence, position.cast_unsigned()));
                }
            }
        }
        starts
    }

    /// Notes that positions were removed of a sequence whose next position was `next`.
    pub(crate) fn removed(&mut self, sequence: SeqId, range: Range<u32>, next: u32) {
        let Some(first) = self.first(sequence) else { return };
        if range.start <= first && range.end > first {
            self.set(sequence, (range.end < next).then_some(range.end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_position_follows_what_is_computed_and_removed() {
        let mut held = Held::new(2);
        assert_eq!((held.first(0), held.first(7)), (None, None));
        held.decoded(&Batch::prompt(0, 3, &[1, 2, 3, 4]));
        held.decoded(&Batch::prompt(0, 7, &[5]));
        assert_eq!((held.first(0), held.first(1)), (Some(3), None));
        held.removed(0, 5..6, 8);
        assert_eq!(held.first(0), Some(3));
        held.removed(0, 0..5, 8);
        assert_eq!(held.first(0), Some(5));
        held.removed(0, 5..8, 8);
        assert_eq!(held.first(0), None);
        held.set(1, Some(2));
        held.clear();
        assert_eq!(held.first(1), None);
    }
}
