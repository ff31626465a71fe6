//! Reading metadata the way llama.cpp does: by exact type, with the file and key in every error.

use crate::array::Array;
use crate::error::{GgufError, Subject};
use crate::file::GgufFile;
use crate::owned::OwnedValue;
use crate::value::{GgufStr, Value, ValueType};

/// A file under test.
pub(crate) struct Rules<'a> {
    /// The file.
    pub(crate) file: &'a GgufFile,
    /// Its architecture; empty if the file names none.
    pub(crate) architecture: &'a str,
    /// Values that llama.cpp will use in place of the file's.
    overrides: &'a [(String, OwnedValue)],
    /// Whether tensors may be of a fork's types, as they are read and not loaded.
    pub(crate) allows_fork_types: bool,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(file: &'a GgufFile) -> Self {
        Self {
            file,
            architecture: file.architecture().unwrap_or_default(),
            overrides: &[],
            allows_fork_types: false,
        }
    }

    /// As [`Rules::new`], with other values for some keys.
    pub(crate) fn with_overrides(file: &'a GgufFile, overrides: &'a [(String, OwnedValue)]) -> Self {
        let mut rules = Self { overrides, ..Self::new(file) };
        if let Some(Value::String(name)) = rules.get("general.architecture") {
            rules.architecture = std::str::from_utf8(name.as_bytes()).unwrap_or_default();
        }
        rules
    }

    /// True if the file holds a vocabulary and no model.
    pub(crate) fn is_vocabulary_only(&self) -> bool {
        self.file.tensors().is_empty() && self.file.split().is_none()
    }

    /// The full name of a key of the architecture: `block_count` becomes `llama.block_count`.
    pub(crate) fn own(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    /// The value of `key` as llama.cpp takes it: the override if there is one of a fitting type, else the file's.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        let own = self.file.metadata().get(key);
        let found = self.overrides.iter().find(|(name, _)| name == key);
        found.and_then(|(_, wanted)| overridden(own.as_ref(), wanted)).or(own)
    }

    /// An error about `key`.
    pub(crate) fn unusable(&self, key: &str, problem: impl Into<String>) -> GgufError {
        self.unusable_subject(Subject::key(key.as_bytes()), problem)
    }

    /// An error about any part of the file.
    pub(crate) fn unusable_subject(&self, subject: Subject, problem: impl Into<String>) -> GgufError {
        let offset = match &subject {
            Subject::Header => Some(0),
            Subject::Key(key) => self.file.metadata().offset(key),
            Subject::Tensor(name) => self.file.tensor(name).map(|tensor| self.file.data_start(tensor)),
        };
        GgufError::Unusable {
            file: self.file.file_name().to_owned(),
            offset,
            subject,
            problem: problem.into(),
        }
    }

    /// An error about a key with the wrong type.
    pub(crate) fn wrong_type(&self, key: &str, found: &Value<'_>, expected: &str) -> GgufError {
        let found = found.spoken_type();
        self.unusable(key, format!("has type `{found}`, but llama.cpp reads it as `{expected}`"))
    }

    /// An error about a key that is not there.
    pub(crate) fn missing(&self, key: &str) -> GgufError {
        self.unusable(key, "is missing, but llama.cpp needs it; convert the model again")
    }

    /// A `u32`, if the key is there (`get_key<uint32_t>` in `src/llama-model-loader.cpp`).
    pub(crate) fn u32(&self, key: &str) -> Result<Option<u32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::U32(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(key, &other, "u32")),
        }
    }

    /// An `f32`, if the key is there.
    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(key, &other, "f32")),
        }
    }

    /// A bool, if the key is there.
    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(key, &other, "bool")),
        }
    }

    /// The bytes of a string, if the key is there.
    pub(crate) fn string(&self, key: &str) -> Result<Option<&'a [u8]>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_bytes())),
            Some(other) => Err(self.wrong_type(key, &other, "str")),
        }
    }

    /// An array with items of one of `kinds`, if the key is there.
    pub(crate) fn array(&self, key: &str, kinds: &[ValueType]) -> Result<Option<Array<'a>>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) if kinds.contains(&array.item_type()) => Ok(Some(array)),
            Some(other) => {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                Err(self.wrong_type(key, &other, &format!("arr of {}", names.join(" or "))))
            }
        }
    }

    /// One number per layer, stored as an array or as one number for all layers (`get_key_or_arr` in `src/llama-model-loader.cpp`).
    pub(crate) fn per_layer(&self, key: &str, layers: u32) -> Result<Option<Vec<u32>>, GgufError> {
        let array = match self.get(key) {
            None => return Ok(None),
            Some(Value::U32(value)) => return Ok(Some(vec![value; layers as usize])),
            Some(Value::Array(array)) => array,
            Some(other) => return Err(self.wrong_type(key, &other, "u32 or arr of u32")),
        };
        if array.len() != layers as usize {
            let problem = format!("has `{}` items, but the model has `{layers}` layers", array.len());
            return Err(self.unusable(key, problem));
        }
        let numbers: Option<Vec<u32>> = array
            .iter()
            .map(|item| match item {
                Value::U32(value) => Some(value),
                Value::I32(value) => Some(value.cast_unsigned()),
                Value::Bool(value) => Some(u32::from(value)),
                _ => None,
            })
            .collect();
        numbers.map(Some).ok_or_else(|| self.wrong_type(key, &Value::Array(array), "arr of u32 or i32"))
    }
}

/// The value that llama.cpp makes of an override: truncated to the type that it reads; no effect on a key of another kind or an array
/// (`GGUFMeta::GKV::validate_override` and `try_override` in `src/llama-model-loader.cpp`).
fn overridden<'a>(own: Option<&Value<'a>>, wanted: &'a OwnedValue) -> Option<Value<'a>> {
    use ValueType::{Array, Bool, F32, F64, I8, I16, I32, I64, String, U8, U16, U32, U64};
    let kind = own.map(Value::value_type);
    Some(match (wanted, kind) {
        (OwnedValue::I64(int), Some(U16)) => Value::U16(*int as u16),
        (OwnedValue::I64(int), None | Some(U32)) => Value::U32(*int as u32),
        (OwnedValue::I64(int), Some(I32)) => Value::I32(*int as i32),
        (OwnedValue::I64(int), Some(U8 | I8 | I16 | U64 | I64)) => Value::I64(*int),
        (OwnedValue::F64(float), None | Some(F32)) => Value::F32(*float as f32),
        (OwnedValue::F64(float), Some(F64)) => Value::F64(*float),
        (OwnedValue::Bool(flag), None | Some(Bool)) => Value::Bool(*flag),
        (OwnedValue::String(text), None | Some(String)) => Value::String(GgufStr(text)),
        (_, Some(Array | U8 | I8 | U16 | I16 | U32 | I32 | F32 | Bool | String | U64 | I64 | F64) | None) => {
            return None;
        }
    })
}
