//! The formats of strings.

/// How a format is enforced.
pub(super) enum Format {
    /// By the engine's own expression.
    Engine,
    /// By this anchored expression, in the syntax of Rust's `regex` crate.
    Pattern(String),
    /// Not at all.
    Unknown,
}

/// Days of the Gregorian calendar from year 1, leap years included (RFC 3339, section 5.7 and appendix C).
const DATE: &str = concat!(
    "(?:(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-",
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26]|0[48])00)-02-29)"
);
/// A time of day with an offset, without leap seconds, and with at most nine digits of a second.
const TIME: &str =
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+\-](?:[01][0-9]|2[0-3]):[0-5][0-9])";

/// How the format `name` is enforced on strings.
pub(super) fn lookup(name: &str) -> Format {
    let pattern = match name {
        "date" => format!("^{DATE}$"),
        "time" => format!("^{TIME}$"),
        "date-time" => format!("^{DATE}T{TIME}$"),
        "json-pointer" => r"^(?:/(?:[^/~]|~[01])*)*$".to_owned(),
        "relative-json-pointer" => r"^(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^/~]|~[01])*)*)$".to_owned(),
        "byte" => r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$".to_owned(),
        "email" | "hostname" | "ipv4" | "ipv6" | "uuid" | "uri" | "duration" => return Format::Engine,
        _ => return Format::Unknown,
    };
    Format::Pattern(pattern)
}

/// Formats that say how a number or a string is to be stored or shown and rule no string out.
pub(super) fn is_annotation(name: &str) -> bool {
    matches!(
        name,
        "int64" | "uint64" | "float" | "double" | "decimal" | "password" | "binary" | "textarea" | "markdown"
    )
}
