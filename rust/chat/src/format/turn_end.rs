//! What a template writes where a turn of the model ends.

use super::output_format::OutputFormat;
use super::pieces::{is_tag, tags};
use super::probe::{Answer, CONTENT, Probe, REASONING, VALUES};

impl OutputFormat {
    /// Finds the marker behind an answer: the first tag after its text. None is taken that also comes inside of an answer, before what a model thinks, says
    /// and calls is all written.
    pub(super) fn read_turn_end(&mut self, probe: &Probe<'_>) {
        let content = Answer { has_content: true, ..Answer::default() };
        let Some(marker) = probe.followed(content).and_then(|text| {
            let after = &text[text.find(CONTENT)? + CONTENT.len()..];
            tags(after).next().map(str::to_owned)
        }) else {
            return;
        };
        let comes_inside = [(true, 0), (false, 1), (true, 1), (false, 2), (true, 2)]
            .into_iter()
            .flat_map(|(has_reasoning, calls)| {
                [false, true].map(|arguments_text| Answer { has_reasoning, calls, arguments_text, ..content })
            })
            .filter_map(|answer| probe.answer(answer))
            .any(|text| inside(&text).contains(&marker));
        let is_of_thoughts =
            self.reasoning.iter().any(|pair| pair.start.contains(&marker) || pair.end.contains(&marker));
        if is_tag(&marker) && !comes_inside && !is_of_thoughts {
            self.turn_ends.push(marker);
        }
    }
}

/// An answer from the first to the last of what it says.
fn inside(text: &str) -> &str {
    let said = [REASONING, CONTENT].into_iter().chain(VALUES);
    let (mut begin, mut end) = (text.len(), 0);
    for words in said {
        begin = begin.min(text.find(words).unwrap_or(begin));
        end = end.max(text.rfind(words).unwrap_or(end));
    }
    text.get(begin..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::ChatTemplate;

    fn ends(text: &str) -> Vec<String> {
        ChatTemplate::new(text, "<s>", "</s>").unwrap().output_format().turn_ends.clone()
    }

    #[test]
    fn a_turn_ends_at_the_tag_behind_it() {
        let named =
            |name| ChatTemplate::named(name, "<s>", "</s>").unwrap().output_format().turn_ends.clone();
        assert_eq!(named("chatml"), ["<|im_end|>"]);
        assert_eq!(named("llama3"), ["<|eot_id|>"]);
        assert_eq!(named("gemma"), ["<end_of_turn>"]);
        assert_eq!(named("llama2"), ["</s>"]);
        assert!(named("vicuna").iter().all(|end| end == "</s>"));
    }

    #[test]
    fn without_a_marker_of_its_own_the_next_turns_ends_it() {
        let template =
            "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}<|assistant|>\n";
        assert_eq!(ends(template), ["<|user|>"]);
        assert!(
            ends("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:").is_empty()
        );
    }

    #[test]
    fn a_marker_inside_of_answers_ends_none() {
        let template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|part|>\
            {% for c in m.tool_calls or [] %}{{ c.function | tojson }}<|part|>{% endfor %}<|stop|>{% endfor %}";
        assert!(ends(template).is_empty());
    }
}
