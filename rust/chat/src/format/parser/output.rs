//! What a parser gives: content and reasoning, without white space that says nothing.

use super::{OutputParser, State};
use crate::format::Delta;

impl OutputParser {
    pub(super) fn content(&mut self, text: &str) {
        if let Some(text) = self.visible(text) {
            self.has_content = true;
            self.sink.deltas.push(Delta::Content(text));
        }
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        if let Some(text) = self.visible(text) {
            self.has_reasoning = true;
            self.sink.deltas.push(Delta::Reasoning(text));
        }
    }

    /// The text without white space that may say nothing: in front, and for now at the end.
    pub(super) fn visible(&mut self, text: &str) -> Option<String> {
        let text = if self.at_start { text.trim_start() } else { text };
        if text.is_empty() {
            return None;
        }
        self.at_start = false;
        let body = text.trim_end();
        if body.is_empty() {
            self.held.push_str(text);
            return None;
        }
        let mut out = std::mem::take(&mut self.gap).to_owned();
        out.push_str(&std::mem::take(&mut self.held));
        out.push_str(body);
        text[body.len()..].clone_into(&mut self.held);
        Some(out)
    }

    /// Content as it is, markers too.
    pub(super) fn raw_content(&mut self, text: &str) {
        let held = std::mem::take(&mut self.held);
        if !text.is_empty() || !held.is_empty() {
            let gap = std::mem::take(&mut self.gap);
            self.has_content = true;
            self.at_start = false;
            self.sink.deltas.push(Delta::Content(format!("{gap}{held}{text}")));
        }
    }

    pub(super) fn release(&mut self) {
        if !self.held.is_empty() {
            self.raw_content("");
        }
    }

    pub(super) fn warn(&mut self, what: &str) {
        self.message.warnings.push(what.to_owned());
    }

    /// What is left at the end of the message.
    pub(super) fn end(&mut self) {
        match std::mem::replace(&mut self.state, State::Content) {
            State::Content => {
                let space = &self.format.space_after_content;
                if !space.is_empty() && self.held.ends_with(space.as_str()) {
                    let length = self.held.len() - space.len();
                    self.held.truncate(length);
                }
                self.release();
            }
            State::Header { raw } => self.raw_content(&raw),
            _ => {}
        }
        self.held.clear();
    }
}
