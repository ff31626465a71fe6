//! Log-probabilities out of logits.

use libm::logf;
use tabagent_sampling::log_sum_exp;

use crate::{TokenId, TokenLogprob, TopLogprob};

/// The distribution that log-probabilities are taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogprobsMode {
    /// The model's own: the softmax of its logits, before a logits hook, a mask, and any sampling rule.
    #[default]
    Raw,
    /// The one that the token was drawn from: after the hook, the mask and all sampling rules. Tokens that were ruled out are not in it.
    Sampled,
}

/// The log-softmax of one row of logits, with the same bits on every platform. NaN logits count as minus infinity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSoftmax {
    /// What is subtracted from a logit to get its log-probability.
    normalizer: f64,
}

impl LogSoftmax {
    /// Two passes over the row, the second with an exponential for each logit.
    pub(crate) fn of(logits: &[f32]) -> Self {
        Self { normalizer: log_sum_exp(logits) }
    }

    /// The log-probability of a token with this logit.
    pub(crate) fn at(self, logit: f32) -> f32 {
        let value = (f64::from(logit) - self.normalizer) as f32;
        if value.is_nan() { f32::NEG_INFINITY } else { value }
    }

    /// The log-probability of a token; minus infinity for one that the row does not have.
    pub(crate) fn of_token(self, logits: &[f32], token: TokenId) -> f32 {
        let logit = usize::try_from(token).ok().and_then(|index| logits.get(index));
        logit.map_or(f32::NEG_INFINITY, |&logit| self.at(logit))
    }
}

/// The log-softmax of `logits` at `token` and at the `n_top` largest logits, largest first (the lower token first among equals).
///
/// NaN logits count as minus infinity. `token` outside the vocabulary has minus infinity. `bytes_of` tells the text of a token.
pub fn token_logprob(
    logits: &[f32],
    token: TokenId,
    n_top: usize,
    mut bytes_of: impl FnMut(TokenId) -> Vec<u8>,
) -> TokenLogprob {
    let softmax = LogSoftmax::of(logits);
    let mut top = Vec::new();
    for (id, logit) in largest(logits, n_top) {
        top.push(TopLogprob { token: id, logprob: softmax.at(logit), bytes: bytes_of(id) });
    }
    TokenLogprob { token, logprob: softmax.of_token(logits, token), bytes: bytes_of(token), top }
}

/// The logarithms of `kept`, tokens with their probabilities, at `token` and at the `n_top` most probable ones, best first.
pub(crate) fn kept_logprob(
    kept: &mut [(TokenId, f32)],
    token: TokenId,
    n_top: usize,
    mut bytes_of: impl FnMut(TokenId) -> Vec<u8>,
) -> TokenLogprob {
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let chosen = kept.iter().find(|entry| entry.0 == token).map_or(0.0, |entry| entry.1);
    let top = kept.iter().take(n_top);
    TokenLogprob {
        token,
        logprob: logf(chosen),
        bytes: bytes_of(token),
        top: top
            .map(|&(id, probability)| TopLogprob {
                token: id,
                logprob: logf(probability),
                bytes: bytes_of(id),
            })
            .collect(),
    }
}

/// The `n` largest logits, largest first.
fn largest(logits: &[f32], n: usize) -> Vec<(TokenId, f32)> {
    let n = n.min(logits.len());
    let mut top: Vec<(TokenId, f32)> = Vec::with_capacity(n + 1);
    for (id, &logit) in logits.iter().enumerate() {
        let belongs = match top.last() {
            Some(worst) if top.len() == n => logit > worst.1,
            _ => n > 0 && !logit.is_nan(),
        };
        if belongs {
            let at = top.partition_point(|entry| entry.1 >= logit);
            top.insert(at, (id as TokenId, logit));
            top.truncate(n);
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::{kept_logprob, token_logprob};

    #[test]
    fn probabilities_of_all_tokens_sum_to_one() {
        let logits = [1.0f32, -2.0, 1000.0, 999.0, f32::NEG_INFINITY];
        let all = token_logprob(&logits, 3, 5, |token| vec![token as u8]);
        assert_eq!(all.top.iter().map(|e| e.token).collect::<Vec<_>>(), [2, 3, 0, 1, 4]);
        assert!(all.top.iter().all(|e| e.bytes == [e.token as u8]) && all.bytes == [3]);
        let sum: f32 = all.top.iter().map(|e| e.logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((all.logprob - -(1.0 + 1f32.exp()).ln()).abs() < 1e-6);
    }

    #[test]
    fn long_rows_agree_with_double_precision() {
        let logits: Vec<f32> = (0..50_001).map(|i| ((i * 7919) % 10_007) as f32 * 0.002 - 9.0).collect();
        let max = 20.0f64;
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        let expected = f64::from(logits[123]) - max - sum.ln();
        let found = token_logprob(&logits, 123, 0, |_| Vec::new());
        assert!((f64::from(found.logprob) - expected).abs() < 1e-5, "{} for {expected}", found.logprob);
    }

    #[test]
    fn equal_logits_come_in_token_order_and_nan_is_left_out() {
        let logits = [0.0, f32::NAN, 2.0, 2.0, 2.0];
        let found = token_logprob(&logits, 1, 2, |_| Vec::new());
        assert_eq!(found.top.iter().map(|e| e.token).collect::<Vec<_>>(), [2, 3]);
        assert!(found.logprob.is_infinite() && found.logprob < 0.0);
        assert!(token_logprob(&logits, 9, 0, |_| Vec::new()).top.is_empty());
    }

    #[test]
    fn tokens_that_sampling_left_out_are_in_no_list() {
        let mut kept = [(4, 0.25f32), (1, 0.5), (7, 0.25)];
        let found = kept_logprob(&mut kept, 7, 2, |_| Vec::new());
        assert_eq!(found.top.iter().map(|e| e.token).collect::<Vec<_>>(), [1, 4]);
        assert!((found.logprob - 0.25f32.ln()).abs() < 1e-6);
        let found = kept_logprob(&mut kept, 2, 9, |_| Vec::new());
        assert!(found.logprob.is_infinite() && found.top.len() == 3);
    }
}
