//! What tokenizing one text needs besides the text.

use crate::error::TokenizerError;
use crate::merging::Merging;
use crate::output::Output;
use crate::word_cache::WordCache;

/// Returns true when the result is no longer wanted. It is asked every few milliseconds at least.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Never stops anything.
pub(crate) const NEVER: Stop<'static> = &|| false;

/// Words between two checks of whether to stop.
const BETWEEN_LOOKS: usize = 1 << 14;

/// The output so far, and memory that is used for one word after another.
pub(crate) struct Work<'a> {
    pub(crate) out: Output,
    pub(crate) merging: Merging,
    pub(crate) cache: WordCache,
    pub(crate) stop: Stop<'a>,
    n_words: usize,
    is_stopped: bool,
}

impl<'a> Work<'a> {
    pub(crate) fn new(out: Output, stop: Stop<'a>) -> Self {
        Self {
            out,
            merging: Merging::default(),
            cache: WordCache::default(),
            stop,
            n_words: 0,
            is_stopped: false,
        }
    }

    /// Counts a word, and says whether there shall be another.
    #[inline]
    pub(crate) fn goes_on(&mut self) -> bool {
        self.n_words += 1;
        if self.n_words.is_multiple_of(BETWEEN_LOOKS) && (self.stop)() {
            self.is_stopped = true;
        }
        !self.is_stopped
    }

    /// Ends the work.
    pub(crate) fn end(&mut self) {
        self.is_stopped = true;
    }

    /// # Errors
    /// [`TokenizerError::Stopped`] if the work was ended.
    pub(crate) fn check(&self) -> Result<(), TokenizerError> {
        if self.is_stopped { Err(TokenizerError::Stopped) } else { Ok(()) }
    }
}
