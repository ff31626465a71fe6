//! Prompts of conversations, and grammars of calls.

use std::sync::Arc;

use tabagent_chat::format::{ToolChoice, Unenforced};
use tabagent_chat::{ChatTemplate, ChatTemplateError, Conversation, ToolDefinition};
use tabagent_llama::{TextPart, TokenId, Vocab};
use tabagent_sampling::constraint::{Grammar, GrammarOptions};

use crate::error::Error;
use crate::grammar::GrammarRequest;
use crate::model::Model;

/// A conversation as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatPrompt {
    /// The text that the template wrote.
    pub text: String,
    /// Its tokens, with the special tokens that the model wants in front of every text; each is there once.
    pub tokens: Vec<TokenId>,
}

/// What holds a model to calls of tools.
#[derive(Clone, Debug)]
pub struct CallGrammar {
    /// The grammar.
    pub grammar: Arc<Grammar>,
    /// What of the tools' schemas it does not enforce.
    pub unenforced: Vec<Unenforced>,
}

/// The text of a token that may not be there.
fn text_of(vocab: &Vocab, token: Option<TokenId>) -> String {
    token.and_then(|token| vocab.token_text(token).ok()).unwrap_or_default()
}

impl Model {
    /// The texts of the tokens that begin and end a text, as templates find them; empty where there are none.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn chat_tokens(&self) -> Result<(String, String), Error> {
        let open = self.open()?;
        let vocab = open.model.vocab();
        Ok((text_of(vocab, vocab.token_bos()), text_of(vocab, vocab.token_eos())))
    }

    /// The file's template for a conversation: the one for tools or for documents where the file has one and `conversation` some, else the default
    /// one. Parsed once.
    ///
    /// # Errors
    /// [`Error::Chat`] if the file has none or it is no template, [`Error::Engine`].
    pub fn chat_template_for(&self, tools: bool, documents: bool) -> Result<Arc<ChatTemplate>, Error> {
        let open = self.open()?;
        let named = [("tool_use", tools), ("rag", documents && !tools)];
        let found = named.into_iter().filter(|(_, wanted)| *wanted).find_map(|(name, _)| {
            let text = open.model.chat_template(Some(name))?;
            Some((Some(name), text))
        });
        let found = found.or_else(|| open.model.chat_template(None).map(|text| (None, text)));
        let (name, text) = found.ok_or(ChatTemplateError::Missing)?;
        let mut parsed = open.templates.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, template)) = parsed.iter().find(|(known, _)| *known == name) {
            return Ok(Arc::clone(template));
        }
        let (bos, eos) = self.chat_tokens()?;
        let template = Arc::new(ChatTemplate::new(text, &bos, &eos)?);
        parsed.push((name, Arc::clone(&template)));
        Ok(template)
    }

    /// What holds an answer, which may begin in reasoning, to calls of tools that can be read; `None` where nothing is to be held to. Without `parallel` there is one
    /// call at the most.
    ///
    /// # Errors
    /// [`Error::ToolChoice`] if the choice asks for what there is not, [`Error::Grammar`], [`Error::Engine`].
    pub fn compile_calls(
        &self,
        template: &ChatTemplate,
        tools: &[ToolDefinition],
        choice: &ToolChoice,
        parallel: bool,
        in_reasoning: bool,
    ) -> Result<Option<CallGrammar>, Error> {
        let format = template.output_format();
        let Some(made) = format.constrain_calls(tools, choice, parallel, in_reasoning)? else {
            return Ok(None);
        };
        let grammar = self.compile_grammar(&GrammarRequest { source: made.source, options: made.options })?;
        Ok(Some(CallGrammar { grammar, unenforced: made.unenforced }))
    }

    /// What holds an answer, which may begin in reasoning, to either calls of tools that can be read, or content of a form.
    ///
    /// # Errors
    /// [`Error::ToolChoice`] if the form is a grammar in Lark or GBNF, [`Error::Grammar`], [`Error::Engine`].
    pub fn compile_calls_or_content(
        &self,
        template: &ChatTemplate,
        tools: &[ToolDefinition],
        parallel: bool,
        in_reasoning: bool,
        content: &GrammarRequest,
    ) -> Result<CallGrammar, Error> {
        let format = template.output_format();
        let made = format.constrain_calls_or_content(tools, parallel, in_reasoning, &content.source)?;
        // By itself, the form's errors name their place.
        self.compile_grammar(content)?;
        let options = GrammarOptions { whitespace: content.options.whitespace, ..made.options };
        let grammar = self.compile_grammar(&GrammarRequest { source: made.source, options })?;
        Ok(CallGrammar { grammar, unenforced: made.unenforced })
    }

    /// The prompt of a conversation. What the conversation brought in is never read as special tokens.
    ///
    /// # Errors
    /// [`Error::Chat`], [`Error::Vocab`], [`Error::Engine`].
    pub fn chat_prompt(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
    ) -> Result<ChatPrompt, Error> {
        let rendering = template.render_segments(conversation)?;
        let open = self.open()?;
        let vocab = open.model.vocab();
        let parts =
            rendering.segments().map(|part| TextPart { text: part.text, parse_special: part.parse_special });
        let mut tokens = vocab.tokenize_parts(parts)?;
        let front = &vocab.additions()?.front;
        if !tokens.starts_with(front) {
            tokens.splice(0..0, front.iter().copied());
        }
        Ok(ChatPrompt { text: rendering.into_text(), tokens })
    }
}
