//! The figures of a model, as Prometheus reads them.

use tabagent_runtime::{EngineStats, Metrics};

use crate::error::Error;
use crate::model::Model;

/// What a model measured, and whether it was moved to the CPU because a device failed, in
/// [Prometheus' text format](https://prometheus.io/docs/instrumenting/exposition_formats/).
pub fn prometheus(metrics: &Metrics, stats: &EngineStats, moved_to_cpu: bool) -> String {
    let mut text = metrics.prometheus(stats);
    text.push_str(
        "# HELP tabagent_moved_to_cpu Whether the model goes on on the CPU because a device failed.\n",
    );
    text.push_str("# TYPE tabagent_moved_to_cpu gauge\n");
    text.push_str(if moved_to_cpu { "tabagent_moved_to_cpu 1\n" } else { "tabagent_moved_to_cpu 0\n" });
    text
}

impl Model {
    /// What it measured since it was loaded, and what it does now, as [`prometheus`] writes it.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn prometheus(&self) -> Result<String, Error> {
        Ok(prometheus(&self.metrics()?, &self.stats()?, self.moved_to_cpu()?.is_some()))
    }
}
