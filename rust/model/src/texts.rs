//! Texts as a model's tokens, and tokens as texts.

use tabagent_llama::{DetokenizeOptions, Prompt, TokenId};
use tabagent_runtime::AbortFlag;

use crate::error::Error;
use crate::model::Model;
use crate::prompt::{self, PromptInput};

impl Model {
    /// A prompt's tokens: a text is tokenized, tokens stay as they are. With `add_special`, the special tokens that the model wants at its ends
    /// are there once; [`prompt_remarks`](Self::prompt_remarks) tells of those that the prompt already had.
    ///
    /// # Errors
    /// [`Error::PromptTooLong`] for a text that surely does not fit, [`Error::Vocab`], [`Error::Engine`].
    pub fn prompt<T: AsRef<str>>(
        &self,
        prompt: PromptInput<T>,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Prompt, Error> {
        let open = self.open()?;
        let n_ctx = open.sizes().sequence_size as usize;
        prompt::tokens_of(open.model.vocab(), prompt, Some(n_ctx), add_special, parse_special)
    }

    /// As [`prompt`](Self::prompt), also for texts that do not fit the context; see [`GenerateOptions::overflow`].
    ///
    /// # Errors
    /// [`Error::Vocab`], [`Error::Engine`].
    pub fn long_prompt<T: AsRef<str>>(
        &self,
        prompt: PromptInput<T>,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Prompt, Error> {
        prompt::tokens_of(self.open()?.model.vocab(), prompt, None, add_special, parse_special)
    }

    /// What to tell a user whose prompt, called `name`, already had special tokens that the model adds: a sentence for each, ended by `or_not`,
    /// which says how to keep both where there is a way.
    ///
    /// # Errors
    /// [`Error::Vocab`], [`Error::Engine`].
    pub fn prompt_remarks(&self, prompt: &Prompt, name: &str, or_not: &str) -> Result<Vec<String>, Error> {
        prompt::remarks(self.open()?.model.vocab(), prompt, name, or_not)
    }

    /// A text's tokens.
    ///
    /// # Errors
    /// [`Error::Vocab`], [`Error::Engine`].
    pub fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, Error> {
        Ok(self.open()?.model.vocab().tokenize(text, add_special, parse_special)?)
    }

    /// A text's tokens where it continues a text that ends in the token `last`.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn tokenize_after(
        &self,
        last: Option<TokenId>,
        text: &str,
        parse_special: bool,
    ) -> Result<Vec<TokenId>, Error> {
        Ok(self.open()?.model.vocab().tokenize_after(last, text, parse_special)?)
    }

    /// The tokens of many texts, on several threads, until `stop` is raised.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize), for the first text that fails.
    pub fn tokenize_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        add_special: bool,
        parse_special: bool,
        stop: &AbortFlag,
    ) -> Result<Vec<Vec<TokenId>>, Error> {
        let open = self.open()?;
        let stop = || stop.is_raised();
        Ok(open.model.vocab().tokenize_batch_unless(texts, add_special, parse_special, &stop)?)
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn detokenize(&self, tokens: &[TokenId], options: DetokenizeOptions) -> Result<String, Error> {
        Ok(self.open()?.model.vocab().detokenize_with(tokens, options)?)
    }

    /// [`detokenize`](Self::detokenize) that ends soon once `stop` is raised.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize).
    pub fn detokenize_unless(
        &self,
        tokens: &[TokenId],
        options: DetokenizeOptions,
        stop: &AbortFlag,
    ) -> Result<String, Error> {
        let open = self.open()?;
        Ok(open.model.vocab().detokenize_unless(tokens, options, &|| stop.is_raised())?)
    }

    /// The texts of many lists of tokens, on several threads, until `stop` is raised.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize), for the first list that fails.
    pub fn detokenize_batch<T: AsRef<[TokenId]> + Sync>(
        &self,
        lists: &[T],
        options: DetokenizeOptions,
        stop: &AbortFlag,
    ) -> Result<Vec<String>, Error> {
        let open = self.open()?;
        Ok(open.model.vocab().detokenize_batch_unless(lists, options, &|| stop.is_raised())?)
    }
}
