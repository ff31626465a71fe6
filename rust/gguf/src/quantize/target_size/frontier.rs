//! The least harm of many tensors together for every number of bytes.
//!
//! A tensor's types that lie on the lower convex hull of harm over bytes are the only ones that a Lagrange multiplier ever chooses
//! (Everett 1963, "Generalized Lagrange multiplier method"; Sinha and Zoltners 1979, "The multiple-choice knapsack problem"). All steps from
//! one hull point to the next, the most harm taken away for a byte first, pass through the exact optimum of every size that they
//! reach. Between two of them the best single change that costs less than the next step is taken.

/// What a tensor costs with one of its types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    /// Bytes in the file, padding included.
    pub(super) bytes: u64,
    /// The harm; finite and not negative.
    pub(super) harm: f64,
    /// Which of the tensor's types.
    pub(super) choice: usize,
}

/// The lower convex hull: harm falls as bytes rise, and the slopes rise towards zero. Of equal points the first counts.
pub(super) fn lower_hull(costs: &[Cost]) -> Vec<Cost> {
    let mut sorted = costs.to_vec();
    sorted
        .sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.harm.total_cmp(&b.harm)).then(a.choice.cmp(&b.choice)));
    let mut hull: Vec<Cost> = Vec::new();
    for point in sorted {
        if hull.last().is_some_and(|last| last.harm <= point.harm) {
            continue;
        }
        while let [.., before, last] = hull[..]
            && gain(&before, &last) <= gain(&last, &point)
        {
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

/// Harm removed per additional byte.
fn gain(from: &Cost, to: &Cost) -> f64 {
    (from.harm - to.harm) / (to.bytes - from.bytes).max(1) as f64
}

/// A step of one tensor to the next point of its hull.
struct Step {
    tensor: usize,
    to: Cost,
    from: Cost,
}

/// One combination of types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct State {
    /// Bytes of all tensors.
    pub(super) bytes: u64,
    /// Harm of all tensors.
    pub(super) harm: f64,
    /// How many steps lead to it.
    steps: usize,
    /// A tensor, and its choice where that differs from what the steps lead to.
    swap: Option<(usize, usize)>,
}

/// Combinations of types for a number of tensors, by rising bytes and falling harm. It does not depend on any budget, so that more bytes
/// never mean more harm.
pub(super) struct Frontier {
    start: Vec<usize>,
    steps: Vec<Step>,
    states: Vec<State>,
}

impl Frontier {
    /// The frontier of tensors with at least one cost each.
    pub(super) fn new(tensors: &[&[Cost]]) -> Self {
        let hulls: Vec<Vec<Cost>> = tensors.iter().map(|costs| lower_hull(costs)).collect();
        let mut steps: Vec<Step> = hulls
            .iter()
            .enumerate()
            .flat_map(|(tensor, hull)| {
                hull.windows(2).filter_map(move |pair| match *pair {
                    [from, to] => Some(Step { tensor, to, from }),
                    _ => None,
                })
            })
            .collect();
        // A stable sort keeps the steps of one tensor in order; slopes of a hull only fall.
        steps.sort_by(|a, b| gain(&b.from, &b.to).total_cmp(&gain(&a.from, &a.to)));
        let mut current: Vec<Cost> = hulls.iter().filter_map(|hull| hull.first().copied()).collect();
        let start = current.iter().map(|cost| cost.choice).collect();
        let mut all = Vec::new();
        let mut bytes: u64 = current.iter().map(|cost| cost.bytes).sum();
        for (number, step) in steps.iter().enumerate() {
            // Summed anew each time: subtracting would leave the rounding errors of the removed harm.
            let harm = total_harm(&current);
            all.push(State { bytes, harm, steps: number, swap: None });
            let room = step.to.bytes - step.from.bytes;
            all.extend(swaps(tensors, &current, room).map(|(tensor, to)| State {
                bytes: bytes - current[tensor].bytes + to.bytes,
                harm: harm - current[tensor].harm + to.harm,
                steps: number,
                swap: Some((tensor, to.choice)),
            }));
            bytes += room;
            current[step.tensor] = step.to;
        }
        all.push(State { bytes, harm: total_harm(&current), steps: steps.len(), swap: None });
        Self { start, steps, states: pareto(all) }
    }

    /// The combination of least harm that takes at most `bytes`; `None` if none is so small.
    pub(super) fn within(&self, bytes: u64) -> Option<&State> {
        let end = self.states.partition_point(|state| state.bytes <= bytes);
        self.states.get(end.checked_sub(1)?)
    }

    /// Which type each tensor has in `state`.
    pub(super) fn choices(&self, state: &State) -> Vec<usize> {
        let mut choices = self.start.clone();
        for step in &self.steps[..state.steps] {
            choices[step.tensor] = step.to.choice;
        }
        if let Some((tensor, choice)) = state.swap {
            choices[tensor] = choice;
        }
        choices
    }
}

fn total_harm(costs: &[Cost]) -> f64 {
    costs.iter().map(|cost| cost.harm).sum()
}

/// Changes of one tensor that make the file larger by less than `room` and remove harm, the best for each size.
fn swaps(tensors: &[&[Cost]], current: &[Cost], room: u64) -> impl Iterator<Item = (usize, Cost)> {
    let mut found: Vec<(u64, f64, usize, Cost)> = Vec::new();
    for (tensor, (costs, now)) in tensors.iter().zip(current).enumerate() {
        for to in *costs {
            let more = to.bytes.saturating_sub(now.bytes);
            if more < room && to.bytes > now.bytes && to.harm < now.harm {
                found.push((more, to.harm - now.harm, tensor, *to));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut least = 0.0;
    found.into_iter().filter_map(move |(_, harm, tensor, to)| {
        let better = harm < least;
        least = harm.min(least);
        better.then_some((tensor, to))
    })
}

/// The states for which no other is both no larger and no worse, by rising bytes.
fn pareto(mut states: Vec<State>) -> Vec<State> {
    states.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.harm.total_cmp(&b.harm)));
    let mut least = f64::INFINITY;
    states.retain(|state| {
        let better = state.harm < least;
        least = least.min(state.harm);
        better
    });
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(bytes: u64, harm: f64, choice: usize) -> Cost {
        Cost { bytes, harm, choice }
    }

    #[test]
    fn the_hull_leaves_out_what_no_price_of_bytes_chooses() {
        let hull = lower_hull(&[
            cost(40, 1.0, 0),
            cost(10, 8.0, 1),
            cost(20, 7.0, 2),
            cost(25, 9.0, 3),
            cost(30, 2.0, 4),
            cost(10, 8.5, 5),
            cost(50, 1.0, 6),
        ]);
        assert_eq!(hull.iter().map(|cost| cost.choice).collect::<Vec<_>>(), [1, 4, 0]);
    }

    #[test]
    fn room_before_a_large_step_is_filled_by_a_small_one() {
        let large = [cost(100, 100.0, 0), cost(200, 1.0, 1)];
        let small = [cost(10, 1.0, 0), cost(20, 0.9, 1)];
        let frontier = Frontier::new(&[&large, &small]);
        let choices = |bytes| frontier.within(bytes).map(|state| frontier.choices(state));
        assert_eq!(choices(109), None);
        assert_eq!(choices(110), Some(vec![0, 0]));
        assert_eq!(choices(209), Some(vec![0, 1]));
        assert_eq!(choices(210), Some(vec![1, 0]));
        assert_eq!(choices(1000), Some(vec![1, 1]));
    }
}
