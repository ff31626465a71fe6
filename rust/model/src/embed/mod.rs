//! Texts to vectors, and documents ranked by a query.

mod embedder;
mod inputs;
mod options;
mod plan;
mod pool;
mod rerank;
mod turns;

use tabagent_runtime::AbortFlag;

use crate::error::Error;
use crate::model::Model;
use crate::prompt::PromptInput;
use inputs::tokens_of;
use plan::plan;
use pool::{Pool, normalize};

pub(crate) use embedder::{Embedder, Row, Wanted};
pub use options::{EmbedOptions, TextPooling};
pub use rerank::RerankOptions;

/// Vectors of the same width, one after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// The numbers of all vectors.
    pub values: Vec<f32>,
    /// How many numbers a vector has.
    pub width: usize,
}

impl Model {
    /// A vector for each text, in their order.
    ///
    /// Texts are computed many at a time, in a context of their own beside the decode thread's; it is made at the first call and kept. Threads that call
    /// this at the same time take turns, a batch each. `progress` is called with the number of texts that are done and of all; when it returns
    /// false, the work ends soon. Blocks.
    ///
    /// # Errors
    /// [`Error::TextTooLong`], [`Error::NoTokens`], [`Error::TooManyDimensions`], [`Error::NotFinite`], [`Error::Stopped`], [`Error::Vocab`],
    /// [`Error::Context`], [`Error::Engine`].
    pub fn embed<T: AsRef<str> + Sync>(
        &self,
        texts: &[PromptInput<T>],
        options: &EmbedOptions,
        stop: &AbortFlag,
        mut progress: impl FnMut(usize, usize) -> bool,
    ) -> Result<Vectors, Error> {
        let open = self.open()?;
        let embedder = open.embedder()?;
        let facts = open.model.embedding_facts();
        let width = options.dimensions.unwrap_or(facts.width as usize);
        if width > facts.width as usize || width == 0 {
            return Err(Error::TooManyDimensions { dimensions: width, width: facts.width as usize });
        }
        let name = |index| format!("texts[{index}]");
        let tokens = tokens_of(open.model.vocab(), texts, embedder.longest_text(), options, &name, stop)?;
        let lengths: Vec<usize> = tokens.iter().map(Vec::len).collect();
        let pooling = options.pooling.unwrap_or_else(|| TextPooling::of_model(facts.pooling));
        let mut pool = Pool::new(pooling, width);
        let mut values = vec![0.0; tokens.len() * width];
        let mut done = 0;
        for batch in plan(&lengths, embedder.limits()) {
            let members: Vec<&[i32]> = batch.iter().map(|index| tokens[*index].as_slice()).collect();
            embedder.compute(&open.model, Wanted::Tokens, &members, &|| stop.is_raised(), &mut |row| {
                pool.push(row.values);
                if !row.is_last {
                    return Ok(());
                }
                let index = batch[row.place];
                let out = &mut values[index * width..][..width];
                pool.finish(options.normalize, out);
                check_finite(out, || name(index))
            })?;
            done += batch.len();
            if !progress(done, tokens.len()) {
                return Err(Error::Stopped);
            }
        }
        Ok(Vectors { values, width })
    }

    /// A vector for each token of a text. Of the options, those about pooling and dimensions do not count. Blocks.
    ///
    /// # Errors
    /// As [`embed`](Self::embed).
    pub fn embed_tokens<T: AsRef<str> + Sync>(
        &self,
        text: PromptInput<T>,
        options: &EmbedOptions,
        stop: &AbortFlag,
    ) -> Result<Vectors, Error> {
        let open = self.open()?;
        let embedder = open.embedder()?;
        let width = open.model.embedding_facts().width as usize;
        let name = |_| "text".to_owned();
        let tokens = tokens_of(open.model.vocab(), &[text], embedder.longest_text(), options, &name, stop)?;
        let members: Vec<&[i32]> = tokens.iter().map(Vec::as_slice).collect();
        let mut values = Vec::with_capacity(tokens.iter().map(Vec::len).sum::<usize>() * width);
        embedder.compute(&open.model, Wanted::Tokens, &members, &|| stop.is_raised(), &mut |row| {
            let start = values.len();
            values.extend_from_slice(row.values);
            if options.normalize {
                normalize(&mut values[start..]);
            }
            Ok(())
        })?;
        check_finite(&values, || name(0))?;
        Ok(Vectors { values, width })
    }
}

/// Refuses a vector in which something is not a number or infinite.
fn check_finite(vector: &[f32], name: impl FnOnce() -> String) -> Result<(), Error> {
    if vector.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(Error::NotFinite { name: name() }) }
}
