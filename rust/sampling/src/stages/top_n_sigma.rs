//! Top-n-sigma: a cut by the standard deviation of the logits.

use libm::sqrt;

use crate::row::pool::Pool;

/// Independent accumulators, so that the compiler can vectorise a sum without reordering it.
const LANES: usize = 16;

impl Pool {
    /// Keeps the candidates whose logit is at most `n` standard deviations below the best (Tang et al. 2024;
    /// `llama_sampler_top_n_sigma_apply` in `src/llama-sampler.cpp`). A temperature does not move the cut.
    pub(crate) fn top_n_sigma(&mut self, logits: &[f32], n: f32) {
        if n <= 0.0 {
            return;
        }
        let top = self.top();
        // The deviation does not depend on where depths are counted from; from the top they are short.
        let [depths, squares, count] = self.sums(logits, |x| [top - x, (top - x) * (top - x), 1.0]);
        let mean = depths / count;
        let deviation = sqrt((squares / count - mean * mean).max(0.0));
        let threshold = (f64::from(top) - f64::from(n) * deviation) as f32;
        self.keep_from(logits, threshold);
    }

    /// Sums of three functions of the candidates' logits.
    fn sums(&self, logits: &[f32], terms: impl Fn(f32) -> [f32; 3]) -> [f64; 3] {
        let mut sums = [0f64; 3];
        self.for_each(logits, |part| {
            let (chunks, rest) = part.as_chunks::<LANES>();
            let mut lanes = [[0f32; LANES]; 3];
            for chunk in chunks {
                for (at, &x) in chunk.iter().enumerate() {
                    let candidate = x > f32::NEG_INFINITY;
                    let terms = terms(if candidate { x } else { 0.0 });
                    for (lane, term) in lanes.iter_mut().zip(terms) {
                        lane[at] += if candidate { term } else { 0.0 };
                    }
                }
            }
            for &x in rest.iter().filter(|x| x.is_finite()) {
                sums.iter_mut().zip(terms(x)).for_each(|(sum, term)| *sum += f64::from(term));
            }
            for (sum, lanes) in sums.iter_mut().zip(&lanes) {
                *sum += lanes.iter().map(|&x| f64::from(x)).sum::<f64>();
            }
        });
        sums
    }
}
