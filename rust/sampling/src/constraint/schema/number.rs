//! Sets of numbers, and the texts that the engine is to match for them.
//!
//! A number is written plainly: digits, a point where there is a fraction, an exponent only where any number fits. So that readers with
//! bounded numbers can read what is written (Python converts no integer of over 4,300 digits, and a float ends near 1.8e308), it has at
//! most [`MAX_WHOLE_DIGITS`](crate::constraint::limits::MAX_WHOLE_DIGITS) digits before the point,
//! [`MAX_FRACTION_DIGITS`](crate::constraint::limits::MAX_FRACTION_DIGITS) after it, and a size below 1e308.

use std::collections::BTreeMap;

use llguidance::derivre::{ExprRef, RegexAst, RegexBuilder};

use super::decimal::Decimal;
use super::digits::{any_number, sizes};
use super::step::{MAX_REMAINDERS, Step};
use super::text::Expressions;
use crate::constraint::engine::Fault;

/// The longest spelling of a listed number that is written without an exponent.
const MAX_PLAIN: usize = 40;
/// What finding out whether a range is empty may cost, in the engine's measure.
const EMPTINESS_FUEL: u64 = 100_000;
/// How many excluded values a range keeps.
const MAX_EXCEPT: usize = 10_000;

/// A set of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numbers {
    ranges: Vec<Range>,
    /// Single numbers, each as the schema spells it.
    only: BTreeMap<Decimal, String>,
}

/// The numbers that fit some bounds and steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Range {
    low: Option<Bound>,
    high: Option<Bound>,
    /// Whether they must be integers, or must not.
    integer: Option<bool>,
    /// Steps, and whether they must be multiples of them, or must not.
    steps: Vec<(Step, bool)>,
    except: Vec<Decimal>,
}

/// A bound, and whether it is outside of the range itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) at: Decimal,
    pub(super) strict: bool,
}

impl Range {
    pub(super) fn above(at: Decimal, strict: bool) -> Self {
        Self { low: Some(Bound { at, strict }), ..Self::default() }
    }

    pub(super) fn below(at: Decimal, strict: bool) -> Self {
        Self { high: Some(Bound { at, strict }), ..Self::default() }
    }

    pub(super) fn integers(integer: bool) -> Self {
        Self { integer: Some(integer), ..Self::default() }
    }

    pub(super) fn multiples(step: Step, of: bool) -> Self {
        Self { steps: vec![(step, of)], ..Self::default() }
    }

    fn contains(&self, value: &Decimal) -> bool {
        let above = self.low.as_ref().is_none_or(|low| low.at < *value || !low.strict && low.at == *value);
        let below =
            self.high.as_ref().is_none_or(|high| *value < high.at || !high.strict && high.at == *value);
        above
            && below
            && self.integer.is_none_or(|integer| value.is_integer() == integer)
            && self.steps.iter().all(|(step, of)| step.divides(value) == *of)
            && !self.except.contains(value)
    }

    /// The numbers in both, unless it is plain that there are none.
    fn and(&self, other: &Self) -> Option<Self> {
        let tighter = |one: &Option<Bound>, two: &Option<Bound>, high: bool| match (one, two) {
            (Some(one), Some(two)) => {
                let order = if high { two.at.cmp(&one.at) } else { one.at.cmp(&two.at) };
                let first = order.is_gt() || order.is_eq() && one.strict;
                Some(if first { one.clone() } else { two.clone() })
            }
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        let mut both = self.clone();
        both.low = tighter(&self.low, &other.low, false);
        both.high = tighter(&self.high, &other.high, true);
        both.integer = match (self.integer, other.integer) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        for (step, of) in &other.steps {
            if self.steps.contains(&(*step, !of)) {
                return None;
            }
            if !self.steps.contains(&(*step, *of)) {
                both.steps.push((*step, *of));
            }
        }
        for value in &other.except {
            if !both.except.contains(value) {
                both.except.push(value.clone());
            }
        }
        (!both.is_plainly_empty()).then_some(both)
    }

    fn is_plainly_empty(&self) -> bool {
        let (low, high) = self.bounds();
        match (low, high) {
            (Some(low), Some(high)) => low.at > high.at || low.at == high.at && (low.strict || high.strict),
            _ => false,
        }
    }

    /// Whether no number is in the range, as far as can be found out in short time.
    fn is_empty(&self) -> bool {
        if self.steps.is_empty() && self.except.is_empty() && self.integer != Some(false) {
            return self.is_plainly_empty();
        }
        let mut builder = RegexBuilder::new();
        let Ok(expr) = builder.mk(&self.ast()) else { return false };
        builder.into_regex_limited(expr, EMPTINESS_FUEL).is_ok_and(|mut regex| regex.always_empty())
    }

    /// The bounds, those of integers moved inwards to integers in the range.
    fn bounds(&self) -> (Option<Bound>, Option<Bound>) {
        if self.integer != Some(true) {
            return (self.low.clone(), self.high.clone());
        }
        let low = self.low.as_ref().map(|low| {
            let at = low.at.ceil();
            if low.strict && low.at.is_integer() { at.next() } else { at }
        });
        let high = self.high.as_ref().map(|high| {
            let at = high.at.floor();
            if high.strict && high.at.is_integer() { at.previous() } else { at }
        });
        (low.map(|at| Bound { at, strict: false }), high.map(|at| Bound { at, strict: false }))
    }

    /// The ranges that hold what is not in this one.
    fn complement(&self) -> Numbers {
        let mut ranges = Vec::new();
        if let Some(low) = &self.low {
            ranges.push(Self::below(low.at.clone(), !low.strict));
        }
        if let Some(high) = &self.high {
            ranges.push(Self::above(high.at.clone(), !high.strict));
        }
        ranges.extend(self.integer.map(|integer| Self::integers(!integer)));
        ranges.extend(self.steps.iter().map(|(step, of)| Self::multiples(*step, !of)));
        let only = self.except.iter().map(|value| (value.clone(), value.to_string())).collect();
        Numbers { ranges, only }
    }

    /// The texts of its numbers.
    fn ast(&self) -> RegexAst {
        let is_all = self.low.is_none() && self.high.is_none() && self.steps.is_empty();
        if is_all && self.integer.is_none() && self.except.is_empty() {
            return RegexAst::Regex(any_number());
        }
        let (low, high) = self.bounds();
        let whole = self.integer == Some(true);
        let mut signed = Vec::new();
        let zero = Decimal::zero();
        if low.as_ref().is_none_or(|low| low.at.is_negative()) {
            let least = high.as_ref().filter(|high| high.at <= zero).map(Bound::negated);
            let most = low.as_ref().map(Bound::negated);
            let sizes = sizes(least.as_ref(), most.as_ref(), whole);
            signed.push(RegexAst::Concat(vec![RegexAst::Byte(b'-'), sizes]));
        }
        if high.as_ref().is_none_or(|high| !high.at.is_negative()) {
            let least = low.as_ref().filter(|low| !low.at.is_negative());
            signed.push(sizes(least, high.as_ref(), whole));
        }
        let mut all = vec![RegexAst::Or(signed)];
        let minus = || RegexAst::Regex("-?".to_owned());
        for (step, of) in &self.steps {
            let multiples = RegexAst::Concat(vec![minus(), step.ast()]);
            all.push(if *of { multiples } else { RegexAst::Not(Box::new(multiples)) });
        }
        if self.integer == Some(false) {
            all.push(RegexAst::Regex(r"-?[0-9]+\.[0-9]*[1-9]".to_owned()));
        }
        if !self.except.is_empty() {
            let listed = self.except.iter().map(|value| RegexAst::Literal(value.to_string()));
            all.push(RegexAst::Not(Box::new(RegexAst::Or(listed.collect()))));
        }
        if !self.except.is_empty() || self.steps.iter().any(|(_, of)| !of) {
            // One text for each value, so that a text which is not excluded has a value which is not.
            all.push(RegexAst::Regex(r"0|-?(?:[1-9][0-9]*|[0-9]+\.[0-9]*[1-9])".to_owned()));
        }
        if all.len() == 1 { all.remove(0) } else { RegexAst::And(all) }
    }
}

impl Bound {
    fn negated(&self) -> Self {
        Self { at: self.at.negated(), strict: self.strict }
    }
}

impl Numbers {
    pub(super) fn all() -> Self {
        Self::range(Range::default())
    }

    pub(super) fn none() -> Self {
        Self { ranges: Vec::new(), only: BTreeMap::new() }
    }

    pub(super) fn range(range: Range) -> Self {
        let ranges = if range.is_plainly_empty() { Vec::new() } else { vec![range] };
        Self { ranges, only: BTreeMap::new() }
    }

    pub(super) fn only(values: impl IntoIterator<Item = (Decimal, String)>) -> Self {
        Self { ranges: Vec::new(), only: values.into_iter().collect() }
    }

    /// The numbers with their spellings, if all are listed.
    pub(super) fn listed(&self) -> Option<impl Iterator<Item = (&Decimal, &String)>> {
        self.ranges.is_empty().then(|| self.only.iter())
    }

    pub(super) fn is_none(&self) -> bool {
        self.ranges.is_empty() && self.only.is_empty()
    }

    /// Whether the steps of some range have too many remainders together.
    pub(super) fn is_costly(&self) -> bool {
        let remainders = |range: &Range| {
            let coefficients = range.steps.iter().map(|(step, _)| u64::from(step.coefficient));
            coefficients.fold(1, u64::saturating_mul)
        };
        self.ranges.iter().any(|range| remainders(range) > MAX_REMAINDERS)
    }

    /// How many parts the set has.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = Self::none();
        for one in &self.ranges {
            for two in &other.ranges {
                both.push(one.and(two));
            }
        }
        let within = |value: &Decimal, set: &Self| {
            set.only.contains_key(value) || set.ranges.iter().any(|range| range.contains(value))
        };
        for (one, two) in [(self, other), (other, self)] {
            let kept = one.only.iter().filter(|(value, _)| within(value, two));
            both.only.extend(kept.map(|(value, text)| (value.clone(), text.clone())));
        }
        both
    }

    /// The numbers in at least one of `sets`.
    pub(super) fn any<'s>(sets: impl IntoIterator<Item = &'s Numbers>) -> Self {
        let mut all = Self::none();
        for set in sets {
            set.ranges.iter().for_each(|range| all.push(Some(range.clone())));
            all.only.extend(set.only.iter().map(|(value, text)| (value.clone(), text.clone())));
        }
        all
    }

    fn push(&mut self, range: Option<Range>) {
        if let Some(range) = range.filter(|range| !self.ranges.contains(range)) {
            self.ranges.push(range);
        }
    }

    /// The numbers that are not in the set; `None` where it excludes too many single ones.
    pub(super) fn complement(&self) -> Option<Self> {
        if self.only.len() > MAX_EXCEPT {
            return None;
        }
        let mut left = Self::range(Range { except: self.only.keys().cloned().collect(), ..Range::default() });
        for range in &self.ranges {
            left = left.and(&range.complement());
        }
        Some(left)
    }

    /// The texts of the numbers; `None` if there are none.
    pub(super) fn expression(&self, expressions: &mut Expressions) -> Result<Option<RegexAst>, Fault> {
        if self.is_none() {
            return Ok(None);
        }
        let mut ways = Vec::new();
        for range in self.ranges.iter().filter(|range| !range.is_empty()) {
            ways.push(RegexAst::ExprRef(expressions.builder.mk(&range.ast())?));
        }
        if !self.only.is_empty() {
            let mut texts = std::collections::BTreeSet::new();
            for (value, text) in &self.only {
                texts.insert(text.clone());
                let plain = value.to_string();
                if plain.len() <= MAX_PLAIN {
                    texts.insert(plain);
                }
            }
            let texts = texts.into_iter().map(|text| (text.into_bytes(), ExprRef::EMPTY_STRING)).collect();
            ways.push(RegexAst::ExprRef(expressions.builder.mk_prefix_tree(texts)?));
        }
        Ok((!ways.is_empty()).then_some(RegexAst::Or(ways)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::limits::MAX_WHOLE_DIGITS;

    fn decimal(text: &str) -> Decimal {
        Decimal::of(&text.parse().unwrap())
    }

    fn matches(numbers: &Numbers, text: &str) -> bool {
        let mut expressions = Expressions::new(RegexBuilder::new());
        let Some(ast) = numbers.expression(&mut expressions).unwrap() else { return false };
        let expr = expressions.builder.mk(&ast).unwrap();
        expressions.builder.into_regex(expr).is_match(text)
    }

    #[test]
    fn texts_fit_bounds_as_their_values_do() {
        let bounds = ["-12.05", "-3", "-0.5", "0", "0.007", "5.31", "9.99", "10", "100.2"];
        let values = [
            "-100",
            "-13",
            "-12.06",
            "-12.05",
            "-12.050",
            "-12.04",
            "-12",
            "-3.0",
            "-3",
            "-2.99",
            "-0.51",
            "-0.5",
            "-0.4",
            "0",
            "0.0",
            "0.0069",
            "0.007",
            "0.0070",
            "0.00701",
            "0.1",
            "5",
            "5.3",
            "5.30",
            "5.31",
            "5.310",
            "5.3100001",
            "5.32",
            "5.4",
            "9",
            "9.9",
            "9.99",
            "9.991",
            "10",
            "10.0",
            "10.00001",
            "11",
            "99",
            "100",
            "100.1",
            "100.2",
            "100.20",
            "100.3",
            "1000",
        ];
        for bound in bounds {
            for strict in [false, true] {
                let above = Numbers::range(Range::above(decimal(bound), strict));
                let below = Numbers::range(Range::below(decimal(bound), strict));
                for value in values {
                    let order = decimal(value).cmp(&decimal(bound));
                    let same = order.is_eq() && !strict;
                    assert_eq!(
                        matches(&above, value),
                        order.is_gt() || same,
                        "{value} above {bound} {strict}"
                    );
                    assert_eq!(
                        matches(&below, value),
                        order.is_lt() || same,
                        "{value} below {bound} {strict}"
                    );
                    let both = above.complement().unwrap();
                    assert_eq!(matches(&both, value), !matches(&above, value), "{value} not above {bound}");
                }
            }
        }
    }

    #[test]
    fn integers_fit_ranges_as_their_values_do() {
        for (low, high) in [(-105, 12), (-7, -3), (0, 0), (3, 1999), (98, 101)] {
            let range = Range::above(Decimal::from_i32(low), false)
                .and(&Range::below(Decimal::from_i32(high), false))
                .and_then(|range| range.and(&Range::integers(true)))
                .unwrap();
            let numbers = Numbers::range(range);
            for value in -120..2100 {
                let inside = (low..=high).contains(&value);
                assert_eq!(matches(&numbers, &value.to_string()), inside, "{value} in {low}..{high}");
            }
            assert!(!matches(&numbers, "5.0"));
        }
    }

    #[test]
    fn multiples_are_those_of_the_value() {
        for step in ["1", "3", "0.01", "0.25", "0.5", "2.5", "1000", "1e12", "0.07", "12"] {
            let step = decimal(step);
            let steps = Step::new(&step).unwrap();
            let (of, not) = (Range::multiples(steps, true), Range::multiples(steps, false));
            for value in [
                "0",
                "3",
                "-6",
                "1.5",
                "-0.25",
                "2.5",
                "0.14",
                "0.01",
                "5000",
                "2000000000000",
                "7.77",
                "24",
                "0.005",
            ] {
                let divides = steps.divides(&decimal(value));
                assert_eq!(matches(&Numbers::range(of.clone()), value), divides, "{value} of {step}");
                assert_eq!(matches(&Numbers::range(not.clone()), value), !divides, "{value} not of {step}");
            }
        }
        assert!(Step::new(&decimal("0.123456789")).is_none() && Step::new(&decimal("1e-300")).is_none());
    }

    #[test]
    fn ranges_between_multiples_are_empty() {
        let between = |low: &str, high: &str, step: &str| {
            let multiples = Range::multiples(Step::new(&decimal(step)).unwrap(), true);
            let range = Range::above(decimal(low), false).and(&Range::below(decimal(high), false)).unwrap();
            Numbers::range(range.and(&multiples).unwrap())
                .expression(&mut Expressions::new(RegexBuilder::new()))
                .unwrap()
        };
        assert!(between("0.25", "1.5", "3").is_none() && between("1", "100", "99991").is_none());
        assert!(between("0.25", "3", "3").is_some() && between("1", "1e9", "12345").is_some());
    }

    #[test]
    fn listed_numbers_are_filtered_and_excluded() {
        let listed = Numbers::only(["1", "2.5", "-3"].map(|text| (decimal(text), text.to_owned())));
        let integers = listed.and(&Numbers::range(Range::integers(true)));
        assert!(matches(&integers, "1") && matches(&integers, "-3") && !matches(&integers, "2.5"));
        let others = listed.complement().unwrap();
        for (text, expected) in
            [("1", false), ("1.0", false), ("2.5", false), ("4", true), ("0", true), ("2.51", true)]
        {
            assert_eq!(matches(&others, text), expected, "{text}");
        }
    }

    #[test]
    fn sizes_end_below_what_floats_hold() {
        let any = Numbers::all();
        for text in ["1e307", "1.5E-7", "6.02e23", "12e5", "-0", "0.5e3", &"9".repeat(MAX_WHOLE_DIGITS)] {
            assert!(matches(&any, text) && text.parse::<f64>().unwrap().is_finite(), "{text}");
        }
        for text in
            ["1e308", "1e999", "01", "1.", ".5", "9999999999999999e290", &"9".repeat(MAX_WHOLE_DIGITS + 1)]
        {
            assert!(!matches(&any, text), "{text}");
        }
        for range in [Range::integers(true), Range::above(decimal("5"), false)] {
            let numbers = Numbers::range(range);
            assert!(matches(&numbers, &"9".repeat(MAX_WHOLE_DIGITS)));
            assert!(!matches(&numbers, &"9".repeat(MAX_WHOLE_DIGITS + 1)));
        }
    }
}
