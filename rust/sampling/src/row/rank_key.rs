//! What candidates are ranked by.

/// What candidates are ranked by, the highest first. Ties go to the lower id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RankKey {
    /// The logit itself.
    Logit,
    /// How near the logit is to this one: the negative distance.
    Near(f32),
}

impl RankKey {
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn of(self, logit: f32) -> f32 {
        match self {
            Self::Logit => logit,
            Self::Near(centre) => -(logit - centre).abs(),
        }
    }

    /// The highest key of a row with the highest logit `top`, or more.
    pub(crate) fn best(self, top: f32) -> f32 {
        match self {
            Self::Logit => top,
            Self::Near(_) => 0.0,
        }
    }

    /// A logit that no logit with a key of at least `line` is below.
    pub(crate) fn lowest_logit(self, line: f32) -> f32 {
        match self {
            Self::Logit => line,
            Self::Near(centre) => {
                // A difference may have been rounded up to the line.
                let (centre, line) = (f64::from(centre), f64::from(line));
                ((centre + line * (1.0 + f64::from(f32::EPSILON))) as f32).next_down().max(f32::MIN)
            }
        }
    }

    /// Whether a block with this highest logit may have a key of at least `line`.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "it is part of loops that are compiled for several instruction sets"
    )]
    pub(crate) fn may_reach(self, line: f32, maximum: f32) -> bool {
        match self {
            Self::Logit => maximum >= line,
            Self::Near(centre) => maximum > centre || self.of(maximum) >= line,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_logit_on_the_right_side_of_a_line_is_missed(
            (centre, line) in (-50.0..50f32, -60.0..0f32),
            steps in -3..3i32,
            below in 0.0..100f32,
        ) {
            let key = RankKey::Near(centre);
            let mut logit = centre + line;
            for _ in 0..steps.abs() {
                logit = if steps > 0 { logit.next_up() } else { logit.next_down() };
            }
            if key.of(logit) >= line {
                prop_assert!(key.lowest_logit(line) <= logit);
                prop_assert!(key.may_reach(line, logit) && key.may_reach(line, logit + below));
            } else if logit < centre {
                prop_assert!(!key.may_reach(line, logit) && !key.may_reach(line, logit - below));
            }
        }
    }
}
