//! The lowest logit for which something holds.

/// The lowest finite logit of at most `top` for which `holds`, where it holds for every logit between that and `top`; `top` itself if
/// it holds for no lower one.
///
/// Halves the floats between, in at most 32 steps, so that a limit on weights becomes exactly the same limit on logits.
pub(crate) fn lowest_logit(top: f32, holds: impl Fn(f32) -> bool) -> f32 {
    let (mut low, mut high) = (order(f32::MIN), order(top));
    while low < high {
        // The sum of two numbers of 32 bits.
        let middle = ((i64::from(low) + i64::from(high)).div_euclid(2)) as i32;
        if holds(logit(middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    logit(high)
}

/// A number that rises with the logit.
fn order(logit: f32) -> i32 {
    let bits = (logit + 0.0).to_bits() as i32;
    if bits < 0 { i32::MIN - bits } else { bits }
}

fn logit(order: i32) -> f32 {
    f32::from_bits(if order < 0 { i32::MIN.wrapping_sub(order) } else { order } as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn limits_are_found_exactly(
            limit in prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
            above in prop::num::f32::POSITIVE | prop::num::f32::ZERO,
        ) {
            let top = (limit + above).min(f32::MAX);
            prop_assume!(top >= limit);
            let found = lowest_logit(top, |x| x >= limit);
            prop_assert_eq!((found + 0.0).to_bits(), (limit + 0.0).to_bits());
        }
    }

    #[test]
    fn limits_reach_from_the_lowest_logit_to_the_top() {
        assert_eq!(lowest_logit(3.0, |_| true).to_bits(), f32::MIN.to_bits());
        for top in [f32::MAX, 1.0, 0.0, -1e-40, f32::MIN] {
            assert_eq!(lowest_logit(top, |_| false).to_bits(), top.to_bits());
        }
    }
}
