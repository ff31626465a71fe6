//! Documents ranked by a query.

use tabagent_llama::{ContextError, Model as LlamaModel, TokenId, Vocab, VocabError};
use tabagent_runtime::AbortFlag;

use super::embedder::Wanted;
use super::plan::plan;
use crate::error::Error;
use crate::model::Model;

/// How documents are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RerankOptions {
    /// Cut documents that are too long.
    pub truncate: bool,
}

impl Model {
    /// How well each document answers a query, in their order: the first output of the model's classifier. More is better; whether it is a probability
    /// depends on the model. `progress` is as for [`embed`](Self::embed). Blocks.
    ///
    /// # Errors
    /// [`Error::NoClassifier`] for a model that is not made for this, and those of [`embed`](Self::embed).
    pub fn rerank<T: AsRef<str>>(
        &self,
        query: &str,
        documents: &[T],
        options: RerankOptions,
        stop: &AbortFlag,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<Vec<f32>, Error> {
        let open = self.open()?;
        let embedder = open.embedder()?;
        let llama = &open.model;
        if llama.embedding_facts().classes.is_none() {
            let architecture = llama.facts().architecture.clone();
            return Err(Error::NoClassifier { source: ContextError::NotRanking { architecture } });
        }
        let longest = embedder.longest_text();
        let form = Form::of(llama, query)?;
        let mut pairs = Vec::with_capacity(documents.len());
        for (index, document) in documents.iter().enumerate() {
            if stop.is_raised() {
                return Err(Error::Stopped);
            }
            let name = || format!("documents[{index}]");
            pairs.push(form.pair(llama.vocab(), document.as_ref(), options, longest, &name)?);
        }
        let lengths: Vec<usize> = pairs.iter().map(Vec::len).collect();
        let mut scores = vec![0.0; pairs.len()];
        let mut done = 0;
        for batch in plan(&lengths, embedder.limits()) {
            let members: Vec<&[TokenId]> = batch.iter().map(|index| pairs[*index].as_slice()).collect();
            embedder.compute(llama, Wanted::Ranks, &members, &|| stop.is_raised(), &mut |row| {
                let index = batch[row.place];
                let score = row.values.first().copied().unwrap_or(f32::NAN);
                if !score.is_finite() {
                    return Err(Error::NotFinite { name: format!("documents[{index}]") });
                }
                scores[index] = score;
                Ok(())
            })?;
            done += batch.len();
            if !progress(done, pairs.len()) {
                return Err(Error::Stopped);
            }
        }
        Ok(scores)
    }
}

/// How a query and a document become one text, as in llama.cpp's server (`format_prompt_rerank` in `tools/server/server-common.cpp`).
enum Form {
    /// The tokens around a document: BOS, query, EOS and SEP as the vocabulary wants them.
    Joined { front: Vec<TokenId>, back: Vec<TokenId> },
    /// The file's template, with the query in its place: what comes before, between and after the documents.
    Template { template: String, query: String },
}

const QUERY: &str = "{query}";
const DOCUMENT: &str = "{document}";

impl Form {
    fn of(model: &LlamaModel, query: &str) -> Result<Self, Error> {
        let vocab = model.vocab();
        if let Some(template) = model.chat_template(Some("rerank")) {
            return Ok(Self::Template { template, query: query.to_owned() });
        }
        let end = vocab.token_eos().or(vocab.token_sep());
        let eos = end.filter(|_| vocab.adds_eos());
        let mut front: Vec<TokenId> = vocab.token_bos().filter(|_| vocab.adds_bos()).into_iter().collect();
        front.extend(vocab.tokenize(query, false, false)?);
        front.extend(eos);
        front.extend(vocab.token_sep().filter(|_| vocab.adds_sep()));
        Ok(Self::Joined { front, back: eos.into_iter().collect() })
    }

    /// The tokens of the query and one document, at most `longest`.
    fn pair(
        &self,
        vocab: &Vocab,
        document: &str,
        options: RerankOptions,
        longest: usize,
        name: &dyn Fn() -> String,
    ) -> Result<Vec<TokenId>, Error> {
        let whole = match self {
            Self::Joined { front, back } => {
                let inner = vocab.tokenize(document, false, false)?;
                Parts { front: front.clone(), inner, back: back.clone() }
            }
            Self::Template { template, query } => {
                let filled = || template.replace(QUERY, query).replace(DOCUMENT, document);
                let is_plain = !names_tokens(vocab, query)? && !names_tokens(vocab, document)?;
                if is_plain && !template_is_open(query) {
                    let tokens = vocab.tokenize(&filled(), false, true)?;
                    if tokens.len() <= longest {
                        return Ok(tokens);
                    }
                }
                Parts::of_template(vocab, template, query, document)?
            }
        };
        whole.fitted(longest, options, name)
    }
}

/// A query and a document in pieces.
struct Parts {
    front: Vec<TokenId>,
    /// The document.
    inner: Vec<TokenId>,
    back: Vec<TokenId>,
}

impl Parts {
    /// The pieces of a template tokenized one by one, so that the texts between them cannot name special tokens.
    fn of_template(vocab: &Vocab, template: &str, query: &str, document: &str) -> Result<Self, VocabError> {
        let (before, after) = template.split_once(DOCUMENT).unwrap_or((template, ""));
        let fill = |piece: &str| {
            let mut tokens = Vec::new();
            for (index, text) in piece.split(QUERY).enumerate() {
                if index > 0 {
                    tokens.extend(vocab.tokenize(query, false, false)?);
                }
                tokens.extend(vocab.tokenize(text, false, true)?);
            }
            Ok::<_, VocabError>(tokens)
        };
        Ok(Self { front: fill(before)?, inner: vocab.tokenize(document, false, false)?, back: fill(after)? })
    }

    fn fitted(
        mut self,
        longest: usize,
        options: RerankOptions,
        name: &dyn Fn() -> String,
    ) -> Result<Vec<TokenId>, Error> {
        let around = self.front.len() + self.back.len();
        let tokens = around + self.inner.len();
        if tokens == 0 {
            return Err(Error::NoTokens { name: name() });
        }
        if tokens > longest {
            if !options.truncate || around >= longest {
                return Err(Error::PairTooLong { name: name(), query: around, tokens, longest });
            }
            self.inner.truncate(longest - around);
        }
        self.front.extend(self.inner);
        self.front.extend(self.back);
        Ok(self.front)
    }
}

/// Whether a text, read with markers, is other tokens than without: it could forge the template's own.
fn names_tokens(vocab: &Vocab, text: &str) -> Result<bool, VocabError> {
    Ok(vocab.tokenize(text, false, true)? != vocab.tokenize(text, false, false)?)
}

/// Whether a query would be filled in again as a document.
fn template_is_open(query: &str) -> bool {
    query.contains(DOCUMENT)
}
