//! Rules that give tensors a type by their names.

use std::fmt;

use fancy_regex::{Regex, RegexBuilder};

use crate::ggml_type::GgmlType;

use super::error::QuantizeError;

/// Steps of backtracking after which a pattern is given up.
const BACKTRACK_LIMIT: usize = 100_000;

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 4096;

/// The type for tensors whose names match a regular expression; of several rules the first that matches counts.
///
/// As with llama.cpp's quantizer the pattern may match anywhere in the name, may use look-around and back references, and its capital letters count
/// as small ones (but not after a backslash, where they mean something else).
///
/// ```
/// use tabagent_gguf::{GgmlType, TensorRule};
/// let rule: TensorRule = r"blk\.[0-3]\.FFN_down=q6_k".parse()?;
/// assert_eq!(rule.ggml_type(), GgmlType::Q6_K);
/// assert!(rule.applies_to("blk.2.ffn_down.weight")? && !rule.applies_to("blk.5.ffn_down.weight")?);
/// # Ok::<(), tabagent_gguf::QuantizeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TensorRule {
    pattern: String,
    regex: Regex,
    ggml_type: GgmlType,
}

impl TensorRule {
    /// The rule that tensors with `pattern` in their names become `ggml_type`.
    ///
    /// # Errors
    /// [`QuantizeError::Rule`] if the pattern is no regular expression, or empty.
    pub fn new(pattern: &str, ggml_type: GgmlType) -> Result<Self, QuantizeError> {
        let wrong = |problem: String| QuantizeError::Rule { rule: shown(pattern), problem };
        if pattern.is_empty() {
            return Err(wrong("has no pattern; write `PATTERN=TYPE`, such as `attn_v=q8_0`".to_owned()));
        }
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(wrong(format!("is longer than `{MAX_PATTERN_BYTES}` bytes; make it shorter")));
        }
        let lower = lower_case(pattern);
        let regex = RegexBuilder::new(&lower)
            .backtrack_limit(BACKTRACK_LIMIT)
            .seek(false)
            .build()
            .map_err(|error| wrong(format!("has a pattern that is no regular expression: {error}")))?;
        Ok(Self { pattern: pattern.to_owned(), regex, ggml_type })
    }

    /// The pattern as it was given.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The type that the tensors get.
    pub fn ggml_type(&self) -> GgmlType {
        self.ggml_type
    }

    /// True if the pattern is found in `name`.
    ///
    /// # Errors
    /// [`QuantizeError::Rule`] if the pattern takes too long.
    pub fn applies_to(&self, name: &str) -> Result<bool, QuantizeError> {
        self.regex.is_match(name).map_err(|error| QuantizeError::Rule {
            rule: shown(&self.pattern),
            problem: format!(
                "takes too long for tensor `{}`: {error}; make the pattern simpler",
                shown(name)
            ),
        })
    }
}

/// Takes `PATTERN=TYPE`; the pattern ends at the first `=`, as in llama.cpp's quantizer.
impl std::str::FromStr for TensorRule {
    type Err = QuantizeError;

    fn from_str(text: &str) -> Result<Self, QuantizeError> {
        let Some((pattern, kind)) = text.split_once('=') else {
            let problem = "has no `=`; write `PATTERN=TYPE`, such as `attn_v=q8_0`".to_owned();
            return Err(QuantizeError::Rule { rule: shown(text), problem });
        };
        Self::new(pattern, tensor_type(kind)?)
    }
}

impl fmt::Display for TensorRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pattern, self.ggml_type)
    }
}

/// The tensor type called `text`, in upper or lower case.
///
/// # Errors
/// [`QuantizeError::UnknownTensorType`].
pub fn tensor_type(text: &str) -> Result<GgmlType, QuantizeError> {
    let found = GgmlType::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| QuantizeError::UnknownTensorType { text: shown(text) })
}

fn shown(text: &str) -> String {
    crate::text::shown(text.as_bytes())
}

/// The pattern in small letters, except for letters after a backslash.
fn lower_case(pattern: &str) -> String {
    let mut is_escaped = false;
    let lower = |c: char| {
        let kept = is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        if kept { c } else { c.to_ascii_lowercase() }
    };
    pattern.chars().map(lower).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_applied() {
        let rule: TensorRule = "ATTN_(q|k)=Q8_0".parse().unwrap();
        assert_eq!(rule.ggml_type(), GgmlType::Q8_0);
        assert!(rule.applies_to("blk.0.attn_k.weight").unwrap());
        assert!(!rule.applies_to("blk.0.attn_v.weight").unwrap());
        assert_eq!(rule.to_string(), "ATTN_(q|k)=Q8_0");
        let ahead: TensorRule = r"^blk\.(?!0\.)\D=f16".parse().unwrap_or_else(|error| panic!("{error}"));
        assert!(!ahead.applies_to("blk.0.a").unwrap() && ahead.applies_to("blk.x").unwrap());
    }

    #[test]
    fn wrong_rules_say_what_to_write() {
        for (text, part) in [
            ("attn_q", "has no `=`"),
            ("=q8_0", "has no pattern"),
            ("a=", "no type"),
            ("a=q4_k_m", "no type"),
            ("(=q8_0", "no regular expression"),
        ] {
            let error = text.parse::<TensorRule>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = "a".repeat(5000);
        assert!(TensorRule::new(&long, GgmlType::Q8_0).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn patterns_that_explode_are_given_up() {
        let rule = TensorRule::new(r"(a|b|ab)*(?>c)", GgmlType::Q8_0).unwrap();
        let name = "ab".repeat(30);
        let error = rule.applies_to(&name).unwrap_err().to_string();
        assert!(error.contains("takes too long"), "{error}");
    }
}
