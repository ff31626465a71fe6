//! From a request for an answer to its prompt, its grammar and the reader of its text; and from there to answers.

use std::sync::Arc;

use tabagent_chat::ChatTemplate;
use tabagent_chat::ToolDefinition;
use tabagent_chat::format::{AnswerStart, OutputParser, ToolChoice, ToolChoiceError, Unenforced};
use tabagent_runtime::AbortFlag;
use tabagent_sampling::constraint::Grammar;

use super::prompt::{CallGrammar, ChatPrompt};
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
    start: AnswerStart,
    in_reasoning: bool,
    /// The tools that calls are read for; `None` for any.
    tools: Option<Vec<ToolDefinition>>,
    held: Option<CallGrammar>,
    /// Nothing of the text is read.
    plain: bool,
}

impl Model {
    /// Renders and tokenizes the prompt of a conversation, and compiles what its answer is held to. Blocks; a first grammar takes a fraction of a second.
    ///
    /// # Errors
    /// [`Error::Chat`] if there is no template, or it refuses the conversation; [`Error::ToolChoice`]; [`Error::Grammar`];
    /// [`Error::Option`] for a message of a budget that itself ends a thought; [`Error::Vocab`]; [`Error::Engine`].
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
        let tools = given.unwrap_or_default();
        let start = AnswerStart::of(&conversation);
        let in_reasoning = template.output_format().begins_in_reasoning_after(&prompt.text, start);
        let held =
            self.hold(&template, &tools, &tool_choice, parallel_tool_calls, in_reasoning, structure)?;
        let thoughts = thinking
            .as_ref()
            .and_then(|_| template.output_format().thoughts(in_reasoning, !tools.is_empty()));
        let thought = match (thinking, thoughts) {
            (Some(budget), Some(thoughts)) => {
                Some(ThoughtOptions::new(budget.max_tokens, budget.message, thoughts)?)
            }
            _ => None,
        };
        let mut options =
            GenerateOptions { show_special: true, thought: thought.or(options.thought), ..options };
        if !plain {
            self.stop_at_turn_ends(&template, &mut options)?;
        }
        let tools = offered.map(|_| tools);
        Ok(PreparedChat { prompt, options, template, start, in_reasoning, tools, held, plain })
    }

    /// Begins an answer; several of the same request may be begun, each with options of its own.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn start_chat(&self, prepared: &PreparedChat, options: GenerateOptions) -> Result<ChatStream, Error> {
        let tokens = prepared.prompt.tokens.clone();
        let (stream, _) = self.generate(tokens, options, prepared.grammar(), false)?;
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
        let (stream, _) = session.generate(options, settings, prepared.grammar(), false, stop)?;
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

    /// What an answer is held to, which may begin in reasoning: calls, content of a form, or either; `None` if to nothing.
    fn hold(
        &self,
        template: &ChatTemplate,
        tools: &[ToolDefinition],
        choice: &ToolChoice,
        parallel: bool,
        in_reasoning: bool,
        structure: Option<GrammarRequest>,
    ) -> Result<Option<CallGrammar>, Error> {
        let must_call = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
        match structure {
            // A form concerns content, and where a call must come there is none.
            Some(structure) if !must_call && !tools.is_empty() && structure.options.trigger.is_none() => {
                self.compile_calls_or_content(template, tools, parallel, in_reasoning, &structure).map(Some)
            }
            Some(structure) if !must_call => {
                let grammar = self.compile_structure(template, structure, in_reasoning)?;
                Ok(Some(CallGrammar { grammar, unenforced: Vec::new() }))
            }
            _ if must_call || !tools.is_empty() => {
                self.call_grammar(template, tools, choice, parallel, in_reasoning)
            }
            _ => Ok(None),
        }
    }

    /// The grammar of the content, which begins where the reasoning that the prompt leaves the model in has ended.
    fn compile_structure(
        &self,
        template: &ChatTemplate,
        mut structure: GrammarRequest,
        in_reasoning: bool,
    ) -> Result<Arc<Grammar>, Error> {
        if structure.options.trigger.is_none() {
            let format = template.output_format();
            let made = format.constrain_content(structure.source, in_reasoning);
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
        in_reasoning: bool,
    ) -> Result<Option<CallGrammar>, Error> {
        match self.compile_calls(template, tools, choice, parallel, in_reasoning) {
            Ok(made) => Ok(made),
            // Such a template does not say how a call looks; the model may still write one that is known.
            Err(Error::ToolChoice(ToolChoiceError::NoCalls)) if *choice == ToolChoice::Auto => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl PreparedChat {
    /// What reads the answer.
    pub fn parser(&self) -> OutputParser {
        self.template.parser_from(self.tools.as_deref(), Some(&self.prompt.text), self.start)
    }

    /// What the answer is held to, if it is.
    pub fn grammar(&self) -> Option<&Arc<Grammar>> {
        self.held.as_ref().map(|held| &held.grammar)
    }

    /// What of the tools' schemas the answer may break.
    pub fn unenforced(&self) -> &[Unenforced] {
        self.held.as_ref().map_or(&[], |held| &held.unenforced)
    }

    /// What ends the reasoning that the prompt leaves the model in; `None` if it is in none.
    pub fn reasoning_end(&self) -> Option<String> {
        self.template.output_format().reasoning_end().filter(|_| self.in_reasoning)
    }
}
