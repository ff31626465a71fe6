//! What a model may write so that its calls can be read and their arguments fit.

use super::call_frame::{CallFrames, unenforced};
use super::output_format::{Body, CallFormat, OutputFormat};
use crate::ToolDefinition;
use tabagent_sampling::constraint::{
    AfterConstruct, Frame, GrammarOptions, GrammarSource, Trigger, TriggerStart,
};

/// Which tools a model may or must call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Any, or none: the model decides.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// Why a choice of tools cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolChoiceError {
    /// A call is asked for, but there is nothing to call.
    #[error("`tool_choice` asks for a call, but there are no tools; give `tools`")]
    NoTools,
    /// There is no tool of this name.
    #[error("`tool_choice` names the tool `{name}`, but the tools are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The tools that there are.
        known: String,
    },
    /// The model's format has no calls.
    #[error("the template does not say how the model calls tools")]
    NoCalls,
    /// The content is to follow a grammar that cannot stand beside calls.
    #[error(
        "the content cannot be held to a grammar where the model may also call tools; give a JSON schema, a regular expression or choices, or forbid calls with the `tool_choice` `none`"
    )]
    ContentGrammar,
}

/// A grammar and when it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputConstraint {
    /// The grammar.
    pub source: GrammarSource,
    /// When it applies.
    pub options: GrammarOptions,
    /// What of the tools' schemas it does not enforce, beside the limitations of the compiled grammar.
    pub unenforced: Vec<Unenforced>,
}

/// A demand of a tool's schema that its arguments may break: the model does not write it as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unenforced {
    /// The tool.
    pub tool: String,
    /// The parameter.
    pub parameter: String,
    /// The keyword of the schema, at the parameter or inside of it.
    pub keyword: String,
}

impl OutputFormat {
    /// What holds the model to calls of `tools` that can be read, with arguments that fit: from the first token on where `choice` asks for a call,
    /// from a call's marker on where it leaves the choice to the model. `None` if nothing is to be held to.
    ///
    /// `in_reasoning` says whether the prompt leaves the model inside of its reasoning, which comes first then. Without `parallel` there is one
    /// call at the most.
    ///
    /// # Errors
    ///
    /// [`ToolChoiceError`] if the choice asks for what there is not.
    pub fn constrain_calls(
        &self,
        tools: &[ToolDefinition],
        choice: &ToolChoice,
        parallel: bool,
        in_reasoning: bool,
    ) -> Result<Option<OutputConstraint>, ToolChoiceError> {
        let allowed: Vec<&ToolDefinition> = match choice {
            ToolChoice::None => return Ok(None),
            ToolChoice::Auto if tools.is_empty() => return Ok(None),
            ToolChoice::Required if tools.is_empty() => return Err(ToolChoiceError::NoTools),
            ToolChoice::Auto | ToolChoice::Required => tools.iter().collect(),
            ToolChoice::Named(name) => tools.iter().filter(|tool| tool.name() == name).collect(),
        };
        if let (ToolChoice::Named(name), true) = (choice, allowed.is_empty()) {
            let known: Vec<String> = tools.iter().map(|tool| format!("`{}`", tool.name())).collect();
            return Err(if known.is_empty() {
                ToolChoiceError::NoTools
            } else {
                ToolChoiceError::Unknown { name: name.clone(), known: known.join(", ") }
            });
        }
        let calls = self.calls.as_ref().ok_or(ToolChoiceError::NoCalls)?;
        let frames = self.frames(calls, &allowed, parallel);
        let is_auto = *choice == ToolChoice::Auto;
        let whole = || self.after_reasoning(frames.whole(self.begins_in_call), in_reasoning);
        let mut made = if is_auto { auto(calls, &frames) } else { whole() };
        made.unenforced = all_unenforced(calls, &allowed);
        Ok(Some(made))
    }

    /// What holds the model to either calls of `tools`, as [`constrain_calls`](Self::constrain_calls) has them, or content of a form. Where the format has
    /// no calls there is only content.
    ///
    /// # Errors
    ///
    /// [`ToolChoiceError::ContentGrammar`] if the form is a grammar in Lark or GBNF.
    pub fn constrain_calls_or_content(
        &self,
        tools: &[ToolDefinition],
        parallel: bool,
        in_reasoning: bool,
        content: &GrammarSource,
    ) -> Result<OutputConstraint, ToolChoiceError> {
        let content = content_frame(content).ok_or(ToolChoiceError::ContentGrammar)?;
        let allowed: Vec<&ToolDefinition> = tools.iter().collect();
        let Some(calls) = self.calls.as_ref().filter(|_| !allowed.is_empty()) else {
            return Ok(self.after_reasoning(content, in_reasoning));
        };
        let whole = self.frames(calls, &allowed, parallel).whole(self.begins_in_call);
        let mut made = self.after_reasoning(Frame::Choice(vec![whole, content]), in_reasoning);
        made.unenforced = all_unenforced(calls, &allowed);
        Ok(made)
    }

    fn frames<'f>(
        &'f self,
        calls: &'f CallFormat,
        tools: &'f [&'f ToolDefinition],
        parallel: bool,
    ) -> CallFrames<'f> {
        let max = (!parallel || !calls.is_parallel).then_some(1);
        CallFrames { format: calls, tools, max, dropped: &self.dropped }
    }

    /// What holds the model's content to a grammar: from the first token on, or once its reasoning has ended.
    pub fn constrain_content(&self, source: GrammarSource, in_reasoning: bool) -> OutputConstraint {
        let end = self.reasoning_end().filter(|_| in_reasoning);
        let trigger = end.map(|end| Trigger {
            starts: vec![TriggerStart::Text(end)],
            then: AfterConstruct::Stop,
            required: true,
        });
        OutputConstraint {
            source,
            options: GrammarOptions { trigger, ..GrammarOptions::default() },
            unenforced: Vec::new(),
        }
    }

    /// A frame from the first token on, after the reasoning if there is some.
    fn after_reasoning(&self, frame: Frame, in_reasoning: bool) -> OutputConstraint {
        let mut parts = Vec::new();
        if let Some(pair) = self.reasoning.first().filter(|pair| !pair.end.trim().is_empty()) {
            let end = Frame::Until(pair.end.trim().to_owned());
            if in_reasoning {
                parts.push(end);
            } else if !pair.start.trim().is_empty() {
                parts.push(Frame::Sequence(vec![Frame::Text(pair.start.trim().to_owned()), end]).optional());
            }
        }
        parts.push(frame);
        OutputConstraint {
            source: GrammarSource::Frame(Frame::Sequence(parts)),
            options: GrammarOptions::default(),
            unenforced: Vec::new(),
        }
    }
}

/// What of the tools' schemas is not enforced.
fn all_unenforced(calls: &CallFormat, tools: &[&ToolDefinition]) -> Vec<Unenforced> {
    let of = |tool: &&ToolDefinition| {
        let name = tool.name().to_owned();
        let found = unenforced(tool, &calls.body).into_iter();
        found.map(move |(parameter, keyword)| Unenforced { tool: name.clone(), parameter, keyword })
    };
    tools.iter().flat_map(of).collect()
}

/// The form of content as a part of a frame; `None` for grammars.
fn content_frame(source: &GrammarSource) -> Option<Frame> {
    Some(match source {
        GrammarSource::JsonSchema(schema) => Frame::Value(schema.clone()),
        GrammarSource::JsonObject => Frame::Value(r#"{"type": "object"}"#.to_owned()),
        GrammarSource::Regex(regex) => Frame::Regex(regex.clone()),
        GrammarSource::Choices(choices) => {
            Frame::Choice(choices.iter().map(|choice| Frame::Regex(escaped(choice))).collect())
        }
        GrammarSource::Frame(frame) => frame.clone(),
        GrammarSource::Lark(_) | GrammarSource::Gbnf(_) => return None,
    })
}

/// A regular expression that matches a text and nothing else.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        if r"\.+*?()|[]{}^$#&-~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}

/// Calls from their marker on.
fn auto(calls: &CallFormat, frames: &CallFrames<'_>) -> OutputConstraint {
    let section = calls.section.start.trim();
    let call = calls.call.start.trim();
    let (starts, frame) = if !section.is_empty() {
        (vec![section.to_owned()], frames.after_section_start())
    } else if !call.is_empty() {
        let others = calls.other_starts.iter().map(|start| start.trim().to_owned());
        (std::iter::once(call.to_owned()).chain(others).collect(), frames.after_call_start())
    } else {
        let key = match &calls.body {
            Body::Json { name, .. } => name.as_str(),
            _ => "name",
        };
        (vec![format!("{{\"{key}\":")], frames.after_name_key())
    };
    let then = if frames.max == Some(1) { AfterConstruct::Stop } else { AfterConstruct::FreeText };
    let trigger =
        Trigger { starts: starts.into_iter().map(TriggerStart::Text).collect(), then, required: false };
    OutputConstraint {
        source: GrammarSource::Frame(frame),
        options: GrammarOptions { trigger: Some(trigger), ..GrammarOptions::default() },
        unenforced: Vec::new(),
    }
}
