//! Whether bytes are the saved state of a sequence: llama.cpp takes what it reads at its word, so bytes from elsewhere are looked through first.
//!
//! What is checked is everything that is not a number of the cache itself: counts, positions, and that the sizes that are named add up to what is there. That types and row sizes are
//! those of the context, llama.cpp checks (`state_read_data` in src/llama-kv-cache.cpp and src/llama-memory-recurrent.cpp), after the cells were made. Any bits are a number in every type
//! of a cache; wrong ones make wrong text.

use crate::state_reader::Reader;

/// Bytes of a magic number and the sequence.
const HEAD: usize = 8;
/// Bytes of what some models keep about each cell besides (`llama_kv_cell_ext` in src/llama-kv-cells.h).
const EXTRA: usize = 12;

/// What a state has to be.
#[derive(Clone, Copy, Debug)]
pub struct StateShape {
    /// Tokens of the sequence.
    pub n_tokens: u32,
    /// How many streams its caches are written for.
    pub n_streams: u32,
    /// The kind of memory it is of.
    pub memory: MemoryKind,
}

/// The kinds of memory (`llama_model::create_memory` in src/llama-model.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// One cache that holds all tokens.
    Whole,
    /// One that holds all tokens, and one that holds the last ones.
    Windowed,
    /// A state in place of tokens.
    Recurrent,
    /// A cache of all tokens, and a state.
    Hybrid,
}

impl StateShape {
    /// Whether `state` has this shape.
    pub fn fits(self, state: &[u8]) -> bool {
        [0, EXTRA].into_iter().any(|n_extra| read(state, self, n_extra).is_some())
    }
}

/// `None` if the state has another shape, where `n_extra` bytes more are kept about each cell.
fn read(state: &[u8], shape: StateShape, n_extra: usize) -> Option<()> {
    let mut reader = Reader { left: state.get(HEAD..)? };
    if shape.n_tokens == 0 {
        return None;
    }
    match shape.memory {
        MemoryKind::Whole => reader.cache(shape, n_extra, 0)?,
        MemoryKind::Windowed => {
            reader.cache(shape, n_extra, 0)?;
            reader.cache(shape, n_extra, shape.n_tokens - 1)?;
        }
        MemoryKind::Recurrent => reader.recurrent(shape)?,
        MemoryKind::Hybrid => {
            reader.cache(shape, n_extra, 0)?;
            reader.recurrent(shape)?;
        }
    }
    reader.left.is_empty().then_some(())
}

impl Reader<'_> {
    /// Passes over a cache of the last tokens of the sequence, from one not after `latest_start` on, all in one stream.
    fn cache(&mut self, shape: StateShape, n_extra: usize, latest_start: u32) -> Option<()> {
        (self.u32()? == shape.n_streams).then_some(())?;
        let mut n_found = 0;
        for _ in 0..shape.n_streams {
            let n_cells = self.u32()?;
            if n_cells == 0 {
                continue;
            }
            n_found += 1;
            let start = shape.n_tokens.checked_sub(n_cells)?;
            (n_found == 1 && start <= latest_start).then_some(())?;
            self.positions(start, n_cells, n_extra)?;
            self.rows(usize::try_from(n_cells).ok()?)?;
        }
        (n_found == 1).then_some(())
    }

    /// Passes over what is written of cells whose positions, in any order, are those from `start` on: `state_write_meta`.
    fn positions(&mut self, start: u32, n_cells: u32, n_extra: usize) -> Option<()> {
        // Each takes at least so many bytes, so no more is allocated than there is.
        let bytes = usize::try_from(n_cells).ok()?.checked_mul(12 + n_extra)?;
        let mut cells = Reader { left: self.take(bytes)? };
        let mut seen = vec![false; n_cells as usize];
        while !cells.left.is_empty() {
            let place = cells.u32()?.checked_sub(start)?;
            let seen = seen.get_mut(usize::try_from(place).ok()?)?;
            (!std::mem::replace(seen, true)).then_some(())?;
            // How many sequences it belongs to.
            (cells.u32()? == 1).then_some(())?;
            cells.take(n_extra + 4)?;
        }
        Some(())
    }

    /// Passes over keys and values of all layers: `state_write_data` of a cache.
    fn rows(&mut self, n_rows: usize) -> Option<()> {
        let transposed = self.u32()?;
        let n_layers = self.u32()?;
        (transposed <= 1).then_some(())?;
        for by_column in [false, transposed == 1] {
            for _ in 0..n_layers {
                let _type = self.u32()?;
                let n_bytes = if by_column {
                    let (element, n_columns) = (u64::from(self.u32()?), u64::from(self.u32()?));
                    element.checked_mul(n_columns)?
                } else {
                    self.u64()?
                };
                self.take(usize::try_from(n_bytes).ok()?.checked_mul(n_rows)?)?;
            }
        }
        Some(())
    }

    /// Passes over a state in place of tokens, which is the last thing: `llama_memory_recurrent::state_write`.
    fn recurrent(&mut self, shape: StateShape) -> Option<()> {
        (self.u32()? == 1).then_some(())?;
        (self.u32()? == shape.n_tokens - 1).then_some(())?;
        // How many sequences are named.
        (self.u32()? == 0).then_some(())?;
        let transposed = self.u32()?;
        let n_layers = self.u32()?;
        (transposed == 0).then_some(())?;
        let mut n_tensors = 0;
        while !self.left.is_empty() {
            let _type = self.u32()?;
            let n_bytes = self.u64()?;
            self.take(usize::try_from(n_bytes).ok()?)?;
            n_tensors += 1;
        }
        (n_tensors <= 2 * u64::from(n_layers)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_shape(state: &[u8], shape: StateShape) -> bool {
        shape.fits(state)
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn cells(positions: &[u32], n_extra: usize, transposed: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for position in positions {
            out.extend(words(&[*position, 1]));
            out.extend(std::iter::repeat_n(9, n_extra));
            out.extend(words(&[7]));
        }
        out.extend(words(&[u32::from(transposed), 1, 1]));
        out.extend(6_u64.to_le_bytes());
        out.extend(std::iter::repeat_n(5, 6 * positions.len()));
        if transposed {
            out.extend(words(&[1, 2, 4]));
        } else {
            out.extend(words(&[1]));
            out.extend(8_u64.to_le_bytes());
        }
        out.extend(std::iter::repeat_n(5, 8 * positions.len()));
        out
    }

    fn cache(n_streams: u32, at: u32, positions: &[u32], n_extra: usize, transposed: bool) -> Vec<u8> {
        let mut out = words(&[n_streams]);
        for stream in 0..n_streams {
            out.extend(words(&[if stream == at { positions.len() as u32 } else { 0 }]));
            if stream == at {
                out.extend(cells(positions, n_extra, transposed));
            }
        }
        out
    }

    fn recurrent(position: u32) -> Vec<u8> {
        let mut out = words(&[1, position, 0, 0, 2]);
        for n_bytes in [3_u64, 5, 0, 7] {
            out.extend(words(&[0]));
            out.extend(n_bytes.to_le_bytes());
            out.extend(vec![1; n_bytes as usize]);
        }
        out
    }

    fn state(parts: &[Vec<u8>]) -> Vec<u8> {
        [b"magicseq".to_vec(), parts.concat()].concat()
    }

    fn shape(n_tokens: u32, n_streams: u32, memory: MemoryKind) -> StateShape {
        StateShape { n_tokens, n_streams, memory }
    }

    /// Good states of four tokens.
    fn good() -> Vec<(Vec<u8>, StateShape)> {
        let mut good = vec![(state(&[recurrent(3)]), shape(4, 1, MemoryKind::Recurrent))];
        for (n_extra, transposed) in [(0, false), (0, true), (EXTRA, false), (EXTRA, true)] {
            for (n_streams, at) in [(1, 0), (3, 0), (3, 2)] {
                let whole = || cache(n_streams, at, &[2, 0, 1, 3], n_extra, transposed);
                let last = |positions: &[u32]| cache(n_streams, at, positions, n_extra, transposed);
                good.push((state(&[whole()]), shape(4, n_streams, MemoryKind::Whole)));
                good.push((state(&[whole(), last(&[2, 3])]), shape(4, n_streams, MemoryKind::Windowed)));
                good.push((state(&[whole(), whole()]), shape(4, n_streams, MemoryKind::Windowed)));
                good.push((state(&[whole(), recurrent(3)]), shape(4, n_streams, MemoryKind::Hybrid)));
            }
        }
        good
    }

    #[test]
    fn states_of_every_memory_have_their_shape_and_no_other() {
        for (bytes, shape) in good() {
            assert!(has_shape(&bytes, shape), "{shape:?}");
            for n_tokens in [0, 3, 5, u32::MAX] {
                assert!(!has_shape(&bytes, StateShape { n_tokens, ..shape }), "{shape:?}");
            }
            if shape.memory != MemoryKind::Recurrent {
                assert!(
                    !has_shape(&bytes, StateShape { n_streams: shape.n_streams + 1, ..shape }),
                    "{shape:?}"
                );
            }
        }
    }

    #[test]
    fn states_that_were_cut_or_grew_have_none() {
        for (bytes, shape) in good() {
            for n in 0..bytes.len() {
                // Where tensors are not counted, fewer of them are a state too, which llama.cpp refuses.
                let is_fewer = matches!(shape.memory, MemoryKind::Recurrent | MemoryKind::Hybrid);
                assert!(is_fewer || !has_shape(&bytes[..n], shape), "{shape:?} cut to {n}");
            }
            assert!(!has_shape(&[&bytes[..], &[0]].concat(), shape), "{shape:?}");
        }
    }

    #[test]
    fn impossible_positions_and_counts_are_found() {
        let whole = |positions: &[u32]| {
            has_shape(&state(&[cache(1, 0, positions, 0, false)]), shape(3, 1, MemoryKind::Whole))
        };
        assert!(whole(&[0, 1, 2]));
        for positions in [&[0, 1][..], &[1, 2, 3], &[0, 1, 1], &[0, 1, u32::MAX], &[0, 1, 2, 3], &[]] {
            assert!(!whole(positions), "{positions:?}");
        }
        let window = |positions: &[u32]| {
            let parts = [cache(1, 0, &[0, 1, 2], 0, false), cache(1, 0, positions, 0, false)];
            has_shape(&state(&parts), shape(3, 1, MemoryKind::Windowed))
        };
        assert!(window(&[2]) && window(&[1, 2]));
        for positions in [&[0][..], &[1], &[0, 2], &[0, 1], &[3], &[]] {
            assert!(!window(positions), "{positions:?}");
        }
        // Two streams with cells, which llama.cpp would read into one sequence.
        let mut twice = words(&[2]);
        for _ in 0..2 {
            twice.extend(words(&[1]));
            twice.extend(cells(&[0], 0, false));
        }
        assert!(!has_shape(&state(&[twice]), shape(1, 2, MemoryKind::Whole)));
        assert!(!has_shape(&state(&[recurrent(2)]), shape(4, 1, MemoryKind::Recurrent)));
    }

    #[test]
    fn no_bit_that_is_flipped_is_read_beyond_the_end() {
        for (bytes, shape) in good() {
            for bit in 0..8 * bytes.len() {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                // Bits of numbers in the cache, of types and of the sequence's name may be anything.
                let _ = has_shape(&flipped, shape);
            }
        }
        // More cells, layers and bytes than there can be.
        let huge = state(&[words(&[1, u32::MAX, 0, 1])]);
        assert!(!has_shape(&huge, shape(u32::MAX, 1, MemoryKind::Whole)));
    }
}
