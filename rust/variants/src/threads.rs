//! How many threads to decode with.

use crate::hardware::Hardware;

/// The number of threads to decode with: what an application gives to `tabagent-llama`, which by itself takes every usable processor.
///
/// Physical cores are preferred to hardware threads, since the threads of one core share the units that ggml keeps busy: the
/// smaller of `usable` and `cores`. Two processors or fewer are used whole: there a second thread on the same core still
/// hides waits. Where the cores are unknown, `usable` decides. At least 1.
///
/// ```
/// let hardware = tabagent_variants::Hardware::probe();
/// let threads = tabagent_variants::default_threads(&hardware);
/// assert!(threads >= 1 && threads <= hardware.budget.usable);
/// ```
pub fn default_threads(hardware: &Hardware) -> usize {
    let budget = &hardware.budget;
    match budget.cores {
        Some(cores) if budget.usable > 2 => budget.usable.min(cores.max(2)),
        _ => budget.usable.max(1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::budget::CpuBudget;
    use crate::topology::{Topology, hyper_threaded};

    fn threads(topology: &Topology, quota: Option<f64>) -> usize {
        let mut hardware = Hardware::probe_at(std::path::Path::new("/nonexistent"));
        hardware.budget = CpuBudget::new(topology, 1, quota);
        default_threads(&hardware)
    }

    #[test]
    fn physical_cores_are_preferred_to_hardware_threads() {
        assert_eq!(threads(&hyper_threaded(8), None), 8);
        assert_eq!(threads(&hyper_threaded(8), Some(12.0)), 8);
        assert_eq!(threads(&hyper_threaded(8), Some(3.0)), 3);
    }

    #[test]
    fn container_with_two_processors_gets_two_threads() {
        assert_eq!(threads(&hyper_threaded(8), Some(2.0)), 2);
        let mut one_core = hyper_threaded(8);
        one_core.allowed = Some(BTreeSet::from([0, 8]));
        assert_eq!(threads(&one_core, None), 2);
    }

    #[test]
    fn hybrid_processor_counts_performance_cores() {
        let mut hybrid = hyper_threaded(4);
        hybrid.performance = Some(BTreeSet::from([0, 1, 4, 5]));
        assert_eq!(threads(&hybrid, None), 2);
        hybrid.allowed = Some(BTreeSet::from([2, 3, 6, 7]));
        assert_eq!(threads(&hybrid, None), 2, "only efficiency cores are allowed, so they count");
    }
}
