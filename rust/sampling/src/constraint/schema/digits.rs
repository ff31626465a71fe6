//! The texts of numbers without a sign, as expressions over their digits.

use llguidance::derivre::RegexAst;

use super::number::Bound;
use crate::constraint::limits::{MAX_FRACTION_DIGITS, MAX_WHOLE_DIGITS};

/// Any number, with an exponent too.
pub(super) fn any_number() -> String {
    let (whole, fraction) = (MAX_WHOLE_DIGITS - 1, MAX_FRACTION_DIGITS);
    let size = format!(r"(?:0|[1-9][0-9]{{0,{whole}}})(?:\.[0-9]{{1,{fraction}}})?");
    let short =
        format!(r"[0-9](?:\.[0-9]{{1,{fraction}}})?[eE][+\-]?(?:[0-9]{{1,2}}|[12][0-9]{{2}}|30[0-7])");
    let long = format!(
        r"[1-9][0-9]{{1,15}}(?:\.[0-9]{{1,{fraction}}})?[eE][+\-]?(?:[0-9]{{1,2}}|1[0-9]{{2}}|2[0-8][0-9])"
    );
    format!("-?(?:{size}|{short}|{long})")
}

/// The texts without a sign from `least` to `most`.
pub(super) fn sizes(least: Option<&Bound>, most: Option<&Bound>, whole: bool) -> RegexAst {
    let all = || format!("(?:0|[1-9][0-9]{{0,{}}}){}", MAX_WHOLE_DIGITS - 1, tail(whole, ""));
    let texts: Vec<RegexAst> =
        [least.map(|least| at_least(least, whole)), most.map(|most| at_most(most, whole))]
            .into_iter()
            .flatten()
            .map(RegexAst::Regex)
            .collect();
    match texts.len() {
        0 => RegexAst::Regex(all()),
        _ => RegexAst::And(texts),
    }
}

/// A fraction that goes on after `digits`, or may be absent where there are none.
fn tail(whole: bool, digits: &str) -> String {
    let left = MAX_FRACTION_DIGITS.saturating_sub(digits.len());
    match (whole, digits) {
        (true, _) => String::new(),
        (false, "") => format!(r"(?:\.[0-9]{{1,{left}}})?"),
        (false, digits) => format!(r"\.{digits}[0-9]{{0,{left}}}"),
    }
}

/// The sizes of at least the bound's.
fn at_least(bound: &Bound, whole: bool) -> String {
    let (digits, fraction) = (bound.at.whole(), bound.at.fraction());
    let mut ways = Vec::new();
    let any_tail = tail(whole, "");
    if digits.len() < MAX_WHOLE_DIGITS {
        ways.push(format!("[1-9][0-9]{{{},{}}}{any_tail}", digits.len(), MAX_WHOLE_DIGITS - 1));
    }
    for (i, digit) in digits.bytes().enumerate().filter(|(_, digit)| *digit < b'9') {
        let rest = digits.len() - i - 1;
        ways.push(format!("{}[{}-9][0-9]{{{rest}}}{any_tail}", &digits[..i], char::from(digit + 1)));
    }
    if !whole {
        for (i, digit) in fraction.bytes().enumerate().filter(|(_, digit)| *digit < b'9') {
            let next = format!("{}[{}-9]", &fraction[..i], char::from(digit + 1));
            ways.push(format!(r"{digits}\.{next}[0-9]{{0,{MAX_FRACTION_DIGITS}}}"));
        }
        ways.push(format!(
            r"{digits}\.{fraction}[0-9]{{0,{MAX_FRACTION_DIGITS}}}[1-9][0-9]{{0,{MAX_FRACTION_DIGITS}}}"
        ));
    }
    if !bound.strict {
        ways.push(same(digits, fraction, whole));
    }
    ways.join("|")
}

/// The sizes of at most the bound's.
fn at_most(bound: &Bound, whole: bool) -> String {
    let (digits, fraction) = (bound.at.whole(), bound.at.fraction());
    // Never empty, so that the expression of an empty set matches nothing rather than the empty text.
    let mut ways = vec!["[a&&b]".to_owned()];
    let any_tail = tail(whole, "");
    if digits.len() > 1 {
        ways.push(format!(
            "(?:0|[1-9][0-9]{{0,{}}}){any_tail}",
            (digits.len() - 2).min(MAX_WHOLE_DIGITS - 1)
        ));
    }
    for (i, digit) in digits.bytes().enumerate() {
        let lowest = if i == 0 && digits.len() > 1 { b'1' } else { b'0' };
        if digit > lowest {
            let rest = digits.len() - i - 1;
            let lower = format!("[{}-{}]", char::from(lowest), char::from(digit - 1));
            ways.push(format!("{}{lower}[0-9]{{{rest}}}{any_tail}", &digits[..i]));
        }
    }
    if !whole {
        for (i, digit) in fraction.bytes().enumerate() {
            // The texts that end before this digit, with further zeros where digits of the bound are zeros.
            let so_far = &fraction[..i];
            ways.push(if i == 0 { digits.to_owned() } else { format!(r"{digits}\.{so_far}") });
            if digit > b'0' {
                let lower = format!("[0-{}]", char::from(digit - 1));
                ways.push(format!(r"{digits}\.{so_far}{lower}[0-9]{{0,{MAX_FRACTION_DIGITS}}}"));
            }
        }
    }
    if !bound.strict {
        ways.push(same(digits, fraction, whole));
    }
    ways.join("|")
}

/// The texts of exactly this size.
fn same(digits: &str, fraction: &str, whole: bool) -> String {
    match (whole, fraction) {
        (true, _) => digits.to_owned(),
        (false, "") => format!(r"{digits}(?:\.0{{1,{MAX_FRACTION_DIGITS}}})?"),
        (false, fraction) => format!(r"{digits}\.{fraction}0{{0,{MAX_FRACTION_DIGITS}}}"),
    }
}
