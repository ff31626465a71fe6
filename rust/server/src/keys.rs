//! Keys that open the server.

use subtle::{Choice, ConstantTimeEq};

/// The keys of a server.
pub(crate) struct Keys(Vec<Vec<u8>>);

impl Keys {
    pub(crate) fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| key.as_bytes().to_vec()).collect())
    }

    /// Whether a key is asked for.
    pub(crate) fn are_asked(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether `given` is one of them. Takes as long whatever of it is right; only its length shows.
    pub(crate) fn accept(&self, given: &[u8]) -> bool {
        let found = self.0.iter().fold(Choice::from(0), |found, key| found | key.as_slice().ct_eq(given));
        found.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_only_as_a_whole() {
        let keys = Keys::new(&["secret".to_owned(), "other".to_owned()]);
        assert!(keys.are_asked() && keys.accept(b"secret") && keys.accept(b"other"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret", b"othe\0"] {
            assert!(!keys.accept(wrong));
        }
        assert!(!Keys::new(&[]).are_asked());
    }
}
