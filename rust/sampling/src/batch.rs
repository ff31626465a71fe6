//! One step of several sequences at once.

use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator,
};

use crate::{SampleError, Sampler, TokenId};

/// Batches of fewer logits are done on the calling thread: waking others takes longer than they save.
const SERIAL_LEN: usize = 1 << 18;

/// Chooses one token for each of several sequences, in parallel where it pays and the caller has threads for it.
///
/// The sequences share nothing, so each gets the token that [`Sampler::sample`] on its own would give, whatever its neighbours and
/// however many threads there are. Called inside a rayon pool (`pool.install(|| sample_batch(..))`), a batch of 2^18 logits or more is spread
/// over it, and the call blocks until all are done; a smaller batch, and any batch outside a pool, runs on the calling thread. The pool that
/// rayon makes by itself is not used: it panics where the system gives no threads. Samplers without a row, and rows without a sampler, are left out.
///
/// # Errors
///
/// Each sequence has its own result, those of [`Sampler::sample`]; an error in one does not touch the others.
///
/// ```
/// use tabagent_sampling::{Sampler, SamplerConfig, sample_batch};
///
/// let config = SamplerConfig { seed: Some(7), ..SamplerConfig::default() };
/// let mut samplers = [Sampler::new(&config, 3)?, Sampler::new(&SamplerConfig::greedy(), 2)?];
/// let tokens = sample_batch(&mut samplers, &[&[0.5, 9.0, -1.0], &[2.0, 1.0]]);
/// assert_eq!(tokens.len(), 2);
/// assert_eq!(tokens[1], Ok(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sample_batch(samplers: &mut [Sampler], rows: &[&[f32]]) -> Vec<Result<TokenId, SampleError>> {
    let n_logits: usize = rows.iter().map(|row| row.len()).sum();
    if rows.len() < 2 || n_logits < SERIAL_LEN || rayon::current_thread_index().is_none() {
        return samplers.iter_mut().zip(rows).map(|(sampler, row)| sampler.sample(row)).collect();
    }
    let pairs = samplers.par_iter_mut().zip(rows.into_par_iter()).with_max_len(1);
    pairs.map(|(sampler, row)| sampler.sample(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SamplerConfig;

    fn row(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 10_007) as f32 / 900.0).collect()
    }

    fn samplers(n_vocab: usize, n: u64) -> Vec<Sampler> {
        let config = |seed| SamplerConfig { seed: Some(seed), temperature: 2.0, ..SamplerConfig::default() };
        (0..n).map(|seed| Sampler::new(&config(seed), n_vocab).unwrap()).collect()
    }

    #[test]
    fn batches_give_what_each_sequence_gives_alone() {
        for (n_vocab, n) in [(500, 5), (50_000, 7)] {
            let rows: Vec<Vec<f32>> = (0..n).map(|seed| row(n_vocab, seed)).collect();
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let (mut alone, mut serial) = (samplers(n_vocab, n as u64), Vec::new());
            for _ in 0..5 {
                serial.push(alone.iter_mut().zip(&rows).map(|(s, row)| s.sample(row)).collect::<Vec<_>>());
            }
            for n_threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
                let mut together = samplers(n_vocab, n as u64);
                for want in &serial {
                    assert_eq!(&pool.install(|| sample_batch(&mut together, &rows)), want);
                }
            }
        }
    }

    #[test]
    fn one_bad_row_leaves_its_neighbours_alone() {
        let n_vocab = 140_000;
        let (good, bad) = (row(n_vocab, 1), vec![f32::NAN; n_vocab]);
        let (mut together, mut alone) = (samplers(n_vocab, 3), samplers(n_vocab, 3));
        let got = sample_batch(&mut together, &[&good, &bad, &good[1..]]);
        assert_eq!(got[0], alone[0].sample(&good));
        assert_eq!(got[1], Err(SampleError::NoFiniteLogit { n_vocab, n_nan: n_vocab }));
        assert_eq!(got[2], Err(SampleError::WrongLength { expected: n_vocab, got: n_vocab - 1 }));
    }

    #[test]
    fn samplers_without_a_row_are_left_as_they_were() {
        let (mut some, logits) = (samplers(10, 3), row(10, 1));
        assert_eq!(sample_batch(&mut some, &[&logits]).len(), 1);
        let mut fresh = samplers(10, 3);
        assert_eq!(some[1].sample(&logits), fresh[1].sample(&logits));
        assert!(sample_batch(&mut [], &[&logits]).is_empty());
    }
}
