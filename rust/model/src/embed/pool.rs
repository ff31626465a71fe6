//! One vector of a text's many.

use super::options::TextPooling;

/// Makes one vector of those of a text's tokens, which come one after another, perhaps in several batches.
#[derive(Debug)]
pub(crate) struct Pool {
    pooling: TextPooling,
    sum: Vec<f64>,
    tokens: usize,
}

impl Pool {
    /// For vectors of which the first `width` numbers count.
    pub(crate) fn new(pooling: TextPooling, width: usize) -> Self {
        Self { pooling, sum: vec![0.0; width], tokens: 0 }
    }

    /// Takes the next token's vector.
    pub(crate) fn push(&mut self, vector: &[f32]) {
        let takes = match self.pooling {
            TextPooling::Mean => {
                self.sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
                false
            }
            TextPooling::Cls => self.tokens == 0,
            TextPooling::Last => true,
        };
        if takes {
            self.sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum = f64::from(*value));
        }
        self.tokens += 1;
    }

    /// Writes the text's vector, of length 1 if it is to be normalized, and makes ready for the next text.
    pub(crate) fn finish(&mut self, normalize: bool, out: &mut [f32]) {
        let tokens = std::mem::take(&mut self.tokens);
        let count = if self.pooling == TextPooling::Mean { tokens.max(1) as f64 } else { 1.0 };
        let divisor = if normalize { length(self.sum.iter().copied()) } else { count };
        for (out, sum) in out.iter_mut().zip(&mut self.sum) {
            *out = (std::mem::take(sum) / divisor) as f32;
        }
    }
}

/// Gives a vector the length 1; one of zeros stays as it is.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = length(vector.iter().map(|value| f64::from(*value)));
    for value in vector {
        *value = (f64::from(*value) / length) as f32;
    }
}

/// A vector's length; 1 for one of zeros, so that it can be divided by.
fn length(values: impl Iterator<Item = f64>) -> f64 {
    let length = values.map(|value| value * value).sum::<f64>().sqrt();
    if length == 0.0 { 1.0 } else { length }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the results are exact")]
mod tests {
    use super::*;

    fn pooled(pooling: TextPooling, normalize: bool) -> [f32; 2] {
        let mut pool = Pool::new(pooling, 2);
        let mut out = [0.0; 2];
        // What an earlier text left behind is gone.
        pool.push(&[9.0, 9.0, 9.0]);
        pool.finish(false, &mut out);
        for vector in [[1.0, 0.0, 5.0], [2.0, 3.0, 5.0], [3.0, 9.0, 5.0]] {
            pool.push(&vector);
        }
        pool.finish(normalize, &mut out);
        out
    }

    #[test]
    fn a_text_has_the_mean_the_first_or_the_last_vector_of_its_tokens() {
        assert_eq!(pooled(TextPooling::Mean, false), [2.0, 4.0]);
        assert_eq!(pooled(TextPooling::Cls, false), [1.0, 0.0]);
        assert_eq!(pooled(TextPooling::Last, false), [3.0, 9.0]);
    }

    #[test]
    fn normalized_vectors_have_the_length_one_and_zeros_stay() {
        let [x, y] = pooled(TextPooling::Mean, true);
        assert!((x / y - 0.5).abs() < 1e-6 && (x * x + y * y - 1.0).abs() < 1e-6, "{x} {y}");
        let mut pool = Pool::new(TextPooling::Mean, 2);
        let mut out = [7.0; 2];
        pool.push(&[0.0, 0.0]);
        pool.finish(true, &mut out);
        assert_eq!(out, [0.0, 0.0]);
        let mut vector = [3.0, 4.0];
        normalize(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
    }
}
