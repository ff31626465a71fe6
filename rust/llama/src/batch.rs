//! Tokens to decode together.

use tabagent_sys::llama_batch;

/// A token id.
pub type TokenId = i32;
/// The number of a sequence in a context, from 0.
pub type SeqId = u32;

/// Tokens with their positions, sequences and whether their logits are wanted.
///
/// It owns its arrays, so none can be null or differ in length; ids and positions are checked when it is decoded.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) positions: Vec<i32>,
    pub(crate) sequences: Vec<Vec<i32>>,
    pub(crate) outputs: Vec<bool>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tokens of one sequence from position `start` on, with logits for the last of them.
    pub fn prompt(sequence: SeqId, start: u32, tokens: &[TokenId]) -> Self {
        let mut batch = Self::new();
        for (i, token) in tokens.iter().enumerate() {
            batch.push(*token, start.saturating_add(i as u32), &[sequence], i + 1 == tokens.len());
        }
        batch
    }

    /// The tokens of one sequence from position `start` on, each with an output of its own, as an embedding context wants them.
    pub fn text(sequence: SeqId, start: u32, tokens: &[TokenId]) -> Self {
        let mut batch = Self::new();
        batch.push_text(sequence, start, tokens);
        batch
    }

    /// Adds the tokens of a sequence from position `start` on, each with an output of its own.
    pub fn push_text(&mut self, sequence: SeqId, start: u32, tokens: &[TokenId]) {
        for (position, token) in (start..).zip(tokens) {
            self.push(*token, position, &[sequence], true);
        }
    }

    /// Adds a token at `position` of all `sequences`.
    pub fn push(&mut self, token: TokenId, position: u32, sequences: &[SeqId], wants_logits: bool) {
        self.tokens.push(token);
        self.positions.push(i32::try_from(position).unwrap_or(i32::MAX));
        self.sequences.push(sequences.iter().map(|s| i32::try_from(*s).unwrap_or(i32::MAX)).collect());
        self.outputs.push(wants_logits);
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it holds no tokens.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Removes all tokens and keeps the memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
    }
}

/// The C arrays of a batch, reused between decodes.
#[derive(Default)]
pub(crate) struct CBatch {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    counts: Vec<i32>,
    sequences: Vec<i32>,
    rows: Vec<*mut i32>,
    outputs: Vec<i8>,
}

// SAFETY: `rows` points into `sequences` of the same value and is rebuilt by every `fill` before C reads it.
unsafe impl Send for CBatch {}

impl CBatch {
    /// Fills the arrays and returns the C struct that points into them: valid until the next call or a move of `self`'s arrays.
    pub(crate) fn fill(&mut self, batch: &Batch) -> llama_batch {
        self.tokens.clone_from(&batch.tokens);
        self.positions.clone_from(&batch.positions);
        self.counts.clear();
        self.sequences.clear();
        self.outputs.clear();
        for (sequences, output) in batch.sequences.iter().zip(&batch.outputs) {
            self.counts.push(sequences.len() as i32);
            self.sequences.extend_from_slice(sequences);
            self.outputs.push(i8::from(*output));
        }
        self.rows.clear();
        let mut start = 0;
        for sequences in &batch.sequences {
            let row = &mut self.sequences[start..];
            self.rows.push(row.as_mut_ptr());
            start += sequences.len();
        }
        llama_batch {
            n_tokens: self.tokens.len() as i32,
            token: self.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.counts.as_mut_ptr(),
            seq_id: self.rows.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
            legacy: [0; 4],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_arrays_hold_each_tokens_sequences() {
        let mut batch = Batch::prompt(0, 5, &[10, 11]);
        batch.push(12, 7, &[0, 2, 3], true);
        let mut arrays = CBatch::default();
        let c = arrays.fill(&batch);
        assert_eq!(c.n_tokens, 3);
        assert_eq!(arrays.positions, [5, 6, 7]);
        assert_eq!(arrays.counts, [1, 1, 3]);
        assert_eq!(arrays.outputs, [0, 1, 1]);
        // SAFETY: row 2 points at the three entries that token 2 put into `sequences`.
        let row = unsafe { std::slice::from_raw_parts(arrays.rows[2], 3) };
        assert_eq!(row, [0, 2, 3]);
    }
}
