//! The types that a tensor may get.

use crate::{GgmlType, ModelTensor};

/// A tensor of the model and what may be chosen for it.
#[derive(Debug, Clone)]
pub struct CandidateTensor<'a> {
    /// The tensor.
    pub tensor: ModelTensor<'a>,
    /// The types to choose from; the tensor's own leaves its bytes as they are, and so does an empty list.
    pub types: Vec<GgmlType>,
    /// The importances of a row's weights, either for each matrix of the tensor (`ne[0] * ne[2] * ne[3]` values) or one row's for all of them.
    pub importances: Option<&'a [f32]>,
}

/// Types for rows of whole blocks of 256, by size.
const LARGE_BLOCKS: [GgmlType; 7] = [
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::IQ4_XS,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::Q8_0,
];

/// Types that are of use only where importances say which weights count, by size.
const BY_IMPORTANCE: [GgmlType; 8] = [
    GgmlType::IQ1_S,
    GgmlType::IQ1_M,
    GgmlType::IQ2_XXS,
    GgmlType::IQ2_XS,
    GgmlType::IQ2_S,
    GgmlType::IQ3_XXS,
    GgmlType::IQ3_S,
    GgmlType::IQ4_NL,
];

/// Types for rows of whole blocks of 32, by size.
const SMALL_BLOCKS: [GgmlType; 6] =
    [GgmlType::Q4_0, GgmlType::IQ4_NL, GgmlType::Q4_1, GgmlType::Q5_0, GgmlType::Q5_1, GgmlType::Q8_0];

/// The types that a tensor of type `current` with rows of `row_length` weights may get, its own included: the types whose blocks divide a row, those
/// of one to three bits only `with_importances`.
///
/// Left out are types for weights that were trained for them (`Q1_0`, `Q2_0`, `TQ1_0`, `TQ2_0`, `MXFP4`, `NVFP4`), `F16` for tensors that already
/// have no more bits, and all types for tensors that are no weights to quantize (integers, `F64`, and `I2_S` with its one scale).
pub fn candidate_types(current: GgmlType, row_length: u64, with_importances: bool) -> Vec<GgmlType> {
    use GgmlType::{F16, F32, F64, I2_S, I8, I16, I32, I64};
    if matches!(current, I8 | I16 | I32 | I64 | F64 | I2_S) {
        return vec![current];
    }
    let mut types = Vec::new();
    if row_length.is_multiple_of(256) {
        if with_importances {
            types.extend(BY_IMPORTANCE);
        }
        types.extend(LARGE_BLOCKS);
    } else if row_length.is_multiple_of(32) {
        types.extend(SMALL_BLOCKS);
    }
    if current == F32 {
        types.push(F16);
    }
    // A type with more bits than the stored one cannot keep more than the stored one has.
    let bits = |ty: GgmlType| 8.0 * ty.block_bytes() as f64 / ty.block_size() as f64;
    types.retain(|&ty| ty != current && bits(ty) <= bits(current));
    types.push(current);
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_all_candidates_divide_the_row() {
        for row_length in [1, 31, 32, 96, 128, 256, 576, 640, 2048] {
            for with_importances in [false, true] {
                for &current in GgmlType::ALL {
                    let types = candidate_types(current, row_length, with_importances);
                    assert_eq!(types.iter().filter(|ty| **ty == current).count(), 1, "{current}");
                    for &ty in types.iter().filter(|ty| **ty != current) {
                        assert!(row_length.is_multiple_of(ty.block_size()), "{ty} for {row_length}");
                        assert!(crate::quants::can_quantize(ty), "{ty}");
                        assert!(with_importances || !crate::quants::needs_imatrix(ty), "{ty}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_grows() {
        assert_eq!(candidate_types(GgmlType::Q4_0, 576, true), [GgmlType::IQ4_NL, GgmlType::Q4_0]);
        assert_eq!(candidate_types(GgmlType::BF16, 20, false), [GgmlType::BF16]);
        assert_eq!(candidate_types(GgmlType::F32, 20, false), [GgmlType::F16, GgmlType::F32]);
        assert_eq!(candidate_types(GgmlType::I32, 256, false), [GgmlType::I32]);
    }
}
