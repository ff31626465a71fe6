//! What a prefix of the tokens must hold, and what one holds: weight and tokens.

/// What a prefix must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    weight: f64,
    n: usize,
}

impl Goal {
    pub(crate) fn at_least(weight: f64, n: usize) -> Self {
        Self { weight, n }
    }

    pub(crate) fn more_than(weight: f64, n: usize) -> Self {
        Self { weight: weight.next_up(), n }
    }

    pub(crate) fn weight(self) -> f64 {
        self.weight
    }

    pub(crate) fn n(self) -> usize {
        self.n
    }

    pub(crate) fn is_met(self, weight: f64, n: usize) -> bool {
        weight >= self.weight && n >= self.n
    }
}

/// How much there is above a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mass {
    pub(crate) weight: f64,
    pub(crate) n: usize,
}

impl Mass {
    pub(crate) fn and(self, (weight, n): (f64, usize)) -> Self {
        Self { weight: self.weight + weight, n: self.n + n }
    }

    pub(crate) fn meets(self, goal: Goal) -> bool {
        goal.is_met(self.weight, self.n)
    }
}
