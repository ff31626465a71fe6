//! How large a model may become.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::text::grouped;

/// How large a quantized model may become.
///
/// ```
/// use tabagent_gguf::SizeTarget;
/// assert_eq!("90MB".parse(), Ok(SizeTarget::FileBytes(90_000_000)));
/// assert_eq!("1.5 GiB".parse(), Ok(SizeTarget::FileBytes(1_610_612_736)));
/// assert_eq!("4096".parse(), Ok(SizeTarget::FileBytes(4096)));
/// assert!("90 parsecs".parse::<SizeTarget>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SizeTarget {
    /// The most bytes of the file, its header and metadata included.
    FileBytes(u64),
    /// The most bits for each weight: the bytes of all tensors' data, times eight, over the number of all tensors' elements.
    BitsPerWeight(f64),
}

/// Why no types were chosen.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TargetSizeError {
    /// The text is not a size.
    #[error(
        "`{text}` is no file size; give a number and a unit, such as `90MB`, `1.5GB`, `850MiB` or `4GiB`"
    )]
    NoSize {
        /// The text.
        text: String,
    },
    /// The number of bits is not positive, or not finite.
    #[error("`{bits}` are no bits per weight; give a positive number, such as `4.5`")]
    NoBits {
        /// The number.
        bits: f64,
    },
    /// Even with the smallest type for every tensor the file would be larger.
    #[error(
        "the file takes `{}` bytes with the smallest types, but the target is `{}`; raise it to `{smallest_bits:.2}` bits per weight or more{}",
        grouped(*smallest), grouped(*target), hint(*with_importances)
    )]
    TooSmall {
        /// Bytes that the file may have.
        target: u64,
        /// Bytes that it has at least.
        smallest: u64,
        /// The same in bits for each weight of the tensors.
        smallest_bits: f64,
        /// True if importances were given, so that they can bring no smaller types.
        with_importances: bool,
    },
}

fn hint(with_importances: bool) -> &'static str {
    if with_importances { "" } else { ", or give an importance matrix, with which smaller types can be used" }
}

/// The units of a file size and their bytes.
const UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("kb", 1000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl FromStr for SizeTarget {
    type Err = TargetSizeError;

    /// Reads a file size as [`parse_size`] does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_size(text).map(Self::FileBytes)
    }
}

/// Reads a number of bytes: a decimal number and `kB`, `MB`, `GB`, `TB` (powers of 1,000; without the `B` the same), `KiB`, `MiB`, `GiB`, `TiB` (of
/// 1,024), or `B` or no unit for bytes, in upper or lower case. Fractions of a byte are cut off.
///
/// # Errors
/// [`TargetSizeError::NoSize`] if it is written otherwise, under one byte, or more than any file has.
pub fn parse_size(text: &str) -> Result<u64, TargetSizeError> {
    bytes(text).ok_or_else(|| TargetSizeError::NoSize { text: text.to_owned() })
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim().to_ascii_lowercase();
    let &(_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let bytes = if let Ok(whole) = number.parse::<u64>() {
        whole.checked_mul(factor)?
    } else {
        let bytes = number.parse::<f64>().ok()? * factor as f64;
        // From here on a float does not tell neighbouring integers apart, and nobody has such a file.
        if !(0.0..9e15).contains(&bytes) {
            return None;
        }
        bytes as u64
    };
    (bytes > 0).then_some(bytes)
}

impl SizeTarget {
    /// Bytes that the file may have: `overhead` of header, metadata and padding, and data for `n_weights`.
    pub(super) fn file_bytes(self, overhead: u64, n_weights: u64) -> Result<u64, TargetSizeError> {
        match self {
            Self::FileBytes(bytes) => Ok(bytes),
            Self::BitsPerWeight(bits) if bits.is_finite() && bits > 0.0 => {
                Ok(overhead.saturating_add((bits * n_weights as f64 / 8.0) as u64))
            }
            Self::BitsPerWeight(bits) => Err(TargetSizeError::NoBits { bits }),
        }
    }
}

impl fmt::Display for SizeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileBytes(bytes) => write!(f, "{} bytes", grouped(*bytes)),
            Self::BitsPerWeight(bits) => write!(f, "{bits} bits per weight"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_systems_of_units() {
        for (text, bytes) in [
            ("1", 1),
            ("90MB", 90_000_000),
            ("90mb", 90_000_000),
            ("90M", 90_000_000),
            ("1.5k", 1500),
            (" 90 MiB ", 90 << 20),
            ("1.5KB", 1500),
            ("0.5GiB", 1 << 29),
            ("2TB", 2_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(SizeTarget::FileBytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "MB", "0", "0.0MB", "-1MB", "1.2.3MB", "90X", "1e9", "99999999999TB", ".", "5 GB x", "９MB"]
        {
            let error = text.parse::<SizeTarget>().unwrap_err();
            assert_eq!(error, TargetSizeError::NoSize { text: text.to_owned() });
        }
    }
}
