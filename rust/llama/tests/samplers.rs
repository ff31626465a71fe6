//! Our samplers against the pinned library's own, stage by stage and in chains, on the same logits; with the vocabularies of real models
//! where those matter.

// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/theirs.rs"]
mod theirs;

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use tabagent_llama::Model;
use tabagent_sampling::{Breakers, Parameters, Sampler, SamplerConfig, Stage, TokenPieces};
use theirs::{Handle, Theirs, TokenData, TokenDataArray};

/// `None`, with a word about it, where the environment names no library.
fn open() -> Option<Theirs> {
    Some(Theirs::open(&tabagent_material::library()?))
}

impl Theirs {
    fn make(&self, parameters: Parameters, n_vocab: i32, history: &[i32]) -> Handle {
        match parameters {
            Parameters::Penalties { repeat_penalty, repeat_window, frequency_penalty, presence_penalty } => {
                let init: unsafe extern "C" fn(i32, i32, f32, f32, f32) -> Handle =
                    self.function("llama_sampler_init_penalties");
                // SAFETY: plain values.
                let sampler = unsafe {
                    init(n_vocab, repeat_window, repeat_penalty, frequency_penalty, presence_penalty)
                };
                self.accept(sampler, history)
            }
            Parameters::Dry { dry_multiplier, dry_base, dry_allowed_length, dry_window } => {
                type Init =
                    unsafe extern "C" fn(*const c_void, f32, f32, i32, i32, *const c_void, usize) -> Handle;
                let init: Init = self.function("llama_sampler_init_dry");
                let (none, length) = (std::ptr::null(), dry_allowed_length as i32);
                // SAFETY: without breakers the vocabulary is not looked at.
                let sampler = unsafe { init(none, dry_multiplier, dry_base, length, dry_window, none, 0) };
                self.accept(sampler, history)
            }
            Parameters::Temperature { temperature, dynatemp_range, dynatemp_exponent } => {
                let init: unsafe extern "C" fn(f32, f32, f32) -> Handle =
                    self.function("llama_sampler_init_temp_ext");
                // SAFETY: plain values.
                unsafe { init(temperature, dynatemp_range, dynatemp_exponent) }
            }
            Parameters::TopNSigma { top_n_sigma } => {
                let init: unsafe extern "C" fn(f32) -> Handle =
                    self.function("llama_sampler_init_top_n_sigma");
                // SAFETY: plain values.
                unsafe { init(top_n_sigma) }
            }
            Parameters::TopK { top_k } => {
                let init: unsafe extern "C" fn(i32) -> Handle = self.function("llama_sampler_init_top_k");
                // SAFETY: plain values.
                unsafe { init(top_k as i32) }
            }
            Parameters::TopP { top_p, min_keep } => self.share("llama_sampler_init_top_p", top_p, min_keep),
            Parameters::MinP { min_p, min_keep } => self.share("llama_sampler_init_min_p", min_p, min_keep),
            Parameters::Typical { typical_p, min_keep } => {
                self.share("llama_sampler_init_typical", typical_p, min_keep)
            }
            Parameters::Xtc { xtc_probability, xtc_threshold, min_keep } => {
                let init: unsafe extern "C" fn(f32, f32, usize, u32) -> Handle =
                    self.function("llama_sampler_init_xtc");
                // SAFETY: plain values.
                unsafe { init(xtc_probability, xtc_threshold, min_keep, 1) }
            }
            Parameters::Infill => unreachable!("infill is made with a vocabulary"),
        }
    }

    fn share(&self, name: &str, p: f32, min_keep: usize) -> Handle {
        let init: unsafe extern "C" fn(f32, usize) -> Handle = self.function(name);
        // SAFETY: plain values.
        unsafe { init(p, min_keep) }
    }

    fn accept(&self, sampler: Handle, history: &[i32]) -> Handle {
        let accept: unsafe extern "C" fn(Handle, i32) = self.function("llama_sampler_accept");
        for &token in history {
            // SAFETY: the sampler was just made.
            unsafe { accept(sampler, token) };
        }
        sampler
    }

    /// Runs samplers one after another and frees them; gives the probabilities of what is left.
    fn run(&self, samplers: impl Iterator<Item = Handle>, logits: &[f32]) -> Vec<f64> {
        let entries = logits.iter().enumerate();
        let mut data: Vec<TokenData> =
            entries.map(|(id, &logit)| TokenData { id: id as i32, logit, p: 0.0 }).collect();
        let mut array = TokenDataArray::of(&mut data);
        for sampler in samplers {
            self.apply(sampler, &mut array);
            self.free(sampler);
        }
        // SAFETY: samplers only move the start forward and shorten the array within `data`.
        let left = unsafe { std::slice::from_raw_parts(array.data, array.size) };
        let top = left.iter().map(|token| f64::from(token.logit)).fold(f64::NEG_INFINITY, f64::max);
        let mut probabilities = vec![0f64; logits.len()];
        let total: f64 = left.iter().map(|token| (f64::from(token.logit) - top).exp()).sum();
        for token in left {
            probabilities[token.id as usize] = (f64::from(token.logit) - top).exp() / total;
        }
        probabilities
    }
}

/// Numbers that are the same on every platform.
struct Numbers(u64);

impl Numbers {
    /// Uniform in [low, high).
    fn real(&mut self, low: f32, high: f32) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * ((self.0 >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// From 0 to n - 1.
    fn below(&mut self, n: usize) -> usize {
        (self.real(0.0, n as f32) as usize).min(n - 1)
    }

    /// The kind is the number of the stage.
    fn parameters(&mut self, kind: usize) -> Parameters {
        let min_keep = 1 + self.below(4);
        match kind {
            0 => Parameters::Penalties {
                repeat_penalty: self.real(0.5, 2.0),
                repeat_window: 1 + self.below(60) as i32,
                frequency_penalty: self.real(-1.0, 1.0),
                presence_penalty: self.real(-1.0, 1.0),
            },
            1 => Parameters::Dry {
                dry_multiplier: self.real(0.1, 2.0),
                dry_base: self.real(1.0, 2.0),
                dry_allowed_length: self.below(4) as u32,
                dry_window: 1 + self.below(60) as i32,
            },
            2 => Parameters::Temperature {
                temperature: self.real(0.5, 2.0),
                dynatemp_range: [0.0, 0.4][self.below(2)],
                dynatemp_exponent: self.real(0.5, 2.0),
            },
            3 => Parameters::TopK { top_k: 1 + self.below(80) as u32 },
            4 => Parameters::TopP { top_p: self.real(0.05, 0.99), min_keep },
            5 => Parameters::MinP { min_p: self.real(0.001, 0.9), min_keep },
            6 => Parameters::Typical { typical_p: self.real(0.05, 0.99), min_keep },
            7 => {
                let xtc_threshold = self.real(0.01, 0.4);
                Parameters::Xtc { xtc_probability: 1.0, xtc_threshold, min_keep }
            }
            _ => Parameters::TopNSigma { top_n_sigma: self.real(0.5, 3.0) },
        }
    }
}

/// What our sampler gives for the same stages.
fn ours(stages: &[Parameters], logits: &[f32], history: &[i32]) -> Vec<f32> {
    let order = stages.iter().map(|&parameters| Stage::With(parameters)).collect();
    let config = SamplerConfig { order, seed: Some(1), ..SamplerConfig::default() };
    let mut sampler = Sampler::new(&config, logits.len()).unwrap();
    for &token in history {
        sampler.accept(token);
    }
    sampler.probabilities(logits).unwrap()
}

fn same(stages: &[Parameters], ours: &[f32], theirs: &[f64]) {
    for (token, (&ours, &theirs)) in ours.iter().zip(theirs).enumerate() {
        let difference = (f64::from(ours) - theirs).abs();
        assert!(difference <= 1e-5 + 1e-3 * theirs, "token {token}: {ours}, theirs {theirs}, {stages:?}");
    }
}

#[test]
fn chains_of_stages_give_what_the_librarys_give() {
    let Some(theirs) = open() else { return };
    let mut numbers = Numbers(7);
    for round in 0..900 {
        let n = [5, 60, 400, 3000][round % 4];
        let logits: Vec<f32> = (0..n).map(|_| numbers.real(-9.0, 9.0)).collect();
        let history: Vec<i32> = (0..40).map(|_| numbers.below(n.min(4)) as i32).collect();
        // Every stage alone, then chains; the library's top-n-sigma leaves tokens at negative infinity that later stages count.
        let n_stages = if round < 270 { 1 } else { 2 + round % 4 };
        let kind = |at, numbers: &mut Numbers| {
            if n_stages == 1 { round % 9 } else { numbers.below(8 + usize::from(at + 1 == n_stages)) }
        };
        let stages: Vec<Parameters> = (0..n_stages)
            .map(|at| {
                let kind = kind(at, &mut numbers);
                numbers.parameters(kind)
            })
            .collect();
        let handles = stages.iter().map(|&parameters| theirs.make(parameters, n as i32, &history));
        same(&stages, &ours(&stages, &logits, &history), &theirs.run(handles, &logits));
    }
}

#[test]
fn mirostat_2_and_adaptive_p_draw_from_what_the_librarys_do() {
    let Some(theirs) = open() else { return };
    let mut numbers = Numbers(11);
    let mirostat: unsafe extern "C" fn(u32, f32, f32) -> Handle =
        theirs.function("llama_sampler_init_mirostat_v2");
    let adaptive: unsafe extern "C" fn(f32, f32, u32) -> Handle =
        theirs.function("llama_sampler_init_adaptive_p");
    for _ in 0..100 {
        let logits: Vec<f32> = (0..50).map(|_| numbers.real(-6.0, 6.0)).collect();
        let (tau, target) = (numbers.real(0.5, 3.0), numbers.real(0.0, 1.0));
        let plain =
            SamplerConfig { order: vec![Stage::AdaptiveP], seed: Some(1), ..SamplerConfig::default() };
        let limited = SamplerConfig { mirostat: 2, mirostat_tau: tau, ..plain.clone() };
        let near = SamplerConfig { adaptive_target: target, ..plain };
        // SAFETY: plain values.
        let handles = [unsafe { mirostat(1, tau, 0.1) }, unsafe { adaptive(target, 0.9, 1) }];
        for (config, handle) in [limited, near].into_iter().zip(handles) {
            let got = Sampler::new(&config, 50).unwrap().probabilities(&logits).unwrap();
            same(&[], &got, &theirs.run(std::iter::once(handle), &logits));
        }
    }
}

/// A model that the library loaded by itself, for its vocabulary; kept for the whole process.
fn their_vocabulary(theirs: &Theirs, file: &str) -> Handle {
    /// `llama_model_params` of any build: the library reads and writes its own fields at the beginning.
    #[repr(C)]
    struct ModelParams([u64; 64]);
    let defaults: unsafe extern "C" fn() -> ModelParams = theirs.function("llama_model_default_params");
    let load: unsafe extern "C" fn(*const c_char, ModelParams) -> Handle =
        theirs.function("llama_model_load_from_file");
    let vocabulary: unsafe extern "C" fn(Handle) -> Handle = theirs.function("llama_model_get_vocab");
    let path = CString::new(tabagent_material::model(file).unwrap().to_str().unwrap()).unwrap();
    // SAFETY: no arguments; a structure of this size comes back in memory in every calling convention.
    let params = unsafe { defaults() };
    // SAFETY: the path ends with zero, and the structure is the last argument, of which the library reads its own size.
    let model = unsafe { load(path.as_ptr(), params) };
    assert!(!model.is_null());
    // SAFETY: a live model.
    unsafe { vocabulary(model) }
}

/// Our samplers' view of a vocabulary, and the library's.
fn vocabularies(file: &str) -> Option<(Theirs, Model, Handle)> {
    let model = common::load(file)?;
    let theirs = open()?;
    let handle = their_vocabulary(&theirs, file);
    Some((theirs, model, handle))
}

fn pieces(model: &Model, special: bool) -> Vec<Vec<u8>> {
    let vocab = model.vocab();
    (0..vocab.len() as i32).map(|token| vocab.token_bytes(token, special).unwrap()).collect()
}

/// Logits that leave all the weight to `tokens`.
fn logits_of(tokens: &[i32], n: usize, numbers: &mut Numbers) -> Vec<f32> {
    let mut logits = vec![-40.0; n];
    for &token in tokens {
        logits[token as usize] = numbers.real(-1.5, 1.5);
    }
    logits
}

const BREAKERS: [&str; 10] =
    ["\n", ":", "\"", "*", "\n\nUser:", " of the", "…", "éa", "<|im_end|>", "<end_of_turn>\n"];
const REPEATING: &str = "One, two, three and one, two, three.\n\nUser: one, two of the three\nUser: one, two of the \
     three: one, two, three… one, two éa one, two \"three\" and *one, two* of the\n\nUser: one, two \"three\" *one, two";

fn dry_breakers_break_as_in_the_library(file: &str) {
    type Init = unsafe extern "C" fn(Handle, f32, f32, i32, i32, *const *const c_char, usize) -> Handle;
    let Some((theirs, model, vocabulary)) = vocabularies(file) else { return };
    let (vocab, n) = (model.vocab(), model.vocab().len());
    let pieces = pieces(&model, true);
    let mut breakers = Breakers::default();
    for text in BREAKERS {
        breakers.add_text(text, &pieces, |rest| vocab.tokenize(rest, false, false).unwrap());
    }
    let breakers = Arc::new(breakers);
    let init: Init = theirs.function("llama_sampler_init_dry");
    let clone: unsafe extern "C" fn(Handle) -> Handle = theirs.function("llama_sampler_clone");
    let texts: Vec<CString> = BREAKERS.iter().map(|&text| CString::new(text).unwrap()).collect();
    let texts: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    let history = vocab.tokenize(REPEATING, false, true).unwrap();
    let mut numbers = Numbers(17);
    let mut n_broken = 0;
    for (allowed, window) in [(1, 200), (2, 200), (1, 12), (3, 60)] {
        // SAFETY: a live vocabulary, and texts that end with zero.
        let handle = unsafe { init(vocabulary, 0.8, 1.75, allowed, window, texts.as_ptr(), texts.len()) };
        let dry = Parameters::Dry {
            dry_multiplier: 0.8,
            dry_base: 1.75,
            dry_allowed_length: allowed as u32,
            dry_window: window,
        };
        for end in 1..=history.len() {
            let past = &history[..end];
            let logits = logits_of(&history, n, &mut numbers);
            // SAFETY: the sampler was made above; what is run is a copy.
            let copy = unsafe { clone(handle) };
            let expected = theirs.run(std::iter::once(theirs.accept(copy, past)), &logits);
            let config = SamplerConfig {
                order: vec![Stage::With(dry)],
                dry_breakers: Arc::clone(&breakers),
                seed: Some(1),
                ..SamplerConfig::default()
            };
            let mut sampler = Sampler::new(&config, n).unwrap();
            for &token in past {
                sampler.accept(token);
            }
            let got = sampler.probabilities(&logits).unwrap();
            same(&[dry], &got, &expected);
            n_broken += usize::from(got != ours(&[dry], &logits, past));
        }
    }
    assert!(n_broken > 20, "breakers changed only `{n_broken}` steps: this text tests nothing");
}

#[test]
fn dry_breakers_break_as_in_the_library_with_smollm2() {
    dry_breakers_break_as_in_the_library(common::SMOLLM2);
}

#[test]
fn dry_breakers_break_as_in_the_library_with_gemma() {
    dry_breakers_break_as_in_the_library(common::GEMMA);
}

fn infill_decides_as_the_library(file: &str) {
    let Some((theirs, model, vocabulary)) = vocabularies(file) else { return };
    let (vocab, n) = (model.vocab(), model.vocab().len());
    let ends: Vec<i32> = (0..n as i32).filter(|&token| vocab.is_eog(token)).collect();
    let pieces = pieces(&model, false);
    let alike: Vec<i32> =
        (0..n as i32).filter(|&token| pieces[token as usize].starts_with(b" th")).take(40).collect();
    assert!(alike.len() > 20 && !ends.is_empty());
    let of_infill = Arc::new(TokenPieces::new(&pieces, &ends, vocab.token_eot().or(vocab.token_eos())));
    let init: unsafe extern "C" fn(Handle) -> Handle = theirs.function("llama_sampler_init_infill");
    let mut numbers = Numbers(23);
    let mut ways = [0; 3];
    for round in 0..240 {
        let n_alike = 1 + numbers.below(alike.len().min(3 + round % 12));
        let mut tokens: Vec<i32> = (0..n_alike).map(|_| alike[numbers.below(alike.len())]).collect();
        tokens.extend((0..round % 5).map(|_| numbers.below(n) as i32));
        let mut logits = logits_of(&tokens, n, &mut numbers);
        if round % 4 == 0 {
            logits[tokens[0] as usize] = 3.0;
        }
        // From nearly impossible to certain.
        logits[ends[numbers.below(ends.len())] as usize] = [-40.0, -6.0, -3.0, 2.0][round % 4];
        let top_k = Parameters::TopK { top_k: 24 };
        let handles = [
            theirs.make(top_k, n as i32, &[]),
            // SAFETY: a live vocabulary.
            unsafe { init(vocabulary) },
        ];
        let expected = theirs.run(handles.into_iter(), &logits);
        let config = SamplerConfig {
            order: vec![Stage::With(top_k), Stage::With(Parameters::Infill)],
            pieces: Some(Arc::clone(&of_infill)),
            seed: Some(1),
            ..SamplerConfig::default()
        };
        let got = Sampler::new(&config, n).unwrap().probabilities(&logits).unwrap();
        same(&[top_k, Parameters::Infill], &got, &expected);
        let is_left = |token: usize| got[token] > 0.0 && !ends.contains(&(token as i32));
        let n_left = (0..n).filter(|&token| is_left(token)).count();
        ways[n_left.min(2)] += 1;
    }
    assert!(ways.iter().all(|&n| n > 0), "ends, one token and several, but not all of them: {ways:?}");
}

#[test]
fn infill_decides_as_the_library_with_smollm2() {
    infill_decides_as_the_library(common::SMOLLM2);
}

#[test]
fn infill_decides_as_the_library_with_gemma() {
    infill_decides_as_the_library(common::GEMMA);
}
