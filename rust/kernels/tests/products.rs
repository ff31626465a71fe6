//! Products on every instruction set of this processor, against the plain kernels and against products in double precision.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use proptest::prelude::*;
use tabagent_gguf::{GgmlType, quants};
use tabagent_kernels::{Activations, Isa, KernelError, Matrix, Pool, multiply, multiply_all, multiply_with};

/// All types of weights.
const KINDS: [GgmlType; 28] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::IQ4_NL,
    GgmlType::IQ4_XS,
    GgmlType::TQ1_0,
    GgmlType::TQ2_0,
    GgmlType::I2_S,
    GgmlType::MXFP4,
    GgmlType::NVFP4,
    GgmlType::IQ1_S,
    GgmlType::IQ1_M,
    GgmlType::IQ2_XXS,
    GgmlType::IQ2_S,
    GgmlType::IQ3_XXS,
    GgmlType::IQ3_S,
    GgmlType::Q1_0,
    GgmlType::Q2_0,
];

/// Numbers of a linear congruence: the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }
}

/// Where the halves with scales lie in a block.
fn scale_offsets(kind: GgmlType) -> &'static [usize] {
    match kind {
        GgmlType::Q4_0
        | GgmlType::Q5_0
        | GgmlType::Q8_0
        | GgmlType::IQ4_NL
        | GgmlType::IQ4_XS
        | GgmlType::IQ1_S
        | GgmlType::IQ2_XXS
        | GgmlType::IQ2_S
        | GgmlType::IQ3_XXS
        | GgmlType::IQ3_S
        | GgmlType::Q1_0
        | GgmlType::Q2_0 => &[0],
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4_K | GgmlType::Q5_K => &[0, 2],
        GgmlType::Q2_K => &[80, 82],
        GgmlType::Q3_K => &[108],
        GgmlType::Q6_K => &[208],
        GgmlType::TQ1_0 => &[52],
        GgmlType::TQ2_0 => &[64],
        _ => &[],
    }
}

/// Any digits, with scales of a sensible size.
fn tensor(kind: GgmlType, n_weights: usize, random: &mut Random) -> Vec<u8> {
    let n_bytes = kind.n_bytes(n_weights as u64).unwrap() as usize;
    match kind {
        GgmlType::F32 => (0..n_weights).flat_map(|_| random.float().to_le_bytes()).collect(),
        GgmlType::F16 => {
            (0..n_weights).flat_map(|_| half::f16::from_f32(random.float()).to_le_bytes()).collect()
        }
        GgmlType::BF16 => {
            (0..n_weights).flat_map(|_| half::bf16::from_f32(random.float()).to_le_bytes()).collect()
        }
        _ => {
            let mut bytes: Vec<u8> = (0..n_bytes).map(|_| random.next() as u8).collect();
            let block_bytes = kind.block_bytes() as usize;
            for block in bytes.chunks_exact_mut(block_bytes) {
                for at in scale_offsets(kind) {
                    let scale = half::f16::from_f32(random.float() / 16.0);
                    block[*at..*at + 2].copy_from_slice(&scale.to_le_bytes());
                }
                match kind {
                    GgmlType::MXFP4 => block[0] = 120 + block[0] % 8,
                    GgmlType::NVFP4 => block[..4].iter_mut().for_each(|scale| *scale = 0x30 | (*scale & 7)),
                    // The scale's upper bits are those of an F16 number.
                    GgmlType::IQ1_M => block[55] = (block[55] & 15) | 0x20,
                    _ => {}
                }
            }
            if kind == GgmlType::I2_S {
                let at = bytes.len() - 32;
                bytes[at..at + 4].copy_from_slice(&0.37f32.to_le_bytes());
            }
            bytes
        }
    }
}

/// The product in double precision, for each result the error that rounded weights (by the share `rounding`) and quantized activations may make, and `sum(|w|) * max(|x|)` over each 32
/// columns.
fn exact(
    weights: &[f32],
    values: &[f32],
    n_cols: usize,
    rounding: f64,
    is_quantized: bool,
) -> Vec<(f64, f64, f64)> {
    let mut results = Vec::new();
    for values in values.chunks_exact(n_cols) {
        for row in weights.chunks_exact(n_cols) {
            let (mut sum, mut bound, mut size) = (0.0, 0.0, 0.0);
            for (row, values) in row.chunks(32).zip(values.chunks(32)) {
                let largest = values.iter().fold(0.0f64, |a, x| a.max(f64::from(x.abs())));
                for (w, x) in row.iter().zip(values) {
                    let (w, x) = (f64::from(*w), f64::from(*x));
                    sum += w * x;
                    size += w.abs() * largest;
                    bound += (1e-5 + rounding) * (w * x).abs() + 1e-37;
                    if is_quantized {
                        bound += w.abs() * largest * (0.5001 / 127.0 + 1e-5);
                    }
                }
            }
            results.push((sum, bound, size));
        }
    }
    results
}

fn is_float(kind: GgmlType) -> bool {
    use GgmlType::*;
    matches!(kind, F32 | F16 | BF16 | NVFP4 | IQ1_S | IQ1_M | IQ2_XXS | IQ2_S | IQ3_XXS | IQ3_S | Q1_0 | Q2_0)
}

/// Types that are kept as F16.
fn rounding(kind: GgmlType) -> f64 {
    let is_exact = !is_float(kind) || matches!(kind, GgmlType::F32 | GgmlType::F16 | GgmlType::BF16);
    if is_exact { 0.0 } else { 1.0 / 2048.0 }
}

fn check(kind: GgmlType, n_cols: usize, n_rows: usize, n_tokens: usize, seed: u64) {
    let mut random = Random(seed);
    let bytes = tensor(kind, n_cols * n_rows, &mut random);
    let mut weights = vec![0.0; n_cols * n_rows];
    quants::dequantize(kind, &bytes, &mut weights).unwrap();
    let matrix = Matrix::pack(kind, n_cols, n_rows, &bytes).unwrap();
    let values: Vec<f32> = (0..n_tokens * n_cols).map(|_| random.float() * 3.0).collect();
    let pool = Pool::new(2).unwrap();
    let mut input = Activations::new();
    input.load(&values, n_cols, &pool).unwrap();
    let exact = exact(&weights, &values, n_cols, rounding(kind), !is_float(kind));
    let mut plain = vec![f32::NAN; n_tokens * n_rows];
    multiply_with(Isa::Plain, &[&matrix], &input, &mut [&mut plain], &pool).unwrap();
    for &isa in Isa::available() {
        let mut out = vec![f32::NAN; n_tokens * n_rows];
        multiply_with(isa, &[&matrix], &input, &mut [&mut out], &pool).unwrap();
        for (at, ((out, plain), (exact, bound, size))) in out.iter().zip(&plain).zip(&exact).enumerate() {
            let place = format!("{kind} {n_cols} x {n_rows} x {n_tokens} on {isa:?}, result {at}");
            assert!((f64::from(*out) - exact).abs() <= *bound, "{place}: {out} for {exact} ± {bound}");
            // The whole numbers are the same everywhere; only the order and rounding of F32 differ.
            assert!(
                f64::from((out - plain).abs()) <= 3e-6 * size + 1e-35,
                "{place}: {out} for plain {plain}"
            );
        }
    }
    let mut row = vec![0.0; n_cols];
    for (at, weights) in weights.chunks_exact(n_cols).enumerate() {
        matrix.row(at, &mut row).unwrap();
        for (found, expected) in row.iter().zip(weights) {
            assert!(
                (found - expected).abs() <= expected.abs() / 1024.0 + 1e-6,
                "{kind}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn every_type_multiplies_on_every_instruction_set() {
    for kind in KINDS {
        for (n_rows, n_tokens) in [(16, 1), (33, 3), (5, 8), (48, 15)] {
            check(kind, 512, n_rows, n_tokens, u64::from(kind.id()) + n_rows as u64);
        }
    }
}

#[test]
fn rows_longer_than_a_run_of_blocks_multiply() {
    for kind in KINDS {
        check(kind, 2304, 17, 9, 7);
    }
}

#[test]
fn columns_of_floats_need_not_be_even() {
    for kind in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
        for n_cols in [1, 2, 3, 31, 33, 65, 257] {
            check(kind, n_cols, 18, 7, n_cols as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_shape_multiplies(kind in 0..KINDS.len(), blocks in 1..12usize, n_rows in 1..70usize, n_tokens in 1..20usize, seed: u64) {
        let kind = KINDS[kind];
        let n_cols = (kind.block_size() as usize).max(32) * if kind.block_size() == 256 { blocks.div_ceil(4) } else { blocks };
        check(kind, n_cols, n_rows, n_tokens, seed);
    }
}

/// The extremes of digits and wholes: sums of products must not overflow 16 bits where they are kept in such.
#[test]
fn the_largest_digits_and_activations_do_not_overflow() {
    for kind in KINDS {
        if is_float(kind) {
            continue;
        }
        for fill in [0x00u8, 0xff, 0x80, 0x7f] {
            let mut random = Random(3);
            let mut bytes = tensor(kind, 16 * 512, &mut random);
            let offsets = scale_offsets(kind);
            let block_bytes = kind.block_bytes() as usize;
            let n_blocks = bytes.len() / block_bytes;
            for (at, byte) in bytes.iter_mut().enumerate() {
                let in_block = at % block_bytes;
                let is_scale = offsets.iter().any(|offset| (*offset..*offset + 2).contains(&in_block));
                let is_trailer = kind == GgmlType::I2_S && at / block_bytes == n_blocks - 1;
                let is_exponent = kind == GgmlType::MXFP4 && in_block == 0;
                if !(is_scale || is_trailer || is_exponent) {
                    *byte = fill;
                }
            }
            let matrix = Matrix::pack(kind, 512, 16, &bytes).unwrap();
            let mut weights = vec![0.0; 16 * 512];
            quants::dequantize(kind, &bytes, &mut weights).unwrap();
            let pool = Pool::new(1).unwrap();
            let mut input = Activations::new();
            for sign in [1.0f32, -1.0] {
                let values = [5.0 * sign; 512];
                input.load(&values, 512, &pool).unwrap();
                let exact = exact(&weights, &values, 512, 0.0, false);
                for &isa in Isa::available() {
                    let mut out = [0.0; 16];
                    multiply_with(isa, &[&matrix], &input, &mut [&mut out], &pool).unwrap();
                    for (out, (exact, bound, _)) in out.iter().zip(&exact) {
                        let bound = 2.0 * bound + 1e-6;
                        assert!(
                            (f64::from(*out) - exact).abs() <= bound,
                            "{kind} {fill} {isa:?}: {out} for {exact}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_bad_number_spoils_its_own_token_and_row_only() {
    let pool = Pool::new(1).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for kind in [GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q6_K, GgmlType::F16, GgmlType::F32] {
            let mut random = Random(11);
            let matrix = Matrix::pack(kind, 256, 20, &tensor(kind, 256 * 20, &mut random)).unwrap();
            let mut values: Vec<f32> = (0..3 * 256).map(|_| random.float()).collect();
            values[256 + 77] = bad;
            let mut input = Activations::new();
            input.load(&values, 256, &pool).unwrap();
            for &isa in Isa::available() {
                let mut out = [0.0; 60];
                multiply_with(isa, &[&matrix], &input, &mut [&mut out], &pool).unwrap();
                for (token, out) in out.chunks_exact(20).enumerate() {
                    assert!(
                        out.iter().all(|x| x.is_finite() != (token == 1)),
                        "{kind} {isa:?} {token}: {out:?}"
                    );
                }
            }
        }
    }
    let mut bytes = tensor(GgmlType::Q4_0, 20 * 64, &mut Random(5));
    bytes[36 * 3..36 * 3 + 2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    let matrix = Matrix::pack(GgmlType::Q4_0, 64, 20, &bytes).unwrap();
    let mut input = Activations::new();
    input.load(&[1.0; 64], 64, &pool).unwrap();
    for &isa in Isa::available() {
        let mut out = [0.0; 20];
        multiply_with(isa, &[&matrix], &input, &mut [&mut out], &pool).unwrap();
        assert!(out.iter().enumerate().all(|(row, x)| x.is_nan() == (row == 3)), "{isa:?}: {out:?}");
    }
}

#[test]
fn activations_of_any_size_are_quantized() {
    let pool = Pool::new(1).unwrap();
    let bytes: Vec<u8> = [[0x00, 0x3c].to_vec(), vec![1; 32]].concat();
    let matrix = Matrix::pack(GgmlType::Q8_0, 32, 1, &bytes).unwrap();
    let mut input = Activations::new();
    for size in [0.0f32, 1e-44, 1e-38, 1e-30, 1.0, 1e30, 1e37] {
        let values: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { size } else { size / 2.0 }).collect();
        input.load(&values, 32, &pool).unwrap();
        let mut out = [f32::NAN];
        multiply(&matrix, &input, &mut out, &pool).unwrap();
        let bound = 24.0 * size * 0.01 + 1e-33;
        assert!((out[0] - 24.0 * size).abs() <= bound, "{size}: {}", out[0]);
    }
}

#[test]
fn several_matrices_of_one_input_give_what_each_gives() {
    let pool = Pool::new(2).unwrap();
    let mut random = Random(1);
    let kinds = [(GgmlType::Q4_K, 100), (GgmlType::Q6_K, 7), (GgmlType::F16, 33), (GgmlType::Q8_0, 0)];
    let matrices: Vec<Matrix> = kinds
        .iter()
        .map(|(kind, n_rows)| {
            Matrix::pack(*kind, 256, *n_rows, &tensor(*kind, 256 * n_rows, &mut random)).unwrap()
        })
        .collect();
    let values: Vec<f32> = (0..70 * 256).map(|_| random.float()).collect();
    let mut input = Activations::new();
    input.load(&values, 256, &pool).unwrap();
    let mut outs: Vec<Vec<f32>> = matrices.iter().map(|m| vec![f32::NAN; 70 * m.n_rows()]).collect();
    let mut slices: Vec<&mut [f32]> = outs.iter_mut().map(Vec::as_mut_slice).collect();
    multiply_all(&matrices.iter().collect::<Vec<_>>(), &input, &mut slices, &pool).unwrap();
    for (matrix, out) in matrices.iter().zip(&outs) {
        let mut alone = vec![f32::NAN; out.len()];
        multiply(matrix, &input, &mut alone, &pool).unwrap();
        assert_eq!(out, &alone);
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let pool = Pool::new(1).unwrap();
    let refused = |kind, n_cols, n_rows, n_bytes: usize| {
        Matrix::pack(kind, n_cols, n_rows, &vec![0; n_bytes]).unwrap_err()
    };
    assert!(matches!(refused(GgmlType::I32, 32, 1, 128), KernelError::NotAWeightType { .. }));
    assert!(matches!(refused(GgmlType::Q4_0, 33, 1, 18), KernelError::PartialBlock { .. }));
    assert!(matches!(refused(GgmlType::F32, 0, 1, 0), KernelError::PartialBlock { .. }));
    assert!(matches!(refused(GgmlType::Q4_0, 64, 2, 71), KernelError::Quant(_)));
    assert!(matches!(refused(GgmlType::F32, usize::MAX / 8, 9, 0), KernelError::TooLarge { .. }));
    let matrix = Matrix::pack(GgmlType::Q4_0, 64, 2, &[0; 72]).unwrap();
    let mut input = Activations::new();
    assert!(matches!(input.load(&[0.0; 65], 64, &pool), Err(KernelError::WrongLength { .. })));
    assert!(matches!(input.load(&[], 0, &pool), Err(KernelError::WrongValue { .. })));
    input.load(&[0.0; 64], 64, &pool).unwrap();
    assert!(multiply(&matrix, &input, &mut [0.0; 3], &pool).is_err());
    input.load(&[0.0; 32], 32, &pool).unwrap();
    assert!(multiply(&matrix, &input, &mut [0.0; 2], &pool).is_err());
    assert!(matrix.row(2, &mut [0.0; 64]).is_err());
    assert!(matrix.row(1, &mut [0.0; 63]).is_err());
}
