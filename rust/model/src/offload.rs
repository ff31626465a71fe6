//! How many layers a load puts on devices: as many as fit by prediction, and fewer where that turns out to be too many.

use serde::{Deserialize, Serialize};
use tabagent_llama::{ContextError, ModelError};

use crate::error::Error;
use crate::memory::Plan;

/// How many layers of a model went to devices, where fewer did than were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offload {
    /// Layers to put there, with the output as one of them; `None` for what was asked for, or all.
    pub layers: Option<u32>,
    /// Why not all.
    pub why_fewer: Option<String>,
    /// Whether the number is ours to choose.
    chosen: bool,
}

impl Offload {
    /// As the plan says; `asked` is what the caller asked for.
    pub(crate) fn planned(asked: Option<u32>, plan: &Plan) -> Self {
        Self { layers: plan.gpu_layers.or(asked), why_fewer: plan.why_fewer.clone(), chosen: asked.is_none() }
    }

    /// Whether another try makes sense after this error, and if so, with how many layers of `all`. From the last try a quarter of the layers is
    /// taken away, until none is left.
    pub(crate) fn retries_after(&mut self, error: &Error, all: u32) -> bool {
        let is_full = matches!(
            error,
            Error::Load(ModelError::DeviceMemory { .. })
                | Error::Context(ContextError::NoMemory { device: Some(_), .. })
        );
        let tried = self.layers.unwrap_or(all).min(all);
        if !is_full || !self.chosen || tried == 0 {
            return false;
        }
        self.layers = Some(tried - tried.div_ceil(4));
        self.why_fewer = Some(error.to_string());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Error {
        ContextError::NoMemory { context_size: 8, device: Some("cuda:0".to_owned()) }.into()
    }

    #[test]
    fn what_does_not_fit_is_tried_with_fewer_layers_until_none_is_left() {
        let mut offload = Offload::planned(None, &Plan::default());
        let mut tried = Vec::new();
        while offload.retries_after(&full(), 31) {
            tried.extend(offload.layers);
        }
        assert_eq!(tried, [23, 17, 12, 9, 6, 4, 3, 2, 1, 0]);
        assert!(offload.why_fewer.unwrap().contains("on `cuda:0`"));
    }

    #[test]
    fn a_number_that_was_asked_for_and_other_errors_are_left_alone() {
        assert!(!Offload::planned(Some(5), &Plan::default()).retries_after(&full(), 31));
        let mut offload = Offload::planned(None, &Plan::default());
        let of_host = ContextError::NoMemory { context_size: 8, device: None };
        assert!(!offload.retries_after(&of_host.into(), 31));
        assert_eq!(offload, Offload::planned(None, &Plan::default()));
        let predicted = Plan { gpu_layers: Some(7), why_fewer: Some("so".to_owned()), ..Plan::default() };
        assert_eq!(Offload::planned(None, &predicted).layers, Some(7));
    }
}
