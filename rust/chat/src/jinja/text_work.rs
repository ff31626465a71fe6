//! Work on texts that keeps the origin of their parts: stripping, splitting, replacing, changing case.

use std::ops::Range;

use super::fault::{Outcome, value_fault};
use super::letters::is_space;
use super::text::{Builder, Text};
use super::value::Value;

/// Which ends of a text a method works on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ends {
    Both,
    Left,
    Right,
}

/// The text without characters of `chars`, or white space, at its ends.
pub(crate) fn strip(text: &Text, chars: Option<&str>, ends: Ends) -> Outcome<Text> {
    let source = text.as_str();
    text.meter().scan(source.len())?;
    let gone = |char: char| chars.map_or_else(|| is_space(char), |chars| chars.contains(char));
    let mut range = 0..source.len();
    if ends != Ends::Right {
        range.start = source.len() - source.trim_start_matches(gone).len();
    }
    if ends != Ends::Left {
        range.end = range.start + source[range.start..].trim_end_matches(gone).len();
    }
    text.slice(range)
}

/// Where `old` is replaced, at most `count` times.
pub(crate) fn replace(text: &Text, old: &Text, new: &Text, count: usize) -> Outcome<Text> {
    let source = text.as_str();
    let mut out = Builder::new(text.meter())?;
    let mut from = 0;
    if old.as_str().is_empty() {
        let mut left = count;
        for (at, _) in source.char_indices().chain([(source.len(), ' ')]) {
            out.push_slice(text, from..at)?;
            from = at;
            if left == 0 {
                break;
            }
            text.meter().spend(1)?;
            out.push(new)?;
            left -= 1;
        }
    } else {
        let finder = memchr::memmem::Finder::new(old.as_str().as_bytes());
        for at in finder.find_iter(source.as_bytes()).take(count) {
            text.meter().spend(1)?;
            out.push_slice(text, from..at)?;
            out.push(new)?;
            from = at + old.as_str().len();
        }
        if from == 0 {
            return Ok(text.clone());
        }
    }
    out.push_slice(text, from..source.len())?;
    out.finish().with_markup(text.is_markup())
}

/// The lines of a text as ranges, without their ends unless `keep`.
pub(crate) fn lines(source: &str, keep: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut chars = source.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let breaks = matches!(
            char,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        );
        if !breaks {
            continue;
        }
        let mut end = at + char.len_utf8();
        if char == '\r' && chars.peek().is_some_and(|(_, next)| *next == '\n') {
            chars.next();
            end += 1;
        }
        found.push(from..if keep { end } else { at });
        from = end;
    }
    if from < source.len() {
        found.push(from..source.len());
    }
    found
}

/// Whether Unicode counts it as neither large nor small but as both (`Lt`), such as `ǅ`.
pub(crate) fn is_both(char: char) -> bool {
    matches!(char, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
        || matches!(char, '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}' | '\u{1fa8}'..='\u{1faf}')
}

/// The character as words begin with it: mostly the large one (`Titlecase_Mapping` of Unicode).
pub(crate) fn capitalized(char: char) -> String {
    let large = || char.to_uppercase();
    match char {
        '\u{1c4}'..='\u{1c6}' => "ǅ".into(),
        '\u{1c7}'..='\u{1c9}' => "ǈ".into(),
        '\u{1ca}'..='\u{1cc}' => "ǋ".into(),
        '\u{1f1}'..='\u{1f3}' => "ǲ".into(),
        // Ligatures: their first letter is large.
        'ß' | '\u{587}' | '\u{fb00}'..='\u{fb17}' => {
            large().take(1).chain(large().skip(1).flat_map(char::to_lowercase)).collect()
        }
        // Greek letters with an iota, which stays small.
        '\u{1f80}'..='\u{1faf}' => char::from_u32(u32::from(char) | 8).unwrap_or(char).into(),
        '\u{1fb3}' | '\u{1fbc}' => '\u{1fbc}'.into(),
        '\u{1fc3}' | '\u{1fcc}' => '\u{1fcc}'.into(),
        '\u{1ff3}' | '\u{1ffc}' => '\u{1ffc}'.into(),
        '\u{1fb2}' | '\u{1fb4}' | '\u{1fb7}' | '\u{1fc2}' | '\u{1fc4}' | '\u{1fc7}' | '\u{1ff2}'
        | '\u{1ff4}' | '\u{1ff7}' => large().map(|part| if part == 'Ι' { '\u{345}' } else { part }).collect(),
        // Georgian has large letters for whole words alone.
        '\u{10d0}'..='\u{10ff}' => char.into(),
        _ => large().collect(),
    }
}

/// Each character with its small form, of which that of `Σ` depends on those around it.
pub(crate) fn with_small(text: &str) -> impl Iterator<Item = (char, String)> {
    let all: Vec<char> = text.to_lowercase().chars().collect();
    let mut at = 0;
    let found: Vec<(char, String)> = text
        .chars()
        .map(|char| {
            let count = if char == 'Σ' { 1 } else { char.to_lowercase().count() };
            let own = all[at..at + count].iter().collect();
            at += count;
            (char, own)
        })
        .collect();
    found.into_iter()
}

pub(crate) fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for (char, small) in with_small(text) {
        let cased = char.is_lowercase() || char.is_uppercase() || is_both(char);
        if cased && inside {
            out.push_str(&small);
        } else if cased {
            out.push_str(&capitalized(char));
        } else {
            out.push(char);
        }
        inside = cased;
    }
    out
}

/// Small letters large and large ones small.
pub(crate) fn swapped(text: &str) -> String {
    with_small(text).fold(String::with_capacity(text.len()), |mut out, (char, small)| {
        if char.is_uppercase() {
            out.push_str(&small);
        } else if char.is_lowercase() {
            out.extend(char.to_uppercase());
        } else {
            out.push(char);
        }
        out
    })
}

pub(crate) fn is_title(text: &str) -> bool {
    let (mut inside, mut any) = (false, false);
    for char in text.chars() {
        if char.is_uppercase() || is_both(char) {
            if inside {
                return false;
            }
            (inside, any) = (true, true);
        } else if char.is_lowercase() {
            if !inside {
                return false;
            }
        } else {
            inside = false;
        }
    }
    any
}

/// The first character large and the others small.
pub(crate) fn capitalize(text: &Text) -> Outcome<Text> {
    let mut out = Builder::new(text.meter())?;
    let mut first = true;
    out.push_mapped(text, |part| {
        let mut chars = with_small(part);
        let head = if std::mem::take(&mut first) {
            chars.next().map(|(char, _)| capitalized(char)).unwrap_or_default()
        } else {
            String::new()
        };
        chars.fold(head, |made, (_, small)| made + &small)
    })?;
    out.finish().with_markup(text.is_markup())
}

/// Python's `text.split(separator, most)`.
pub(crate) fn split(
    text: &Text,
    separator: Option<&Text>,
    most: i128,
    from_right: bool,
) -> Outcome<Vec<Value>> {
    let source = text.as_str();
    text.meter().scan(source.len())?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts: Vec<Range<usize>> = Vec::new();
    match separator {
        Some(separator) => {
            let separator = separator.as_str();
            if separator.is_empty() {
                return Err(value_fault("empty separator"));
            }
            if from_right {
                let mut end = source.len();
                while parts.len() < most
                    && let Some(at) = memchr::memmem::rfind(&source.as_bytes()[..end], separator.as_bytes())
                {
                    parts.push(at + separator.len()..end);
                    end = at;
                }
                parts.push(0..end);
                parts.reverse();
            } else {
                let mut from = 0;
                for at in memchr::memmem::find_iter(source.as_bytes(), separator.as_bytes()).take(most) {
                    parts.push(from..at);
                    from = at + separator.len();
                }
                parts.push(from..source.len());
            }
        }
        None if from_right => {
            let mut end = source.trim_end_matches(is_space).len();
            while end > 0 {
                if parts.len() == most {
                    parts.push(0..end);
                    break;
                }
                let begin = source[..end]
                    .rfind(is_space)
                    .map_or(0, |at| at + source[at..].chars().next().map_or(1, char::len_utf8));
                parts.push(begin..end);
                end = source[..begin].trim_end_matches(is_space).len();
            }
            parts.reverse();
        }
        None => {
            let mut from = source.len() - source.trim_start_matches(is_space).len();
            while from < source.len() {
                if parts.len() == most {
                    parts.push(from..source.len());
                    break;
                }
                let end = source[from..].find(is_space).map_or(source.len(), |at| from + at);
                parts.push(from..end);
                from = source.len() - source[end..].trim_start_matches(is_space).len();
            }
        }
    }
    parts.into_iter().map(|part| text.slice(part).map(Value::Str)).collect()
}

/// Python's `str.casefold`, but for a few letters of old scripts.
pub(crate) fn casefolded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_ascii() || char == 'ı' {
            out.push(char.to_ascii_lowercase());
        } else {
            out.extend(char.to_uppercase().flat_map(char::to_lowercase));
        }
    }
    out
}
