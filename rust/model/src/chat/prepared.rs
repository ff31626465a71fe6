//! From a request for an answer to its prompt, its grammar and the reader of its text; and from there to answers.

use std::sync::Arc;

use tabagent_chat::ChatTemplate;
use tabagent_chat::ToolDefinition;
use tabagent_chat::format::{OutputParser, ToolChoice, ToolChoiceError};
use tabagent_runtime::AbortFlag;
use tabagent_sampling::constraint::Grammar;

use super::prompt::ChatPrompt;
use super::request::ChatRequest;
use super::stream::ChatStream;
use crate::error::Error;
use crate::generate::GenerateOptions;
use crate::grammar::GrammarRequest;
use crate::model::Model;
use crate::session::Session;
use crate::thought::ThoughtOptions;

/// A request that is ready to be answered, once or several times.
#[derive(Clone, Debug)]
pub struct PreparedChat {
    /// The prompt.
    pub prompt: ChatPrompt,
    /// How to generate.
    pub options: GenerateOptions,
    template: Arc<ChatTemplate>,
    /// The tools that calls are read for; `None` for any.
    tools: Option<Vec<ToolDefinition>>,
    grammar: Option<Arc<Grammar>>,
    /// Nothing of the text is read.
    plain: bool,
}

impl Model {
    /// Renders and tokenizes the prompt of a conversation, and compiles what its answer is held to. Blocks; a first grammar takes a fraction of a second.
    ///
    /// # Errors
    /// [`Error::Chat`] if there is no template, or it refuses the conversation; [`Error::ToolChoice`]; [`Error::Grammar`];
    /// [`Error::Vocab`]; [`Error::Engine`].
    pub fn prepare_chat(&self, request: ChatRequest) -> Result<PreparedChat, Error> {
        let ChatRequest {
            mut conversation,
            template,
            tool_choice,
            parallel_tool_calls,
            structure,
            plain,
            thinking,
            options,
        } = request;
        let offered = conversation.tools.take();
        let given = offered.clone().filter(|tools| !tools.is_empty() && tool_choice != ToolChoice::None);
        conversation.tools.clone_from(&given);
        let template = match template {
            Some(template) => template,
            None => self.chat_template_for(given.is_some(), conversation.documents.is_some())?,
        };
        let prompt = self.chat_prompt(&template, &conversation)?;
        let must_call = matches!(tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        let tools = given.unwrap_or_default();
        let grammar = match structure {
            // A form concerns content, and where a call must come there is none.
            Some(structure) if !must_call && !tools.is_empty() && structure.options.trigger.is_none() => {
                let made = self.compile_calls_or_content(
                    &template,
                    &tools,
                    parallel_tool_calls,
                    &prompt.text,
                    &structure,
                )?;
                Some(made.grammar)
            }
            Some(structure) if !must_call => {
                Some(self.compile_structure(&template, structure, &prompt.text)?)
            }
            _ if must_call || !tools.is_empty() => {
                self.call_grammar(&template, &tools, &tool_choice, parallel_tool_calls, &prompt.text)?
            }
            _ => None,
        };
        let thought = thinking.and_then(|budget| {
            let thoughts = template.output_format().thoughts(&prompt.text, !tools.is_empty())?;
            Some(ThoughtOptions { max_tokens: budget.max_tokens, message: budget.message, thoughts })
        });
        let options = GenerateOptions { show_special: true, thought: thought.or(options.thought), ..options };
        let tools = offered.map(|_| tools);
        Ok(PreparedChat { prompt, options, template, tools, grammar, plain })
    }

    /// Begins an answer; several of the same request may be begun, each with options of its own.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn start_chat(&self, prepared: &PreparedChat, options: GenerateOptions) -> Result<ChatStream, Error> {
        let tokens = prepared.prompt.tokens.clone();
        let (stream, _) = self.generate(tokens, options, prepared.grammar.as_ref(), false)?;
        Ok(ChatStream::new(stream, (!prepared.plain).then(|| prepared.parser())))
    }

    /// As [`start_chat`](Self::start_chat), in a session: its tokens become those of the prompt, and what it has of their cells is used.
    ///
    /// # Errors
    /// Those of [`Session::replace`] and [`Session::generate`].
    pub fn start_chat_in(
        &self,
        session: &mut Session,
        prepared: &PreparedChat,
        options: GenerateOptions,
        stop: &AbortFlag,
    ) -> Result<ChatStream, Error> {
        session.replace(prepared.prompt.tokens.clone(), options.changes.clone(), stop)?;
        let settings = Some(options.sampling.clone());
        let (stream, _) = session.generate(options, settings, prepared.grammar.as_ref(), false, stop)?;
        Ok(ChatStream::new(stream, (!prepared.plain).then(|| prepared.parser())))
    }

    /// Has the model answer a conversation. Returns when the request is in the queue.
    ///
    /// # Errors
    /// As [`prepare_chat`](Self::prepare_chat) and [`generate`](Self::generate).
    pub fn chat(&self, request: ChatRequest) -> Result<ChatStream, Error> {
        let prepared = self.prepare_chat(request)?;
        self.start_chat(&prepared, prepared.options.clone())
    }

    /// The grammar of the content, which begins where the reasoning that the prompt leaves the model in has ended.
    fn compile_structure(
        &self,
        template: &ChatTemplate,
        mut structure: GrammarRequest,
        prompt: &str,
    ) -> Result<Arc<Grammar>, Error> {
        if structure.options.trigger.is_none() {
            let format = template.output_format();
            let made = format.constrain_content(structure.source, format.is_in_reasoning_after(prompt));
            structure.source = made.source;
            structure.options.trigger = made.options.trigger;
        }
        self.compile_grammar(&structure)
    }

    /// What holds the model to calls that can be read.
    fn call_grammar(
        &self,
        template: &ChatTemplate,
        tools: &[ToolDefinition],
        choice: &ToolChoice,
        parallel: bool,
        prompt: &str,
    ) -> Result<Option<Arc<Grammar>>, Error> {
        match self.compile_calls(template, tools, choice, parallel, prompt) {
            Ok(made) => Ok(made.map(|made| made.grammar)),
            // Such a template does not say how a call looks; the model may still write one that is known.
            Err(Error::ToolChoice(ToolChoiceError::NoCalls)) if *choice == ToolChoice::Auto => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl PreparedChat {
    /// What reads the answer.
    fn parser(&self) -> OutputParser {
        self.template.parser(self.tools.as_deref(), Some(&self.prompt.text))
    }
}
