//! Values that take the place of a file's metadata.

use crate::edit::known::{self, Kind};
use crate::owned::OwnedValue;
use crate::value::ValueType;
use crate::writer::is_split_key;

use super::error::QuantizeError;

/// The value as it is stored: integers as `u32` without their sign, floats as `f32`. What would break the file is refused.
pub(super) fn stored(key: &str, value: &OwnedValue) -> Result<OwnedValue, QuantizeError> {
    let wrong = |problem: &str| QuantizeError::Override { key: key.to_owned(), problem: problem.to_owned() };
    if is_split_key(key) {
        return Err(wrong(
            "it says which files are one model; `--keep-split` (`keep_split=True`) keeps the parts",
        ));
    }
    let stored = match value {
        OwnedValue::I64(int) => u32::try_from(int.unsigned_abs())
            .map(OwnedValue::U32)
            .map_err(|_| wrong("the number does not fit 32 bits; give a smaller one")),
        OwnedValue::F64(float) => Ok(OwnedValue::F32(*float as f32)),
        OwnedValue::Bool(_) | OwnedValue::String(_) => Ok(value.clone()),
        _ => Err(wrong("only integers, floats, booleans and strings can be given")),
    }?;
    // Whole numbers are stored as `u32` whatever the key, as llama.cpp's quantizer does.
    let is_whole = |kind: Kind| matches!(kind, Kind::Plain(ValueType::U16 | ValueType::U32 | ValueType::I32));
    let fits = |kinds: &[Kind]| is_whole(Kind::of_owned(&stored)) && kinds.iter().copied().any(is_whole);
    match known::problem(key, &stored) {
        Some(problem) if !known::kinds(key).is_some_and(fits) => Err(wrong(&format!("the value {problem}"))),
        _ => Ok(stored),
    }
}
