//! Sequences of a context: what they hold, copying and removing.

use crate::batch::{Batch, SeqId};
use crate::context::Context;
use crate::context_error::ContextError;
use crate::guard::guarded;
use std::collections::BTreeMap;
use std::ops::Range;

impl Context {
    /// The position that the next token of a sequence has: the number of its tokens, unless earlier ones were removed.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], [`ContextError::Broken`].
    pub fn next_position(&self, sequence: SeqId) -> Result<u32, ContextError> {
        let slot = self.check_sequence(i64::from(sequence))?;
        if self.memory().is_null() {
            return Ok(0);
        }
        if self.held.as_ref().is_some_and(|held| held.first(slot).is_none()) {
            return Ok(0);
        }
        // SAFETY: the memory is live and the sequence exists.
        let ask = || unsafe { (self.api().llama_memory_seq_pos_max)(self.memory(), slot.cast_signed()) };
        let last = guarded(ask).map_err(|thrown| ContextError::Broken { thrown })?;
        Ok(u32::try_from(last.saturating_add(1)).unwrap_or(0))
    }

    /// The first position that a sequence still holds; `None` when it is empty.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], [`ContextError::Broken`].
    pub fn first_position(&self, sequence: SeqId) -> Result<Option<u32>, ContextError> {
        let slot = self.check_sequence(i64::from(sequence))?;
        let Some(ask) = self.api().llama_memory_seq_pos_min else {
            return Ok(self.held.as_ref().and_then(|held| held.first(slot)));
        };
        // SAFETY: the memory is live and the sequence exists.
        let ask = || unsafe { ask(self.memory(), slot.cast_signed()) };
        let first = guarded(ask).map_err(|thrown| ContextError::Broken { thrown })?;
        Ok(u32::try_from(first).ok())
    }

    /// Forgets a whole sequence.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], [`ContextError::Broken`].
    pub fn remove_sequence(&mut self, sequence: SeqId) -> Result<(), ContextError> {
        let slot = self.check_sequence(i64::from(sequence))?;
        // -1 means "all positions"; whole sequences can always be removed (src/llama-memory-recurrent.cpp refuses only parts).
        self.remove_positions(slot.cast_signed(), -1, -1)?;
        if let Some(held) = &mut self.held {
            held.set(slot, None);
        }
        Ok(())
    }

    /// Forgets the positions of a sequence from `start` on. Returns false and changes nothing when the memory cannot do that: a recurrent state,
    /// or a sliding window that has already dropped what `start` would need.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], [`ContextError::Broken`].
    pub fn truncate_sequence(&mut self, sequence: SeqId, start: u32) -> Result<bool, ContextError> {
        let slot = self.check_sequence(i64::from(sequence))?;
        if start == 0 {
            self.remove_sequence(sequence)?;
            return Ok(true);
        }
        if start >= self.next_position(sequence)? {
            return Ok(true);
        }
        if !self.can_truncate(sequence, start)? {
            return Ok(false);
        }
        let Ok(from) = i32::try_from(start) else { return Ok(true) };
        let next = self.next_position(sequence)?;
        // -1 means "to the end".
        let removed = self.remove_positions(slot.cast_signed(), from, -1)?;
        if let Some(held) = self.held.as_mut().filter(|_| removed) {
            held.removed(slot, start..next, next);
        }
        Ok(removed)
    }

    /// Whether [`Context::truncate_sequence`] can forget the positions from `start` on.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], [`ContextError::Broken`].
    pub fn can_truncate(&self, sequence: SeqId, start: u32) -> Result<bool, ContextError> {
        let facts = self.model().facts();
        if start == 0 || start >= self.next_position(sequence)? {
            return Ok(true);
        }
        if facts.recurrent || facts.hybrid {
            return Ok(false);
        }
        let windowed = facts.sliding_window > 0 && !self.config.full_sliding_window;
        let needed = start.saturating_sub(facts.sliding_window);
        Ok(!windowed || self.first_position(sequence)?.is_none_or(|first| first <= needed))
    }

    /// Whether the sequences of a batch can be brought back to where they are now when its decode stops early.
    ///
    /// llama.cpp removes the tokens of the micro-batch at which it stops, and keeps those before it (`llama_context::decode` in src/llama-context.cpp). A
    /// recurrent state cannot lose tokens; a sliding window has dropped what the tokens before one micro-batch need when it has taken in
    /// another. A batch that fits a micro-batch is one if its sequences have equally many tokens (`llama_kv_cache_iswa::init_batch` in
    /// src/llama-kv-cache-iswa.cpp).
    pub fn can_undo(&self, batch: &Batch) -> bool {
        let facts = self.model().facts();
        if facts.recurrent || facts.hybrid {
            return false;
        }
        if facts.sliding_window == 0 || self.config.full_sliding_window {
            return true;
        }
        let mut counts = BTreeMap::new();
        for sequence in batch.sequences.iter().flatten() {
            *counts.entry(*sequence).or_insert(0_usize) += 1;
        }
        let mut counts = counts.into_values();
        let first = counts.next();
        batch.len() <= self.resolved.n_ubatch as usize && counts.all(|count| Some(count) == first)
    }

    /// Forgets a range of positions of a sequence. Positions after it keep their numbers.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], [`ContextError::BadRange`], or [`ContextError::CannotRemove`] when the memory is a recurrent state
    /// or a sliding window.
    pub fn remove_range(&mut self, sequence: SeqId, range: Range<u32>) -> Result<(), ContextError> {
        let slot = self.check_sequence(i64::from(sequence))?;
        let Range { start, end } = range;
        let (Ok(from), Ok(to)) = (i32::try_from(start), i32::try_from(end)) else {
            return Err(ContextError::BadRange { start, end });
        };
        if start >= end {
            return Err(ContextError::BadRange { start, end });
        }
        let next = self.next_position(sequence)?;
        if start == 0 && end >= next {
            return self.remove_sequence(sequence);
        }
        if end >= next {
            return if self.truncate_sequence(sequence, start)? {
                Ok(())
            } else {
                Err(ContextError::CannotRemove { start, end })
            };
        }
        let facts = self.model().facts();
        let removed = !(facts.sliding_window > 0 || facts.recurrent || facts.hybrid)
            && self.remove_positions(slot.cast_signed(), from, to)?;
        if let Some(held) = self.held.as_mut().filter(|_| removed) {
            held.removed(slot, start..end, next);
        }
        if removed { Ok(()) } else { Err(ContextError::CannotRemove { start, end }) }
    }

    /// Whether [`Context::shift_sequence`] can do its work: not in a recurrent state, not in a sliding window, and not where positions have several parts.
    pub fn can_shift(&self) -> bool {
        let facts = self.model().facts();
        let windowed = facts.sliding_window > 0 && !self.config.full_sliding_window;
        let fixed = windowed || facts.recurrent || facts.hybrid || self.memory().is_null();
        // SAFETY: the memory is live.
        !fixed && self.api().llama_memory_can_shift.is_some_and(|ask| unsafe { ask(self.memory()) })
    }

    /// Forgets `n` positions of a sequence after its first `keep` ones, and moves those after them up by as many, as llama.cpp's server does where a context is full. What they had
    /// seen of the ones that are gone stays in them. Returns false and changes nothing where the memory cannot do that. Cells that another sequence shares are moved there
    /// too, so there should be none. Until the next decode no state can be saved.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`]; [`ContextError::BadRange`] for positions that it does not have.
    pub fn shift_sequence(&mut self, sequence: SeqId, keep: u32, n: u32) -> Result<bool, ContextError> {
        let slot = self.check_sequence(i64::from(sequence))?;
        let end = keep.saturating_add(n);
        let bad = || ContextError::BadRange { start: keep, end };
        let next = self.next_position(sequence)?;
        if n == 0 || end > next {
            return Err(bad());
        }
        if !self.can_shift() {
            return Ok(false);
        }
        let first = self.first_position(slot)?;
        let (index, slot, from) = (slot, slot.cast_signed(), i32::try_from(keep).map_err(|_| bad())?);
        let (to, by) = (i32::try_from(end).map_err(|_| bad())?, i32::try_from(n).map_err(|_| bad())?);
        if !self.remove_positions(slot, from, to)? {
            return Ok(false);
        }
        self.change(|this| {
            // SAFETY: the memory is live, the sequence exists and has these positions; the memory can move positions, which was asked, and none becomes negative, as
            // `by` is at most `to`. -1 means "to the end".
            unsafe { (this.api().llama_memory_seq_add)(this.memory(), slot, to, -1, -by) };
        })?;
        if let Some(held) = &mut self.held {
            // Where what was first is gone, what comes behind it moves to the front.
            held.set(
                index,
                if end < next {
                    first.map(|first| first.min(keep))
                } else {
                    first.filter(|first| *first < keep)
                },
            );
        }
        self.is_moving = true;
        Ok(true)
    }

    /// Makes the empty sequence `to` hold what `from` holds. Cells are shared where sequences share theirs, so that it costs no memory.
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], [`ContextError::SequenceInUse`] when `to` is not empty, or [`ContextError::StateFailed`] when llama.cpp fails to copy cells.
    pub fn copy_sequence(&mut self, from: SeqId, to: SeqId) -> Result<(), ContextError> {
        let source = self.check_sequence(i64::from(from))?;
        let target = self.check_sequence(i64::from(to))?;
        if self.first_position(target)?.is_some() {
            return Err(ContextError::SequenceInUse { sequence: to });
        }
        if !self.config.unified_cache {
            // llama.cpp would copy the cells at the next decode only (`llama_kv_cache::seq_cp` in src/llama-kv-cache.cpp), and a snapshot taken before that has what was there before.
            if self.first_position(source)?.is_some() {
                let snapshot = self.snapshot_sequence(source)?;
                self.put_sequence(target, &snapshot)?;
            }
            return Ok(());
        }
        let (from, to) = (source.cast_signed(), target.cast_signed());
        self.change(|this| {
            // SAFETY: the memory is live, both sequences exist, the target is empty, and -1 means "all positions".
            unsafe { (this.api().llama_memory_seq_cp)(this.memory(), from, to, -1, -1) };
        })?;
        if let Some(held) = &mut self.held {
            held.set(target, held.first(source));
        }
        Ok(())
    }

    /// Makes the empty sequence `to` hold the first `n` positions of `from`, in the same cells if sequences share theirs. Returns false when the memory cannot do that: see
    /// [`Context::can_truncate`].
    ///
    /// # Errors
    /// [`ContextError::SequenceOutOfRange`], or [`ContextError::SequenceInUse`] when `to` is not empty.
    pub fn copy_beginning(&mut self, from: SeqId, to: SeqId, n: u32) -> Result<bool, ContextError> {
        if !self.can_truncate(from, n)? {
            return Ok(false);
        }
        if n >= self.next_position(from)? {
            self.copy_sequence(from, to)?;
            return Ok(true);
        }
        if !self.config.unified_cache {
            // Only whole sequences go from one cache to another (`llama_kv_cache::seq_cp` in src/llama-kv-cache.cpp).
            self.copy_sequence(from, to)?;
            return self.truncate_sequence(to, n);
        }
        let source = self.check_sequence(i64::from(from))?;
        let target = self.check_sequence(i64::from(to))?;
        if self.first_position(target)?.is_some() {
            return Err(ContextError::SequenceInUse { sequence: to });
        }
        if let Some(held) = &mut self.held {
            held.set(target, held.first(source).filter(|first| *first < n));
        }
        let (source, target, end) = (source.cast_signed(), target.cast_signed(), n.cast_signed());
        self.change(|this| {
            // SAFETY: the memory is live, both sequences exist and the target is empty. A part can be copied within one unified cache
            // (`llama_kv_cache::seq_cp` in src/llama-kv-cache.cpp), which ours is, and a recurrent state was ruled out above.
            unsafe { (this.api().llama_memory_seq_cp)(this.memory(), source, target, 0, end) };
        })?;
        Ok(true)
    }

    /// Forgets all sequences, and leaves the data of their cells where it is. The next tokens get the first cells.
    pub fn reset(&mut self) {
        self.forget_all();
        // A context that is broken says so at the next decode.
        // SAFETY: the memory is live; `false` leaves its data alone.
        let _ = self.change(|this| unsafe { this.api().clear_memory(this.memory(), false) });
    }

    /// Whether no sequence holds anything.
    pub fn is_empty(&self) -> bool {
        (0..self.max_sequences()).all(|sequence| matches!(self.first_position(sequence), Ok(None)))
    }

    /// Forgets all sequences.
    pub fn clear(&mut self) {
        self.forget_all();
        // A context that is broken says so at the next decode.
        // SAFETY: the memory is live; `true` also clears its data.
        let _ = self.change(|this| unsafe { this.api().clear_memory(this.memory(), true) });
    }

    /// Removes positions of a sequence that exists; false where the memory cannot.
    pub(crate) fn remove_positions(&mut self, slot: i32, from: i32, to: i32) -> Result<bool, ContextError> {
        // SAFETY: the memory is live, and the sequence exists.
        self.change(|this| unsafe { (this.api().llama_memory_seq_rm)(this.memory(), slot, from, to) })
    }

    /// Runs a call that changes the memory. Where it throws, the memory is half changed, so nothing is computed in this context any more.
    fn change<T>(&mut self, call: impl FnOnce(&Self) -> T) -> Result<T, ContextError> {
        if let Some(thrown) = &self.broken {
            return Err(ContextError::Broken { thrown: thrown.clone() });
        }
        guarded(|| call(self)).map_err(|thrown| {
            self.broken = Some(thrown.clone());
            ContextError::Broken { thrown }
        })
    }

    /// Notes that nothing is held any more.
    fn forget_all(&mut self) {
        self.forget_outputs();
        if let Some(held) = &mut self.held {
            held.clear();
        }
    }
}
