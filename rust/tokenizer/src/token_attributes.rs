//! What kind of token a token is.

/// The attributes of a token, as bits (`enum llama_token_attr` in `include/llama.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes(pub(crate) u16);

impl Attributes {
    pub(crate) const UNKNOWN: Self = Self(1);
    pub(crate) const UNUSED: Self = Self(1 << 1);
    pub(crate) const NORMAL: Self = Self(1 << 2);
    pub(crate) const CONTROL: Self = Self(1 << 3);
    pub(crate) const USER_DEFINED: Self = Self(1 << 4);
    pub(crate) const BYTE: Self = Self(1 << 5);
    pub(crate) const STRIPS_LEFT: Self = Self(1 << 7);
    pub(crate) const STRIPS_RIGHT: Self = Self(1 << 8);

    /// Those of a type in a file (`enum llama_token_type`); none for types that are not known.
    pub(crate) fn of_type(number: i32) -> Self {
        match number {
            1 => Self::NORMAL,
            2 => Self::UNKNOWN,
            3 => Self::CONTROL,
            4 => Self::USER_DEFINED,
            5 => Self::UNUSED,
            6 => Self::BYTE,
            _ => Self(0),
        }
    }

    /// Whether one of `others` is among them.
    pub(crate) fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// These and `others`.
    pub(crate) const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without `others`.
    pub(crate) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether the token is looked for in a text before the rest is tokenized.
    pub(crate) fn is_special(self) -> bool {
        self.has(Self::UNKNOWN.with(Self::CONTROL).with(Self::USER_DEFINED))
    }

    /// Whether it has no text unless its marker is wanted.
    pub(crate) fn is_marker(self) -> bool {
        self.has(Self::UNKNOWN.with(Self::CONTROL))
    }
}
