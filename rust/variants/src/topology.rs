//! Which processors exist, which of them share a core, and which this process may use.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::cpu_list::parse_cpu_list;

/// Processors and cores as Linux's `/sys/devices/system/cpu` and `/proc` describe them.
///
/// ```
/// let topology = tabagent_variants::Topology::read_at(std::path::Path::new("/"));
/// assert!(topology.cores.iter().all(|core| !core.is_empty()));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Processors (hardware threads) that are switched on; empty where unknown.
    pub online: BTreeSet<usize>,
    /// Processors this thread may run on, already limited to those online; `None` where unknown.
    pub allowed: Option<BTreeSet<usize>>,
    /// Physical cores, each as the set of its processors that are online; empty where unknown.
    pub cores: BTreeSet<BTreeSet<usize>>,
    /// The processors of performance cores on hybrid Intel processors, `None` elsewhere.
    pub performance: Option<BTreeSet<usize>>,
}

impl Topology {
    /// Reads the files below `root` (`/` for this machine). What is missing or malformed stays unknown.
    ///
    /// Affinity is `Cpus_allowed_list` of `/proc/thread-self/status`, cut to the online processors as `sched_getaffinity`
    /// does: the file itself also lists processors that could be plugged in later.
    pub fn read_at(root: &Path) -> Self {
        let cpus = root.join("sys/devices/system/cpu");
        let online = list(&cpus.join("online")).unwrap_or_default();
        let mut cores = BTreeSet::new();
        let mut complete = !online.is_empty();
        for cpu in &online {
            let directory = cpus.join(format!("cpu{cpu}/topology"));
            let siblings = list(&directory.join("core_cpus_list"))
                .or_else(|| list(&directory.join("thread_siblings_list")))
                .filter(|siblings| siblings.contains(cpu));
            match siblings {
                Some(siblings) => {
                    cores.insert(&siblings & &online);
                }
                None => complete = false,
            }
        }
        if !complete {
            cores.clear();
        }
        let allowed = ["proc/thread-self/status", "proc/self/status"]
            .iter()
            .find_map(|path| allowed_list(&fs::read_to_string(root.join(path)).ok()?))
            .map(|allowed| if online.is_empty() { allowed } else { &allowed & &online })
            .filter(|allowed| !allowed.is_empty());
        let performance = list(&root.join("sys/devices/cpu_core/cpus"))
            .filter(|cpus| !cpus.is_empty() && root.join("sys/devices/cpu_atom/cpus").exists());
        Self { online, allowed, cores, performance }
    }

    /// Physical cores with at least one processor in `cpus`, or `None` where the cores are unknown.
    pub fn cores_among(&self, cpus: &BTreeSet<usize>) -> Option<usize> {
        let count = self.cores.iter().filter(|core| !core.is_disjoint(cpus)).count();
        (count > 0).then_some(count)
    }
}

fn list(path: &Path) -> Option<BTreeSet<usize>> {
    parse_cpu_list(&fs::read_to_string(path).ok()?)
}

fn allowed_list(status: &str) -> Option<BTreeSet<usize>> {
    parse_cpu_list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?)
}

/// A processor whose cores have two hardware threads each.
#[cfg(test)]
pub(crate) fn hyper_threaded(cores: usize) -> Topology {
    Topology {
        online: (0..2 * cores).collect(),
        allowed: None,
        cores: (0..cores).map(|core| BTreeSet::from([core, core + cores])).collect(),
        performance: None,
    }
}
