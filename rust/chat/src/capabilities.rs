//! What a template can write, found by rendering probe conversations and looking for what was put in.

use serde_json::{Value, json};

use crate::adapt;
use crate::conversation::Conversation;
use crate::interrupt::Interrupt;
use crate::jinja::Limits;
use crate::message::{Message, Role};
use crate::template::ChatTemplate;
use crate::tool::{ToolCall, ToolDefinition};

/// Words that no template contains.
const SYSTEM: &str = "qzsystemqz";
const USER: &str = "qzuserqz";
const ANSWER: &str = "qzanswerqz";
const THOUGHT: &str = "qzthoughtqz";
const RESULT: &str = "qzresultqz";
const TOOL: &str = "qztoolqz";
const SECOND: &str = "qzsecondqz";
const NAME: &str = "qzargumentqz";
const VALUE: &str = "qzvalueqz";

/// Probes are small; a template that needs more than this for one is hostile.
pub(crate) const LIMITS: Limits = Limits { steps: 2_000_000, output_bytes: 4 << 20, memory_bytes: 32 << 20 };

/// What a template can write. What it cannot is made up for when a conversation is rendered with `adapt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Texts as the content of messages; otherwise content is a list of parts.
    pub text_content: bool,
    /// Lists of parts as the content of messages; otherwise content is a text.
    pub part_content: bool,
    /// A system message; otherwise its text goes in front of the first user's.
    pub system: bool,
    /// A developer message; otherwise it is one of the system.
    pub developer: bool,
    /// Definitions of tools; otherwise they are described in the system message.
    pub tools: bool,
    /// Calls of tools; otherwise they are written as the text of the answer.
    pub tool_calls: bool,
    /// Several calls in one answer.
    pub parallel_tool_calls: bool,
    /// Results of tools; otherwise they are written as texts of the user.
    pub tool_results: bool,
    /// Arguments of calls as objects.
    pub object_arguments: bool,
    /// Arguments of calls as JSON text.
    pub text_arguments: bool,
    /// Calls without content; otherwise their content is an empty text.
    pub empty_content: bool,
    /// Reasoning of answers within the last turn.
    pub reasoning: bool,
    /// Several messages of the user one after another.
    pub repeated_roles: bool,
    /// Whether the variable `enable_thinking` (or one of its other names) is read.
    pub thinking_switch: bool,
    /// Conversations without tools as they are; otherwise they get an empty list of tools.
    pub no_tools: bool,
    /// Whether the template writes the beginning-of-text token itself.
    pub writes_bos: bool,
}

/// Renders probes with one template.
struct Prober<'t> {
    template: &'t ChatTemplate,
    parts: bool,
    interrupt: Option<&'t Interrupt>,
}

impl Prober<'_> {
    fn message(&self, role: Role, text: &str) -> Message {
        let mut message = Message::new(role, text);
        if self.parts {
            message.set("content", json!([{"type": "text", "text": text}]));
        }
        message
    }

    fn render(&self, messages: Vec<Message>, tools: Option<Vec<ToolDefinition>>) -> Option<String> {
        let mut conversation = Conversation::new(messages).with_adapt(false);
        conversation.tools = tools;
        conversation.limits = LIMITS;
        conversation.interrupt = self.interrupt.cloned();
        adapt::supply(self.template, &mut conversation);
        self.template.render_plain(&conversation).ok().map(crate::Rendering::into_text)
    }

    /// Whether all of `words` come out.
    fn shows(&self, messages: Vec<Message>, tools: Option<Vec<ToolDefinition>>, words: &[&str]) -> bool {
        self.render(messages, tools).is_some_and(|text| words.iter().all(|word| text.contains(word)))
    }

    fn call(&self, calls: Vec<ToolCall>) -> Message {
        self.message(Role::Assistant, "").with_tool_calls(calls)
    }
}

fn definition(name: &str) -> ToolDefinition {
    let parameters = json!({
        "type": "object",
        "properties": {NAME: {"type": "string", "description": "an argument"}},
        "required": [NAME],
    });
    ToolDefinition::new(name, "a tool", parameters)
}

fn object() -> Value {
    json!({NAME: VALUE})
}

fn text() -> Value {
    Value::String(object().to_string())
}

/// Whether `text` has the arguments of a call as they are, neither quoted once more nor as Python writes them.
fn has_arguments(text: &str) -> bool {
    let plain = text.contains(NAME) && text.contains(VALUE);
    plain && !text.contains(&format!("\\\"{NAME}")) && !text.contains(&format!("'{NAME}'"))
}

impl Capabilities {
    /// Probes a template.
    pub(crate) fn of(template: &ChatTemplate, interrupt: Option<&Interrupt>) -> Self {
        let plain = Prober { template, parts: false, interrupt };
        let typed = Prober { template, parts: true, interrupt };
        let user = |prober: &Prober<'_>| prober.message(Role::User, USER);
        let shows_text = plain.shows(vec![user(&plain)], None, &[USER]);
        let written_parts = typed.render(vec![user(&typed)], None);
        // A template that knows no parts writes out the list itself.
        let shows_parts = written_parts.is_some_and(|text| {
            text.contains(USER) && !text.contains("'text'") && !text.contains("\"text\"")
        });
        // Some templates go through the tools without asking whether there are any.
        let no_tools =
            shows_text || shows_parts || !plain.shows(vec![user(&plain)], Some(Vec::new()), &[USER]);
        let shows_text = shows_text || !no_tools;
        let prober = if !shows_text && shows_parts { typed } else { plain };
        let none = || if no_tools { None } else { Some(Vec::new()) };
        let ask = || prober.message(Role::User, USER);
        let system = prober.shows(vec![prober.message(Role::System, SYSTEM), ask()], none(), &[SYSTEM, USER]);
        let developer =
            prober.shows(vec![prober.message(Role::Developer, SYSTEM), ask()], none(), &[SYSTEM, USER]);
        let tools = || Some(vec![definition(TOOL), definition(SECOND)]);
        let shows_tools = prober.shows(vec![ask()], tools(), &[TOOL]);
        let given = || if shows_tools { tools() } else { none() };
        let call = |arguments: Value| ToolCall::new(Some("call00001"), TOOL, arguments);
        let result = || {
            let mut message = prober.message(Role::Tool, RESULT);
            message.set("tool_call_id", "call00001");
            message.set("name", TOOL);
            message
        };
        let called = |arguments: Value| {
            prober.render(vec![ask(), prober.call(vec![call(arguments)]), result()], given())
        };
        let called_alone =
            |arguments: Value| prober.render(vec![ask(), prober.call(vec![call(arguments)])], given());
        let with_object = called(object()).or_else(|| called_alone(object()));
        let with_text = called(text()).or_else(|| called_alone(text()));
        let good = |found: &Option<String>| {
            found.as_deref().is_some_and(|text| text.contains(TOOL) && has_arguments(text))
        };
        let (object_arguments, text_arguments) = (good(&with_object), good(&with_text));
        let arguments = || if object_arguments { object() } else { text() };
        let tool_calls = object_arguments || text_arguments;
        let second = || ToolCall::new(Some("call00002"), SECOND, arguments());
        let both = vec![ask(), prober.call(vec![call(arguments()), second()])];
        let tool_results = tool_calls
            && prober.shows(
                vec![ask(), prober.call(vec![call(arguments())]), result()],
                given(),
                &[USER, RESULT],
            );
        let mut bare = Message::new(Role::Assistant, "").with_tool_calls(vec![call(arguments())]);
        bare.set("content", Value::Null);
        let without_content = prober.render(vec![ask(), bare], given());
        let answer = prober.message(Role::Assistant, ANSWER).with_reasoning(THOUGHT);
        let last = prober.render(vec![ask(), answer], none());
        let with_call = prober.call(vec![call(arguments())]).with_reasoning(THOUGHT);
        let before_result = prober.render(vec![ask(), with_call, result()], given());
        let thought = |found: &Option<String>| found.as_deref().is_some_and(|text| text.contains(THOUGHT));
        let repeated = vec![prober.message(Role::User, SYSTEM), ask()];
        let bos = template.bos_token();
        Self {
            text_content: shows_text,
            part_content: shows_parts,
            system,
            developer,
            tools: shows_tools,
            tool_calls,
            parallel_tool_calls: tool_calls && prober.shows(both, given(), &[TOOL, SECOND]),
            tool_results,
            object_arguments,
            text_arguments,
            empty_content: tool_calls && without_content.is_some_and(|text| !text.contains("None")),
            reasoning: thought(&last) || thought(&before_result),
            repeated_roles: prober.shows(repeated, none(), &[SYSTEM, USER]),
            no_tools,
            thinking_switch: ["enable_thinking", "thinking", "thinking_mode"]
                .iter()
                .any(|name| template.reads(name)),
            writes_bos: !bos.is_empty()
                && prober.render(vec![ask()], none()).is_some_and(|text| text.starts_with(bos)),
        }
    }

    /// Each capability with its name.
    pub fn named(&self) -> [(&'static str, bool); 16] {
        [
            ("text_content", self.text_content),
            ("part_content", self.part_content),
            ("system", self.system),
            ("developer", self.developer),
            ("tools", self.tools),
            ("tool_calls", self.tool_calls),
            ("parallel_tool_calls", self.parallel_tool_calls),
            ("tool_results", self.tool_results),
            ("object_arguments", self.object_arguments),
            ("text_arguments", self.text_arguments),
            ("empty_content", self.empty_content),
            ("reasoning", self.reasoning),
            ("repeated_roles", self.repeated_roles),
            ("thinking_switch", self.thinking_switch),
            ("no_tools", self.no_tools),
            ("writes_bos", self.writes_bos),
        ]
    }
}
