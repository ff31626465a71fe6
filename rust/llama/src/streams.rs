//! Moving a saved sequence between a memory that sequences share and one in which each has its own cells.
//!
//! What llama.cpp writes of a sequence is the same in both, but for how often it says that a stream (the cells of one sequence, or of all) holds nothing of it:
//! `llama_kv_cache::state_write` in src/llama-kv-cache.cpp writes, after a magic number and the sequence, the number of streams, and for each the number of its cells and what is
//! in them. A model with a sliding window has two such caches, one after the other (`llama_kv_cache_iswa::state_write` in src/llama-kv-cache-iswa.cpp).

use crate::state_reader::Reader;

/// Bytes of a magic number and the sequence.
const HEAD: usize = 8;
/// Bytes of what some models keep about each cell besides (`llama_kv_cell_ext` in src/llama-kv-cells.h).
const EXTRA: usize = 12;

/// How many streams a saved sequence is written for.
pub(crate) fn n_streams(state: &[u8]) -> Option<u32> {
    Reader { left: state.get(HEAD..)? }.u32()
}

/// A saved sequence as a memory of `n_streams` streams would have written it. `None` if it is none that this can read.
pub(crate) fn in_streams(state: &[u8], n_streams: u32, windowed: bool) -> Option<Vec<u8>> {
    let caches = if windowed {
        [0, EXTRA].into_iter().find_map(|n_extra| two_caches(state.get(HEAD..)?, n_extra))?
    } else {
        vec![only_cache(state.get(HEAD..)?)?]
    };
    let mut out = state[..HEAD].to_vec();
    for Cache { n_cells, cells } in caches {
        out.extend_from_slice(&n_streams.to_le_bytes());
        out.extend_from_slice(&n_cells.to_le_bytes());
        out.extend_from_slice(cells);
        out.extend((1..n_streams).flat_map(|_| [0; 4]));
    }
    Some(out)
}

/// What a cache holds of the sequence.
struct Cache<'a> {
    n_cells: u32,
    cells: &'a [u8],
}

/// A cache whose cells are all that follows.
fn only_cache(state: &[u8]) -> Option<Cache<'_>> {
    let mut reader = Reader { left: state };
    let (n_before, n_streams, n_cells) = reader.find_cells()?;
    let n_after = usize::try_from(n_streams - n_before - 1).ok()?;
    let cells = reader.left.len().checked_sub(4 * n_after)?;
    let (cells, after) = reader.left.split_at(cells);
    after.iter().all(|byte| *byte == 0).then_some(Cache { n_cells, cells })
}

/// Two caches, where `n_extra` bytes more are kept about each cell.
fn two_caches(state: &[u8], n_extra: usize) -> Option<Vec<Cache<'_>>> {
    let mut reader = Reader { left: state };
    let mut caches = Vec::new();
    for _ in 0..2 {
        let (n_before, n_streams, n_cells) = reader.find_cells()?;
        let start = reader.left;
        reader.skip_cells(n_cells, n_extra)?;
        caches.push(Cache { n_cells, cells: &start[..start.len() - reader.left.len()] });
        for _ in n_before + 1..n_streams {
            (reader.u32()? == 0).then_some(())?;
        }
    }
    reader.left.is_empty().then_some(caches)
}

impl Reader<'_> {
    /// Goes to the cells of the one stream that has some: how many streams come before it, how many there are, how many cells it has.
    fn find_cells(&mut self) -> Option<(u32, u32, u32)> {
        let n_streams = self.u32()?;
        for n_before in 0..n_streams {
            let n_cells = self.u32()?;
            if n_cells > 0 {
                return Some((n_before, n_streams, n_cells));
            }
        }
        None
    }

    /// Passes over what is written of `n_cells` cells: `state_write_meta` and `state_write_data`.
    fn skip_cells(&mut self, n_cells: u32, n_extra: usize) -> Option<()> {
        let n_rows = usize::try_from(n_cells).ok()?;
        for _ in 0..n_cells {
            let _position = self.u32()?;
            (self.u32()? == 1).then_some(())?;
            self.take(n_extra + 4)?;
        }
        let transposed = self.u32()?;
        let n_layers = self.u32()?;
        // Keys, then values, unless the latter are written by column.
        for by_column in std::iter::repeat_n(false, n_layers as usize)
            .chain(std::iter::repeat_n(transposed == 1, n_layers as usize))
        {
            let _type = self.u32()?;
            let n_bytes = if by_column {
                let (element, n_columns) = (u64::from(self.u32()?), u64::from(self.u32()?));
                element.checked_mul(n_columns)?
            } else {
                self.u64()?
            };
            self.take(usize::try_from(n_bytes).ok()?.checked_mul(n_rows)?)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of `n_cells` cells and one layer.
    fn cells(n_cells: u32, n_extra: usize, transposed: bool, fill: u8) -> Vec<u8> {
        let mut out = Vec::new();
        for position in 0..n_cells {
            out.extend_from_slice(&position.to_le_bytes());
            out.extend_from_slice(&1_u32.to_le_bytes());
            out.extend(std::iter::repeat_n(fill, n_extra));
            out.extend_from_slice(&7_u32.to_le_bytes());
        }
        out.extend_from_slice(&u32::from(transposed).to_le_bytes());
        out.extend_from_slice(&1_u32.to_le_bytes());
        out.extend_from_slice(&1_u32.to_le_bytes());
        out.extend_from_slice(&6_u64.to_le_bytes());
        out.extend(std::iter::repeat_n(fill, 6 * n_cells as usize));
        out.extend_from_slice(&1_u32.to_le_bytes());
        if transposed {
            out.extend_from_slice(&2_u32.to_le_bytes());
            out.extend_from_slice(&4_u32.to_le_bytes());
        } else {
            out.extend_from_slice(&8_u64.to_le_bytes());
        }
        out.extend(std::iter::repeat_n(fill, 8 * n_cells as usize));
        out
    }

    /// A state of these caches for `n_streams` streams, of which the one at `at` has the cells.
    fn state(caches: &[(u32, Vec<u8>)], n_streams: u32, at: u32) -> Vec<u8> {
        let mut out = b"magicseq".to_vec();
        for (n_cells, cells) in caches {
            out.extend_from_slice(&n_streams.to_le_bytes());
            for stream in 0..n_streams {
                out.extend_from_slice(&(if stream == at { *n_cells } else { 0 }).to_le_bytes());
                if stream == at {
                    out.extend_from_slice(cells);
                }
            }
        }
        out
    }

    #[test]
    fn sequences_are_written_for_any_number_of_streams() {
        for transposed in [false, true] {
            for n_extra in [0, EXTRA] {
                let whole = [(5, cells(5, n_extra, transposed, 3)), (2, cells(2, n_extra, transposed, 0))];
                for (caches, windowed) in [(&whole[..1], false), (&whole[1..], false), (&whole[..], true)] {
                    for (n_streams, at) in [(1, 0), (4, 0), (4, 2), (4, 3)] {
                        let from = state(caches, n_streams, at);
                        assert_eq!(super::n_streams(&from), Some(n_streams));
                        for n_target in [1, 3] {
                            assert_eq!(
                                in_streams(&from, n_target, windowed),
                                Some(state(caches, n_target, 0))
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_such_state_is_not_rewritten() {
        let good = state(&[(3, cells(3, 0, false, 9)), (3, cells(3, 0, false, 9))], 2, 1);
        assert!(in_streams(&good, 1, true).is_some());
        for n in 0..good.len() {
            assert_eq!(in_streams(&good[..n], 1, true), None, "{n} bytes");
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(in_streams(&longer, 1, true), None);
        assert_eq!(in_streams(&state(&[(0, Vec::new())], 2, 0), 1, false), None, "nothing is in it");
    }
}
