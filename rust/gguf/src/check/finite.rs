//! Finding infinities and NaN in stored numbers.

use crate::ggml_type::GgmlType;
use crate::reader::ByteOrder;

/// The first weight of `bytes` that is infinite or NaN, counted from 0. For types of blocks it is the first weight of the bad block.
pub(crate) fn first_bad_weight(kind: GgmlType, bytes: &[u8], order: ByteOrder) -> Option<u64> {
    match kind {
        GgmlType::F32 => first_bad::<4>(bytes, order, 0x7f80_0000),
        GgmlType::F16 => first_bad::<2>(bytes, order, 0x7c00),
        GgmlType::BF16 => first_bad::<2>(bytes, order, 0x7f80),
        GgmlType::F64 => first_bad::<8>(bytes, order, 0x7ff0_0000_0000_0000),
        _ => None,
    }
}

/// The first number of `N` bytes all of whose `exponent` bits are set, which is what infinities and NaN have in common.
fn first_bad<const N: usize>(bytes: &[u8], order: ByteOrder, exponent: u64) -> Option<u64> {
    let mask = match order {
        ByteOrder::Little => exponent,
        ByteOrder::Big => exponent.swap_bytes() >> (64 - 8 * N),
    };
    let is_bad = |number: &[u8; N]| {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(number);
        u64::from_le_bytes(wide) & mask == mask
    };
    let numbers = bytes.as_chunks::<N>().0;
    // Whole runs first, without a branch per number.
    for (run, some) in numbers.chunks(1024).enumerate() {
        if some.iter().fold(false, |bad, number| bad | is_bad(number)) {
            return some.iter().position(is_bad).map(|at| (run * 1024 + at) as u64);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_and_nan_of_every_float_type_are_found_in_both_byte_orders() {
        let bad: [(GgmlType, Vec<u8>, Vec<u8>); 6] = [
            (GgmlType::F32, 1.0_f32.to_le_bytes().to_vec(), f32::NAN.to_le_bytes().to_vec()),
            (GgmlType::F32, f32::MAX.to_le_bytes().to_vec(), f32::NEG_INFINITY.to_le_bytes().to_vec()),
            (GgmlType::F64, f64::MIN.to_le_bytes().to_vec(), f64::INFINITY.to_le_bytes().to_vec()),
            (GgmlType::F16, 0x7bff_u16.to_le_bytes().to_vec(), 0x7c00_u16.to_le_bytes().to_vec()),
            (GgmlType::F16, 0x83ff_u16.to_le_bytes().to_vec(), 0xfe00_u16.to_le_bytes().to_vec()),
            (GgmlType::BF16, 0x7f7f_u16.to_le_bytes().to_vec(), 0xff80_u16.to_le_bytes().to_vec()),
        ];
        for (kind, good, bad) in bad {
            for at in [0, 1, 1023, 1024, 2500] {
                let mut bytes = good.repeat(3000);
                assert_eq!(first_bad_weight(kind, &bytes, ByteOrder::Little), None, "{kind}");
                bytes[at * bad.len()..(at + 1) * bad.len()].copy_from_slice(&bad);
                assert_eq!(first_bad_weight(kind, &bytes, ByteOrder::Little), Some(at as u64), "{kind}");
                bytes.chunks_mut(bad.len()).for_each(<[u8]>::reverse);
                assert_eq!(first_bad_weight(kind, &bytes, ByteOrder::Big), Some(at as u64), "{kind}");
            }
        }
    }
}
