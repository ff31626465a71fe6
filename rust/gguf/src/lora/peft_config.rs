//! `adapter_config.json` of the `peft` library.

use std::path::Path;

use crate::convert::json::Object;
use crate::text::shown;
use fancy_regex::Regex;
use serde_json::Value;

use super::error::LoraError;
use super::peft_fields::refusal;

pub(super) const CONFIG: &str = "adapter_config.json";

/// What the configuration says about strengths.
pub(super) struct PeftConfig {
    object: Object,
    rank: f64,
    alpha: f64,
    /// True where the product is divided by the root of the rank: <https://arxiv.org/abs/2312.03732>.
    is_rank_stabilized: bool,
    ranks: Vec<Pattern>,
    alphas: Vec<Pattern>,
}

/// A number for the modules whose names match.
struct Pattern {
    text: String,
    regex: Regex,
    number: f64,
}

impl PeftConfig {
    /// Reads the configuration in `folder` and refuses what cannot be merged.
    pub(super) fn read(folder: &Path) -> Result<Self, LoraError> {
        let path = folder.join(CONFIG);
        let Some(object) = Object::read(&path)? else {
            return Err(LoraError::adapter(
                folder,
                format!("there is no `{CONFIG}`; name the folder of a PEFT adapter"),
            ));
        };
        if let Some(problem) = refusal(&object) {
            return Err(LoraError::adapter(&path, problem));
        }
        let positive = |key: &'static str| {
            let number = object.need_number(&[key])?;
            if number.is_finite() && number > 0.0 {
                return Ok(number);
            }
            Err(LoraError::adapter(&path, format!("key `{key}` must be above 0, but is `{number}`")))
        };
        Ok(Self {
            rank: positive("r")?,
            alpha: positive("lora_alpha")?,
            is_rank_stabilized: object.flag("use_rslora").unwrap_or_default(),
            ranks: patterns(&object, "rank_pattern")?,
            alphas: patterns(&object, "alpha_pattern")?,
            object,
        })
    }

    /// The alpha of all modules without one of their own.
    pub(super) fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The model that the adapter was trained on, as its maker called it.
    pub(super) fn base_model(&self) -> Option<&str> {
        self.object.text("base_model_name_or_path").filter(|name| !name.is_empty())
    }

    /// What the product of `module`, whose matrices have `rank`, is multiplied with.
    pub(super) fn strength(&self, module: &str, rank: usize) -> Result<f64, LoraError> {
        let expected = self.lookup("rank_pattern", &self.ranks, module)?.unwrap_or(self.rank);
        let found = rank as f64;
        #[expect(clippy::float_cmp, reason = "both are whole numbers far below 2^53")]
        if found != expected {
            let module = shown(module.as_bytes());
            return Err(self.wrong(format!(
                "module `{module}` has rank `{found}`, but the configuration says `{expected}`"
            )));
        }
        let alpha = self.lookup("alpha_pattern", &self.alphas, module)?.unwrap_or(self.alpha);
        Ok(alpha / if self.is_rank_stabilized { found.sqrt() } else { found })
    }

    /// The number of the pattern that `module` matches.
    fn lookup(&self, key: &str, patterns: &[Pattern], module: &str) -> Result<Option<f64>, LoraError> {
        let mut found: Option<&Pattern> = None;
        for pattern in patterns {
            let is_match = pattern.regex.is_match(module).map_err(|error| {
                self.wrong(format!(
                    "pattern `{}` of `{key}` cannot be matched: {error}",
                    shown(pattern.text.as_bytes())
                ))
            })?;
            if !is_match {
                continue;
            }
            // The library takes the first in the file, an order that JSON does not promise.
            if let Some(other) = found.filter(|other| other.number.to_bits() != pattern.number.to_bits()) {
                return Err(self.wrong(format!(
                    "patterns `{}` and `{}` of `{key}` give module `{}` different numbers; keep one",
                    shown(other.text.as_bytes()),
                    shown(pattern.text.as_bytes()),
                    shown(module.as_bytes())
                )));
            }
            found = Some(pattern);
        }
        Ok(found.map(|pattern| pattern.number))
    }

    fn wrong(&self, problem: String) -> LoraError {
        LoraError::adapter(self.object.path(), problem)
    }
}

/// The patterns under `key`, which match whole names or their ends after a dot (`get_pattern_key` of `peft`).
fn patterns(object: &Object, key: &'static str) -> Result<Vec<Pattern>, LoraError> {
    let Some(child) = object.get(key) else { return Ok(Vec::new()) };
    let Some(entries) = child.as_object() else {
        return Err(object.mistyped(key, child, "an object with numbers").into());
    };
    let read = |(text, value): (&String, &Value)| {
        let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        let number = number
            .ok_or_else(|| LoraError::from(object.mistyped(key, value, "an object with numbers above 0")))?;
        let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{text})$")).map_err(|error| {
            let text = shown(text.as_bytes());
            LoraError::adapter(
                object.path(),
                format!("pattern `{text}` of `{key}` is no regular expression: {error}"),
            )
        })?;
        Ok(Pattern { text: text.clone(), regex, number })
    };
    entries.iter().map(read).collect()
}
