//! Feed-forward parts of many experts, of which each token uses a few.

use crate::blueprint::Feed;
use crate::device::Device;
use crate::forward::{Buffers, Interrupted, Step};
use crate::weights_plan::Linear;

/// The least sum of weights that others are divided by (`build_moe_ffn` in `src/llama-graph.cpp`: the smallest normal F16).
const LEAST_SUM: f32 = 6.103_515_6e-5;

/// Chooses experts for each row in `normed`, and puts the weighted sum of what they give into `fed`.
pub(crate) fn feed<D: Device>(
    step: &mut Step<'_, D>,
    feed: Feed,
    router: Linear,
    experts: &[[Linear; 3]],
    buffers: &mut Buffers<D::Buffer>,
) -> Result<(), Interrupted> {
    let Feed::Experts { n, n_used, activation, is_normalized, scale, .. } = feed else { return Ok(()) };
    step.linear(router, &buffers.normed, &mut buffers.gate)?;
    let mut scores = Vec::new();
    step.device.download(&buffers.gate, &mut scores);
    let n_rows = scores.len() / n;
    // The rows of each expert, and their weights.
    let mut chosen: Vec<(Vec<usize>, Vec<f32>)> = vec![(Vec::new(), Vec::new()); n];
    for (row, scores) in scores.chunks_exact(n).enumerate() {
        for (expert, weight) in choose(scores, n_used, is_normalized, scale) {
            chosen[expert].0.push(row);
            chosen[expert].1.push(weight);
        }
    }
    let width = step.model.blueprint().width;
    step.device.zero(n_rows, width, &mut buffers.fed);
    for ([gate, up, down], (rows, weights)) in experts.iter().zip(&chosen) {
        if rows.is_empty() {
            continue;
        }
        step.check_stop()?;
        let Buffers { normed, picked, gate: gated, up: upped, other, fed, .. } = buffers;
        step.device.gather(normed, rows, picked);
        step.linears(&[*gate, *up], picked, [gated, upped])?;
        step.device.gate(activation, gated, upped);
        step.linear(*down, gated, other)?;
        step.device.scatter(other, rows, weights, fed);
    }
    Ok(())
}

/// The best `n_used` of some experts by their scores, and their weights.
fn choose(scores: &[f32], n_used: usize, is_normalized: bool, scale: f32) -> Vec<(usize, f32)> {
    let mut shares = scores.to_vec();
    tabagent_kernels::softmax(&mut shares);
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]).then(a.cmp(b)));
    order.truncate(n_used);
    let sum: f32 = order.iter().map(|expert| shares[*expert]).sum();
    let divisor = if is_normalized { sum.max(LEAST_SUM) } else { 1.0 };
    order.into_iter().map(|expert| (expert, shares[expert] / divisor * scale)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_experts_share_the_weight() {
        let chosen = choose(&[0.0, 2.0, 1.0, 2.0], 2, true, 1.0);
        assert_eq!(chosen.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [1, 3]);
        assert!(chosen.iter().all(|(_, weight)| (weight - 0.5).abs() < 1e-6));
        let total: f32 = choose(&[0.0, 2.0, 1.0, 2.0], 4, false, 2.0).iter().map(|(_, weight)| weight).sum();
        assert!((total - 2.0).abs() < 1e-6);
        assert_eq!(choose(&[f32::NAN, 1.0], 1, true, 1.0).len(), 1);
    }
}
