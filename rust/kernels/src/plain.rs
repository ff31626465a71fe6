//! Products without vector instructions: what others are compared with, and what processors without them use.

use std::ops::Range;

use half::f16;

use crate::attention::runs;
use crate::kv_page::N_SLOTS;
use crate::packed::{
    BLOCK, FloatForm, FloatName, Floats, Form, Line, Quants, TILE, float_at, lanes, row_scales,
};
use crate::pool::Window;
use crate::quantized::{Entry, GROUP, Quantized};
use crate::singles::Singles;

/// Multiplies the tiles of a window with the tokens of a window; it begins with whole tiles and groups.
pub(crate) fn quants<F: Form>(weights: &Quants, input: &Quantized, window: &mut Window<'_, f32>) {
    for tile in window.cols().start / TILE..window.cols().end.div_ceil(TILE) {
        for group in window.rows().start / GROUP..window.rows().end.div_ceil(GROUP) {
            let (entries, width) = input.group(group);
            for t in 0..width {
                let results = tile_times::<F>(weights, tile, &entries[t..], width);
                store(results.map(|x| x * weights.factor), tile, group * GROUP + t, window);
            }
        }
    }
}

/// A tile times the token whose entries are every `width`-th.
fn tile_times<F: Form>(weights: &Quants, tile: usize, entries: &[Entry], width: usize) -> [f32; TILE] {
    let offset = F::OFFSET.map_or(0, |power| 1 << power);
    let mut sums = [0.0f32; TILE];
    let blocks = weights.tile_lines(tile).chunks_exact(F::BITS as usize);
    for (at, (lines, entry)) in blocks.zip(entries.iter().step_by(width)).enumerate() {
        let mut ints = [[0i32; TILE]; 2];
        for j in 0..BLOCK / 4 {
            let wholes = entry.wholes[j].to_ne_bytes().map(|byte| i32::from(byte.cast_signed()));
            let digits = lanes::<F>(lines, j);
            for (int, four) in ints[j / 4].iter_mut().zip(digits.as_chunks::<4>().0) {
                for (digit, whole) in four.iter().zip(wholes) {
                    *int += (i32::from(*digit) - offset) * whole;
                }
            }
        }
        for (row, sum) in sums.iter_mut().enumerate() {
            let (scales, mins) = row_scales(F::SCALES, weights.tile_halves(tile), at, row);
            let [first, second] = ints.map(|ints| ints[row]);
            if F::SCALES.is_16() {
                *sum += scales[0] * entry.scale * first as f32 + scales[1] * entry.scale * second as f32;
                if F::SCALES.has_min() {
                    *sum += mins[0] * entry.sums[0] + mins[1] * entry.sums[1];
                }
            } else {
                *sum += scales[0] * entry.scale * (first + second) as f32;
                if F::SCALES.has_min() {
                    *sum += mins[0] * entry.sum;
                }
            }
        }
    }
    sums
}

/// As [`quants`], for floats.
pub(crate) fn floats<F: FloatForm>(weights: &Floats, input: &Singles, window: &mut Window<'_, f32>) {
    for tile in window.cols().start / TILE..window.cols().end.div_ceil(TILE) {
        for group in window.rows().start / GROUP..window.rows().end.div_ceil(GROUP) {
            let (values, width) = input.group(group);
            for t in 0..width {
                let results = floats_times(F::NAME, weights.tile_lines(tile), &values[t..], width);
                store(results, tile, group * GROUP + t, window);
            }
        }
    }
}

fn floats_times(form: FloatName, lines: &[Line], values: &[f32], width: usize) -> [f32; TILE] {
    let mut sums = [0.0f32; TILE];
    for (line, values) in lines.iter().zip(values.chunks(form.per_line() * width)) {
        for col in 0..form.per_line() {
            for (row, sum) in sums.iter_mut().enumerate() {
                *sum += float_at(form, line, row, col) * values[col * width];
            }
        }
    }
    sums
}

/// Puts a tile's results for a token into the window, without the rows that fill up the tile.
fn store(results: [f32; TILE], tile: usize, token: usize, window: &mut Window<'_, f32>) {
    let col = tile * TILE - window.cols().start;
    for (out, result) in window.row_mut(token)[col..].iter_mut().zip(results) {
        *out = result;
    }
}

/// Products of queries with all keys of a page; `queries` has them in [`runs`], dimension after dimension.
pub(crate) fn page_scores(
    queries: &[f32],
    k_dim: usize,
    keys: &[[u16; N_SLOTS]],
    scores: &mut [[f32; N_SLOTS]],
) {
    for run in runs(scores.len()) {
        let queries = &queries[run.start * k_dim..run.end * k_dim];
        for (at, scores) in scores[run.clone()].iter_mut().enumerate() {
            *scores = [0.0; N_SLOTS];
            for (x, keys) in queries[at..].iter().step_by(run.len()).zip(keys) {
                for (score, key) in scores.iter_mut().zip(keys) {
                    *score += f16::from_bits(*key).to_f32() * x;
                }
            }
        }
    }
}

/// Adds the values of the page's `slots` (rows of `v_dim`), weighted, to rows of results.
pub(crate) fn page_values(
    weights: &[[f32; N_SLOTS]],
    slots: Range<usize>,
    values: &[u16],
    v_dim: usize,
    out: &mut [f32],
) {
    for (weights, out) in weights.iter().zip(out.chunks_exact_mut(v_dim)) {
        for (weight, values) in weights[slots.clone()].iter().zip(values[slots.start * v_dim..].chunks(v_dim))
        {
            for (out, value) in out.iter_mut().zip(values) {
                *out += f16::from_bits(*value).to_f32() * weight;
            }
        }
    }
}
