//! The products of attention over a page, once for all instruction sets.

/// Makes `page_scores` and `page_values` for the instructions of the module that calls it.
///
/// The module has `WIDTH`, the numbers in a vector, and the small functions that are called here.
macro_rules! attention_kernels {
    ($(#[$features:meta])*) => {
        /// Vectors that a page's tokens take.
        const SLOTS: usize = N_SLOTS / WIDTH;

        /// Products of `R` queries with all keys of a page.
        #[inline]
        $(#[$features])*
        fn scores_of<const R: usize>(queries: &[f32], k_dim: usize, keys: &[[u16; N_SLOTS]], scores: &mut [[f32; N_SLOTS]]) {
            let mut sums = [[splat(0.0); SLOTS]; R];
            for (dim, keys) in keys.iter().enumerate() {
                let keys = keys.as_chunks::<WIDTH>().0;
                for slot in 0..SLOTS {
                    let key = load_halves(&keys[slot]);
                    for r in 0..R {
                        sums[r][slot] = fma(key, splat(queries[r * k_dim + dim]), sums[r][slot]);
                    }
                }
            }
            for r in 0..R {
                let scores = scores[r].as_chunks_mut::<WIDTH>().0;
                for slot in 0..SLOTS {
                    store_floats(sums[r][slot], &mut scores[slot]);
                }
            }
        }

        /// Products of queries, rows of `k_dim`, with all keys of a page.
        $(#[$features])*
        pub(super) fn page_scores(queries: &[f32], k_dim: usize, keys: &[[u16; N_SLOTS]], scores: &mut [[f32; N_SLOTS]]) {
            let mut first = 0;
            while first < scores.len() {
                let (queries, left) = (&queries[first * k_dim..], scores.len() - first);
                let scores = &mut scores[first..];
                match left.min(MOST_ROWS) {
                    8.. => scores_of::<8>(&queries[..8 * k_dim], k_dim, keys, scores),
                    4.. => scores_of::<4>(&queries[..4 * k_dim], k_dim, keys, scores),
                    2.. => scores_of::<2>(&queries[..2 * k_dim], k_dim, keys, scores),
                    _ => scores_of::<1>(&queries[..k_dim], k_dim, keys, scores),
                }
                first += 1 << left.min(MOST_ROWS).ilog2();
            }
        }

        /// Adds values of a page, weighted, to `R` rows of results.
        #[inline]
        $(#[$features])*
        fn values_of<const R: usize>(weights: &[[f32; N_SLOTS]], slots: Range<usize>, values: &[u16], v_dim: usize, out: &mut [f32]) {
            for dim in (0..v_dim).step_by(WIDTH) {
                let mut sums = [splat(0.0); R];
                for slot in slots.clone() {
                    let Some(value) = values[slot * v_dim + dim..].first_chunk::<WIDTH>() else { return };
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
        pub(super) fn page_values(weights: &[[f32; N_SLOTS]], slots: Range<usize>, values: &[u16], v_dim: usize, out: &mut [f32]) {
            let mut first = 0;
            while first < weights.len() {
                let (out, left) = (&mut out[first * v_dim..], weights.len() - first);
                let weights = &weights[first..];
                let slots = slots.clone();
                match left.min(8) {
                    8.. => values_of::<8>(&weights[..8], slots, values, v_dim, out),
                    4.. => values_of::<4>(&weights[..4], slots, values, v_dim, out),
                    2.. => values_of::<2>(&weights[..2], slots, values, v_dim, out),
                    _ => values_of::<1>(&weights[..1], slots, values, v_dim, out),
                }
                first += 1 << left.min(8).ilog2();
            }
        }
    };
}

pub(super) use attention_kernels;
