//! What combining the parts of a schema has cost so far, and what was found out meanwhile.

use std::collections::HashMap;

use super::cells::MAX_PATTERNS;
use super::text::Text;

/// After how many sets of which it was found out whether they are empty, others are looked at cell by cell.
const MANY: usize = 32;

/// The work on one schema.
#[derive(Default)]
pub(super) struct Work {
    /// Steps, each a microsecond or less.
    pub(super) steps: usize,
    nonempty: HashMap<Text, bool>,
}

impl Work {
    /// Whether a set has a member, or may have one for what can be found out.
    pub(super) fn is_nonempty(&mut self, text: &Text) -> bool {
        match text {
            Text::Never => return false,
            Text::All | Text::Only(_) | Text::Length(..) => return true,
            _ => {}
        }
        if let Some(known) = self.nonempty.get(text) {
            return *known;
        }
        let patterns = text.leaves();
        let by_cells =
            self.nonempty.len() >= MANY && (2..=MAX_PATTERNS).contains(&patterns.len()) && !text.is_cell();
        let nonempty = if by_cells {
            text.cells(&patterns).iter().any(|cell| self.is_nonempty(cell))
        } else {
            text.is_empty() != Some(true)
        };
        self.nonempty.insert(text.clone(), nonempty);
        nonempty
    }
}
