//! Sampling under a mask of allowed tokens.

#![allow(clippy::unwrap_used, reason = "a helper of tests is a test")]

use tabagent_sampling::{SampleError, Sampler, SamplerConfig, TokenId, TokenMask};

fn row(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1009) as f32 / 100.0).collect()
}

fn config() -> SamplerConfig {
    SamplerConfig { seed: Some(5), temperature: 2.0, ..SamplerConfig::default() }
}

#[test]
fn masks_are_negative_infinity_for_what_they_leave_out() {
    let n = 1000;
    let logits = row(n);
    for stride in [1, 2, 33, 250, 999] {
        let mut mask = TokenMask::new(n);
        (0..n).step_by(stride).for_each(|token| assert!(mask.allow(token as TokenId)));
        let hidden =
            |(token, &logit): (usize, &f32)| if token % stride == 0 { logit } else { f32::NEG_INFINITY };
        let by_hand: Vec<f32> = logits.iter().enumerate().map(hidden).collect();
        for config in [config(), SamplerConfig::greedy(), SamplerConfig { mirostat: 2, ..config() }] {
            let (mut masked, mut plain) =
                (Sampler::new(&config, n).unwrap(), Sampler::new(&config, n).unwrap());
            for _ in 0..50 {
                let token = masked.sample_masked(&logits, Some(&mask)).unwrap();
                assert_eq!(token, plain.sample(&by_hand).unwrap());
                assert!(mask.allows(token));
            }
        }
    }
}

#[test]
fn bias_does_not_bring_a_masked_token_back() {
    let mut mask = TokenMask::new(4);
    mask.allow(2);
    let config = SamplerConfig { logit_bias: vec![(1, 100.0)], ..config() };
    let mut sampler = Sampler::new(&config, 4).unwrap();
    assert_eq!(sampler.sample_masked(&[0.0, f32::INFINITY, -5.0, 9.0], Some(&mask)), Ok(2));
}

#[test]
fn no_mask_is_the_plain_step() {
    let logits = row(300);
    let (mut a, mut b) = (Sampler::new(&config(), 300).unwrap(), Sampler::new(&config(), 300).unwrap());
    for _ in 0..20 {
        assert_eq!(a.sample_masked(&logits, None), b.sample(&logits));
    }
}

#[test]
fn masks_that_fit_no_token_are_refused_and_change_nothing() {
    let logits = [1.0, 1.0, 1.0, f32::NAN];
    let mut clean = Sampler::new(&config(), 4).unwrap();
    let mut failing = clean.clone();
    let mut only_nan = TokenMask::new(4);
    only_nan.allow(3);
    for _ in 0..20 {
        let empty = failing.sample_masked(&logits, Some(&TokenMask::new(4))).unwrap_err();
        assert_eq!(empty, SampleError::EmptyMask { n_vocab: 4 });
        let other = failing.sample_masked(&logits, Some(&TokenMask::new(5))).unwrap_err();
        assert_eq!(other, SampleError::WrongMask { expected: 4, got: 5 });
        let hopeless = failing.sample_masked(&logits, Some(&only_nan)).unwrap_err();
        assert!(matches!(hopeless, SampleError::NoFiniteLogit { .. }));
        assert_eq!(clean.sample(&logits), failing.sample(&logits));
    }
}
