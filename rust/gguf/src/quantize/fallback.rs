//! The replacement for a type whose blocks do not divide the rows (`tensor_type_fallback` in `src/llama-quant.cpp`).

use crate::ggml_type::GgmlType;

/// The type for rows of `row_len` weights that should be `wanted`: itself, the next with smaller blocks, F16 if that does not fit
/// either, or `None` where llama.cpp has no rule.
pub(super) fn fitting(wanted: GgmlType, row_len: u64) -> Option<GgmlType> {
    let fits = |kind: GgmlType| row_len.is_multiple_of(kind.block_size());
    if fits(wanted) {
        return Some(wanted);
    }
    let smaller = match wanted {
        _ if wanted.is_lattice() => GgmlType::IQ4_NL,
        GgmlType::IQ4_XS => GgmlType::IQ4_NL,
        GgmlType::Q2_0 | GgmlType::Q2_K | GgmlType::Q3_K | GgmlType::TQ1_0 | GgmlType::TQ2_0 => {
            GgmlType::Q4_0
        }
        GgmlType::Q4_K => GgmlType::Q5_0,
        GgmlType::Q5_K => GgmlType::Q5_1,
        GgmlType::Q6_K => GgmlType::Q8_0,
        other if other.block_size() <= 32 => other,
        _ => return None,
    };
    Some(if fits(smaller) { smaller } else { GgmlType::F16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_give_way_to_smaller_blocks_and_then_to_f16() {
        assert_eq!(fitting(GgmlType::Q4_K, 512), Some(GgmlType::Q4_K));
        assert_eq!(fitting(GgmlType::Q4_K, 576), Some(GgmlType::Q5_0));
        assert_eq!(fitting(GgmlType::IQ4_XS, 576), Some(GgmlType::IQ4_NL));
        assert_eq!(fitting(GgmlType::Q4_K, 40), Some(GgmlType::F16));
        assert_eq!(fitting(GgmlType::Q8_0, 40), Some(GgmlType::F16));
        assert_eq!(fitting(GgmlType::Q2_0, 96), Some(GgmlType::Q4_0));
        assert_eq!(fitting(GgmlType::Q1_0, 192), None);
        assert_eq!(fitting(GgmlType::I8, 7), Some(GgmlType::I8));
    }
}
