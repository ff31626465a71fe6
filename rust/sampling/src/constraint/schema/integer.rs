//! Bounds of integers, fitted to what the engine can count: it reads bounds as 64-bit floats and counts in 64-bit integers.

use serde_json::{Map, Value, json};

/// The lowest integer that can be a bound: the engine negates them, and the float below is the lowest integer of 64 bits.
const LOWEST: i128 = -9_223_372_036_854_774_784;
/// The highest one. As a float it is one more, which the engine turns back into it.
const HIGHEST: i128 = i64::MAX as i128;
/// From here on the engine wants a bound on the other side as well.
const TWO_SIDED: i128 = 1_000_000_000_000_000_000;

/// The integers that the bounds of a schema leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Integers {
    low: Option<i128>,
    high: Option<i128>,
}

/// The bounds to ask of the engine, inclusive, and what there is to say about them, by keyword.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fitted {
    pub(super) bounds: Vec<(&'static str, Value)>,
    pub(super) limitations: Vec<(&'static str, String)>,
}

impl Integers {
    /// The integers that fit all bounds of a schema, those of older drafts too.
    pub(super) fn of(map: &Map<String, Value>) -> Self {
        let number = |key: &str| map.get(key).filter(|value| value.is_number());
        let is_strict = |key: &str| map.get(key) == Some(&Value::Bool(true));
        let bound = |inclusive: &str, exclusive: &str, low: bool| {
            let first = number(inclusive).map(|bound| inner_integer(bound, is_strict(exclusive), low));
            let second = number(exclusive).map(|bound| inner_integer(bound, true, low));
            first.into_iter().chain(second)
        };
        Self {
            low: bound("minimum", "exclusiveMinimum", true).max(),
            high: bound("maximum", "exclusiveMaximum", false).min(),
        }
    }

    /// The same, as near as the engine comes to it from within.
    pub(super) fn fitted(self) -> Fitted {
        let mut fitted = Fitted::default();
        let (mut low, mut high) = (self.low, self.high);
        if low.is_some_and(|low| low >= TWO_SIDED) {
            high = Some(high.unwrap_or(i128::MAX));
        }
        if high.is_some_and(|high| high <= -TWO_SIDED) {
            low = Some(low.unwrap_or(i128::MIN));
        }
        let inner = (low.map(float_above), high.map(float_below));
        let is_empty = |low: i128, high: i128| low <= high && float_above(low).1 > float_below(high).1;
        let beyond = low.is_some_and(|low| low > HIGHEST) || high.is_some_and(|high| high < LOWEST);
        if beyond || low.zip(high).is_some_and(|(low, high)| is_empty(low, high)) {
            let keyword = if self.low.is_some() { "minimum" } else { "maximum" };
            fitted.limitations.push((keyword, "not enforced: the engine does not count that far".to_owned()));
            return fitted;
        }
        if let (Some((float, first)), Some(low)) = (inner.0, low) {
            fitted.bounds.push(("minimum", json!(float)));
            if first > low {
                fitted.limitations.push(("minimum", format!("integers below {first} are not written")));
            }
        }
        if let (Some((float, last)), Some(high)) = (inner.1, high) {
            fitted.bounds.push(("maximum", json!(float)));
            if last < high {
                fitted.limitations.push(("maximum", format!("integers above {last} are not written")));
            }
        }
        fitted
    }
}

/// The outermost integer that the bound lets through.
fn inner_integer(bound: &Value, strict: bool, low: bool) -> i128 {
    let whole = bound.as_i64().map(i128::from).or_else(|| bound.as_u64().map(i128::from));
    let float = bound.as_f64().unwrap_or(0.0);
    let step = if low { 1 } else { -1 };
    match whole {
        Some(whole) => whole + if strict { step } else { 0 },
        // Conversions saturate.
        None if float.fract() == 0.0 => (float as i128).saturating_add(if strict { step } else { 0 }),
        None if low => float.ceil() as i128,
        None => float.floor() as i128,
    }
}

/// The lowest float of an integer of at least this that the engine takes, and that integer.
fn float_above(integer: i128) -> (f64, i128) {
    let integer = integer.max(LOWEST);
    let mut float = integer as f64;
    if (float as i128) < integer {
        float = float.next_up();
    }
    (float, (float as i128).min(HIGHEST))
}

/// The highest float of an integer of at most this that the engine takes, and that integer.
fn float_below(integer: i128) -> (f64, i128) {
    if integer >= HIGHEST {
        return (HIGHEST as f64, HIGHEST);
    }
    let mut float = integer as f64;
    if (float as i128) > integer {
        float = float.next_down();
    }
    (float, float as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(schema: &Value) -> Fitted {
        Integers::of(schema.as_object().unwrap()).fitted()
    }

    #[test]
    fn bounds_become_inclusive_integers() {
        let integers = |schema: Value| Integers::of(schema.as_object().unwrap());
        let between = |low, high| Integers { low, high };
        assert_eq!(integers(json!({"minimum": 1.5, "maximum": 7.5})), between(Some(2), Some(7)));
        assert_eq!(
            integers(json!({"exclusiveMinimum": 1, "exclusiveMaximum": 7})),
            between(Some(2), Some(6))
        );
        assert_eq!(integers(json!({"exclusiveMinimum": -1.5, "maximum": 2.0})), between(Some(-1), Some(2)));
        assert_eq!(integers(json!({"minimum": 3, "exclusiveMinimum": true})), between(Some(4), None));
        assert_eq!(integers(json!({"minimum": 3, "exclusiveMinimum": 5})), between(Some(6), None));
        assert_eq!(integers(json!({"maximum": u64::MAX})), between(None, Some(i128::from(u64::MAX))));
        assert_eq!(integers(json!({"maximum": 1e300})), between(None, Some(i128::MAX)));
    }

    #[test]
    fn exact_bounds_are_kept_and_others_moved_inwards() {
        let exact = 1i64 << 53;
        let both = fitted(&json!({"minimum": exact, "maximum": exact}));
        assert_eq!(both.bounds, [("minimum", json!(exact as f64)), ("maximum", json!(exact as f64))]);
        assert_eq!(both.limitations, []);
        let odd = fitted(&json!({"maximum": exact + 3}));
        assert_eq!(odd.bounds, [("maximum", json!((exact + 2) as f64))]);
        assert_eq!(odd.limitations, [("maximum", format!("integers above {} are not written", exact + 2))]);
    }

    #[test]
    fn bounds_of_64_bits_reach_the_highest_integer() {
        let signed = fitted(&json!({"minimum": i64::MIN, "maximum": i64::MAX}));
        assert_eq!(signed.bounds[1], ("maximum", json!(9_223_372_036_854_775_808.0)));
        assert_eq!(signed.limitations.len(), 1);
        let unsigned = fitted(&json!({"minimum": 0, "maximum": u64::MAX}));
        assert_eq!(
            unsigned.limitations,
            [("maximum", "integers above 9223372036854775807 are not written".to_owned())]
        );
    }

    #[test]
    fn what_the_engine_cannot_count_is_not_enforced() {
        let odd = (1i64 << 53) + 1;
        for schema in [json!({"minimum": odd, "maximum": odd}), json!({"minimum": u64::MAX})] {
            let fitted = fitted(&schema);
            assert!(fitted.bounds.is_empty());
            assert_eq!(fitted.limitations.len(), 1);
        }
        // That nothing fits is told by the engine.
        assert_eq!(fitted(&json!({"minimum": 2, "maximum": 1})).bounds.len(), 2);
    }
}
