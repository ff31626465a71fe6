//! The parser inside of reasoning: where it ends, and what becomes of calls that interrupt it.

use super::{OutputParser, Role, State, Step};
use crate::format::Delta;
use crate::format::marker::{Found, find_marker};
use crate::format::output_format::Pair;

impl OutputParser {
    pub(super) fn in_reasoning(&mut self, rest: &str, pair: usize, at_end: bool) -> Step {
        let Pair { start, end } = &self.format.reasoning[pair];
        let mut markers = vec![end.trim().to_owned()];
        let mut roles = vec![None];
        // A call or content may come without the end of the reasoning.
        for (marker, role) in
            self.markers.iter().zip(&self.roles).filter(|(marker, _)| marker.starts_with(['<', '[', ']']))
        {
            let is_content = self.format.content_starts.contains(marker);
            let is_call = self.format.calls_end_reasoning && matches!(role, Role::Section | Role::Call);
            if is_call || is_content {
                markers.push(marker.clone());
                roles.push(Some(*role));
            }
        }
        let (begun, text) = (start.trim(), rest.trim_start());
        if self.at_start && !begun.is_empty() && (text.starts_with(begun) || begun.starts_with(text)) {
            // The prompt may have begun the reasoning already, and the model begins it again.
            markers.push(begun.to_owned());
            roles.push(Some(Role::Reasoning(pair)));
        }
        match find_marker(rest, &markers, at_end) {
            Found::At { place, marker } => {
                self.reasoning(&rest[..place]);
                match roles[marker] {
                    None => self.end_reasoning(),
                    Some(Role::Reasoning(_)) => {
                        self.held.clear();
                        self.at_start = true;
                        self.state = State::Reasoning(pair);
                    }
                    Some(role) => {
                        let held = std::mem::take(&mut self.held);
                        self.end_reasoning();
                        self.marker(role, &markers[marker]);
                        self.thought = Some((pair, held));
                    }
                }
                (place + markers[marker].len(), true)
            }
            Found::Maybe { place } => {
                self.reasoning(&rest[..place]);
                self.state = State::Reasoning(pair);
                (place, false)
            }
            Found::None => {
                self.reasoning(rest);
                self.state = State::Reasoning(pair);
                (rest.len(), false)
            }
        }
    }

    pub(super) fn end_reasoning(&mut self) {
        self.held.clear();
        self.at_start = true;
        self.gap = if self.has_content { "\n\n" } else { "" };
        self.state = State::Content;
    }

    /// What was taken for a call and is none: reasoning or content, as what was before it.
    pub(super) fn not_a_call(&mut self, raw: &str) {
        if let Some((pair, held)) = self.thought.take() {
            self.sink.deltas.push(Delta::Reasoning(format!("{held}{raw}")));
            self.has_reasoning = true;
            self.at_start = false;
            self.gap = "";
            self.state = State::Reasoning(pair);
        } else {
            self.raw_content(raw);
            self.state = State::Content;
        }
    }
}
