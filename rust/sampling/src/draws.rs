//! What a sampler's next choices depend on besides logits and history, to be kept elsewhere.

use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};

use crate::Sampler;
use crate::sampler_state::{SamplerState, SelectorState};

/// The random generator, and the state of mirostat or adaptive-p: what a sampler's next choices depend on besides logits and the accepted tokens.
///
/// ```
/// use tabagent_sampling::{Draws, Sampler, SamplerConfig};
///
/// let config = SamplerConfig { seed: Some(1), ..SamplerConfig::default() };
/// let mut sampler = Sampler::new(&config, 3)?;
/// sampler.sample(&[0.5, 2.0, 2.0])?;
/// let kept = sampler.state().draws().to_json();
/// let token = sampler.sample(&[0.5, 2.0, 2.0])?;
///
/// let mut other = Sampler::new(&config, 3)?;
/// other.set_draws(&Draws::from_json(&kept).ok_or("it is what `to_json` gave")?);
/// assert_eq!(other.sample(&[0.5, 2.0, 2.0])?, token);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Draws {
    random: Xoshiro256PlusPlus,
    selector: SelectorState,
}

impl SamplerState {
    /// The part of it that does not follow from the accepted tokens.
    pub fn draws(&self) -> Draws {
        Draws { random: self.random.clone(), selector: self.selector }
    }
}

impl Sampler {
    /// Goes on with the draws of another sampler of the same configuration, with the history that it has.
    pub fn set_draws(&mut self, draws: &Draws) {
        self.random = draws.random.clone();
        self.selector.set_state(draws.selector);
    }
}

impl Draws {
    /// As JSON, exactly.
    pub fn to_json(&self) -> Value {
        // Bits, as a decimal fraction may be read as another number.
        let selector = match self.selector {
            SelectorState::Dist => json!({}),
            SelectorState::Mirostat(limit) => json!({ "limit": limit.to_bits() }),
            SelectorState::AdaptiveP((sum, weight)) => {
                json!({ "sum": sum.to_bits(), "weight": weight.to_bits() })
            }
        };
        json!({ "random": self.random, "selector": selector })
    }

    /// From what [`to_json`](Self::to_json) gave; `None` if it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let random = serde_json::from_value(value.get("random")?.clone()).ok()?;
        let selector = value.get("selector")?.as_object()?;
        let number = |name: &str| {
            let number = selector.get(name).map(|bits| bits.as_u64().map(f64::from_bits));
            number.map(|number| number.filter(|number| number.is_finite()))
        };
        let selector = match (number("limit"), number("sum"), number("weight")) {
            (None, None, None) => SelectorState::Dist,
            (Some(limit), None, None) => SelectorState::Mirostat(limit?),
            (None, Some(sum), Some(weight)) => SelectorState::AdaptiveP((sum?, weight?)),
            _ => return None,
        };
        Some(Self { random, selector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SamplerConfig, Stage};

    fn configs() -> [SamplerConfig; 3] {
        let base = SamplerConfig {
            seed: Some(7),
            temperature: 1.5,
            repeat_penalty: 1.3,
            ..SamplerConfig::default()
        };
        let adaptive = vec![Stage::Penalties, Stage::TopK, Stage::AdaptiveP];
        [
            base.clone(),
            SamplerConfig { mirostat: 2, ..base.clone() },
            SamplerConfig { adaptive_target: 0.4, order: adaptive, ..base },
        ]
    }

    fn choose(sampler: &mut Sampler, n: u32) -> Vec<i32> {
        let rows =
            (0..n).map(|row| (0..9).map(|i| ((row * 7 + i * 5) % 11) as f32 / 4.0).collect::<Vec<f32>>());
        rows.map(|row| {
            let token = sampler.sample(&row).unwrap();
            sampler.accept(token);
            token
        })
        .collect()
    }

    #[test]
    fn another_sampler_goes_on_from_text() {
        for config in configs() {
            let mut sampler = Sampler::new(&config, 9).unwrap();
            let tokens = choose(&mut sampler, 20);
            let text = sampler.state().draws().to_json().to_string();
            let expected = choose(&mut sampler, 30);
            let mut other = Sampler::new(&config, 9).unwrap();
            for token in tokens {
                other.accept(token);
            }
            other.set_draws(&Draws::from_json(&serde_json::from_str(&text).unwrap()).unwrap());
            assert_eq!(choose(&mut other, 30), expected);
        }
    }

    #[test]
    fn other_values_are_refused() {
        let good = Sampler::new(&configs()[1], 9).unwrap().state().draws().to_json();
        assert!(Draws::from_json(&good).is_some());
        for (pointer, wrong) in [
            ("/random", json!(1)),
            ("/random/s", json!([1, 2])),
            ("/selector", json!([])),
            ("/selector/limit", json!(-1)),
            ("/selector/limit", json!(f64::NAN.to_bits())),
            ("/selector", json!({ "sum": 1 })),
        ] {
            let mut value = good.clone();
            *value.pointer_mut(pointer).unwrap() = wrong;
            assert!(Draws::from_json(&value).is_none(), "{value}");
        }
        assert!(Draws::from_json(&json!(null)).is_none());
    }
}
