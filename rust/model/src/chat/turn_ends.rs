//! Answers end where their template ends them, also in models whose vocabulary has other ends.

use tabagent_chat::ChatTemplate;
use tabagent_llama::Vocab;

use crate::error::Error;
use crate::generate::GenerateOptions;
use crate::model::Model;

impl Model {
    /// Has a text stop at the markers with which the template ends a turn, where the vocabulary does not take them for an end itself: that of a base
    /// model, which was given a template, has no token for them, or takes it for a token like others.
    pub(super) fn stop_at_turn_ends(
        &self,
        template: &ChatTemplate,
        options: &mut GenerateOptions,
    ) -> Result<(), Error> {
        let open = self.open()?;
        let vocab = open.model.vocab();
        for marker in &template.output_format().turn_ends {
            if !ends_texts(vocab, marker)? && !options.stop.contains(marker) {
                options.stop.push(marker.clone());
            }
        }
        Ok(())
    }
}

/// Whether the vocabulary has the marker as a token that ends texts.
fn ends_texts(vocab: &Vocab, marker: &str) -> Result<bool, Error> {
    let tokens = vocab.tokenize(marker, false, true)?;
    // A tokenizer may write a space in front of a text.
    Ok(tokens.last().is_some_and(|token| vocab.is_eog(*token)))
}
