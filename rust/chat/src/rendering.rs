//! A rendered prompt and where its text comes from.

use std::ops::Range;

/// A part of a prompt that has one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'r> {
    /// The text.
    pub text: &'r str,
    /// Whether the template wrote it, so that its special tokens count. What the conversation brought in is never searched for them.
    pub parse_special: bool,
}

/// A rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendering {
    pub(crate) text: String,
    /// Where each part ends, and whether the template wrote it.
    pub(crate) ends: Vec<(usize, bool)>,
    pub(crate) generated: Vec<Range<usize>>,
}

impl Rendering {
    /// The whole prompt.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The prompt's parts in order; together they are its text.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let mut begin = 0;
        self.ends.iter().map(move |(end, parse_special)| {
            let text = &self.text[begin..*end];
            begin = *end;
            Segment { text, parse_special: *parse_special }
        })
    }

    /// Where the assistant's own text lies (`{% generation %}`), in bytes.
    pub fn generated(&self) -> &[Range<usize>] {
        &self.generated
    }

    /// The prompt's text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Cuts the prompt at a byte.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
        let kept = self.ends.partition_point(|(end, _)| *end < length);
        self.ends.truncate(kept + 1);
        if let Some((end, _)) = self.ends.last_mut() {
            *end = length.min(*end);
        }
        if length == 0 {
            self.ends.clear();
        }
        self.generated.retain_mut(|range| {
            range.end = range.end.min(length);
            range.start < range.end
        });
    }
}
