//! How much of the processor this process may use.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::topology::Topology;

/// The processors this process may use, after affinity and control group quota.
///
/// ```
/// let budget = tabagent_variants::Hardware::probe().budget;
/// assert!(budget.usable >= 1 && budget.usable <= budget.affinity);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuBudget {
    /// Processors (hardware threads) the process may be scheduled on, at least 1.
    pub affinity: usize,
    /// Processor time that control groups allow, in processors (1.5 is one and a half), or `None` without a limit.
    pub quota: Option<f64>,
    /// Physical cores among those processors, `None` where unknown. On hybrid Intel processors, the performance cores
    /// alone, as long as the process may use one: ggml splits an operation evenly, so the slowest core sets the pace.
    pub cores: Option<usize>,
    /// Processors that can work at the same time: the smaller of `affinity` and the quota rounded up, at least 1.
    pub usable: usize,
    /// What decided, in words.
    pub reason: String,
}

impl CpuBudget {
    /// Computes the budget from the topology and the quota; `fallback` is the number of processors if the topology is empty.
    pub fn new(topology: &Topology, fallback: usize, quota: Option<f64>) -> Self {
        let everything: BTreeSet<usize> = match &topology.allowed {
            Some(allowed) => allowed.clone(),
            None if topology.online.is_empty() => (0..fallback.clamp(1, 65_536)).collect(),
            None => topology.online.clone(),
        };
        let affinity = everything.len().max(1);
        let quota = quota.filter(|cpus| cpus.is_finite() && *cpus > 0.0);
        let fast =
            topology.performance.as_ref().map(|fast| fast & &everything).filter(|fast| !fast.is_empty());
        let cores = topology.cores_among(fast.as_ref().unwrap_or(&everything));
        let usable = quota.map_or(affinity, |cpus| affinity.min(cpus.ceil() as usize)).max(1);
        let reason = match quota {
            Some(cpus) if usable < affinity => {
                format!("the control group quota of {cpus:.2} CPUs allows {usable} of {affinity} processors")
            }
            _ if affinity < topology.online.len() => {
                format!("affinity allows {affinity} of {} processors", topology.online.len())
            }
            _ => format!("all {affinity} processors may be used"),
        };
        Self { affinity, quota, cores, usable, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::hyper_threaded;

    #[test]
    fn quota_rounds_up_and_never_to_zero() {
        for (quota, expected) in [(0.01, 1), (0.5, 1), (1.0, 1), (1.5, 2), (1e300, 16)] {
            assert_eq!(CpuBudget::new(&hyper_threaded(8), 1, Some(quota)).usable, expected, "{quota}");
        }
        assert_eq!(CpuBudget::new(&hyper_threaded(8), 1, Some(f64::NAN)).usable, 16);
    }

    #[test]
    fn unknown_topology_uses_the_fallback() {
        let budget = CpuBudget::new(&Topology::default(), 6, None);
        assert_eq!((budget.affinity, budget.usable, budget.cores), (6, 6, None));
    }

    #[test]
    fn reason_names_what_decided() {
        assert_eq!(
            CpuBudget::new(&hyper_threaded(2), 1, Some(1.5)).reason,
            "the control group quota of 1.50 CPUs allows 2 of 4 processors"
        );
        let mut pinned = hyper_threaded(2);
        pinned.allowed = Some(BTreeSet::from([1]));
        assert_eq!(CpuBudget::new(&pinned, 1, None).reason, "affinity allows 1 of 4 processors");
        assert_eq!(CpuBudget::new(&hyper_threaded(2), 1, None).reason, "all 4 processors may be used");
    }
}
