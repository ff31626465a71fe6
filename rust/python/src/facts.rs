//! A model's facts as a dictionary.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tabagent_model::{LlamaModel as Model, VocabKind};

pub(crate) fn to_dict<'py>(py: Python<'py>, model: &Model) -> PyResult<Bound<'py, PyDict>> {
    let facts = model.facts();
    let vocab = model.vocab();
    let dict = PyDict::new(py);
    dict.set_item("description", &facts.description)?;
    dict.set_item("architecture", &facts.architecture)?;
    dict.set_item("name", &facts.name)?;
    dict.set_item("quantization", &facts.quantization)?;
    dict.set_item("parameters", facts.parameters)?;
    dict.set_item("size", facts.size)?;
    dict.set_item("context_train_size", facts.context_train_size)?;
    dict.set_item("embedding_dim", facts.embedding_dim)?;
    dict.set_item("layers", facts.layers)?;
    dict.set_item("heads", facts.heads)?;
    dict.set_item("kv_heads", facts.kv_heads)?;
    dict.set_item("sliding_window", facts.sliding_window)?;
    dict.set_item("has_encoder", facts.has_encoder)?;
    dict.set_item("has_decoder", facts.has_decoder)?;
    dict.set_item("recurrent", facts.recurrent)?;
    dict.set_item("hybrid", facts.hybrid)?;
    dict.set_item("layers_on_gpu", facts.layers_on_gpu)?;
    dict.set_item("vocab_size", vocab.len())?;
    dict.set_item("vocab_kind", kind_name(vocab.kind()))?;
    let added = vocab.additions().cloned().unwrap_or_default();
    let adds = |tokens: &[i32], token: Option<i32>| token.is_some_and(|token| tokens.contains(&token));
    dict.set_item("adds_bos", adds(&added.front, vocab.token_bos()))?;
    dict.set_item("adds_eos", adds(&added.back, vocab.token_eos()))?;
    Ok(dict)
}

fn kind_name(kind: VocabKind) -> &'static str {
    match kind {
        VocabKind::None => "none",
        VocabKind::SentencePiece => "sentencepiece",
        VocabKind::Bpe => "bpe",
        VocabKind::WordPiece => "wordpiece",
        VocabKind::Unigram => "unigram",
        VocabKind::Rwkv => "rwkv",
        VocabKind::Plamo2 => "plamo2",
        VocabKind::Other(_) => "other",
    }
}

pub(crate) fn special_tokens<'py>(py: Python<'py>, model: &Model) -> PyResult<Bound<'py, PyDict>> {
    let vocab = model.vocab();
    let dict = PyDict::new(py);
    for (name, token) in [
        ("bos", vocab.token_bos()),
        ("eos", vocab.token_eos()),
        ("eot", vocab.token_eot()),
        ("nl", vocab.token_nl()),
        ("pad", vocab.token_pad()),
        ("sep", vocab.token_sep()),
        ("mask", vocab.token_mask()),
        ("fim_pre", vocab.token_fim_pre()),
        ("fim_suf", vocab.token_fim_suf()),
        ("fim_mid", vocab.token_fim_mid()),
        ("fim_pad", vocab.token_fim_pad()),
        ("fim_rep", vocab.token_fim_rep()),
        ("fim_sep", vocab.token_fim_sep()),
    ] {
        dict.set_item(name, token)?;
    }
    Ok(dict)
}
