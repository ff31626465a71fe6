//! The format of a template's messages, found by rendering answers and comparing them.

use super::answer_start::AnswerStart;
use super::call_analysis::derive_calls;
use super::output_format::{Body, OutputFormat, Pair};
use super::pieces::{common_prefix, is_tag, pieces, tags};
use super::probe::{Answer, CONTENT, Probe, REASONING};
use super::written;
use crate::ChatTemplate;

/// Markers of reasoning that templates mention without writing any: they drop the thoughts of messages that were.
const KNOWN: [(&str, &str); 7] = [
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<reasoning>", "</reasoning>"),
    ("<|channel>thought", "<channel|>"),
];

impl OutputFormat {
    /// The format of the messages that a template writes.
    pub fn of(template: &ChatTemplate) -> Self {
        if let Some(format) = written::format_of(template.text()) {
            return format;
        }
        let plain = Probe::new(template, false);
        let thinking = Probe::new(template, true);
        let mut format = Self::default();
        format.read_content(&plain);
        format.read_reasoning(&plain, &thinking);
        let without = written::calls_of(template.text());
        if let Some((calls, dropped)) = derive_calls(&plain, &format) {
            for marker in &dropped {
                format.drop_marker(marker);
            }
            format.has_space_before_calls = calls.has_space;
            format.calls = Some(calls.format);
        } else {
            format.has_space_before_calls = true;
            if without.is_bare() {
                format.drop_marker("</tool_call>");
            }
            format.calls = Some(without);
        }
        format.read_header(&plain);
        format.read_turn_end(&plain);
        format.calls_end_reasoning = ends_reasoning(template.text());
        if template.text().contains("<|python_tag|>") {
            format.drop_marker("<|python_tag|>");
        }
        format
    }

    /// Whether a prompt ends inside of reasoning.
    pub fn is_in_reasoning_after(&self, prompt: &str) -> bool {
        self.reasoning.iter().any(|pair| {
            let (start, end) = (pair.start.trim(), pair.end.trim());
            let begun = if start.is_empty() { None } else { prompt.rfind(start) };
            begun.is_some_and(|place| {
                prompt[place + start.len()..].trim().is_empty() && !prompt[place..].contains(end)
            })
        })
    }

    /// What ends the reasoning that a prompt leaves the model in; `None` if the format has no reasoning.
    pub fn reasoning_end(&self) -> Option<String> {
        self.reasoning.first().map(|pair| pair.end.trim().to_owned())
    }

    /// Whether the answer to a prompt begins inside of reasoning: the prompt ends there, or in the middle of it.
    pub fn begins_in_reasoning_after(&self, prompt: &str, start: AnswerStart) -> bool {
        self.is_in_reasoning_after(prompt) || (start == AnswerStart::Reasoning && !self.reasoning.is_empty())
    }

    /// What is around content.
    fn read_content(&mut self, probe: &Probe<'_>) {
        let Some(text) = probe.answer(Answer { has_content: true, ..Answer::default() }) else { return };
        let Some(place) = text.find(CONTENT) else { return };
        let after = &text[place + CONTENT.len()..];
        after[..after.len() - after.trim_start().len()].clone_into(&mut self.space_after_content);
        let lead = &text[common_prefix(&text[..place], &probe.generation)..place];
        self.has_space_before_content = lead.ends_with(char::is_whitespace);
        self.drop_marker(after);
        tags(after).for_each(|tag| self.drop_marker(tag));
        tags(lead).for_each(|tag| self.drop_marker(tag));
    }

    fn read_reasoning(&mut self, plain: &Probe<'_>, thinking: &Probe<'_>) {
        let answer = Answer { has_content: true, has_reasoning: true, ..Answer::default() };
        let found = [plain, thinking].into_iter().find_map(|probe| {
            let text = probe.answer(answer)?;
            let (place, content) = (text.find(REASONING)?, text.find(CONTENT)?);
            (place < content).then_some((probe, text, place, content))
        });
        let source = plain.template.text();
        if let Some((probe, text, place, content)) = found {
            let header = common_prefix(
                &text,
                &probe.answer(Answer { has_content: true, ..Answer::default() }).unwrap_or_default(),
            );
            let inner = &text[place + REASONING.len()..content];
            let end = through_first_tag(inner);
            let mut start = from_last_tag(&text[..place]);
            let generated = &probe.generation;
            if !start.is_empty()
                && header >= text[..place].trim_end().len()
                && !generated.trim_end().ends_with(start)
                && !is_thought(start)
            {
                // It is the beginning of every answer. What the prompt has beyond it begins the reasoning.
                start = generated[common_prefix(generated, &text)..].trim();
            }
            self.drop_marker(&inner[end.len()..]);
            tags(&inner[end.len()..]).for_each(|tag| self.drop_marker(tag));
            if !end.trim().is_empty() {
                self.reasoning.push(Pair::new(start.trim(), end.trim()));
            }
        }
        for (start, end) in KNOWN {
            let is_known = self.reasoning.iter().any(|pair| pair.end == end || pair.start == start);
            if source.contains(end) && !is_known {
                self.reasoning.push(Pair::new(start, end));
            }
        }
        let pairs = self.reasoning.clone();
        self.dropped.retain(|marker| pairs.iter().all(|pair| pair.start != *marker));
        for pair in &pairs {
            self.drop_marker(&pair.end);
        }
        self.drop_header(&plain.generation);
        self.begins_in_reasoning = self.is_in_reasoning_after(&plain.generation);
    }

    /// Whether the prompt ends in what begins a call, and the name that stands for content there.
    fn read_header(&mut self, probe: &Probe<'_>) {
        let Some(calls) = &mut self.calls else { return };
        let start = calls.call.start.trim().to_owned();
        let Body::NamedJson { content_name, .. } = &mut calls.body else { return };
        let Some(text) = probe.answer(Answer { has_content: true, ..Answer::default() }) else { return };
        let lead = text.split(CONTENT).next().unwrap_or_default().trim_end();
        let name = lead.rsplit_once(start.as_str()).map(|(_, name)| name.trim());
        if let Some(name) = name.filter(|name| {
            !start.is_empty() && !name.is_empty() && name.chars().all(super::marker::is_name_char)
        }) {
            *content_name = Some(name.to_owned());
            self.begins_in_call = probe.generation.trim_end().ends_with(&start);
        }
    }

    /// What begins an answer, should the model begin another one.
    fn drop_header(&mut self, generation: &str) {
        let ends = self
            .reasoning
            .iter()
            .flat_map(|pair| [&pair.start, &pair.end])
            .filter_map(|marker| generation.find(marker.as_str()));
        let header = &generation[..ends.min().unwrap_or(generation.len())];
        if header.trim().starts_with('<') {
            self.drop_marker(header);
        }
    }

    pub(super) fn drop_marker(&mut self, marker: &str) {
        let marker = marker.trim();
        // Plain words are no markers: they are in texts, too.
        let is_marker = marker.contains(['<', '[', '|']) && !marker.is_empty();
        let is_known = self.dropped.iter().any(|known| known == marker)
            || self.reasoning.iter().any(|pair| pair.start == marker);
        if is_marker && !is_known {
            self.dropped.push(marker.to_owned());
        }
    }
}

/// Whether the models of a template are known to call tools without ending their reasoning: Qwen 3.5, `DeepSeek` V4, Kimi K2,
/// Ling 3.
fn ends_reasoning(template: &str) -> bool {
    let is_qwen =
        template.contains("<tool_call>\\n<function=") || template.contains("<tool_call>\n<function=");
    is_qwen
        || ["｜DSML｜", "<|tool_calls_section_begin|>", "<role>ASSISTANT</role>"]
            .iter()
            .any(|text| template.contains(text))
}

/// Whether a marker speaks of thinking.
fn is_thought(marker: &str) -> bool {
    let lower = marker.to_lowercase();
    ["think", "thought", "reason"].iter().any(|word| lower.contains(word))
}

/// A text up to the end of its first tag, or all of it if there is none.
fn through_first_tag(text: &str) -> &str {
    let mut length = 0;
    for piece in pieces(text) {
        length += piece.len();
        if is_tag(piece) {
            return &text[..length];
        }
    }
    text
}

/// A text from its last tag on, without white space; empty if there is none.
fn from_last_tag(text: &str) -> &str {
    let mut place = text.len();
    for piece in pieces(text).iter().rev() {
        place -= piece.len();
        if is_tag(piece) {
            return text[place..].trim();
        }
    }
    ""
}
