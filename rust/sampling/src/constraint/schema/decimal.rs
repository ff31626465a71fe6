//! Decimal numbers of any length, as JSON writes them.

use std::cmp::Ordering;

use serde_json::Number;

/// A number by its digits, in one form for each value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    negative: bool,
    /// Before the point, without leading zeros, `0` if there is nothing else.
    whole: String,
    /// After the point, without trailing zeros.
    fraction: String,
}

impl Decimal {
    pub(super) fn zero() -> Self {
        Self { negative: false, whole: "0".to_owned(), fraction: String::new() }
    }

    pub(super) fn from_i32(value: i32) -> Self {
        Self::of(&Number::from(value))
    }

    /// What the shortest text of `number` means; a float stands for that decimal number.
    pub(super) fn of(number: &Number) -> Self {
        let text = number.to_string();
        let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = format!("{whole}{fraction}");
        let mut point = whole.len() as i32 + exponent;
        while point <= 0 {
            digits.insert(0, '0');
            point += 1;
        }
        while digits.len() < point as usize {
            digits.push('0');
        }
        let (whole, fraction) = digits.split_at(point as usize);
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let fraction = fraction.trim_end_matches('0');
        let is_zero = whole == "0" && fraction.is_empty();
        Self { negative: negative && !is_zero, whole: whole.to_owned(), fraction: fraction.to_owned() }
    }

    pub(super) fn is_negative(&self) -> bool {
        self.negative
    }

    pub(super) fn is_zero(&self) -> bool {
        self.whole == "0" && self.fraction.is_empty()
    }

    pub(super) fn is_integer(&self) -> bool {
        self.fraction.is_empty()
    }

    pub(super) fn whole(&self) -> &str {
        &self.whole
    }

    pub(super) fn fraction(&self) -> &str {
        &self.fraction
    }

    pub(super) fn negated(&self) -> Self {
        Self { negative: !self.negative && !self.is_zero(), ..self.clone() }
    }

    /// The lowest integer that is not below.
    pub(super) fn ceil(&self) -> Self {
        match (self.is_integer(), self.negative) {
            (true, _) => self.clone(),
            (false, true) => self.truncated(),
            (false, false) => self.truncated().next(),
        }
    }

    /// The highest integer that is not above.
    pub(super) fn floor(&self) -> Self {
        self.negated().ceil().negated()
    }

    fn truncated(&self) -> Self {
        let negative = self.negative && self.whole != "0";
        Self { negative, whole: self.whole.clone(), fraction: String::new() }
    }

    /// The next integer after this integer.
    pub(super) fn next(&self) -> Self {
        let mut digits = self.whole.clone().into_bytes();
        if self.negative {
            for digit in digits.iter_mut().rev() {
                if *digit != b'0' {
                    *digit -= 1;
                    break;
                }
                *digit = b'9';
            }
        } else {
            let mut carry = true;
            for digit in digits.iter_mut().rev() {
                if *digit != b'9' {
                    *digit += 1;
                    carry = false;
                    break;
                }
                *digit = b'0';
            }
            if carry {
                digits.insert(0, b'1');
            }
        }
        let digits: String = digits.into_iter().map(char::from).collect();
        let whole = digits.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        Self { negative: self.negative && whole != "0", whole: whole.to_owned(), fraction: String::new() }
    }

    /// The integer before this integer.
    pub(super) fn previous(&self) -> Self {
        self.negated().next().negated()
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let point = if self.fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{}", self.whole, self.fraction)
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = |a: &Self, b: &Self| {
            (a.whole.len().cmp(&b.whole.len()))
                .then_with(|| a.whole.cmp(&b.whole))
                .then_with(|| a.fraction.cmp(&b.fraction))
        };
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self, other),
            (true, true) => size(other, self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether a number in the JSON text has more than 17 digits, which is more than a 64-bit float keeps.
pub(super) fn has_long_numbers(json: &str) -> bool {
    let mut digits = 0;
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'0'..=b'9' => digits += 1,
            b'.' | b'-' => {}
            _ => digits = 0,
        }
        if digits > 17 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::of(&text.parse().unwrap())
    }

    #[test]
    fn every_spelling_of_a_value_is_one_decimal() {
        for (text, plain) in [
            ("5.30", "5.3"),
            ("-0.0", "0"),
            ("1e3", "1000"),
            ("1.25e-3", "0.00125"),
            ("12.5e1", "125"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(decimal(text).to_string(), plain);
        }
    }

    #[test]
    fn long_numbers_are_found_outside_of_strings() {
        assert!(has_long_numbers(r#"{"a\\": [1, 123456789012345678]}"#));
        assert!(!has_long_numbers(r#"{"123456789012345678\"123456789012345678": [12345678901234567, 1]}"#));
    }

    #[test]
    fn order_and_neighbours_are_those_of_numbers() {
        let sorted = ["-10.5", "-10", "-9.99", "-0.1", "0", "0.09", "0.1", "9", "10", "10.01"];
        for pair in sorted.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
        }
        for (text, ceil, floor) in [
            ("1.5", "2", "1"),
            ("-1.5", "-1", "-2"),
            ("9.1", "10", "9"),
            ("3", "3", "3"),
            ("-0.5", "0", "-1"),
        ] {
            assert_eq!(decimal(text).ceil().to_string(), ceil);
            assert_eq!(decimal(text).floor().to_string(), floor);
        }
        assert_eq!(decimal("-1").next(), Decimal::zero());
        assert_eq!(decimal("0").previous(), decimal("-1"));
        assert_eq!(decimal("-99").previous(), decimal("-100"));
    }
}
