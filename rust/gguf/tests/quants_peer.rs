//! The number formats against the pinned ggml's own functions, bit for bit.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod ggml;

use ggml::{Ggml, Random};
use proptest::prelude::*;
use tabagent_gguf::quants::{self, can_quantize, needs_imatrix};
use tabagent_gguf::{GgmlType, GgufFile};

fn block_types() -> impl Iterator<Item = GgmlType> {
    GgmlType::ALL.iter().copied().filter(|ty| ty.is_upstream())
}

fn is_lattice(ty: GgmlType) -> bool {
    ty.name().starts_with("IQ")
}

fn same_bits(ours: f32, theirs: f32) -> bool {
    ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan())
}

fn decode(ty: GgmlType, bytes: &[u8]) -> Vec<f32> {
    let n_weights = bytes.len() / ty.block_bytes() as usize * ty.block_size() as usize;
    let mut out = vec![0.0; n_weights];
    quants::dequantize(ty, bytes, &mut out).unwrap();
    out
}

fn encode(ty: GgmlType, values: &[f32], row_length: usize, imatrix: Option<&[f32]>) -> Vec<u8> {
    let mut out = vec![0xaa; ty.n_bytes(values.len() as u64).unwrap() as usize];
    quants::quantize(ty, values, row_length, imatrix, &mut out).unwrap();
    out
}

#[track_caller]
fn compare_decoding(library: &Ggml, ty: GgmlType, bytes: &[u8]) -> bool {
    let Some(theirs) = library.dequantize(ty, bytes) else { return false };
    let ours = decode(ty, bytes);
    for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!(same_bits(*ours, *theirs), "{ty} weight {at}: {ours:e} instead of {theirs:e}");
    }
    true
}

#[track_caller]
fn compare_encoding(
    library: &Ggml,
    ty: GgmlType,
    values: &[f32],
    row_length: usize,
    imatrix: Option<&[f32]>,
    what: &str,
) {
    let theirs = library.quantize(ty, values, row_length, imatrix);
    let ours = encode(ty, values, row_length, imatrix);
    let (block_size, block_bytes) = (ty.block_size() as usize, ty.block_bytes() as usize);
    let blocks = ours.chunks(block_bytes).zip(theirs.chunks(block_bytes));
    for (block, ((ours, theirs), values)) in blocks.zip(values.chunks(block_size)).enumerate() {
        if ours == theirs {
            continue;
        }
        if ty == GgmlType::IQ3_S && ggml_misplaces(values) {
            let (our_error, their_error) =
                (squared_error(ty, ours, values), squared_error(ty, theirs, values));
            assert!(our_error < their_error, "{ty} block {block}: {our_error:e} above {their_error:e}");
            continue;
        }
        let with = if imatrix.is_some() { "with" } else { "without" };
        let at = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs).unwrap();
        panic!(
            "{ty} {with} importances, {what}: block {block} differs at its byte {at}\n{ours:?}\n{theirs:?}"
        );
    }
}

/// ggml's `quantize_row_iq3_s_impl` does not step over a group of 32 zeros and writes the block's later groups over its
/// earlier ones. Here, and only here, the bytes are not ggml's but right ones.
fn ggml_misplaces(values: &[f32]) -> bool {
    let zero = |group: &[f32]| group.iter().all(|value| *value == 0.0);
    values.chunks(32).any(zero) && !zero(values)
}

fn squared_error(ty: GgmlType, bytes: &[u8], values: &[f32]) -> f64 {
    let off = |(back, value): (f32, &f32)| (f64::from(back) - f64::from(*value)).powi(2);
    decode(ty, bytes).into_iter().zip(values).map(off).sum()
}

#[test]
fn sizes_are_those_of_the_library() {
    let Some(library) = Ggml::open() else { return };
    for ty in block_types() {
        let traits = library.traits(ty);
        assert_eq!(traits.block_size as u64, ty.block_size(), "{ty}");
        assert_eq!(traits.block_bytes as u64, ty.block_bytes(), "{ty}");
    }
}

#[test]
fn random_bytes_decode_to_the_same_bits() {
    let Some(library) = Ggml::open() else { return };
    let mut random = Random(1);
    let mut compared = 0;
    for ty in block_types() {
        let bytes = random.bytes(2000 * ty.block_bytes() as usize);
        compared += usize::from(compare_decoding(&library, ty, &bytes));
    }
    // All but F32, F64, the integers and Q8_1, for which ggml has no function.
    assert_eq!(compared, block_types().count() - 7);
}

#[test]
fn every_16_bit_float_decodes_to_the_same_bits() {
    let Some(library) = Ggml::open() else { return };
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    assert!(compare_decoding(&library, GgmlType::F16, &bytes));
    assert!(compare_decoding(&library, GgmlType::BF16, &bytes));
    // The same as scales, with all other bytes at random.
    let mut random = Random(2);
    for (ty, places) in [(GgmlType::Q8_0, &[0][..]), (GgmlType::Q4_1, &[0, 2]), (GgmlType::Q6_K, &[208])] {
        let block_bytes = ty.block_bytes() as usize;
        let mut bytes = random.bytes(65536 * block_bytes);
        for (block, scale) in bytes.chunks_mut(block_bytes).zip(0..=u16::MAX) {
            for &place in places {
                block[place..place + 2].copy_from_slice(&scale.to_le_bytes());
            }
        }
        assert!(compare_decoding(&library, ty, &bytes));
    }
}

/// Rows of 768 weights of many characters. The last ones leave the range in which ggml's lattice searches do not abort.
fn rows(random: &mut Random) -> Vec<(&'static str, Vec<f32>)> {
    const N: usize = 4 * 768;
    let mut all: Vec<(&'static str, Vec<f32>)> = Vec::new();
    let mut add = |name, value: &mut dyn FnMut(usize) -> f32| all.push((name, (0..N).map(value).collect()));
    add("normal", &mut |_| random.normal() * 0.05);
    add("heavy tails", &mut |_| random.normal().powi(5) * 0.01);
    add("positive", &mut |_| random.unit() + 0.1);
    add("negative", &mut |_| -random.unit());
    add("coarse steps", &mut |_| (random.normal() * 4.0).round() / 4.0);
    add("ternary", &mut |_| (random.unit() * 3.0).floor() - 1.0);
    add("sparse", &mut |_| if random.next().is_multiple_of(8) { random.normal() } else { 0.0 });
    add("signed zeros", &mut |_| if random.next().is_multiple_of(2) { 0.0 } else { -0.0 });
    add("one weight a block", &mut |k| if k % 256 == 77 { -3.5 } else { 0.0 });
    add("constant", &mut |_| 0.3);
    add("opposite extremes", &mut |k| if k % 2 == 0 { 1.5 } else { -1.5 });
    add("mixed blocks", &mut |k| random.normal() * [1e-4, 1.0, 0.0, 30.0][k / 32 % 4]);
    add("ramp", &mut |k| (k % 256) as f32 / 100.0 - 1.0);
    add("small", &mut |_| random.normal() * 1e-9);
    add("large", &mut |_| random.normal() * 1e6);
    add("tiny", &mut |_| random.normal() * 1e-30);
    add("subnormal", &mut |_| random.normal() * 1e-41);
    add("huge", &mut |_| random.normal() * 1e18);
    add("near the end", &mut |_| random.normal() * 5e37);
    all
}

#[test]
fn many_kinds_of_rows_encode_to_the_same_bytes() {
    let Some(library) = Ggml::open() else { return };
    let mut random = Random(3);
    let imatrix: Vec<f32> = (0..768).map(|_| random.normal().powi(2) * 10.0 + 1e-3).collect();
    let kinds = rows(&mut random);
    for ty in block_types().filter(|ty| can_quantize(*ty)) {
        for (kind, values) in &kinds {
            if is_lattice(ty) && matches!(*kind, "subnormal" | "huge" | "near the end") {
                continue;
            }
            if !needs_imatrix(ty) {
                compare_encoding(&library, ty, values, 768, None, kind);
            }
            compare_encoding(&library, ty, values, 768, Some(&imatrix), kind);
        }
    }
}

/// The inputs of the results that `quants.rs` knows by heart.
#[test]
fn normal_rows_encode_to_the_same_bytes() {
    let Some(library) = Ggml::open() else { return };
    let (values, imatrix) = (ggml::normal_rows(7, 4), ggml::importances());
    for ty in block_types().filter(|ty| can_quantize(*ty)) {
        if !needs_imatrix(ty) {
            compare_encoding(&library, ty, &values, ggml::ROW, None, "normal rows");
        }
        compare_encoding(&library, ty, &values, ggml::ROW, Some(&imatrix), "normal rows");
    }
}

#[test]
fn importances_of_zero_encode_to_the_same_bytes() {
    let Some(library) = Ggml::open() else { return };
    let mut random = Random(4);
    let values: Vec<f32> = (0..4 * 768).map(|_| random.normal()).collect();
    let sparse: Vec<f32> = (0..768).map(|k| if k % 3 == 0 { 0.0 } else { random.unit() }).collect();
    for ty in block_types().filter(|ty| can_quantize(*ty)) {
        compare_encoding(&library, ty, &values, 768, Some(&sparse), "some importances zero");
    }
}

#[test]
fn rows_of_any_number_of_blocks_encode_to_the_same_bytes() {
    let Some(library) = Ggml::open() else { return };
    let mut random = Random(6);
    for n_blocks in [1, 7, 8, 9, 18, 23] {
        let row = 32 * n_blocks;
        let values: Vec<f32> = (0..3 * row).map(|_| random.normal()).collect();
        let importances: Vec<f32> = (0..row).map(|_| random.unit()).collect();
        for ty in block_types().filter(|ty| can_quantize(*ty) && ty.block_size() == 32) {
            let what = format!("{n_blocks} blocks");
            compare_encoding(&library, ty, &values, row, Some(&importances), &what);
        }
    }
}

#[test]
fn real_tensors_encode_and_decode_to_the_same_bits() {
    let Some(library) = Ggml::open() else { return };
    let Some(models) = tabagent_material::models() else { return };
    for model in ["smollm2-135m-instruct-q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"] {
        let file = GgufFile::open(&models.join(model)).unwrap();
        let mut compared = 0;
        for tensor in
            file.tensors().iter().filter(|tensor| tensor.shape.dims().len() == 2).take(40).step_by(9)
        {
            let bytes = file.tensor_data(tensor);
            let row_bytes = tensor.ggml_type.n_bytes(tensor.shape.dims()[0]).unwrap() as usize;
            let bytes = &bytes[..bytes.len().min(24 * row_bytes)];
            compare_decoding(&library, tensor.ggml_type, bytes);
            let values = decode(tensor.ggml_type, bytes);
            // Rows of 256 to suit every type.
            let values = &values[..values.len() / 256 * 256];
            for ty in block_types().filter(|ty| can_quantize(*ty) && !needs_imatrix(*ty)) {
                compare_encoding(&library, ty, values, 256, None, &tensor.name);
            }
            compared += 1;
        }
        assert!(compared >= 4, "{model}: {compared} tensors");
    }
}

#[test]
fn bad_numbers_are_found_where_the_library_finds_them() {
    let Some(library) = Ggml::open() else { return };
    let mut random = Random(5);
    let (mut good, mut bad) = (0, 0);
    for ty in block_types().filter(|ty| *ty != GgmlType::Q8_1) {
        for _ in 0..40 {
            let bytes = random.bytes(3 * ty.block_bytes() as usize);
            let valid = library.is_valid(ty, &bytes);
            assert_eq!(quants::check(ty, &bytes).is_ok(), valid, "{ty}: {bytes:?}");
            *(if valid { &mut good } else { &mut bad }) += 1;
        }
    }
    assert!(good > 500 && bad > 20, "{good} good, {bad} bad");
}

#[test]
fn sizes_near_powers_of_two_get_the_exponent_of_the_library() {
    let Some(library) = Ggml::open() else { return };
    for exponent in 1..254_u32 {
        for below in 0..24_u32 {
            let size = f32::from_bits((exponent << 23).wrapping_sub(12).wrapping_add(below));
            compare_encoding(&library, GgmlType::MXFP4, &[size; 32], 32, None, "one size");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_finite_bits_encode_to_the_same_bytes(
        bits in prop::collection::vec(any::<u32>(), 512),
        same_exponent in any::<bool>(),
    ) {
        let Some(library) = Ggml::open() else { return Ok(()) };
        let values: Vec<f32> = bits
            .iter()
            .map(|&bits| if same_exponent { bits & 0x83ff_ffff | 0x3c00_0000 } else { bits })
            .map(|bits| Some(f32::from_bits(bits)).filter(|value| value.is_finite()).unwrap_or(0.0))
            .collect();
        let imatrix: Vec<f32> = bits[..256].iter().map(|&bits| (bits >> 8) as f32 / 65536.0).collect();
        for ty in block_types().filter(|ty| can_quantize(*ty)) {
            // Beyond this range of sizes ggml's lattice searches abort.
            if is_lattice(ty) && !same_exponent {
                continue;
            }
            if !needs_imatrix(ty) {
                compare_encoding(&library, ty, &values, 256, None, "random bits");
            }
            compare_encoding(&library, ty, &values, 256, Some(&imatrix), "random bits");
        }
    }
}
