//! How numbers and foreign names appear in error texts.

/// Longest part of a foreign name that an error text repeats, in characters.
const MAX_NAME_CHARS: usize = 80;

/// Writes `value` with a comma between groups of three digits: `1,024`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Makes bytes from a file fit for an error text: invalid UTF-8 replaced, control characters escaped, long names cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(MAX_NAME_CHARS * 4)];
    let lossy = String::from_utf8_lossy(head);
    let mut text: String = lossy.chars().take(MAX_NAME_CHARS).flat_map(char::escape_debug).collect();
    if lossy.chars().nth(MAX_NAME_CHARS).is_some() || bytes.len() > head.len() {
        text.push('…');
    }
    text
}

/// What is wrong with `bytes` if they are a pointer that Git LFS left in place of a file
/// (<https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>).
pub(crate) fn pointer_problem(bytes: &[u8]) -> Option<&'static str> {
    let is_pointer =
        bytes.starts_with(b"version https://git-lfs.") || bytes.starts_with(b"version https://hawser.");
    is_pointer.then_some(
        "is a pointer of Git LFS and not the file itself; fetch that with `git lfs pull`, or download it again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_024), "1,024");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn long_and_hostile_names_are_cut_and_escaped() {
        assert_eq!(shown(b"a\nb"), "a\\nb");
        assert_eq!(shown(&[b'x'; 1000]).chars().count(), MAX_NAME_CHARS + 1);
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }
}
