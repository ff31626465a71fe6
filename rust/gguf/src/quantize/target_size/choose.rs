//! The combination of types that does the least harm in a given number of bytes.

use super::frontier::{Cost, Frontier, lower_hull};
use super::measure::{MeasuredTensor, TypeCost};
use super::target::{SizeTarget, TargetSizeError};
use crate::GgmlType;

/// The most combinations of the largest tensors' types that are all tried.
const PINNED_COMBINATIONS: usize = 4096;

/// A type for every tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// The types, in the order of the tensors.
    pub types: Vec<GgmlType>,
    /// Bytes of the file with them, all padding included.
    pub file_bytes: u64,
    /// Bits for each weight, over all tensors.
    pub bits_per_weight: f64,
    /// The harm expected of all of them together.
    pub harm: f64,
    /// True if the target has room for more than any choice could use: every tensor has the smallest of its types that do the least harm.
    pub is_best: bool,
}

/// Chooses a type for each tensor so that the file, whose header and metadata take `head_bytes` up to the data of the first tensor,
/// and whose tensors begin at multiples of `alignment`, is no larger than `target` and the sum of all harms is as small as it can be.
///
/// The few largest tensors' types are tried in all combinations; the others follow the lower convex hulls of harm over bytes with one change
/// more. The result is the exact optimum where the combinations of all tensors are at most 4,096, and otherwise worse by no more than one
/// step of one of the smaller tensors. It is never over the target, and a larger target never gives more harm.
///
/// # Errors
/// [`TargetSizeError::TooSmall`] if there is no combination so small; [`TargetSizeError::NoBits`].
pub fn choose_types(
    tensors: &[MeasuredTensor],
    target: SizeTarget,
    head_bytes: u64,
    alignment: u64,
) -> Result<Mix, TargetSizeError> {
    // Caps each tensor's bytes so that their sum cannot overflow, whatever the caller passes.
    let most = u64::MAX / (tensors.len() as u64 + 1);
    let padded = |bytes: u64| bytes.checked_next_multiple_of(alignment.max(1)).unwrap_or(most).min(most);
    let costs: Vec<Vec<Cost>> = tensors.iter().map(|tensor| usable(&tensor.costs, padded)).collect();
    let n_weights = tensors.iter().fold(0_u64, |sum, tensor| sum.saturating_add(tensor.n_weights));
    let smallest_data: u64 =
        costs.iter().map(|costs| costs.iter().map(|cost| cost.bytes).min().unwrap_or(0)).sum();
    let smallest = head_bytes.saturating_add(smallest_data);
    let limit = target.file_bytes(head_bytes, n_weights)?;
    let bits = |bytes: u64| bytes.saturating_sub(head_bytes) as f64 * 8.0 / n_weights.max(1) as f64;
    let (choices, is_best) = search(&costs, limit.saturating_sub(head_bytes))
        .filter(|_| limit >= smallest)
        .ok_or_else(|| TargetSizeError::TooSmall {
        target: limit,
        smallest,
        smallest_bits: (bits(smallest) * 100.0).ceil() / 100.0,
        with_importances: tensors.iter().any(|tensor| tensor.with_importances),
    })?;
    let chosen: Vec<TypeCost> = tensors
        .iter()
        .zip(&choices)
        .filter_map(|(tensor, &choice)| tensor.costs.get(choice).copied())
        .collect();
    let file_bytes = chosen.iter().map(|cost| padded(cost.n_bytes)).fold(head_bytes, u64::saturating_add);
    let data_bytes = chosen.iter().map(|cost| cost.n_bytes).fold(0, u64::saturating_add);
    Ok(Mix {
        types: chosen.iter().map(|cost| cost.ggml_type).collect(),
        file_bytes,
        bits_per_weight: data_bytes as f64 * 8.0 / n_weights.max(1) as f64,
        harm: chosen.iter().map(|cost| cost.harm).sum(),
        is_best,
    })
}

/// The costs to choose from, at least one: types in which the tensor's weights have a value, or else the last type.
fn usable(costs: &[TypeCost], padded: impl Fn(u64) -> u64) -> Vec<Cost> {
    let all = costs.iter().enumerate().map(|(choice, cost)| Cost {
        bytes: padded(cost.n_bytes),
        harm: cost.harm,
        choice,
    });
    let finite: Vec<Cost> = all.clone().filter(|cost| cost.harm.is_finite()).collect();
    if finite.is_empty() {
        vec![all.last().map_or(Cost { bytes: 0, harm: 0.0, choice: 0 }, |last| Cost { harm: 0.0, ..last })]
    } else {
        finite
    }
}

/// Which type each tensor gets if all may take `limit` bytes, and whether no limit would give another.
fn search(costs: &[Vec<Cost>], limit: u64) -> Option<(Vec<usize>, bool)> {
    let mut by_size: Vec<usize> = (0..costs.len()).collect();
    let largest = |tensor: usize| costs[tensor].iter().map(|cost| cost.bytes).max().unwrap_or_default();
    by_size.sort_by_key(|&tensor| std::cmp::Reverse(largest(tensor)));
    let mut combinations = 1;
    let n_pinned = by_size
        .iter()
        .take_while(|&&tensor| {
            combinations *= costs[tensor].len();
            combinations <= PINNED_COMBINATIONS
        })
        .count();
    let (pinned, others) = by_size.split_at(n_pinned);
    let others_costs: Vec<&[Cost]> = others.iter().map(|&tensor| &costs[tensor][..]).collect();
    let frontier = Frontier::new(&others_costs);

    let mut choice = vec![0; pinned.len()];
    let mut best: Option<(f64, u64, Vec<usize>)> = None;
    loop {
        let chosen = || pinned.iter().zip(&choice).map(|(&tensor, &choice)| costs[tensor][choice]);
        let bytes: u64 = chosen().map(|cost| cost.bytes).sum();
        if let Some(state) = limit.checked_sub(bytes).and_then(|rest| frontier.within(rest)) {
            let found = (chosen().map(|cost| cost.harm).sum::<f64>() + state.harm, bytes + state.bytes);
            if best.as_ref().is_none_or(|best| (found.0, found.1) < (best.0, best.1)) {
                let mut choices = vec![0; costs.len()];
                for (&tensor, cost) in pinned.iter().zip(chosen()) {
                    choices[tensor] = cost.choice;
                }
                for (&tensor, choice) in others.iter().zip(frontier.choices(state)) {
                    choices[tensor] = choice;
                }
                best = Some((found.0, found.1, choices));
            }
        }
        if !next(&mut choice, |place| costs[pinned[place]].len()) {
            break;
        }
    }
    let (_, bytes, choices) = best?;
    let most: u64 = costs.iter().filter_map(|costs| lower_hull(costs).last().map(|cost| cost.bytes)).sum();
    Some((choices, bytes >= most))
}

/// Counts up by one, the first place fastest; false after the last number.
fn next(number: &mut [usize], base: impl Fn(usize) -> usize) -> bool {
    for (place, digit) in number.iter_mut().enumerate() {
        *digit += 1;
        if *digit < base(place) {
            return true;
        }
        *digit = 0;
    }
    false
}
