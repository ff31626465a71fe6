//! Byte order of each type's blocks: where their multi-byte numbers lie, and how to swap them.
//!
//! A big-endian file holds what ggml reads on a big-endian machine. The fields are those of the structs in
//! `ggml/src/ggml-common.h`, except where ggml copies bytes into a wider number before it looks at them: the fifth bits of `Q5_0` and
//! `Q5_1`, and the scales with signs of `IQ2_XXS` and `IQ3_XXS` (`dequantize_row_*` in `ggml/src/ggml-quants.c`). For the types that
//! `gguf_convert_endian.py` of the `gguf` package converts, the result is the same.

use crate::ggml_type::GgmlType;

/// Numbers of `width` bytes, `count` of them `stride` bytes apart, from byte `start` of a block on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    start: usize,
    width: usize,
    count: usize,
    stride: usize,
}

/// `count` numbers of `width` bytes side by side from byte `start` on.
const fn run(start: usize, width: usize, count: usize) -> Field {
    Field { start, width, count, stride: width }
}

/// One number of 16 bits at byte `start`.
const fn half(start: usize) -> Field {
    run(start, 2, 1)
}

/// The numbers in a block of `kind`.
const fn fields(kind: GgmlType) -> &'static [Field] {
    match kind {
        // The scale of `I2_S` lies behind all blocks.
        GgmlType::I8 | GgmlType::MXFP4 | GgmlType::NVFP4 | GgmlType::I2_S => &[],
        GgmlType::F32 | GgmlType::I32 => const { &[run(0, 4, 1)] },
        GgmlType::F64 | GgmlType::I64 => const { &[run(0, 8, 1)] },
        GgmlType::F16
        | GgmlType::BF16
        | GgmlType::I16
        | GgmlType::Q4_0
        | GgmlType::Q8_0
        | GgmlType::Q1_0
        | GgmlType::Q2_0
        | GgmlType::IQ4_NL
        | GgmlType::IQ2_S
        | GgmlType::IQ3_S => const { &[half(0)] },
        GgmlType::Q4_1 | GgmlType::Q8_1 | GgmlType::Q4_K | GgmlType::Q5_K | GgmlType::IQ4_XS => {
            const { &[run(0, 2, 2)] }
        }
        GgmlType::Q5_0 => const { &[half(0), run(2, 4, 1)] },
        GgmlType::Q5_1 => const { &[run(0, 2, 2), run(4, 4, 1)] },
        GgmlType::Q2_K => const { &[run(80, 2, 2)] },
        GgmlType::Q3_K => const { &[half(108)] },
        GgmlType::Q6_K => const { &[half(208)] },
        GgmlType::Q8_K => const { &[run(0, 4, 1), run(260, 2, 16)] },
        GgmlType::TQ1_0 => const { &[half(52)] },
        GgmlType::TQ2_0 => const { &[half(64)] },
        GgmlType::IQ1_S => const { &[half(0), run(34, 2, 8)] },
        GgmlType::IQ1_M => const { &[run(48, 2, 4)] },
        // Of each eight bytes the first four are indices.
        GgmlType::IQ2_XXS => const { &[half(0), Field { start: 6, width: 4, count: 8, stride: 8 }] },
        GgmlType::IQ2_XS => const { &[run(0, 2, 33)] },
        GgmlType::IQ3_XXS => const { &[half(0), run(66, 4, 8)] },
    }
}

/// Swaps the byte order of every number in the whole blocks of `kind`; an incomplete block at the end stays as it is.
pub(crate) fn swap_blocks(kind: GgmlType, bytes: &mut [u8]) {
    let fields = fields(kind);
    for block in bytes.chunks_exact_mut(kind.block_bytes() as usize) {
        for field in fields {
            for number in 0..field.count {
                let start = field.start + number * field.stride;
                if let Some(number) = block.get_mut(start..start + field.width) {
                    number.reverse();
                }
            }
        }
    }
}

/// [`swap_blocks`] for the whole data of a tensor; in `I2_S` the scale behind the blocks is the only number to swap.
pub(crate) fn swap_tensor(kind: GgmlType, bytes: &mut [u8]) {
    if kind != GgmlType::I2_S {
        swap_blocks(kind, bytes);
    } else if let Some(scale) = bytes.len().checked_sub(32).and_then(|at| bytes.get_mut(at..at + 4)) {
        scale.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapping_twice_changes_nothing_and_once_changes_only_numbers() {
        for &kind in GgmlType::ALL {
            let n_bytes = kind.n_bytes(3 * kind.block_size()).unwrap() as usize;
            let before: Vec<u8> = (0..n_bytes).map(|k| (k * 7 + 3) as u8).collect();
            let mut bytes = before.clone();
            swap_tensor(kind, &mut bytes);
            let moved = before.iter().zip(&bytes).filter(|(before, after)| before != after).count();
            let numbers: usize =
                fields(kind).iter().map(|field| field.width * field.count).sum::<usize>() * 3;
            assert_eq!(moved, if kind == GgmlType::I2_S { 4 } else { numbers }, "{kind}");
            swap_tensor(kind, &mut bytes);
            assert_eq!(bytes, before, "{kind}");
        }
    }

    #[test]
    fn no_field_leaves_its_block_and_no_two_overlap() {
        for &kind in GgmlType::ALL {
            let mut seen = vec![false; kind.block_bytes() as usize];
            for field in fields(kind) {
                for number in 0..field.count {
                    let start = field.start + number * field.stride;
                    for byte in &mut seen[start..start + field.width] {
                        assert!(!*byte, "{kind}");
                        *byte = true;
                    }
                }
            }
        }
    }

    #[test]
    fn short_data_is_left_alone() {
        let mut bytes = [1, 2, 3];
        swap_tensor(GgmlType::I2_S, &mut bytes);
        swap_tensor(GgmlType::Q4_0, &mut bytes);
        assert_eq!(bytes, [1, 2, 3]);
    }
}
