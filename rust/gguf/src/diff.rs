//! The differences between two models, in words.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::threads::spread;
use rayon::prelude::*;

use crate::byte_swap::swap_blocks;
use crate::error::GgufError;
use crate::ggml_type::GgmlType;
use crate::model::{GgufModel, ModelTensor};
use crate::progress::{Progress, no_progress};
use crate::quants;
use crate::reader::ByteOrder;
use crate::tensor::Shape;
use crate::text::grouped;
use crate::value::Value;

/// The most characters of a value that a difference repeats.
const MAX_VALUE_CHARS: usize = 60;

/// One difference between a first and a second model.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// A property of the container: its version, alignment, byte order or number of parts.
    Container {
        /// Which property.
        what: &'static str,
        /// In the first model.
        first: String,
        /// In the second model.
        second: String,
    },
    /// A key that only one of them has.
    KeyInOne {
        /// The key.
        key: String,
        /// True if the first has it.
        in_first: bool,
        /// Its value, shortened.
        value: String,
    },
    /// A key with different values.
    Value {
        /// The key.
        key: String,
        /// What is different: values, types, lengths, items.
        change: String,
    },
    /// The same keys in another order.
    KeyOrder,
    /// A tensor that only one of them has.
    TensorInOne {
        /// Its name.
        name: String,
        /// True if the first has it.
        in_first: bool,
        /// Type and shape.
        what: String,
    },
    /// A tensor of different shapes.
    Shape {
        /// Its name.
        name: String,
        /// In the first model, in ggml's order.
        first: Shape,
        /// In the second model.
        second: Shape,
    },
    /// A tensor of different types.
    Type {
        /// Its name.
        name: String,
        /// In the first model.
        first: GgmlType,
        /// In the second model.
        second: GgmlType,
        /// How far the weights are apart, where both are floats.
        deviation: Option<Deviation>,
    },
    /// A tensor of the same type and shape with other data.
    Data {
        /// Its name.
        name: String,
        /// Blocks with other bytes; a block of a plain type is one number.
        blocks: u64,
        /// Blocks in all.
        of: u64,
        /// How far the weights are apart, where they are floats.
        deviation: Option<Deviation>,
    },
    /// The same tensors in another order.
    TensorOrder,
}

/// How far the weights of two tensors are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deviation {
    /// The largest difference of two weights.
    pub largest: f64,
    /// The root of the mean square of all differences.
    pub rms: f64,
    /// The root of the mean square of the first tensor's weights.
    pub rms_first: f64,
}

/// As in `weights differ by 0.0012 (root mean square), 1.25 % of their size, at most by 0.01`.
impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { largest, rms, rms_first } = *self;
        write!(f, "weights differ by {rms:.3e} (root mean square)")?;
        if rms_first > 0.0 {
            write!(f, ", {:.2} % of their size", rms * 100.0 / rms_first)?;
        }
        write!(f, ", at most by {largest:.3e}")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let only = |in_first: bool| if in_first { "first" } else { "second" };
        match self {
            Self::Container { what, first, second } => {
                write!(f, "the {what} is `{first}` in the first file and `{second}` in the second")
            }
            Self::KeyInOne { key, in_first, value } => {
                write!(f, "key `{key}` is only in the {} file: {value}", only(*in_first))
            }
            Self::Value { key, change } => write!(f, "key `{key}` {change}"),
            Self::KeyOrder => f.write_str("the keys are in another order"),
            Self::TensorInOne { name, in_first, what } => {
                write!(f, "tensor `{name}` is only in the {} file: {what}", only(*in_first))
            }
            Self::Shape { name, first, second } => {
                write!(
                    f,
                    "tensor `{name}` has shape `{first}` in the first file and `{second}` in the second"
                )
            }
            Self::Type { name, first, second, deviation } => {
                write!(
                    f,
                    "tensor `{name}` has type `{first}` in the first file and `{second}` in the second"
                )?;
                deviation.iter().try_for_each(|deviation| write!(f, "; {deviation}"))
            }
            Self::Data { name, blocks, of, deviation } => {
                let share = *blocks as f64 * 100.0 / (*of).max(1) as f64;
                let (blocks, of) = (grouped(*blocks), grouped(*of));
                write!(f, "tensor `{name}` has other data in `{blocks}` of `{of}` blocks ({share:.1} %)")?;
                deviation.iter().try_for_each(|deviation| write!(f, "; {deviation}"))
            }
            Self::TensorOrder => f.write_str("the tensors are in another order"),
        }
    }
}

/// All differences between two models: container, metadata, then tensors in the first model's order. Data is compared in parallel. How the models are
/// split makes one line at most.
///
/// ```
/// use tabagent_gguf::{GgufFile, GgufModel, GgufWriter, diff_models};
/// # fn main() -> Result<(), tabagent_gguf::GgufError> {
/// let model = |value: u32| {
///     let bytes = GgufWriter::new().add("k", value).to_bytes()?;
///     GgufModel::from_parts(vec![GgufFile::from_bytes(bytes)?])
/// };
/// let found: Vec<String> = diff_models(&model(1)?, &model(2)?).iter().map(ToString::to_string).collect();
/// assert_eq!(found, ["key `k` is `1` in the first file and `2` in the second"]);
/// # Ok(())
/// # }
/// ```
pub fn diff_models(first: &GgufModel, second: &GgufModel) -> Vec<Difference> {
    diff_models_with(first, second, &no_progress).unwrap_or_default()
}

/// [`diff_models`] that tells `progress` how many bytes of the first model's tensors were compared.
///
/// # Errors
/// [`GgufError::Cancelled`] where `progress` says stop.
pub fn diff_models_with(
    first: &GgufModel,
    second: &GgufModel,
    progress: Progress<'_>,
) -> Result<Vec<Difference>, GgufError> {
    let mut found = container(first, second);
    found.extend(metadata(first, second));
    let watch =
        Watch { done: AtomicU64::new(0), total: first.tensors().map(|t| t.info.n_bytes).sum(), progress };
    found.extend(tensors(first, second, &watch));
    if watch.is_stopped() { Err(GgufError::Cancelled) } else { Ok(found) }
}

/// Progress of the comparison, and whether to go on.
struct Watch<'a> {
    done: AtomicU64,
    total: u64,
    progress: Progress<'a>,
}

impl Watch<'_> {
    /// Reports that `bytes` more bytes are compared; false means stop.
    fn tell(&self, bytes: u64) -> bool {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(done.min(self.total), self.total)
    }

    fn is_stopped(&self) -> bool {
        !self.tell(0)
    }
}

fn container(first: &GgufModel, second: &GgufModel) -> Vec<Difference> {
    let facts = |model: &GgufModel| {
        let file = model.first();
        [
            ("version", file.version().to_string()),
            ("byte order", format!("{:?}", file.byte_order()).to_lowercase()),
            ("alignment", file.alignment().to_string()),
            ("number of parts", model.parts().len().to_string()),
        ]
    };
    facts(first)
        .into_iter()
        .zip(facts(second))
        .filter(|(first, second)| first != second)
        .map(|((what, first), (_, second))| Difference::Container { what, first, second })
        .collect()
}

fn metadata(first: &GgufModel, second: &GgufModel) -> Vec<Difference> {
    // The container's number of parts covers these keys.
    let counts = |key: &&str| !key.starts_with("split.");
    let in_one = |model: &GgufModel, other: &GgufModel, in_first: bool| -> Vec<Difference> {
        let missing =
            model.metadata().iter().filter(|(key, _)| counts(key) && other.metadata().get(key).is_none());
        missing
            .map(|(key, value)| Difference::KeyInOne { key: key.to_owned(), in_first, value: short(&value) })
            .collect()
    };
    let mut found = in_one(first, second, true);
    for (key, value) in first.metadata().iter().filter(|(key, _)| counts(key)) {
        let change = second.metadata().get(key).and_then(|other| changed(&value, &other));
        found.extend(change.map(|change| Difference::Value { key: key.to_owned(), change }));
    }
    found.extend(in_one(second, first, false));
    let common = |model: &GgufModel, other: &GgufModel| -> Vec<String> {
        let keys = model.metadata().iter().map(|(key, _)| key);
        keys.filter(|key| counts(key) && other.metadata().get(key).is_some()).map(str::to_owned).collect()
    };
    if common(first, second) != common(second, first) {
        found.push(Difference::KeyOrder);
    }
    found
}

/// How the second value differs from the first; `None` if it does not. NaN equals NaN of the same bits.
fn changed(first: &Value<'_>, second: &Value<'_>) -> Option<String> {
    let (kind, other) = (first.spoken_type(), second.spoken_type());
    if kind != other {
        return Some(format!("has type `{kind}` in the first file and `{other}` in the second"));
    }
    match (first, second) {
        (Value::Array(first), Value::Array(second)) => {
            if first.len() != second.len() {
                let (n, m) = (grouped(first.len() as u64), grouped(second.len() as u64));
                return Some(format!("has `{n}` items in the first file and `{m}` in the second"));
            }
            let mut differing = first.iter().zip(second).enumerate().filter(|(_, (a, b))| !same(a, b));
            let (index, (a, b)) = differing.next()?;
            let count = grouped(differing.count() as u64 + 1);
            let (a, b) = (short(&a), short(&b));
            Some(format!(
                "differs in `{count}` items, first in number `{index}`: {a} in the first file and {b} in the second"
            ))
        }
        (first, second) if same(first, second) => None,
        (first, second) => {
            Some(format!("is {} in the first file and {} in the second", short(first), short(second)))
        }
    }
}

fn same(first: &Value<'_>, second: &Value<'_>) -> bool {
    match (first, second) {
        (Value::F32(a), Value::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(a), Value::Array(b)) => {
            a.item_type() == b.item_type()
                && a.len() == b.len()
                && a.iter().zip(b).all(|(first, second)| same(&first, &second))
        }
        (first, second) => first == second,
    }
}

fn short(value: &Value<'_>) -> String {
    let text = match value {
        Value::String(text) => {
            let text = text.to_string_lossy();
            let mut shown: String = text.chars().take(MAX_VALUE_CHARS).flat_map(char::escape_debug).collect();
            if text.chars().nth(MAX_VALUE_CHARS).is_some() {
                shown.push('…');
            }
            shown
        }
        other => other.to_string(),
    };
    format!("`{text}`")
}

fn tensors(first: &GgufModel, second: &GgufModel, watch: &Watch<'_>) -> Vec<Difference> {
    let in_one = |tensor: ModelTensor<'_>, in_first: bool| Difference::TensorInOne {
        name: tensor.info.name.clone(),
        in_first,
        what: format!("`{}` of shape `{}`", tensor.info.ggml_type, tensor.info.shape),
    };
    let all: Vec<ModelTensor<'_>> = first.tensors().collect();
    let changes = |&tensor: &ModelTensor<'_>| {
        if watch.is_stopped() {
            return Vec::new();
        }
        let found = match second.tensor(&tensor.info.name) {
            None => vec![in_one(tensor, true)],
            Some(other) => tensor_changes(&tensor, &other, watch),
        };
        watch.tell(tensor.info.n_bytes);
        found
    };
    let mut found: Vec<Difference> = spread(|| all.par_iter().flat_map_iter(changes).collect());
    let missing = second.tensors().filter(|tensor| first.tensor(&tensor.info.name).is_none());
    found.extend(missing.map(|tensor| in_one(tensor, false)));
    let names = |model: &GgufModel, common: &HashSet<String>| -> Vec<String> {
        let names = model.tensors().map(|tensor| tensor.info.name.clone());
        names.filter(|name| common.contains(name)).collect()
    };
    let common = all.iter().map(|tensor| &tensor.info.name);
    let common = common.filter(|name| second.tensor(name).is_some()).cloned().collect();
    if names(first, &common) != names(second, &common) {
        found.push(Difference::TensorOrder);
    }
    found
}

fn tensor_changes<'a>(
    first: &ModelTensor<'a>,
    second: &ModelTensor<'a>,
    watch: &Watch<'_>,
) -> Vec<Difference> {
    let name = first.info.name.clone();
    let (a, b) = (first.info, second.info);
    let mut found = Vec::new();
    if a.shape.dims() != b.shape.dims() {
        found.push(Difference::Shape { name: name.clone(), first: a.shape, second: b.shape });
    }
    if a.ggml_type != b.ggml_type {
        let deviation = if found.is_empty() { deviation(first, second, watch) } else { None };
        found.push(Difference::Type {
            name: name.clone(),
            first: a.ggml_type,
            second: b.ggml_type,
            deviation,
        });
    }
    if !found.is_empty() {
        return found;
    }
    let same_order = first.file.byte_order() == second.file.byte_order();
    let data = |tensor: &ModelTensor<'a>| {
        if same_order { Cow::Borrowed(tensor.data()) } else { tensor.little_endian_data() }
    };
    let (first_data, second_data) = (data(first), data(second));
    let size = a.ggml_type.block_bytes() as usize;
    let runs = || first_data.chunks(size * BLOCKS).zip(second_data.chunks(size * BLOCKS));
    let different = |(a, b): (&[u8], &[u8])| {
        if a == b || watch.is_stopped() {
            return 0;
        }
        a.chunks(size).zip(b.chunks(size)).filter(|(a, b)| a != b).count() as u64
    };
    let blocks: u64 = runs().map(different).sum();
    if blocks > 0 {
        let of = a.n_bytes.div_ceil(size as u64);
        found.push(Difference::Data { name, blocks, of, deviation: deviation(first, second, watch) });
    }
    found
}

/// Blocks compared at a time.
const BLOCKS: usize = 64 * 1024;

/// Weights decoded at a time: whole blocks of every type.
const RUN: usize = 64 * 1024;

/// How far the weights of two tensors of one shape are apart; `None` where a type is no float.
fn deviation(first: &ModelTensor<'_>, second: &ModelTensor<'_>, watch: &Watch<'_>) -> Option<Deviation> {
    let decodes = |tensor: &ModelTensor<'_>| {
        let kind = tensor.info.ggml_type;
        let is_integer = matches!(kind, GgmlType::I8 | GgmlType::I16 | GgmlType::I32 | GgmlType::I64);
        // `I2_S` has its scale behind the last block, so a run of its blocks cannot be decoded alone.
        !is_integer && kind != GgmlType::I2_S
    };
    if !decodes(first) || !decodes(second) {
        return None;
    }
    let n_weights = first.info.shape.n_elements() as usize;
    let (mut a, mut b) = (vec![0.0_f32; RUN], vec![0.0_f32; RUN]);
    let (mut largest, mut squares, mut squares_first) = (0.0_f64, 0.0_f64, 0.0_f64);
    for start in (0..n_weights).step_by(RUN) {
        if watch.is_stopped() {
            return None;
        }
        let count = RUN.min(n_weights - start);
        for (tensor, out) in [(first, &mut a), (second, &mut b)] {
            let kind = tensor.info.ggml_type;
            let per_block = kind.block_size() as usize;
            let size = kind.block_bytes() as usize;
            let bytes = tensor.data().get(start / per_block * size..(start + count) / per_block * size)?;
            let out = out.get_mut(..count)?;
            if tensor.file.byte_order() == ByteOrder::Little {
                quants::dequantize(kind, bytes, out).ok()?;
            } else {
                let mut swapped = bytes.to_vec();
                swap_blocks(kind, &mut swapped);
                quants::dequantize(kind, &swapped, out).ok()?;
            }
        }
        for (&a, &b) in a.iter().zip(&b).take(count) {
            let (a, b) = (f64::from(a), f64::from(b));
            largest = largest.max((a - b).abs());
            squares += (a - b) * (a - b);
            squares_first += a * a;
        }
    }
    let mean = |sum: f64| (sum / n_weights.max(1) as f64).sqrt();
    Some(Deviation { largest, rms: mean(squares), rms_first: mean(squares_first) })
}
