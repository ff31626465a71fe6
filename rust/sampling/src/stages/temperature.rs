//! The temperature, also one that follows the entropy.

use libm::{log2, pow};

use crate::row::pool::Pool;

impl Pool {
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
}
