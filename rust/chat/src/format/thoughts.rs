//! Where the thoughts of a model's messages begin and end, for those who limit them.

use super::output_format::{OutputFormat, Pair};

/// The markers around thoughts, and around what is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thoughts {
    /// What begins and ends them, as pairs of markers; a beginning is empty where only the prompt writes it.
    pub kinds: Vec<Pair>,
    /// Whether the prompt leaves the model in a thought, of the first kind.
    pub is_inside: bool,
    /// Markers that end a thought without its own end.
    pub interrupts: Vec<String>,
    /// What calls of tools are written in, and whether their beginnings end a thought.
    pub calls: Vec<(Pair, bool)>,
}

impl OutputFormat {
    /// Where thoughts are in an answer, which may begin in one; `None` if the format has none. With `tools`, calls may come.
    pub fn thoughts(&self, in_reasoning: bool, tools: bool) -> Option<Thoughts> {
        let kinds: Vec<Pair> =
            self.reasoning.iter().filter(|pair| !pair.end.trim().is_empty()).map(trimmed).collect();
        if kinds.is_empty() {
            return None;
        }
        let mut made = Thoughts { is_inside: in_reasoning, kinds, ..Thoughts::default() };
        let ends_thoughts = |marker: &str| marker.starts_with(['<', '[', ']']);
        made.interrupts.extend(self.content_starts.iter().filter(|marker| ends_thoughts(marker)).cloned());
        if let Some(calls) = self.calls.as_ref().filter(|_| tools) {
            let others =
                calls.other_starts.iter().map(|start| Pair::new(start.clone(), calls.call.end.clone()));
            for pair in [calls.section.clone(), calls.call.clone()].into_iter().chain(others) {
                let pair = trimmed(&pair);
                if !pair.start.is_empty() {
                    let interrupts = self.calls_end_reasoning && ends_thoughts(&pair.start);
                    made.calls.push((pair, interrupts));
                }
            }
        }
        Some(made)
    }
}

fn trimmed(pair: &Pair) -> Pair {
    Pair::new(pair.start.trim(), pair.end.trim())
}

#[cfg(test)]
mod tests {
    use crate::ChatTemplate;

    const THINKING: &str = "{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}\
        {{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}<|end|>{% endfor %}\
        {% if add_generation_prompt %}<|assistant|>{% endif %}";

    #[test]
    fn thoughts_are_between_the_templates_markers() {
        let template = ChatTemplate::new(THINKING, "", "").unwrap();
        let format = template.output_format();
        let thoughts = format.thoughts(false, false).unwrap();
        assert_eq!(thoughts.kinds[0].start, "<think>");
        assert_eq!(thoughts.kinds[0].end, "</think>");
        assert!(!thoughts.is_inside && thoughts.calls.is_empty());
        assert!(!format.is_in_reasoning_after("<|user|>Hi<|end|><|assistant|>"));
        let inside = format.is_in_reasoning_after("<|user|>Hi<|end|><|assistant|><think>\n");
        let thoughts = format.thoughts(inside, true).unwrap();
        assert!(thoughts.is_inside);
        assert_eq!(
            (thoughts.calls[0].0.start.as_str(), thoughts.calls[0].0.end.as_str()),
            ("<tool_call>", "</tool_call>")
        );
    }

    #[test]
    fn a_template_without_thoughts_has_none() {
        let template = ChatTemplate::named("llama2", "<s>", "</s>").unwrap();
        assert_eq!(template.output_format().thoughts(false, true), None);
    }
}
