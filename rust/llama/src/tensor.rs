//! A tensor of a compute graph, while llama.cpp computes it.

use std::borrow::Cow;

use tabagent_gguf::{GgmlType, quants};
use tabagent_sys::{Api, TensorFields, TensorLayout, ggml_tensor};

use crate::strings;

/// A live tensor. It can be read only while llama.cpp asks about it.
#[derive(Clone, Copy)]
pub(crate) struct GraphTensor<'a> {
    ptr: *const ggml_tensor,
    api: &'a Api,
    layout: &'static TensorLayout,
}

/// The numbers of a tensor as `f32`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers {
    /// The dimensions in the order of numpy, the outermost first; at least two.
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// `GGML_TYPE_I32`.
const I32: i32 = 26;

impl<'a> GraphTensor<'a> {
    /// # Safety
    /// `ptr` is a tensor of the library of `api`, whose tensors have `layout`, and stays live and untouched for `'a`.
    pub(crate) unsafe fn new(ptr: *const ggml_tensor, api: &'a Api, layout: &'static TensorLayout) -> Self {
        Self { ptr, api, layout }
    }

    /// Its name, such as `l_out-3`.
    pub(crate) fn name(&self) -> Cow<'a, str> {
        // SAFETY: the tensor is live.
        let name = unsafe { (self.api.ggml_get_name)(self.ptr) };
        // SAFETY: the name lies in the tensor and ends with a NUL.
        Cow::Owned(unsafe { strings::copy(name) }.unwrap_or_default())
    }

    /// The names of the tensors that it is computed from.
    pub(crate) fn source_names(&self) -> Vec<Cow<'a, str>> {
        // SAFETY: the tensor is live, and the library has this layout.
        let sources = unsafe { self.layout.read_sources(self.ptr) };
        let sources = sources.into_iter().filter(|source| !source.is_null());
        // SAFETY: a tensor's sources are live as long as it.
        sources.map(|ptr| unsafe { Self::new(ptr, self.api, self.layout) }.name()).collect()
    }

    /// Bytes that its numbers take as `f32`.
    pub(crate) fn f32_bytes(&self) -> usize {
        let counts = self.fields().counts.map(|count| usize::try_from(count).unwrap_or(0));
        counts.into_iter().fold(size_of::<f32>(), usize::saturating_mul)
    }

    /// Its numbers; `None` for a type that stands for none.
    pub(crate) fn numbers(&self) -> Option<Numbers> {
        let fields = self.fields();
        // SAFETY: the tensor is live.
        let n_bytes = unsafe { (self.api.ggml_nbytes)(self.ptr) };
        let mut bytes = vec![0_u8; n_bytes];
        // SAFETY: it was just computed, so it has a buffer, whose bytes up to `ggml_nbytes` may be read; `bytes` has room for them.
        unsafe { (self.api.ggml_backend_tensor_get)(self.ptr, bytes.as_mut_ptr().cast(), 0, n_bytes) };
        decode(&fields, &bytes)
    }

    fn fields(&self) -> TensorFields {
        // SAFETY: the tensor is live, and the library has this layout.
        unsafe { self.layout.read(self.ptr) }
    }
}

/// The numbers of a tensor with `fields`, whose memory is `bytes`, in the order of its dimensions.
fn decode(fields: &TensorFields, bytes: &[u8]) -> Option<Numbers> {
    let kind = GgmlType::from_id(u32::try_from(fields.kind).ok()?)?;
    let [row_len, n1, n2, n3] = fields.counts.map(|count| usize::try_from(count).unwrap_or(0));
    let [step, s1, s2, s3] = fields.strides;
    let is_integer = fields.kind == I32;
    if !is_integer && matches!(kind, GgmlType::I8 | GgmlType::I16 | GgmlType::I64 | GgmlType::I2_S) {
        return None;
    }
    let (block, block_bytes) = (kind.block_size() as usize, kind.block_bytes() as usize);
    let row_bytes = row_len.div_ceil(block) * block_bytes;
    let mut values = Vec::with_capacity(row_len.checked_mul(n1)?.checked_mul(n2)?.checked_mul(n3)?);
    let mut gathered = vec![0_u8; row_bytes];
    let mut row = vec![0.0_f32; row_len];
    for start in
        (0..n3).flat_map(|k| (0..n2).flat_map(move |j| (0..n1).map(move |i| i * s1 + j * s2 + k * s3)))
    {
        let stored = if step == block_bytes {
            bytes.get(start..start.checked_add(row_bytes)?)?
        } else {
            // The numbers of a transposed view lie apart.
            for (index, place) in gathered.chunks_exact_mut(block_bytes).enumerate() {
                let at = start + index * step;
                place.copy_from_slice(bytes.get(at..at.checked_add(block_bytes)?)?);
            }
            &gathered
        };
        if is_integer {
            let numbers = stored.as_chunks::<4>().0.iter();
            values.extend(numbers.map(|number| i32::from_le_bytes(*number) as f32));
        } else {
            quants::dequantize(kind, stored, &mut row).ok()?;
            values.extend_from_slice(&row);
        }
    }
    let shape: Vec<usize> = [n3, n2, n1, row_len].into_iter().collect();
    let ones = shape.iter().take(2).take_while(|count| **count == 1).count();
    Some(Numbers { shape: shape.get(ones..)?.to_vec(), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(kind: GgmlType, counts: [i64; 4], strides: [usize; 4]) -> TensorFields {
        TensorFields { kind: kind.id().cast_signed(), counts, strides }
    }

    fn f32_bytes(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn rows_are_read_in_order() {
        let bytes = f32_bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let read = decode(&fields(GgmlType::F32, [3, 2, 1, 1], [4, 12, 24, 24]), &bytes).unwrap();
        assert_eq!(read, Numbers { shape: vec![2, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] });
        let one = decode(&fields(GgmlType::F32, [6, 1, 1, 1], [4, 24, 24, 24]), &bytes).unwrap();
        assert_eq!(one.shape, [1, 6]);
        let three = decode(&fields(GgmlType::F32, [1, 2, 3, 1], [4, 4, 8, 24]), &bytes).unwrap();
        assert_eq!(three.shape, [3, 2, 1]);
    }

    #[test]
    fn views_are_read_by_their_strides() {
        let bytes = f32_bytes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // The transposed matrix, and its rows without their last number.
        let read = decode(&fields(GgmlType::F32, [2, 3, 1, 1], [12, 4, 24, 24]), &bytes).unwrap();
        assert_eq!(read.values, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let cut = decode(&fields(GgmlType::F32, [2, 2, 1, 1], [4, 12, 24, 24]), &bytes).unwrap();
        assert_eq!(cut.values, [1.0, 2.0, 4.0, 5.0]);
        // Memory that ends too early.
        assert_eq!(decode(&fields(GgmlType::F32, [3, 3, 1, 1], [4, 12, 36, 36]), &bytes), None);
    }

    #[test]
    fn other_types_become_f32() {
        let halves: Vec<u8> = [0x3c00_u16, 0xc000].iter().flat_map(|half| half.to_le_bytes()).collect();
        let read = decode(&fields(GgmlType::F16, [2, 1, 1, 1], [2, 4, 4, 4]), &halves).unwrap();
        assert_eq!(read.values, [1.0, -2.0]);
        let integers: Vec<u8> = [7_i32, -3].iter().flat_map(|number| number.to_le_bytes()).collect();
        let read = decode(&fields(GgmlType::I32, [2, 1, 1, 1], [4, 8, 8, 8]), &integers).unwrap();
        assert_eq!(read.values, [7.0, -3.0]);
        let mut block = vec![0x00, 0x3c];
        block.extend([3_u8; 32]);
        let read = decode(&fields(GgmlType::Q8_0, [32, 1, 1, 1], [34, 34, 34, 34]), &block).unwrap();
        assert_eq!(read.values, [3.0; 32]);
        assert_eq!(decode(&fields(GgmlType::I8, [2, 1, 1, 1], [1, 2, 2, 2]), &[1, 2]), None);
        let unknown = TensorFields { kind: 12345, counts: [1; 4], strides: [4; 4] };
        assert_eq!(decode(&unknown, &[0; 4]), None);
    }
}
