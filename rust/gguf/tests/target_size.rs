//! Choosing types for a size: the budget is kept, more of it is never worse, and small cases are solved exactly.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::float_cmp, reason = "the harms are whole numbers")]

mod ggml;

use std::sync::atomic::{AtomicUsize, Ordering};

use ggml::{Random, normal_rows};
use proptest::prelude::*;
use tabagent_gguf::{
    CandidateTensor, GgmlType, GgufError, GgufFile, GgufModel, GgufWriter, MeasuredTensor, SizeTarget,
    TargetSizeError, TypeCost, candidate_types, choose_types, measure_types, no_progress,
};

const ALIGNMENT: u64 = 32;

/// A tensor with the given bytes and whole-numbered harms.
fn tensor(costs: &[(u64, u32)]) -> MeasuredTensor {
    let costs = costs.iter().zip(GgmlType::ALL).map(|(&(n_bytes, harm), &ggml_type)| TypeCost {
        ggml_type,
        n_bytes,
        relative_error: 0.0,
        harm: f64::from(harm),
    });
    MeasuredTensor { name: "t".to_owned(), n_weights: 1000, costs: costs.collect(), with_importances: false }
}

fn tensors(
    n: std::ops::Range<usize>,
    types: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<MeasuredTensor>> {
    let costs = prop::collection::vec((1_u64..5000, 0_u32..1000), types);
    prop::collection::vec(costs.prop_map(|costs| tensor(&costs)), n)
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// The least harm of all combinations within `limit` bytes of data, by trying every one; with the bytes of the smallest.
fn by_force(tensors: &[MeasuredTensor], limit: u64) -> (Option<f64>, u64) {
    let mut states = vec![(0_u64, 0.0_f64)];
    for tensor in tensors {
        states = states
            .iter()
            .flat_map(|&(bytes, harm)| {
                tensor.costs.iter().map(move |cost| (bytes + padded(cost.n_bytes), harm + cost.harm))
            })
            .collect();
    }
    let within = states.iter().filter(|state| state.0 <= limit).map(|state| state.1);
    (within.min_by(f64::total_cmp), states.iter().map(|state| state.0).min().unwrap())
}

fn choose(tensors: &[MeasuredTensor], limit: u64) -> Result<tabagent_gguf::Mix, TargetSizeError> {
    choose_types(tensors, SizeTarget::FileBytes(limit), 100, ALIGNMENT)
}

proptest! {
    #[test]
    fn few_tensors_get_the_best_combination(tensors in tensors(1..5, 1..6), limit in 0_u64..20_000) {
        let (least, smallest) = by_force(&tensors, limit.saturating_sub(100));
        match choose(&tensors, limit) {
            Ok(mix) => {
                prop_assert_eq!(Some(mix.harm), least);
                prop_assert!(mix.file_bytes <= limit);
                let bytes: u64 = tensors.iter().zip(&mix.types).map(|(tensor, ty)| {
                    padded(tensor.costs.iter().find(|cost| cost.ggml_type == *ty).unwrap().n_bytes)
                }).sum();
                prop_assert_eq!(mix.file_bytes, 100 + bytes);
            }
            Err(TargetSizeError::TooSmall { smallest: found, target, .. }) => {
                prop_assert!(least.is_none() || limit < 100);
                prop_assert_eq!((found, target), (100 + smallest, limit));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn more_tensors_get_nearly_the_best_combination(tensors in tensors(8..9, 4..5), room in 0.0_f64..1.0) {
        // Six of the eight are pinned: 4^6 combinations.
        let smallest = by_force(&tensors, u64::MAX).1;
        let largest: u64 = tensors.iter().filter_map(|tensor| tensor.costs.iter().map(|cost| padded(cost.n_bytes)).max()).sum();
        let limit = smallest + ((largest - smallest) as f64 * room) as u64;
        let mix = choose(&tensors, limit + 100).unwrap();
        let least = by_force(&tensors, limit).0.unwrap();
        prop_assert!(mix.harm >= least);
        prop_assert!(mix.harm - least <= 1000.0, "{} for {least}", mix.harm);
    }

    #[test]
    fn the_budget_is_kept_and_more_of_it_is_never_worse(
        tensors in tensors(1..40, 1..8),
        limits in prop::collection::vec(0_u64..200_000, 2..20),
    ) {
        let mut limits = limits;
        limits.sort_unstable();
        let mut before = f64::INFINITY;
        for limit in limits {
            if let Ok(mix) = choose(&tensors, limit) {
                prop_assert!(mix.file_bytes <= limit);
                prop_assert_eq!(mix.types.len(), tensors.len());
                prop_assert!(mix.harm <= before, "{} after {before}", mix.harm);
                before = mix.harm;
            } else {
                prop_assert!(before.is_infinite(), "a smaller budget was enough");
            }
        }
    }

    #[test]
    fn no_numbers_make_it_panic(
        costs in prop::collection::vec(prop::collection::vec((any::<u64>(), any::<f64>()), 0..4), 0..6),
        head in any::<u64>(), alignment in any::<u64>(), limit in any::<u64>(), bits in any::<f64>(),
    ) {
        let tensors: Vec<MeasuredTensor> = costs.iter().map(|costs| MeasuredTensor {
            name: String::new(),
            n_weights: u64::MAX,
            costs: costs.iter().map(|&(n_bytes, harm)| TypeCost {
                ggml_type: GgmlType::Q8_0, n_bytes, relative_error: harm, harm,
            }).collect(),
            with_importances: true,
        }).collect();
        for target in [SizeTarget::FileBytes(limit), SizeTarget::BitsPerWeight(bits)] {
            if let Ok(mix) = choose_types(&tensors, target, head, alignment) {
                prop_assert_eq!(mix.types.len(), costs.iter().filter(|costs| !costs.is_empty()).count());
            }
        }
    }
}

#[test]
fn a_budget_beyond_use_is_no_error_and_is_told() {
    let tensors = [tensor(&[(320, 9), (640, 0), (960, 0)]), tensor(&[(64, 0)])];
    let mix = choose(&tensors, 10_000).unwrap();
    assert!(mix.is_best);
    assert_eq!((mix.file_bytes, mix.harm), (100 + 640 + 64, 0.0));
    assert!(!choose(&tensors, 500).unwrap().is_best);
}

#[test]
fn a_budget_too_small_says_what_is_possible() {
    let tensors = [tensor(&[(320, 9), (640, 0)])];
    let error = choose(&tensors, 400).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`420` bytes") && text.contains("`400`") && text.contains("`2.56` bits"), "{text}");
    assert!(choose_types(&tensors, SizeTarget::BitsPerWeight(2.56), 100, ALIGNMENT).is_ok());
    assert!(choose_types(&tensors, SizeTarget::BitsPerWeight(2.55), 100, ALIGNMENT).is_err());
    for bits in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = choose_types(&tensors, SizeTarget::BitsPerWeight(bits), 100, ALIGNMENT).unwrap_err();
        assert!(matches!(error, TargetSizeError::NoBits { .. }), "{bits}");
    }
}

fn model(tensors: &[(&str, GgmlType, &[u64], Vec<u8>)]) -> GgufModel {
    let writer = tensors.iter().fold(GgufWriter::new(), |writer, (name, ty, dims, data)| {
        writer.add_tensor(name, *ty, dims, data.clone())
    });
    GgufModel::from_parts(vec![GgufFile::from_bytes(writer.to_bytes().unwrap()).unwrap()]).unwrap()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn candidates<'a>(model: &'a GgufModel, importances: Option<&'a [f32]>) -> Vec<CandidateTensor<'a>> {
    let candidate = |tensor: tabagent_gguf::ModelTensor<'a>| CandidateTensor {
        tensor,
        types: if tensor.info.shape.dims().len() < 2 {
            Vec::new()
        } else {
            candidate_types(tensor.info.ggml_type, tensor.info.shape.row_len(), importances.is_some())
        },
        importances,
    };
    model.tensors().map(candidate).collect()
}

#[test]
fn errors_fall_with_the_bits_and_do_not_depend_on_threads() {
    let values = normal_rows(3, 40);
    let n = values.len() as u64;
    let model = model(&[
        ("blk.0.attn_q.weight", GgmlType::F32, &[256, n / 256], floats(&values)),
        ("blk.0.attn_norm.weight", GgmlType::F32, &[256], floats(&values[..256])),
        ("blk.0.ffn_up.weight", GgmlType::F32, &[96, 8], floats(&values[..768])),
    ]);
    let candidates = candidates(&model, None);
    let measured = measure_types(&candidates, &no_progress).unwrap();
    let error = |tensor: usize, ty| {
        measured[tensor].costs.iter().find(|cost| cost.ggml_type == ty).unwrap().relative_error
    };
    for (better, worse) in [
        (GgmlType::F32, GgmlType::F16),
        (GgmlType::F16, GgmlType::Q8_0),
        (GgmlType::Q8_0, GgmlType::Q6_K),
        (GgmlType::Q6_K, GgmlType::Q5_K),
        (GgmlType::Q5_K, GgmlType::Q4_K),
        (GgmlType::Q4_K, GgmlType::Q3_K),
        (GgmlType::Q3_K, GgmlType::Q2_K),
    ] {
        assert!(error(0, better) < error(0, worse), "{better} {worse}");
    }
    assert_eq!(error(0, GgmlType::F32), 0.0);
    assert!((0.002..0.02).contains(&error(0, GgmlType::Q4_K)), "{}", error(0, GgmlType::Q4_K));
    assert!(error(2, GgmlType::Q5_0) < error(2, GgmlType::Q4_0));
    assert_eq!(measured[1].costs.len(), 1);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one.install(|| measure_types(&candidates, &no_progress)).unwrap(), measured);
}

#[test]
fn importances_count_where_they_are_large() {
    // Every other weight is large; only those, or only the others, matter.
    let values: Vec<f32> = Random(5)
        .bytes(256 * 64)
        .iter()
        .enumerate()
        .map(|(k, &byte)| (f32::from(byte) - 127.0) * if k % 2 == 0 { 1.0 } else { 0.01 })
        .collect();
    let model = model(&[("blk.0.ffn_up.weight", GgmlType::F32, &[256, 64], floats(&values))]);
    let error = |importances: &[f32], ty| {
        let measured = measure_types(&candidates(&model, Some(importances)), &no_progress).unwrap();
        measured[0].costs.iter().find(|cost| cost.ggml_type == ty).unwrap().relative_error
    };
    let importance =
        |large: f32, small: f32| (0..256).map(|k| if k % 2 == 0 { large } else { small }).collect::<Vec<_>>();
    let (large, small) = (importance(1.0, 0.0), importance(0.0, 1.0));
    assert!(error(&large, GgmlType::Q6_K) < 1e-3);
    assert!(error(&small, GgmlType::Q6_K) > 10.0 * error(&large, GgmlType::Q6_K));
    assert!(error(&large, GgmlType::IQ2_XXS) > error(&large, GgmlType::IQ3_S));
}

#[test]
fn every_matrix_has_its_own_importances() {
    let values = normal_rows(9, 2);
    let dims = [256, 2, values.len() as u64 / 512];
    let model = model(&[("blk.0.ffn_up_exps.weight", GgmlType::F32, &dims, floats(&values))]);
    let n = 256 * dims[2] as usize;
    // Only the weights of the second matrix matter.
    let mut importances = vec![0.0; n];
    importances[256..512].fill(1.0);
    let measured = measure_types(&candidates(&model, Some(&importances)), &no_progress).unwrap();
    let second = model_of_matrix(&values[512..1024]);
    let alone = measure_types(&candidates(&second, Some(&importances[256..512])), &no_progress).unwrap();
    for (cost, alone) in measured[0].costs.iter().zip(&alone[0].costs) {
        assert!((cost.relative_error - alone.relative_error).abs() < 1e-12, "{}", cost.ggml_type);
    }
    let error = measure_types(&candidates(&model, Some(&importances[1..])), &no_progress).unwrap_err();
    assert!(error.to_string().contains("importances"), "{error}");
}

fn model_of_matrix(values: &[f32]) -> GgufModel {
    model(&[("blk.0.ffn_up_exps.weight", GgmlType::F32, &[256, 2], floats(values))])
}

#[test]
fn weights_that_are_not_finite_are_an_error_that_names_the_tensor() {
    let mut values = normal_rows(3, 1);
    values[7] = f32::NAN;
    let n = values.len() as u64;
    let model = model(&[("blk.0.attn_q.weight", GgmlType::F32, &[256, n / 256], floats(&values))]);
    let error = measure_types(&candidates(&model, None), &no_progress).unwrap_err();
    assert!(error.to_string().contains("blk.0.attn_q.weight"), "{error}");
}

#[test]
fn measuring_tells_how_far_it_is_and_can_be_stopped() {
    let values = normal_rows(3, 8);
    let n = values.len() as u64;
    let data = floats(&values);
    let model = model(&[
        ("a.weight", GgmlType::F32, &[256, n / 256], data.clone()),
        ("b.weight", GgmlType::F32, &[256, n / 256], data),
    ]);
    let candidates = candidates(&model, None);
    let calls = AtomicUsize::new(0);
    let most = AtomicUsize::new(0);
    measure_types(&candidates, &|done, total| {
        calls.fetch_add(1, Ordering::Relaxed);
        most.fetch_max(done as usize, Ordering::Relaxed);
        assert_eq!(total, 2 * 8 * 4 * n);
        done <= total
    })
    .unwrap();
    assert_eq!(most.load(Ordering::Relaxed) as u64, 2 * 8 * 4 * n);
    assert_eq!(calls.load(Ordering::Relaxed), 16);
    let stopped = measure_types(&candidates, &|_, _| false);
    assert!(matches!(stopped, Err(GgufError::Cancelled)));
}

#[test]
fn a_real_model_fits_every_budget_that_is_possible() {
    let Some(path) = tabagent_material::model("smollm2-135m-instruct-q4_1.gguf") else { return };
    let model = GgufModel::open(&path).unwrap();
    let head = model.first().data_offset();
    let measured = measure_types(&candidates(&model, None), &no_progress).unwrap();
    let mut before = f64::INFINITY;
    let Err(TargetSizeError::TooSmall { smallest, .. }) =
        choose_types(&measured, SizeTarget::FileBytes(1), head, 32)
    else {
        panic!("nothing fits in a byte");
    };
    assert!((60_000_000..95_000_000).contains(&smallest), "{smallest}");
    for limit in (smallest..100_000_000).step_by(3_234_567) {
        let mix = choose_types(&measured, SizeTarget::FileBytes(limit), head, 32).unwrap();
        assert!(mix.file_bytes <= limit && mix.harm <= before);
        before = mix.harm;
    }
    let all = choose_types(&measured, SizeTarget::FileBytes(model.file_size()), head, 32).unwrap();
    assert_eq!(all.harm, 0.0, "with room for all nothing changes");
}
