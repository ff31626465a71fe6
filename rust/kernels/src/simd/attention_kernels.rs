//! The products of attention over a page, once for all instruction sets.

/// Makes `page_scores` and `page_values` for the instructions of the module that calls it.
///
/// The module has `WIDTH`, the numbers in a vector, `SLOTS`, how many vectors of tokens are done at once, and the small functions that are called here.
macro_rules! attention_kernels {
    ($(#[$features:meta])*) => {
        /// Products of `R` queries, of which `queries` has dimension after dimension, with all keys of a page.
        #[inline]
        $(#[$features])*
        fn scores_of<const R: usize>(queries: &[f32], keys: &[[u16; N_SLOTS]], scores: &mut [[f32; N_SLOTS]]) {
            let queries = queries.as_chunks::<R>().0;
            let Some(scores) = scores.first_chunk_mut::<R>() else { return };
            for at in (0..N_SLOTS / WIDTH).step_by(SLOTS) {
                let mut sums = [[splat(0.0); SLOTS]; R];
                for (query, keys) in queries.iter().zip(keys) {
                    let keys = keys.as_chunks::<WIDTH>().0;
                    for slot in 0..SLOTS {
                        let key = load_halves(&keys[at + slot]);
                        for r in 0..R {
                            sums[r][slot] = fma(key, splat(query[r]), sums[r][slot]);
                        }
                    }
                }
                for r in 0..R {
                    let scores = scores[r].as_chunks_mut::<WIDTH>().0;
                    for slot in 0..SLOTS {
                        store_floats(sums[r][slot], &mut scores[at + slot]);
                    }
                }
            }
        }

        /// Products of queries with all keys of a page; `queries` has them in [`crate::attention::runs`], dimension after dimension.
        $(#[$features])*
        pub(in crate::simd) fn page_scores(queries: &[f32], k_dim: usize, keys: &[[u16; N_SLOTS]], scores: &mut [[f32; N_SLOTS]]) {
            for run in runs(scores.len()) {
                let queries = &queries[run.start * k_dim..run.end * k_dim];
                let scores = &mut scores[run.clone()];
                match run.len() {
                    8 => scores_of::<8>(queries, keys, scores),
                    4 => scores_of::<4>(queries, keys, scores),
                    3 => scores_of::<3>(queries, keys, scores),
                    2 => scores_of::<2>(queries, keys, scores),
                    _ => scores_of::<1>(queries, keys, scores),
                }
            }
        }

        /// Adds values of a page, weighted, to `R` rows of results.
        #[inline]
        $(#[$features])*
        fn values_of<const R: usize>(weights: &[[f32; N_SLOTS]], slots: Range<usize>, values: &[u16], v_dim: usize, out: &mut [f32]) {
            let Some(weights) = weights.first_chunk::<R>() else { return };
            let (start, end) = (slots.start, slots.end.min(N_SLOTS));
            for dim in (0..v_dim).step_by(WIDTH) {
                let mut sums = [splat(0.0); R];
                let rows = values[start * v_dim..].chunks_exact(v_dim);
                for (slot, row) in (start..end).zip(rows) {
                    let Some(value) = row[dim..].first_chunk::<WIDTH>() else { return };
                    let value = load_halves(value);
                    for r in 0..R {
                        sums[r] = fma(value, splat(weights[r][slot]), sums[r]);
                    }
                }
                for r in 0..R {
                    let Some(out) = out[r * v_dim + dim..].first_chunk_mut::<WIDTH>() else { return };
                    store_floats(add(sums[r], load_floats(out)), out);
                }
            }
        }

        /// Adds the values of the page's `slots` (rows of `v_dim`, a multiple of 16), weighted, to rows of results.
        $(#[$features])*
        pub(in crate::simd) fn page_values(weights: &[[f32; N_SLOTS]], slots: Range<usize>, values: &[u16], v_dim: usize, out: &mut [f32]) {
            for run in runs(weights.len()) {
                let (out, weights, slots) = (&mut out[run.start * v_dim..], &weights[run.clone()], slots.clone());
                match run.len() {
                    8 => values_of::<8>(weights, slots, values, v_dim, out),
                    4 => values_of::<4>(weights, slots, values, v_dim, out),
                    3 => values_of::<3>(weights, slots, values, v_dim, out),
                    2 => values_of::<2>(weights, slots, values, v_dim, out),
                    _ => values_of::<1>(weights, slots, values, v_dim, out),
                }
            }
        }
    };
}

pub(super) use attention_kernels;
