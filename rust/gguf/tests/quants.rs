//! The number formats on their own: known results, what they refuse, and that all ways through them agree.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::float_cmp, reason = "the results are exact")]

mod ggml;

use std::fmt::Write;

use ggml::{ROW, Random, importances, normal_rows};
use proptest::prelude::*;
use tabagent_gguf::quants::{self, can_quantize, needs_imatrix};
use tabagent_gguf::{GgmlType, QuantError};

fn quantizers() -> impl Iterator<Item = GgmlType> {
    GgmlType::ALL.iter().copied().filter(|ty| can_quantize(*ty))
}

fn packed(ty: GgmlType, values: &[f32], imatrix: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0; ty.n_bytes(values.len() as u64).unwrap() as usize];
    quants::quantize(ty, values, ROW, imatrix, &mut out).unwrap();
    out
}

fn unpacked(ty: GgmlType, bytes: &[u8], n_weights: usize) -> Vec<f32> {
    let mut out = vec![0.0; n_weights];
    quants::dequantize(ty, bytes, &mut out).unwrap();
    out
}

/// FNV-1a, 64 bits.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// As many weights as go to memory in pieces, and some that fill none.
#[test]
fn many_weights_are_decoded_alike_into_new_and_used_memory() {
    let n_weights = (4 << 20) + 3 * 4096 + 256;
    let block = normal_rows(11, 1)[..256].to_vec();
    let values: Vec<f32> = (0..n_weights).map(|i| block[i % 256] + (i / 256) as f32 * 1e-4).collect();
    for ty in [GgmlType::Q8_0, GgmlType::Q4_K, GgmlType::F16] {
        let mut bytes = vec![0; ty.n_bytes(n_weights as u64).unwrap() as usize];
        quants::quantize_parallel(ty, &values, n_weights, None, &mut bytes).unwrap();
        let expected = unpacked(ty, &bytes, n_weights);
        // One number too many in front, so that the rest is not aligned to vectors.
        let mut used = vec![f32::NAN; n_weights + 1];
        quants::dequantize_over(ty, &bytes, &mut used[1..], &|_, _| true).unwrap();
        assert!(used[1..] == expected && used[0].is_nan(), "{ty}");
        let mut new = vec![0.0; n_weights];
        quants::dequantize_with(ty, &bytes, &mut new, &|_, _| true).unwrap();
        assert!(new == expected, "{ty}");
    }
}

/// The hashes were taken when the same inputs gave the pinned ggml's bytes.
#[test]
fn results_are_those_once_compared_with_ggml() {
    let values = normal_rows(7, 4);
    let imatrix = importances();
    let mut lines = String::new();
    for &ty in GgmlType::ALL {
        let with = |imatrix| match imatrix {
            _ if !can_quantize(ty) => "-".to_owned(),
            None if needs_imatrix(ty) => "-".to_owned(),
            imatrix => format!("{:016x}", hash(packed(ty, &values, imatrix))),
        };
        let n_weights = 40 * ty.block_size();
        let mut bytes = Random(11).bytes(ty.n_bytes(n_weights).unwrap() as usize);
        if ty == GgmlType::I2_S {
            let at = bytes.len() - 32;
            bytes[at..at + 4].copy_from_slice(&0.75_f32.to_le_bytes());
        }
        let bits = unpacked(ty, &bytes, n_weights as usize)
            .into_iter()
            .flat_map(|value| if value.is_nan() { [0xff; 4] } else { value.to_le_bytes() });
        writeln!(lines, "{ty} {} {} {:016x}", with(None), with(Some(&imatrix)), hash(bits)).unwrap();
    }
    let known = include_str!("data/quants.txt");
    assert!(lines == known, "instead of `tests/data/quants.txt`:\n{lines}");
}

#[test]
fn errors_shrink_with_the_bits_spent() {
    let values = normal_rows(8, 4);
    let error = |ty| {
        let back = unpacked(ty, &packed(ty, &values, None), values.len());
        let sum: f64 = back.iter().zip(&values).map(|(back, value)| f64::from(back - value).powi(2)).sum();
        (sum / values.len() as f64).sqrt() / 0.1
    };
    let order = [
        (GgmlType::F32, 0.0),
        (GgmlType::F16, 0.0003),
        (GgmlType::BF16, 0.002),
        (GgmlType::Q8_0, 0.006),
        (GgmlType::Q6_K, 0.02),
        (GgmlType::Q5_K, 0.04),
        (GgmlType::Q4_K, 0.08),
        (GgmlType::Q3_K, 0.16),
        (GgmlType::Q2_K, 0.3),
    ];
    for (ty, limit) in order {
        let error = error(ty);
        assert!(error <= limit, "{ty}: {error}");
        assert!(error >= limit / 3.0, "{ty}: {error} is better than {limit} by far");
    }
}

#[test]
fn threads_change_nothing() {
    let values = normal_rows(9, 70);
    let imatrix = importances();
    for ty in quantizers() {
        let imatrix = Some(imatrix.as_slice());
        let serial = packed(ty, &values, imatrix);
        let mut parallel = vec![0; serial.len()];
        quants::quantize_parallel(ty, &values, ROW, imatrix, &mut parallel).unwrap();
        assert!(serial == parallel, "{ty}");
        let decoded = unpacked(ty, &serial, values.len());
        let mut parallel = vec![0.0; values.len()];
        quants::dequantize_parallel(ty, &serial, &mut parallel).unwrap();
        assert!(decoded == parallel, "{ty}");
    }
}

#[test]
fn halves_are_the_rounded_values() {
    let values = normal_rows(10, 40);
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q6_K] {
        let bytes = packed(ty, &values, None);
        let decoded = unpacked(ty, &bytes, values.len());
        for (half, decode) in [
            (
                GgmlType::F16,
                quants::dequantize_f16 as fn(GgmlType, &[u8], &mut [u16]) -> Result<(), QuantError>,
            ),
            (GgmlType::BF16, quants::dequantize_bf16),
        ] {
            let mut halves = vec![0; values.len()];
            decode(ty, &bytes, &mut halves).unwrap();
            let halves: Vec<u8> = halves.into_iter().flat_map(u16::to_le_bytes).collect();
            assert!(halves == packed(half, &decoded, None), "{ty} to {half}");
        }
    }
}

#[test]
fn i2_s_is_read_with_the_scale_at_its_end() {
    let mut bytes = vec![0b01_01_01_01; 32 + 32];
    bytes[0] = 0b00_01_10_11;
    bytes[31] = 0b10_01_01_00;
    bytes[32..36].copy_from_slice(&2.5_f32.to_le_bytes());
    let weights = unpacked(GgmlType::I2_S, &bytes, 128);
    for (at, weight) in weights.iter().enumerate() {
        let expected = match at {
            0 | 127 => -2.5,
            31 | 64 => 2.5,
            _ => 0.0,
        };
        assert_eq!(*weight, expected, "{at}");
    }
}

#[test]
fn integers_and_doubles_are_rounded_to_f32() {
    assert_eq!(unpacked(GgmlType::I8, &[0xff, 0x7f], 2), [-1.0, 127.0]);
    assert_eq!(unpacked(GgmlType::I16, &(-300_i16).to_le_bytes(), 1), [-300.0]);
    assert_eq!(unpacked(GgmlType::I32, &16_777_219_i32.to_le_bytes(), 1), [16_777_220.0]);
    assert_eq!(unpacked(GgmlType::I64, &i64::MIN.to_le_bytes(), 1), [-9_223_372_036_854_775_808.0]);
    assert_eq!(unpacked(GgmlType::F64, &0.1_f64.to_le_bytes(), 1), [0.1]);
}

#[test]
fn buffers_that_do_not_belong_together_are_refused() {
    let mut out = [0.0; 32];
    assert_eq!(
        quants::dequantize(GgmlType::Q4_0, &[0; 17], &mut out),
        Err(QuantError::WrongLength { ty: GgmlType::Q4_0, n_weights: 32, expected: 18, found: 17 })
    );
    let error = quants::dequantize(GgmlType::Q4_0, &[0; 18], &mut out[..31]).unwrap_err();
    assert_eq!(error, QuantError::PartialBlock { ty: GgmlType::Q4_0, n_weights: 31, block_size: 32 });
    assert!(error.to_string().contains("`31`") && error.to_string().contains("`32`"), "{error}");
    let values = [0.0; 96];
    let mut bytes = [0; 54];
    assert!(quants::quantize(GgmlType::Q4_0, &values, 96, None, &mut bytes).is_ok());
    assert_eq!(
        quants::quantize(GgmlType::Q4_0, &values, 64, None, &mut bytes),
        Err(QuantError::PartialRow { n_weights: 96, row_length: 64 })
    );
    assert_eq!(
        quants::quantize(GgmlType::Q4_0, &values, 96, None, &mut bytes[1..]),
        Err(QuantError::WrongLength { ty: GgmlType::Q4_0, n_weights: 96, expected: 54, found: 53 })
    );
    assert!(matches!(
        quants::quantize(GgmlType::Q4_K, &values, 96, None, &mut bytes),
        Err(QuantError::PartialBlock { n_weights: 96, block_size: 256, .. })
    ));
    assert!(quants::quantize(GgmlType::Q4_0, &[], 0, None, &mut []).is_ok());
    assert!(quants::quantize_parallel(GgmlType::Q4_0, &[], 0, None, &mut []).is_ok());
    assert!(matches!(
        quants::quantize(GgmlType::Q4_0, &values, 0, None, &mut bytes),
        Err(QuantError::PartialRow { row_length: 0, .. })
    ));
}

#[test]
fn numbers_without_a_place_in_a_block_are_refused() {
    let mut values = normal_rows(12, 40);
    values[20_000] = f32::NAN;
    values[20_100] = f32::INFINITY;
    let imatrix = importances();
    for ty in quantizers() {
        let mut out = vec![0; ty.n_bytes(values.len() as u64).unwrap() as usize];
        let serial = quants::quantize(ty, &values, ROW, Some(&imatrix), &mut out);
        let parallel = quants::quantize_parallel(ty, &values, ROW, Some(&imatrix), &mut out);
        if matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16) {
            assert!(serial.is_ok() && parallel.is_ok(), "{ty}");
        } else {
            assert_eq!(serial, Err(QuantError::NotFinite { ty, index: 20_000 }));
            assert_eq!(parallel, serial);
        }
    }
}

#[test]
fn importance_matrices_are_checked() {
    let values = normal_rows(13, 2);
    let mut imatrix = importances();
    let mut out = vec![0; GgmlType::IQ2_XS.n_bytes(values.len() as u64).unwrap() as usize];
    let mut run =
        |imatrix: Option<&[f32]>| quants::quantize(GgmlType::IQ2_XS, &values, ROW, imatrix, &mut out);
    assert_eq!(run(None), Err(QuantError::ImatrixMissing { ty: GgmlType::IQ2_XS }));
    assert_eq!(run(Some(&imatrix[1..])), Err(QuantError::ImatrixLength { expected: ROW, found: ROW - 1 }));
    imatrix[5] = -1.0;
    assert_eq!(run(Some(&imatrix)), Err(QuantError::ImatrixValue { index: 5 }));
    imatrix[5] = f32::INFINITY;
    assert_eq!(run(Some(&imatrix)), Err(QuantError::ImatrixValue { index: 5 }));
    imatrix[5] = 0.0;
    assert_eq!(run(Some(&imatrix)), Ok(()));
}

#[test]
fn types_without_a_quantizer_are_refused() {
    let refused: Vec<GgmlType> = GgmlType::ALL.iter().copied().filter(|ty| !can_quantize(*ty)).collect();
    assert_eq!(refused.len(), 6);
    for ty in refused {
        let mut out = vec![0; ty.n_bytes(256).unwrap() as usize];
        assert_eq!(
            quants::quantize(ty, &[0.0; 256], 256, None, &mut out),
            Err(QuantError::NotAQuantizer { ty })
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Also sizes at which ggml aborts.
    #[test]
    fn no_finite_weights_panic(bits in prop::collection::vec(any::<u32>(), 512), huge in any::<bool>()) {
        let values: Vec<f32> = bits
            .iter()
            .map(|bits| f32::from_bits(if huge { bits | 0x7000_0000 } else { *bits }))
            .map(|value| if value.is_finite() { value } else { f32::MAX })
            .collect();
        let imatrix: Vec<f32> = values.iter().map(|value| value.abs()).collect();
        for ty in quantizers() {
            let with = packed(ty, &values, Some(&imatrix));
            prop_assert_eq!(unpacked(ty, &with, 512).len(), 512);
            if !needs_imatrix(ty) {
                packed(ty, &values, None);
            }
        }
    }

    #[test]
    fn no_bytes_panic(seed in any::<u64>()) {
        for &ty in GgmlType::ALL {
            let bytes = Random(seed).bytes(ty.n_bytes(512).unwrap() as usize);
            unpacked(ty, &bytes, 512);
            let _ = quants::check(ty, &bytes);
        }
    }
}
