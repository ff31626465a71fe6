//! One row of logits, read where it lies: block maxima to skip by, and private copies of the few blocks that change.

use crate::TokenId;
use crate::candidates::Candidates;
use crate::exp::exp;

/// How many logits one maximum stands for.
const BLOCK: usize = 128;
/// Independent accumulators, so that the compiler can vectorise a reduction without reordering it.
const LANES: usize = 16;
/// Marks a block that is read from the row itself.
const UNTOUCHED: u32 = u32::MAX;

/// Scratch memory for rows of one length. The row itself is passed to each method: it is borrowed for one step only.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    maxima: Vec<f32>,
    /// For each block its place in `copies`, or `UNTOUCHED`.
    copy_of: Vec<u32>,
    /// Blocks with bias or penalties in them, filled up with negative infinity.
    copies: Vec<[f32; BLOCK]>,
    /// The blocks that `copies` stands for, in the same order.
    copied: Vec<u32>,
    /// The weights' sum of each block after [`weigh`](Self::weigh).
    sums: Vec<f64>,
    selection: Vec<f32>,
}

impl Row {
    pub(crate) fn new(n_vocab: usize) -> Self {
        let n_blocks = n_vocab.div_ceil(BLOCK);
        Self {
            maxima: vec![f32::NEG_INFINITY; n_blocks],
            copy_of: vec![UNTOUCHED; n_blocks],
            copies: Vec::new(),
            copied: Vec::new(),
            sums: vec![0.0; n_blocks],
            selection: Vec::with_capacity(n_blocks),
        }
    }

    /// Takes up a new row: forgets the changes to the last one and finds the maxima.
    pub(crate) fn load(&mut self, logits: &[f32]) {
        for block in self.copied.drain(..) {
            self.copy_of[block as usize] = UNTOUCHED;
        }
        self.copies.clear();
        for (maximum, block) in self.maxima.iter_mut().zip(logits.chunks(BLOCK)) {
            *maximum = block_maximum(block);
        }
    }

    /// Replaces the logits of some tokens, `change(value, logit)` giving the new one, and brings the maxima up to date.
    ///
    /// Tokens that the row does not have are left out.
    pub(crate) fn change<T>(
        &mut self,
        logits: &[f32],
        tokens: impl Iterator<Item = (TokenId, T)>,
        change: impl Fn(T, f32) -> f32,
    ) {
        for (token, value) in tokens {
            if let Some(token) = usize::try_from(token).ok().filter(|&token| token < logits.len()) {
                let copy = self.copy(logits, token / BLOCK);
                let logit = &mut self.copies[copy][token % BLOCK];
                *logit = change(value, *logit);
            }
        }
        for (&block, copy) in self.copied.iter().zip(&self.copies) {
            self.maxima[block as usize] = block_maximum(copy);
        }
    }

    fn copy(&mut self, logits: &[f32], block: usize) -> usize {
        if self.copy_of[block] == UNTOUCHED {
            let source = &logits[block * BLOCK..logits.len().min((block + 1) * BLOCK)];
            let mut copy = [f32::NEG_INFINITY; BLOCK];
            copy[..source.len()].copy_from_slice(source);
            self.copy_of[block] = self.copies.len() as u32;
            self.copies.push(copy);
            self.copied.push(block as u32);
        }
        self.copy_of[block] as usize
    }

    /// The blocks with their maxima, first to last.
    fn blocks<'a>(&'a self, logits: &'a [f32]) -> impl Iterator<Item = (f32, &'a [f32])> {
        let changed = self.copy_of.iter().zip(&self.maxima).zip(logits.chunks(BLOCK));
        changed.map(|((&copy, &maximum), block)| {
            if copy == UNTOUCHED {
                (maximum, block)
            } else {
                (maximum, self.copies[copy as usize].as_slice())
            }
        })
    }

    /// Calls `visit` with each block as it stands now and its first token. The last block may go on with negative infinity.
    pub(crate) fn for_each_block(&self, logits: &[f32], mut visit: impl FnMut(usize, &[f32])) {
        self.blocks(logits).enumerate().for_each(|(index, (_, block))| visit(index * BLOCK, block));
    }

    /// The highest logit; negative infinity if there is no number at all.
    pub(crate) fn top(&self) -> f32 {
        self.maxima.iter().fold(f32::NEG_INFINITY, |top, &x| if x > top { x } else { top })
    }

    /// The lowest token with the logit `value`.
    #[allow(clippy::float_cmp, reason = "the value was read from the row")]
    pub(crate) fn find(&self, logits: &[f32], value: f32) -> Option<usize> {
        let mut blocks = self.blocks(logits).enumerate();
        let (index, block) = blocks.find_map(|(i, (max, block))| (max == value).then_some((i, block)))?;
        block.iter().position(|&x| x == value).map(|at| index * BLOCK + at)
    }

    /// Whether any logit is finite.
    pub(crate) fn has_finite(&self, logits: &[f32]) -> bool {
        self.blocks(logits).any(|(_, block)| block.iter().any(|x| x.is_finite()))
    }

    /// Puts the tokens with a finite logit of at least `threshold` into `list`.
    pub(crate) fn collect(&self, logits: &[f32], threshold: f32, list: &mut Candidates) {
        list.clear();
        let threshold = if threshold > f32::MIN { threshold } else { f32::MIN };
        for (index, (maximum, block)) in self.blocks(logits).enumerate() {
            if maximum >= threshold {
                let base = index * BLOCK;
                for (at, &x) in block.iter().enumerate() {
                    if x >= threshold {
                        list.push((base + at) as u32, x);
                    }
                }
            }
        }
    }

    /// Puts the `k` tokens with the highest logits into `list`, the lowest ids on ties.
    ///
    /// The k-th highest block maximum has at least k logits at or above it, so the rest of the row need not be looked at.
    pub(crate) fn collect_top_k(&mut self, logits: &[f32], k: usize, list: &mut Candidates) {
        let k = k.max(1);
        let threshold = if k <= self.maxima.len() {
            self.selection.clone_from(&self.maxima);
            *self.selection.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
        } else {
            f32::MIN
        };
        self.collect(logits, threshold, list);
        list.top_k(k);
    }

    /// Sums the weights e^((logit − top) × `inverse_temperature`) of all tokens.
    pub(crate) fn weigh(&mut self, logits: &[f32], inverse_temperature: f32) -> f64 {
        let top = self.top();
        let mut sums = std::mem::take(&mut self.sums);
        let mut total = 0.0;
        for (sum, (maximum, block)) in sums.iter_mut().zip(self.blocks(logits)) {
            let empty = exp((maximum - top) * inverse_temperature) == 0.0;
            *sum = if empty { 0.0 } else { block_weight(block, top, inverse_temperature) };
            total += *sum;
        }
        self.sums = sums;
        total
    }

    /// The token at which the cumulative weight exceeds `target`; [`weigh`](Self::weigh) comes first.
    pub(crate) fn choose(&self, logits: &[f32], inverse_temperature: f32, target: f64) -> Option<usize> {
        let top = self.top();
        let mut below = 0.0;
        let mut found = None;
        for (index, (&sum, (_, block))) in self.sums.iter().zip(self.blocks(logits)).enumerate() {
            if sum > 0.0 {
                found = Some((index, block, below));
                if below + sum > target {
                    break;
                }
                below += sum;
            }
        }
        let (index, block, mut running) = found?;
        let mut last = None;
        for (at, &x) in block.iter().enumerate() {
            let weight = exp((x - top) * inverse_temperature);
            if weight > 0.0 {
                last = Some(index * BLOCK + at);
                running += f64::from(weight);
                if running > target {
                    break;
                }
            }
        }
        last
    }
}

/// The highest of some logits, NaN left out.
fn block_maximum(block: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = block.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = higher(*lane, x);
        }
    }
    let (low, high) = lanes.split_at(LANES / 2);
    let mut half = [f32::NEG_INFINITY; LANES / 2];
    for ((out, &a), &b) in half.iter_mut().zip(low).zip(high) {
        *out = higher(a, b);
    }
    half.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
}

fn block_weight(block: &[f32], top: f32, inverse_temperature: f32) -> f64 {
    let weight = |x: f32| exp((x - top) * inverse_temperature);
    let (chunks, rest) = block.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += weight(x);
        }
    }
    lanes.iter().map(|&x| f64::from(x)).chain(rest.iter().map(|&x| f64::from(weight(x)))).sum()
}
