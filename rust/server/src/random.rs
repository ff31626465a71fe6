//! Names that nobody else has.

/// So many letters and digits.
pub(crate) fn text(length: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = vec![0; length];
    // Without the system's random numbers, names are the same; nothing secret hangs on them.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// A name with something before it: `chatcmpl-…`.
pub(crate) fn id(prefix: &str) -> String {
    format!("{prefix}{}", text(32))
}
