//! What is refused, and what happens to logits that are not finite.

#![allow(clippy::unwrap_used, reason = "a helper of tests is a test")]

use tabagent_sampling::{
    ConfigError, Parameters, SampleError, Sampler, SamplerConfig, Stage, TokenId, TokenPieces,
};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn default() -> SamplerConfig {
    SamplerConfig { seed: Some(1), ..SamplerConfig::default() }
}

fn sample(config: &SamplerConfig, logits: &[f32]) -> Result<TokenId, SampleError> {
    Sampler::new(config, logits.len()).unwrap().sample(logits)
}

#[test]
fn presets_are_valid() {
    for config in [SamplerConfig::default(), SamplerConfig::greedy(), SamplerConfig::llama_cpp()] {
        assert_eq!(config.validate(), Ok(()));
    }
    let names: Vec<String> = SamplerConfig::llama_cpp_order().iter().map(Stage::to_string).collect();
    assert_eq!(
        names,
        ["penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature"]
    );
}

#[test]
fn fields_out_of_range_are_named() {
    type Set = fn(&mut SamplerConfig);
    let cases: [(Set, &str); 37] = [
        (|c| c.temperature = -0.5, "`temperature` must be finite and at least 0, got `-0.5`"),
        (|c| c.temperature = NAN, "`temperature` must be finite and at least 0, got `NaN`"),
        (|c| c.temperature = INF, "`temperature` must be finite and at least 0, got `inf`"),
        (|c| c.top_p = 1.5, "`top_p` must be in (0, 1], got `1.5`"),
        (|c| c.top_p = 0.0, "`top_p` must be in (0, 1], got `0`"),
        (|c| c.top_p = NAN, "`top_p` must be in (0, 1], got `NaN`"),
        (|c| c.min_p = -0.1, "`min_p` must be in [0, 1], got `-0.1`"),
        (|c| c.typical_p = 0.0, "`typical_p` must be in (0, 1], got `0`"),
        (|c| c.min_keep = 0, "`min_keep` must be at least 1, got `0`"),
        (|c| c.repeat_penalty = 0.0, "`repeat_penalty` must be finite and above 0, got `0`"),
        (|c| c.repeat_window = -2, "`repeat_window` must be at least -1, got `-2`"),
        (|c| c.frequency_penalty = NAN, "`frequency_penalty` must be finite, got `NaN`"),
        (|c| c.presence_penalty = INF, "`presence_penalty` must be finite, got `inf`"),
        (|c| c.mirostat = 3, "`mirostat` must be 0, 1 or 2, got `3`"),
        (|c| c.mirostat_tau = -1.0, "`mirostat_tau` must be finite and at least 0, got `-1`"),
        (|c| c.mirostat_eta = NAN, "`mirostat_eta` must be finite and at least 0, got `NaN`"),
        (
            |c| c.logit_bias = vec![(3, INF)],
            "`logit_bias` of token `3` must be finite, or `-inf` to ban the token, got `inf`",
        ),
        (|c| c.dynatemp_range = -1.0, "`dynatemp_range` must be finite and at least 0, got `-1`"),
        (|c| c.dynatemp_exponent = NAN, "`dynatemp_exponent` must be finite and at least 0, got `NaN`"),
        (|c| c.top_n_sigma = INF, "`top_n_sigma` must be finite, got `inf`"),
        (|c| c.xtc_probability = 1.5, "`xtc_probability` must be in [0, 1], got `1.5`"),
        (|c| c.xtc_threshold = -0.5, "`xtc_threshold` must be in [0, 1], got `-0.5`"),
        (|c| c.dry_multiplier = -1.0, "`dry_multiplier` must be finite and at least 0, got `-1`"),
        (|c| c.dry_base = NAN, "`dry_base` must be finite and at least 0, got `NaN`"),
        (
            |c| c.dry_allowed_length = u32::MAX,
            "`dry_allowed_length` must be in [0, 2147483647], got `4294967295`",
        ),
        (|c| c.dry_window = -2, "`dry_window` must be at least -1, got `-2`"),
        (|c| c.adaptive_target = 1.5, "`adaptive_target` must be finite and at most 1, got `1.5`"),
        (|c| c.adaptive_decay = 1.0, "`adaptive_decay` must be in [0, 0.99], got `1`"),
        (
            |c| c.order = vec![Stage::With(Parameters::TopP { top_p: 1.5, min_keep: 1 })],
            "`top_p` must be in (0, 1], got `1.5`",
        ),
        (
            |c| c.order = vec![Stage::With(Parameters::MinP { min_p: 0.5, min_keep: 0 })],
            "`min_keep` must be at least 1, got `0`",
        ),
        (
            |c| c.order = vec![Stage::Infill],
            "`order` names `infill`, which needs the vocabulary; give `pieces`, or a model",
        ),
        (
            |c| {
                c.order = vec![Stage::Infill];
                c.pieces = Some(TokenPieces::new(["a"], &[], None).into());
            },
            "`pieces` are of `1` tokens and the vocabulary has `8`; take those of the same model",
        ),
        (
            |c| c.allowed_tokens = Some(Vec::new()),
            "`allowed_tokens` must name at least one token; leave it out to allow all",
        ),
        (
            |c| c.allowed_tokens = Some(vec![3, 8]),
            "`allowed_tokens` names token `8`; the vocabulary has tokens `0` to `7`",
        ),
        (
            |c| c.banned_tokens = vec![-4],
            "`banned_tokens` names token `-4`; the vocabulary has tokens `0` to `7`",
        ),
        (
            |c| c.logit_bias = vec![(8, 1.0)],
            "`logit_bias` names token `8`; the vocabulary has tokens `0` to `7`",
        ),
        (
            |c| c.logit_bias = vec![(-1, 1.0)],
            "`logit_bias` names token `-1`; the vocabulary has tokens `0` to `7`",
        ),
    ];
    for (set, text) in cases {
        let mut config = default();
        set(&mut config);
        assert_eq!(Sampler::new(&config, 8).unwrap_err().to_string(), text);
    }
}

#[test]
fn vocabularies_that_ids_cannot_number_are_refused() {
    for n_vocab in [0, 1 << 31] {
        assert_eq!(Sampler::new(&default(), n_vocab).unwrap_err(), ConfigError::Vocabulary { n_vocab });
    }
}

#[test]
fn rows_of_another_length_are_refused() {
    let error = Sampler::new(&default(), 4).unwrap().sample(&[1.0; 5]).unwrap_err();
    assert_eq!(error, SampleError::WrongLength { expected: 4, got: 5 });
    assert_eq!(error.to_string(), "expected `4` logits, one a token of the vocabulary, got `5`");
}

/// One configuration for each way through the sampler.
fn ways() -> Vec<SamplerConfig> {
    let order = |order: &[Stage]| SamplerConfig { order: order.to_vec(), typical_p: 0.9, ..default() };
    vec![
        SamplerConfig::greedy(),
        default(),
        order(&[]),
        order(&[Stage::TopP]),
        order(&[Stage::MinP]),
        order(&[Stage::Typical]),
        order(&[Stage::TopNSigma, Stage::Xtc]),
        SamplerConfig { top_n_sigma: 0.5, xtc_probability: 1.0, dynatemp_range: 2.0, ..default() },
        SamplerConfig { adaptive_target: 1.0, ..order(&[Stage::AdaptiveP]) },
        order(&[Stage::With(Parameters::Temperature {
            temperature: 0.0,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
        })]),
        SamplerConfig { mirostat: 1, ..default() },
        SamplerConfig { mirostat: 2, ..default() },
        SamplerConfig { mirostat: 2, mirostat_tau: 0.0, temperature: f32::MIN_POSITIVE / 8.0, ..default() },
        SamplerConfig { temperature: f32::MAX, ..default() },
    ]
}

#[test]
fn nan_counts_as_negative_infinity() {
    let mut logits = vec![NAN; 300];
    logits[7] = -INF;
    logits[170] = -5.0;
    for config in ways() {
        assert_eq!(sample(&config, &logits), Ok(170), "{config:?}");
    }
}

#[test]
fn positive_infinity_wins_with_the_lowest_id() {
    for config in ways() {
        assert_eq!(sample(&config, &[1.0, NAN, INF, 9.0, INF]), Ok(2), "{config:?}");
        assert_eq!(sample(&config, &[-INF, NAN, INF]), Ok(2), "{config:?}");
    }
    let banned = SamplerConfig { logit_bias: vec![(2, -INF)], ..default() };
    assert_eq!(sample(&banned, &[1.0, NAN, INF, 9.0, INF]), Ok(4));
}

#[test]
fn rows_without_a_choice_are_an_error() {
    let text = "none of the `3` tokens can be chosen: their logits are negative infinity or, `1` of them, NaN; \
                check that bans, bias, grammar and hooks together leave a token, and the model's weights if there is NaN";
    for config in ways() {
        let error = sample(&config, &[NAN, -INF, -INF]).unwrap_err();
        assert_eq!(error, SampleError::NoFiniteLogit { n_vocab: 3, n_nan: 1 });
        assert_eq!(error.to_string(), text);
    }
    let all_banned = SamplerConfig { logit_bias: vec![(0, -INF), (1, -INF)], ..default() };
    assert!(sample(&all_banned, &[1.0, 2.0]).is_err());
}

#[test]
fn extreme_finite_logits_choose_the_highest() {
    for config in ways().into_iter().filter(|config| config.temperature < 1e30) {
        assert_eq!(sample(&config, &[f32::MIN, f32::MAX, f32::MIN, 0.0]), Ok(1), "{config:?}");
    }
}

#[test]
fn errors_leave_the_sampler_as_it_was() {
    let logits = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let mut clean = Sampler::new(&default(), 6).unwrap();
    let mut failing = clean.clone();
    for _ in 0..20 {
        assert!(failing.sample(&[NAN; 6]).is_err());
        assert_eq!(clean.sample(&logits), failing.sample(&logits));
    }
}

#[test]
fn unknown_tokens_in_the_history_are_harmless() {
    let config = SamplerConfig { repeat_penalty: 2.0, ..SamplerConfig::greedy() };
    let mut sampler = Sampler::new(&config, 3).unwrap();
    for token in [-1, TokenId::MIN, 3, TokenId::MAX, 1] {
        sampler.accept(token);
    }
    assert_eq!(sampler.sample(&[1.0, 1.5, 0.0]), Ok(0));
}

#[test]
fn penalties_work_only_where_they_are_listed() {
    for (order, want) in [(vec![Stage::Penalties], 0), (vec![], 1)] {
        let config = SamplerConfig { presence_penalty: 1.0, order, ..SamplerConfig::greedy() };
        let mut sampler = Sampler::new(&config, 2).unwrap();
        sampler.accept(1);
        assert_eq!(sampler.sample(&[1.0, 1.5]), Ok(want));
    }
}
