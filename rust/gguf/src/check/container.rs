//! What llama.cpp requires of any file: version, byte order, architecture, arrays without arrays in them, and parts that belong together.

use crate::error::{GgufError, Subject};
use crate::file::GgufFile;
use crate::reader::ByteOrder;
use crate::value::{Value, ValueType};

use super::architecture;
use super::rules::Rules;

const ARCHITECTURE: &str = "general.architecture";
const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";

/// Checks the container, not the model in it.
pub(crate) fn check(rules: &Rules<'_>) -> Result<(), GgufError> {
    let file = rules.file;
    if file.version() == 1 {
        let problem = "has version `1`, which llama.cpp no longer reads; convert the model again";
        return Err(rules.unusable_subject(Subject::Header, problem));
    }
    if file.byte_order() != ByteOrder::native() {
        let found = if file.byte_order() == ByteOrder::Big { "big" } else { "little" };
        let problem = format!(
            "is {found}-endian, unlike this machine; write it anew with `tabagent gguf convert-endian`"
        );
        return Err(rules.unusable_subject(Subject::Header, problem));
    }
    if let Some(split) = file.split().filter(|split| split.no != 0) {
        let problem = format!(
            "is `{}`: this is part {} of {}; load the first part",
            split.no,
            split.no + 1,
            split.count
        );
        return Err(rules.unusable(SPLIT_NO, problem));
    }
    check_split_types(rules)?;
    // `ggml/src/gguf.cpp` refuses arrays whose items are arrays.
    for (key, value) in file.metadata().iter() {
        if value.as_array().is_some_and(|array| array.item_type() == ValueType::Array) {
            return Err(rules.unusable(key, "is an array of arrays, which llama.cpp does not read"));
        }
    }
    match rules.string(ARCHITECTURE)? {
        None => Err(rules.missing(ARCHITECTURE)),
        Some(b"clip") => {
            let problem = "is `clip`: this is a projector for images or sound; load the language model that it belongs to";
            Err(rules.unusable(ARCHITECTURE, problem))
        }
        Some(_) if architecture::is_known(rules.architecture) => Ok(()),
        Some(name) => {
            let problem =
                format!("is `{}`, which llama.cpp does not know; update tabagent", crate::text::shown(name));
            Err(rules.unusable(ARCHITECTURE, problem))
        }
    }
}

/// Checks that `files` are all parts of one model, in order; a single file passes.
///
/// llama.cpp reads `split.no` of the later parts without checking its type, and aborts if it has another one (`llama_model_loader` in
/// `src/llama-model-loader.cpp`).
///
/// # Errors
/// [`GgufError::Unusable`] names the part and the rule that is broken.
pub fn check_parts(files: &[GgufFile]) -> Result<(), GgufError> {
    let Some(first) = files.first() else {
        return Ok(());
    };
    let count = first.split().map_or(1, |split| usize::from(split.count));
    if count != files.len() {
        let problem = format!("is `{count}`, but there are `{}` files", files.len());
        return Err(Rules::new(first).unusable(SPLIT_COUNT, problem));
    }
    if files.len() == 1 {
        return Ok(());
    }
    let mut names = std::collections::HashSet::new();
    for (number, file) in files.iter().enumerate() {
        let rules = Rules::new(file);
        check_split_types(&rules)?;
        super::tensors::check(&rules, None, None)?;
        match rules.get(SPLIT_NO) {
            Some(Value::U16(no)) if usize::from(no) == number => {}
            Some(other) => {
                let problem = format!(
                    "is `{other}`, but the file is number `{number}` of the parts; rename the parts back"
                );
                return Err(rules.unusable(SPLIT_NO, problem));
            }
            None => return Err(rules.missing(SPLIT_NO)),
        }
        for tensor in file.tensors() {
            if !names.insert(tensor.name.as_str()) {
                let subject = Subject::tensor(tensor.name.as_bytes());
                return Err(rules.unusable_subject(subject, "is in two parts, but names must be unique"));
            }
        }
    }
    let promised = first.split().map_or(0, |split| split.tensors_count) as usize;
    if promised == names.len() {
        return Ok(());
    }
    let problem = format!("is `{promised}`, but the parts hold `{}` tensors", names.len());
    Err(Rules::new(first).unusable("split.tensors.count", problem))
}

/// The types of the `split.*` keys (`get_key` with `uint16_t`, `gguf_get_val_u16`).
fn check_split_types(rules: &Rules<'_>) -> Result<(), GgufError> {
    for (key, kind) in
        [(SPLIT_NO, ValueType::U16), (SPLIT_COUNT, ValueType::U16), ("split.tensors.count", ValueType::I32)]
    {
        if let Some(value) = rules.get(key).filter(|value| value.value_type() != kind) {
            return Err(rules.wrong_type(key, &value, kind.name()));
        }
    }
    Ok(())
}
