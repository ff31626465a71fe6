//! What a token is.

/// What a token is, as bits of `enum llama_token_attr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenAttributes(pub u32);

impl TokenAttributes {
    const NAMES: [(&'static str, u32); 10] = [
        ("unknown", 1),
        ("unused", 1 << 1),
        ("normal", 1 << 2),
        ("control", 1 << 3),
        ("user_defined", 1 << 4),
        ("byte", 1 << 5),
        ("normalized", 1 << 6),
        ("lstrip", 1 << 7),
        ("rstrip", 1 << 8),
        ("single_word", 1 << 9),
    ];

    /// Names of the bits that are set.
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(name, _)| *name).collect()
    }

    /// A control token, such as the beginning of a sequence.
    pub fn is_control(self) -> bool {
        self.0 & (1 << 3) != 0
    }

    /// A token that is looked for in a text before the rest is tokenized: a control, unknown or user-defined one (`cache_special_tokens` in
    /// `src/llama-vocab.cpp`).
    pub fn is_special(self) -> bool {
        self.0 & (1 | 1 << 3 | 1 << 4) != 0
    }
}
