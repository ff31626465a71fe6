//! Stages that look at how spread out the logits are: top-n-sigma and the dynamic temperature.

use libm::{log2, pow, sqrt};

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

    /// Divides all logits by a temperature, which with a `range` above 0 moves between `temperature - range` and `temperature + range`
    /// as the entropy does between 0 and its maximum (`llama_sampler_temp_ext_apply` in `src/llama-sampler.cpp`). A temperature of 0
    /// keeps the best candidate alone.
    pub(crate) fn temper(&mut self, logits: &[f32], temperature: f32, range: f32, exponent: f32) {
        let mut temperature = temperature;
        if range > 0.0 {
            let (low, high) = ((temperature - range).max(0.0), (temperature + range).min(f32::MAX));
            let Some(entropy) = self.relative_entropy(logits) else { return };
            let (low, high) = (f64::from(low), f64::from(high));
            temperature = (low + (high - low) * pow(entropy, f64::from(exponent))) as f32;
        }
        if temperature > 0.0 {
            self.temperature = (self.temperature * temperature).clamp(f32::from_bits(1), f32::MAX);
        } else {
            self.keep_best(logits, 1);
        }
    }

    /// The entropy of the candidates relative to that of as many equal ones; `None` if there is only one.
    fn relative_entropy(&mut self, logits: &[f32]) -> Option<f64> {
        let inverse = self.inverse();
        let (moments, _) = if self.listed {
            self.list.weigh(inverse);
            self.list.moments(inverse)
        } else {
            self.row.moments(logits, inverse)
        };
        let entropy = log2(moments.total) - moments.powers / moments.total;
        (moments.n > 1).then(|| (entropy / log2(moments.n as f64)).clamp(0.0, 1.0))
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
