//! Both engines over the same file.
#![allow(dead_code)]

pub(crate) mod tiny;

use std::path::Path;
use std::sync::Arc;

use tabagent_engine::{Cpu, DecoderOptions, EngineDecoder, LoadedModel};
use tabagent_llama::{Batch, Context, ContextConfig, Library, Model, ModelConfig};
use tabagent_runtime::{BatchToken, Decoder, TokenId, Vocabulary};

/// A vocabulary of so many tokens, whose texts do not matter.
pub(crate) struct Tokens(pub(crate) usize);

impl Vocabulary for Tokens {
    fn n_tokens(&self) -> usize {
        self.0
    }

    fn push_token_bytes(&self, token: TokenId, _special: bool, out: &mut Vec<u8>) {
        out.extend(format!(" {token}").bytes());
    }

    fn is_eog(&self, _token: TokenId) -> bool {
        false
    }
}

/// A model in this engine.
pub(crate) fn ours(path: &Path) -> Arc<LoadedModel<Cpu>> {
    Arc::new(LoadedModel::open(path, &Cpu::new(2).unwrap(), &|_, _| true).unwrap())
}

/// An empty decoder of a model.
pub(crate) fn decoder(model: &Arc<LoadedModel<Cpu>>, n_ctx: usize) -> EngineDecoder<Cpu> {
    let options = DecoderOptions { n_outputs_max: 512, n_seq_max: 4, ..DecoderOptions::new(n_ctx) };
    let vocabulary = Arc::new(Tokens(model.n_vocab()));
    EngineDecoder::new(Arc::clone(model), Cpu::new(1).unwrap(), vocabulary, options).unwrap()
}

/// A batch with the tokens of one sequence, all with logits.
pub(crate) fn batch(seq: u32, start: usize, tokens: &[TokenId]) -> Vec<BatchToken> {
    let row = |(pos, &token)| BatchToken { seq, pos, token, logits: true };
    (start..).zip(tokens).map(row).collect()
}

/// The logits after each token, all of them decoded together.
pub(crate) fn our_logits(decoder: &mut EngineDecoder<Cpu>, seq: u32, tokens: &[TokenId]) -> Vec<Vec<f32>> {
    decoder.decode(&batch(seq, 0, tokens), &|| false).unwrap();
    (0..tokens.len()).map(|index| decoder.logits(index).to_vec()).collect()
}

/// The logits after each token, decoded one after another from position `start` on.
pub(crate) fn our_logits_singly(
    decoder: &mut EngineDecoder<Cpu>,
    seq: u32,
    start: usize,
    tokens: &[TokenId],
) -> Vec<Vec<f32>> {
    let one = |(pos, token)| {
        decoder.decode(&batch(seq, pos, &[token]), &|| false).unwrap();
        decoder.logits(0).to_vec()
    };
    (start..).zip(tokens.iter().copied()).map(one).collect()
}

/// The library built from the pinned tree.
pub(crate) fn library() -> Option<Library> {
    Some(Library::open(tabagent_material::library()?).unwrap())
}

/// A model in llama.cpp.
pub(crate) fn theirs(library: &Library, path: &Path) -> Model {
    Model::load(library, ModelConfig::new(path).unwrap()).unwrap()
}

pub(crate) fn context(model: &Model, n_ctx: u32) -> Context {
    let config =
        ContextConfig { max_sequences: 4, ..ContextConfig::new().with_context_size(n_ctx).with_threads(1) };
    model.create_context_with(&config).unwrap()
}

/// llama.cpp's logits after each token, all of them decoded together.
pub(crate) fn their_logits(context: &mut Context, tokens: &[TokenId]) -> Vec<Vec<f32>> {
    context.clear();
    let mut batch = Batch::new();
    for (position, token) in (0..).zip(tokens) {
        batch.push(*token, position, &[0], true);
    }
    context.decode(&batch).unwrap();
    (0..tokens.len()).map(|index| context.logits(index).unwrap().to_vec()).collect()
}

/// llama.cpp's logits after each token, decoded one after another.
pub(crate) fn their_logits_singly(context: &mut Context, tokens: &[TokenId]) -> Vec<Vec<f32>> {
    context.clear();
    let one = |(position, token): (u32, &TokenId)| {
        context.decode(&Batch::prompt(0, position, &[*token])).unwrap();
        context.logits(0).unwrap().to_vec()
    };
    (0..).zip(tokens).map(one).collect()
}

/// How far rows of logits are apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distance {
    /// The largest difference of two logits.
    pub(crate) most: f32,
    /// The root of the mean square of all differences, divided by that of the logits' deviation from their mean.
    pub(crate) relative: f32,
}

pub(crate) fn distance(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> Distance {
    assert_eq!(ours.len(), theirs.len());
    let (mut most, mut squares, mut spread) = (0.0_f32, 0.0_f64, 0.0_f64);
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.len(), theirs.len());
        let mean = theirs.iter().sum::<f32>() / theirs.len() as f32;
        for (a, b) in ours.iter().zip(theirs) {
            assert!(a.is_finite() && b.is_finite(), "{a} {b}");
            most = most.max((a - b).abs());
            squares += f64::from(a - b).powi(2);
            spread += f64::from(b - mean).powi(2);
        }
    }
    Distance { most, relative: (squares / spread).sqrt() as f32 }
}

/// The token with the largest logit.
pub(crate) fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap()
}

/// How far the best token is before another one.
pub(crate) fn lead(logits: &[f32], over: usize) -> f32 {
    logits[best(logits)] - logits[over]
}
