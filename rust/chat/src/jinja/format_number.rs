//! Numbers with a precision and a kind of notation, as C's `printf` and Python's `format` write them.

/// A float with `precision` digits in the notation `e`, `f` or `g` (or the large letters).
pub(crate) fn float(value: f64, kind: char, precision: usize, alternate: bool) -> String {
    let large = kind.is_ascii_uppercase();
    let magnitude = value.abs();
    let text = match kind.to_ascii_lowercase() {
        _ if value.is_nan() => "nan".into(),
        _ if value.is_infinite() => "inf".into(),
        'e' => exponent(magnitude, precision),
        'g' => general(magnitude, precision.max(1), alternate),
        _ if alternate && precision == 0 => format!("{magnitude:.0}."),
        _ => format!("{magnitude:.precision$}"),
    };
    let sign = if value.is_sign_negative() && !value.is_nan() { "-" } else { "" };
    let text = format!("{sign}{text}");
    if large { text.to_uppercase() } else { text }
}

fn exponent(magnitude: f64, precision: usize) -> String {
    let text = format!("{magnitude:.precision$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.abs())
}

fn general(magnitude: f64, precision: usize, alternate: bool) -> String {
    let rounded = format!("{magnitude:.*e}", precision - 1);
    let power: i32 = rounded.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    if (-4..precision as i32).contains(&power) {
        let decimals = (precision as i32 - 1 - power).max(0) as usize;
        let text = format!("{magnitude:.decimals$}");
        return if alternate { text } else { bare(&text) };
    }
    let text = exponent(magnitude, precision - 1);
    if alternate {
        return text;
    }
    let (digits, power) = text.split_once('e').unwrap_or((&text, "+00"));
    format!("{}e{power}", bare(digits))
}

/// Without zeros at the end of a fraction.
fn bare(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text.into() }
}

/// The digits of a whole number in another base, without sign.
pub(crate) fn digits(magnitude: u128, kind: char) -> String {
    match kind {
        'x' => format!("{magnitude:x}"),
        'X' => format!("{magnitude:X}"),
        'o' => format!("{magnitude:o}"),
        'b' => format!("{magnitude:b}"),
        _ => magnitude.to_string(),
    }
}
