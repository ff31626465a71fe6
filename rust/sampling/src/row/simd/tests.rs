//! Every instruction set of this machine gives the bits of the definition.

use proptest::prelude::*;

use super::*;
use crate::row::blocks::{BLOCK, UNTOUCHED};
use crate::row::rank_key::RankKey;

/// Everything that the functions give for one row, floats as bits.
#[derive(Debug, PartialEq)]
struct Results {
    maxima: Vec<u32>,
    top: u32,
    collected: Vec<(usize, u32)>,
    high_maxima: Vec<(usize, u32)>,
    sums: Vec<u64>,
    whole: u64,
    total: u64,
    each: Vec<u32>,
    mass: (u64, usize),
    split_sums: Vec<u64>,
    masses: (u64, u64, usize),
    between: Vec<(usize, u32)>,
    near: (Vec<u64>, u64, usize, Vec<u32>),
    moments: (u64, u64, usize),
}

fn results(level: Level, logits: &[f32], inverse_temperature: f32, lines: Lines) -> Results {
    let (row, rest) = logits.as_chunks::<BLOCK>();
    let n_blocks = logits.len().div_ceil(BLOCK);
    let mut groups = vec![[f32::NEG_INFINITY; BLOCK]; n_blocks.div_ceil(BLOCK)];
    maxima(level, row, groups.as_flattened_mut());
    let mut places = vec![UNTOUCHED; n_blocks];
    let mut end = [f32::NEG_INFINITY; BLOCK];
    if !rest.is_empty() {
        end[..rest.len()].copy_from_slice(rest);
        places[row.len()] = 0;
        groups.as_flattened_mut()[row.len()] = highest(level, &[end]);
    }
    let copies = [end];
    let blocks = Blocks { row, places: &places, copies: &copies };
    let top = highest(level, &groups);
    let scale = Scale::new(if top.is_finite() { top } else { 0.0 }, inverse_temperature);
    let (mut collected, mut high_maxima, mut between) = (Vec::new(), Vec::new(), Vec::new());
    collect(level, blocks, &groups, lines.low, |token, x| collected.push((token, x.to_bits())));
    at_least(level, &groups, lines.low, |index, x| high_maxima.push((index, x.to_bits())));
    let mut sums = vec![0.0; n_blocks];
    let whole = super::total(level, row, scale);
    let total = weigh(level, blocks, &groups, scale, &mut sums);
    let ranked = RankedRow { blocks, maxima: &groups, scale, key: RankKey::Logit, total: None };
    let mut split_sums = vec![0.0; n_blocks];
    let mut found = Bracketed::default();
    let with_total =
        split(level, RankedRow { key: RankKey::Near(0.0), ..ranked }, lines, &mut split_sums, &mut found);
    assert_eq!(with_total.total.to_bits(), total.to_bits());
    let masses = split(level, ranked, lines, &mut split_sums, &mut found);
    let (between_sums, known) = (split_sums.clone(), RankedRow { total: Some(1.0), ..ranked });
    let without = split(level, known, lines, &mut split_sums, &mut found);
    assert_eq!((without.above, without.total.to_bits()), (masses.above, 0));
    assert!(split_sums.iter().map(|x| x.to_bits()).eq(between_sums.iter().map(|x| x.to_bits())));
    for block in 0..n_blocks {
        let listed = &found.numbers()[found.start(block)..found.start(block + 1)];
        between.extend(listed.iter().map(|x| (block, x.to_bits())));
    }
    assert_eq!(between.len(), found.numbers().len());
    let mut again = Vec::new();
    super::between(level, logits, lines, |token, x| again.push((token / BLOCK, x.to_bits())));
    assert_eq!(again, between);
    let moments = super::moments(level, blocks, &groups, scale);
    let (centre, mut near_sums) = (f32::midpoint(lines.high, lines.low), vec![0.0; n_blocks]);
    let bands = Lines { high: (lines.low - lines.high) / 8.0, low: (lines.low - lines.high) / 3.0 };
    let key = RankKey::Near(centre);
    let near = split(level, RankedRow { key, total: Some(0.0), ..ranked }, bands, &mut near_sums, &mut found);
    let is_inside = |x: f32, line: f32| key.of(x) >= line;
    assert_eq!(near.above.n, logits.iter().filter(|&&x| is_inside(x, bands.high)).count());
    let listed = logits.iter().filter(|&&x| is_inside(x, bands.low) && !is_inside(x, bands.high));
    assert!(listed.map(|x| x.to_bits()).eq(found.numbers().iter().map(|x| x.to_bits())));
    let mut each = vec![0.0; logits.len()];
    weigh_each(level, logits, scale, &mut each);
    let (mass, n_heavy) = mass(level, logits, &each, lines.low);
    let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    Results {
        maxima: groups.as_flattened()[..n_blocks].iter().map(|x| x.to_bits()).collect(),
        top: top.to_bits(),
        collected,
        high_maxima,
        sums: bits(&sums),
        whole: whole.to_bits(),
        total: total.to_bits(),
        mass: (mass.to_bits(), n_heavy),
        each: each.iter().map(|x| x.to_bits()).collect(),
        split_sums: bits(&split_sums),
        masses: (masses.total.to_bits(), masses.above.weight.to_bits(), masses.above.n),
        between,
        near: (
            bits(&near_sums),
            near.above.weight.to_bits(),
            near.above.n,
            found.numbers().iter().map(|x| x.to_bits()).collect(),
        ),
        moments: (moments.total.to_bits(), moments.powers.to_bits(), moments.n),
    }
}

fn compare(logits: &[f32], inverse_temperature: f32, lines: Lines) -> Results {
    let levels = Level::all();
    let want = results(levels[0], logits, inverse_temperature, lines);
    for &level in &levels[1..] {
        assert_eq!(results(level, logits, inverse_temperature, lines), want, "{level:?}");
    }
    want
}

fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -30.0..30f32,
        2 => (-20..20i32).prop_map(|x| x as f32),
        1 => prop::num::f32::ANY.prop_filter("positive infinity has no weight", |&x| x < f32::INFINITY || x.is_nan()),
        1 => prop::num::f32::SUBNORMAL,
        1 => prop::sample::select(vec![f32::NAN, f32::NEG_INFINITY, 0.0, -0.0, f32::MIN, -87.0, -87.5, -88.0]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn all_sets_give_the_same_bits(
        logits in prop::collection::vec(logit(), 1..3000),
        inverse_temperature in prop_oneof![4 => 0.1..5f32, 1 => prop::num::f32::POSITIVE],
        (low, high) in (-40.0..40f32, 0.0..40f32),
    ) {
        compare(&logits, inverse_temperature, Lines { high: low + high, low });
    }
}

#[test]
fn all_sets_give_the_same_bits_at_every_length() {
    let mut state = 9u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 400_000.0 - 30.0
    };
    for n in 1..=300 {
        let logits: Vec<f32> = (0..n).map(|_| next()).collect();
        let results = compare(&logits, 1.25, Lines { high: 5.0, low: -5.0 });
        let top = logits.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(f32::from_bits(results.top).to_bits(), top.to_bits(), "{n}");
        let n_high = logits.iter().filter(|&&x| x >= -5.0).count();
        assert_eq!(results.collected.len(), n_high, "{n}");
        assert_eq!(results.masses.2 + results.between.len(), n_high, "{n}");
        let total: f64 = logits.iter().map(|&x| (f64::from(x - top) * 1.25).exp()).sum();
        assert!((f64::from_bits(results.total) / total - 1.0).abs() < 1e-5, "{n}");
        assert_eq!(results.masses.0, results.total, "{n}");
        assert_eq!((results.moments.0, results.moments.2), (results.total, n), "{n}");
        let powers = logits.iter().map(|&x| f64::from(x - top) * 1.25 / std::f64::consts::LN_2);
        let powers: f64 = powers.map(|power| power * power.exp2()).sum();
        assert!((f64::from_bits(results.moments.1) - powers).abs() < 1e-5 * (1.0 + powers.abs()), "{n}");
    }
}

#[test]
fn rows_without_a_number_have_no_maximum_and_no_weight() {
    for logits in [[f32::NAN; 200], [f32::NEG_INFINITY; 200]] {
        let results = compare(&logits, 1.0, Lines { high: 0.0, low: f32::MIN });
        assert_eq!(f32::from_bits(results.top).to_bits(), f32::NEG_INFINITY.to_bits());
        assert_eq!((results.total, results.collected.len(), results.between.len()), (0, 0, 0));
    }
}
