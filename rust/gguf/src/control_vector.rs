//! Control vectors in GGUF files: a direction for each of some layers.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{GgufError, Subject};
use crate::file::GgufFile;
use crate::quants;
use crate::reader::ByteOrder;
use crate::tensor::TensorInfo;
use crate::value::Value;

const ARCHITECTURE: &str = "controlvector";
/// What the names of its tensors begin with; the layer's number follows.
const DIRECTION: &str = "direction.";

/// What a file of the architecture `controlvector` holds, as `llama-cvector-generator` and `repeng` write it.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlVectorFile {
    /// The architecture of the model that it was made for, if the file says so.
    pub model_hint: Option<String>,
    /// Numbers of each direction.
    pub width: usize,
    /// The direction of each layer that has one, by the layer's number. Layer 0 has none.
    pub directions: BTreeMap<u32, Vec<f32>>,
}

impl ControlVectorFile {
    /// Reads the file at `path`, with the rules of `common_control_vector_load_one` in `common/common.cpp`; it must also be of that architecture,
    /// hold at least one direction and none twice, and all numbers must be finite.
    ///
    /// # Errors
    /// [`GgufError::Open`] and [`GgufError::Invalid`] as for every file, [`GgufError::Unusable`] where a rule is broken, [`GgufError::Data`]
    /// for a number that is not finite.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::read(&GgufFile::open(path)?)
    }

    fn read(file: &GgufFile) -> Result<Self, GgufError> {
        let found = file.architecture().unwrap_or_default();
        if found != ARCHITECTURE {
            let problem = format!("must be `{ARCHITECTURE}`, but is `{found}`; it is no control vector");
            return Err(unusable(file, Subject::key(b"general.architecture"), problem));
        }
        if file.byte_order() != ByteOrder::Little {
            let problem = "is big-endian; use the little-endian file".to_owned();
            return Err(unusable(file, Subject::Header, problem));
        }
        let mut width = None;
        let mut directions = BTreeMap::new();
        for tensor in file.tensors() {
            let layer = layer_of(&tensor.name).ok_or_else(|| {
                let problem =
                    format!("must be called `{DIRECTION}` and the number of a layer, which begin with 1");
                wrong(file, tensor, problem)
            })?;
            let dims = tensor.shape.dims();
            let is_vector = (1..4).all(|index| tensor.shape.dim(index) == 1);
            let expected = *width.get_or_insert(tensor.shape.row_len());
            if !is_vector || tensor.shape.row_len() != expected || expected == 0 {
                let expected = expected.max(1);
                let problem = format!("has shape `{dims:?}`, expected a vector of `{expected}` numbers");
                return Err(wrong(file, tensor, problem));
            }
            if !quants::can_quantize(tensor.ggml_type) {
                let problem = format!("has type `{}`; save it as `F32`", tensor.ggml_type);
                return Err(wrong(file, tensor, problem));
            }
            let bytes = file.tensor_data(tensor);
            let mut numbers = vec![0.0; expected as usize];
            quants::dequantize(tensor.ggml_type, bytes, &mut numbers)
                .map_err(|error| wrong(file, tensor, error.to_string()))?;
            if let Some(index) = numbers.iter().position(|number| !number.is_finite()) {
                return Err(GgufError::Data {
                    file: file.file_name().to_owned(),
                    offset: file.data_start(tensor),
                    subject: Subject::tensor(tensor.name.as_bytes()),
                    problem: format!("number `{index}` is `{}`, which is not finite", numbers[index]),
                });
            }
            if directions.insert(layer, numbers).is_some() {
                return Err(wrong(file, tensor, format!("is a second direction of layer `{layer}`")));
            }
        }
        let Some(width) = width else {
            let problem = format!("has no tensors; a control vector has `{DIRECTION}1` and so on");
            return Err(unusable(file, Subject::Header, problem));
        };
        let hint = file.metadata().get("controlvector.model_hint");
        let model_hint = hint.as_ref().and_then(Value::as_str).map(str::to_owned);
        Ok(Self { model_hint, width: width as usize, directions })
    }
}

/// The layer of the tensor called `name`.
fn layer_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(DIRECTION)?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|layer| is_plain && *layer > 0)
}

fn wrong(file: &GgufFile, tensor: &TensorInfo, problem: String) -> GgufError {
    unusable(file, Subject::tensor(tensor.name.as_bytes()), problem)
}

fn unusable(file: &GgufFile, subject: Subject, problem: String) -> GgufError {
    GgufError::Unusable { file: file.file_name().to_owned(), offset: None, subject, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GgmlType, GgufWriter};

    fn bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn writer() -> GgufWriter {
        GgufWriter::new().add("general.architecture", ARCHITECTURE).add("controlvector.model_hint", "llama")
    }

    fn read(writer: &GgufWriter) -> Result<ControlVectorFile, GgufError> {
        ControlVectorFile::read(&GgufFile::from_bytes(writer.to_bytes().unwrap()).unwrap())
    }

    #[test]
    fn directions_are_read_by_layer() {
        let file = writer().add_tensor("direction.3", GgmlType::F32, &[2], bytes(&[5.0, 6.0])).add_tensor(
            "direction.1",
            GgmlType::F32,
            &[2],
            bytes(&[1.0, -2.0]),
        );
        let expected = BTreeMap::from([(1, vec![1.0, -2.0]), (3, vec![5.0, 6.0])]);
        let read = read(&file).unwrap();
        assert_eq!((read.width, read.directions), (2, expected));
        assert_eq!(read.model_hint.as_deref(), Some("llama"));
    }

    #[test]
    fn broken_files_are_refused() {
        let one = |name: &str, dims: &[u64], numbers: &[f32]| {
            writer().add_tensor(name, GgmlType::F32, dims, bytes(numbers))
        };
        for (file, part) in [
            (writer(), "has no tensors"),
            (
                one("direction.1", &[2], &[1.0, 2.0]).set("general.architecture", "llama"),
                "must be `controlvector`",
            ),
            (one("direction.0", &[2], &[1.0, 2.0]), "begin with 1"),
            (one("direction.+1", &[2], &[1.0, 2.0]), "must be called"),
            (one("direction.", &[2], &[1.0, 2.0]), "must be called"),
            (one("direction.99999999999", &[2], &[1.0, 2.0]), "must be called"),
            (one("bias.1", &[2], &[1.0, 2.0]), "must be called"),
            (one("direction.1", &[1, 2], &[1.0, 2.0]), "expected a vector"),
            (one("direction.1", &[2], &[1.0, f32::NAN]), "number `1` is `NaN`"),
            (one("direction.1", &[2], &[f32::INFINITY, 0.0]), "number `0` is `inf`"),
            (
                one("direction.1", &[2], &[1.0, 2.0]).add_tensor(
                    "direction.2",
                    GgmlType::F32,
                    &[1],
                    bytes(&[1.0]),
                ),
                "expected a vector of `2` numbers",
            ),
            (
                one("direction.1", &[2], &[1.0, 2.0]).add_tensor(
                    "direction.01",
                    GgmlType::F32,
                    &[2],
                    bytes(&[1.0, 2.0]),
                ),
                "second direction of layer `1`",
            ),
        ] {
            let text = read(&file).unwrap_err().to_string();
            assert!(text.contains(part), "`{part}` is not in {text}");
        }
    }
}
