//! Log-probabilities out of logits.

use crate::{TokenId, TokenLogprob};

/// The log-softmax of `logits` at `token` and at the `n_top` largest logits, largest first (the lower token first among equals).
///
/// NaN logits count as minus infinity. One pass over the vocabulary with an exponential each. `token` outside the vocabulary has
/// minus infinity.
pub fn token_logprob(logits: &[f32], token: TokenId, n_top: usize) -> TokenLogprob {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 =
        logits.iter().map(|&logit| (logit - max).exp()).filter(|p| !p.is_nan()).map(f64::from).sum();
    let normalizer = f64::from(max) + sum.ln();
    let logprob = |logit: f32| {
        let value = (f64::from(logit) - normalizer) as f32;
        if value.is_nan() { f32::NEG_INFINITY } else { value }
    };
    let chosen = usize::try_from(token).ok().and_then(|i| logits.get(i)).copied();
    TokenLogprob {
        token,
        logprob: chosen.map_or(f32::NEG_INFINITY, logprob),
        top: largest(logits, n_top).into_iter().map(|(id, logit)| (id, logprob(logit))).collect(),
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
    use super::token_logprob;

    #[test]
    fn probabilities_of_all_tokens_sum_to_one() {
        let logits = [1.0f32, -2.0, 1000.0, 999.0, f32::NEG_INFINITY];
        let all = token_logprob(&logits, 3, 5);
        assert_eq!(all.top.iter().map(|e| e.0).collect::<Vec<_>>(), [2, 3, 0, 1, 4]);
        let sum: f32 = all.top.iter().map(|e| e.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((all.logprob - -(1.0 + 1f32.exp()).ln()).abs() < 1e-6);
    }

    #[test]
    fn equal_logits_come_in_token_order_and_nan_is_left_out() {
        let logits = [0.0, f32::NAN, 2.0, 2.0, 2.0];
        let found = token_logprob(&logits, 1, 2);
        assert_eq!(found.top.iter().map(|e| e.0).collect::<Vec<_>>(), [2, 3]);
        assert!(found.logprob.is_infinite() && found.logprob < 0.0);
        assert!(token_logprob(&logits, 9, 0).top.is_empty());
    }
}
