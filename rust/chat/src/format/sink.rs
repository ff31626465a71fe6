//! Where the readers of calls put what they find.

use super::Delta;

/// Calls as they are read.
#[derive(Debug, Default)]
pub(super) struct CallSink {
    /// How many calls the message has, with the one that is open.
    pub(super) count: usize,
    pub(super) is_open: bool,
    has_arguments: bool,
    pub(super) deltas: Vec<Delta>,
}

impl CallSink {
    pub(super) fn begin(&mut self, name: &str, id: Option<String>) {
        self.deltas.push(Delta::CallBegin { index: self.count, name: name.to_owned(), id });
        self.count += 1;
        self.is_open = true;
        self.has_arguments = false;
    }

    pub(super) fn id(&mut self, id: &str) {
        if let Some(index) = self.count.checked_sub(1) {
            self.deltas.push(Delta::CallId { index, id: id.to_owned() });
        }
    }

    pub(super) fn arguments(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.has_arguments = true;
        let place = self.count.saturating_sub(1);
        if let Some(Delta::CallArguments { index, text: before }) = self.deltas.last_mut()
            && *index == place
        {
            before.push_str(text);
            return;
        }
        self.deltas.push(Delta::CallArguments { index: place, text: text.to_owned() });
    }

    /// Ends the call; one without arguments gets an empty object.
    pub(super) fn end(&mut self) {
        if !self.is_open {
            return;
        }
        if !self.has_arguments {
            self.arguments("{}");
        }
        self.deltas.push(Delta::CallEnd { index: self.count.saturating_sub(1) });
        self.is_open = false;
    }
}

/// How far a reader has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It needs more text.
    More,
    /// The call, or the list of calls, is complete.
    Done,
    /// The text is no call.
    Failed(String),
}
