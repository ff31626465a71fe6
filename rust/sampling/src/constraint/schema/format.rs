//! The formats of strings.

use super::text::Text;

/// How a format is enforced.
pub(super) enum Format {
    /// By this set of strings.
    Text(Text),
    /// Not at all.
    Unknown,
}

/// Days of the Gregorian calendar from year 1, leap years included (RFC 3339, section 5.7 and appendix C).
const DATE: &str = concat!(
    "(?:(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-",
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))",
    "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26]|0[48])00)-02-29)"
);
/// A label of a host name: letters, digits and hyphens inside (RFC 1123, section 2.1; RFC 1035, section 2.3.4).
const LABEL: &str = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
/// Characters between the dots before the `@` of an address (RFC 5322, section 3.2.3).
const ATOM: &str = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
/// Anything else before the `@`, in quotes (RFC 5321, section 4.1.2).
const QUOTED: &str = r#""(?:[ !#-\[\]-~]|\\[ -~])*""#;
/// A byte in decimal, without leading zeros.
const BYTE: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
/// Characters of user information, registered names, paths and queries of a URI (RFC 3986, sections 2 and 3).
const URI_CHAR: &str = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})";

fn ipv4() -> String {
    format!(r"(?:{BYTE}\.){{3}}{BYTE}")
}

/// The nine forms of RFC 3986, section 3.2.2: `n` groups before the `::`, the rest after it.
fn ipv6() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let last = format!("(?:{group}:{group}|{})", ipv4());
    let mut forms = vec![format!("(?:{group}:){{6}}{last}")];
    for after in (0..=5).rev() {
        let before = 5 - after;
        let head =
            if before == 0 { String::new() } else { format!("(?:(?:{group}:){{0,{}}}{group})?", before - 1) };
        forms.push(format!("{head}::(?:{group}:){{{after}}}{last}"));
    }
    forms.push(format!("(?:(?:{group}:){{0,5}}{group})?::{group}"));
    forms.push(format!("(?:(?:{group}:){{0,6}}{group})?::"));
    format!("(?:{})", forms.join("|"))
}

fn uri() -> String {
    let char = URI_CHAR;
    let path_char = format!("(?:{char}|[:@])");
    let literal = format!(r"\[(?:{}|v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]", ipv6());
    let authority = format!("(?:(?:{char}|:)*@)?(?:{literal}|{char}*)(?::[0-9]*)?");
    let hierarchy = format!(
        "(?://{authority}(?:/{path_char}*)*|/(?:{path_char}+(?:/{path_char}*)*)?|{path_char}+(?:/{path_char}*)*)?"
    );
    let tail = format!("(?:{path_char}|[/?])*");
    format!(r"[A-Za-z][A-Za-z0-9+.-]*:{hierarchy}(?:\?{tail})?(?:#{tail})?")
}

/// ISO 8601 durations by the grammar of RFC 3339, appendix A.
fn duration() -> String {
    let time = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)";
    let date = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)";
    format!("P(?:{date}(?:{time})?|{time}|[0-9]+W)")
}

/// Times of day with an offset after `date` (RFC 3339, section 5.6). The 60th second comes only in the last minute of a day in UTC.
fn times(date: &str) -> Text {
    let set = |regex: String| Text::regex(&format!("^(?:{regex})$"));
    let (hour, minute, fraction) = ("(?:[01][0-9]|2[0-3])", "[0-5][0-9]", r"(?:\.[0-9]+)?");
    let usual = format!("{date}{hour}:{minute}:{minute}{fraction}(?:[Zz]|[+-]{hour}:{minute})");
    let in_utc = format!("{date}23:59:60{fraction}[Zz]");
    // What the offset takes from the hour and the minute, each apart.
    let hours = |sign: char, of: &dyn Fn(u32) -> u32, minutes: &str, offset: &str| {
        let ways = (0..24)
            .map(|local| format!("{local:02}:{minutes}:60{fraction}[{sign}]{:02}:{offset}", of(local)));
        set(format!("{date}(?:{})", ways.collect::<Vec<_>>().join("|")))
    };
    let minutes = |sign: char, locals: std::ops::Range<u32>, of: &dyn Fn(u32) -> u32| {
        let ways =
            locals.map(|local| format!("{hour}:{local:02}:60{fraction}[{sign}]{hour}:{:02}", of(local)));
        set(format!("{date}(?:{})", ways.collect::<Vec<_>>().join("|")))
    };
    let behind =
        hours('-', &|local| 23 - local, minute, minute).and(&minutes('-', 0..60, &|local| 59 - local));
    let ahead = hours('+', &|local| local, minute, minute).and(&minutes('+', 0..59, &|local| local + 1));
    let ahead_by_hours = hours('+', &|local| (local + 1) % 24, "59", "00");
    [in_utc]
        .into_iter()
        .map(set)
        .chain([behind, ahead, ahead_by_hours])
        .fold(set(usual), |all, set| all.or(&set))
}

/// How the format `name` is enforced on strings.
pub(super) fn lookup(name: &str) -> Format {
    let host = format!(r"{LABEL}(?:\.{LABEL})*");
    let regex = match name {
        "date" => DATE.to_owned(),
        "time" => return Format::Text(times("")),
        "date-time" => return Format::Text(times(&format!("{DATE}[Tt]"))),
        "json-pointer" => r"(?:/(?:[^/~]|~[01])*)*".to_owned(),
        "relative-json-pointer" => r"(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^/~]|~[01])*)*)".to_owned(),
        "byte" => r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?".to_owned(),
        "uuid" => "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}".to_owned(),
        "ipv4" => ipv4(),
        "ipv6" => ipv6(),
        "hostname" => host,
        "email" => {
            format!(r"(?:{ATOM}(?:\.{ATOM})*|{QUOTED})@(?:{host}|\[(?:{}|IPv6:{})\])", ipv4(), ipv6())
        }
        "uri" => uri(),
        "duration" => duration(),
        _ => return Format::Unknown,
    };
    let text = Text::regex(&format!("^(?:{regex})$"));
    let most = match name {
        "hostname" => Some(253),
        // RFC 5321, section 4.5.3.1.3, without the angle brackets.
        "email" => Some(254),
        _ => None,
    };
    Format::Text(text.and(&Text::length(0, most)))
}

/// Formats that say how a number or a string is to be stored or shown and rule no string out.
pub(super) fn is_annotation(name: &str) -> bool {
    matches!(
        name,
        "int64" | "uint64" | "float" | "double" | "decimal" | "password" | "binary" | "textarea" | "markdown"
    )
}
