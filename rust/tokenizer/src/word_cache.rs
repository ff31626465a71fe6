//! Words of a text whose tokens are known, so that the next equal word takes theirs.

use std::ops::Range;

/// Texts shorter than this hardly repeat a word.
const WORTH_IT: usize = 2048;
/// Bytes of a text for which there is a slot.
const BYTES_FOR_SLOT: usize = 16;
const MOST_SLOTS: usize = 1 << 16;
/// Longer words are tokenized each time.
const LONGEST: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Where the word lies in the text; an empty one is no entry.
    start: u32,
    end: u32,
    /// Its tokens in the output.
    first: u32,
    n: u32,
}

/// The last word of every hash. It refers to one text and one output.
#[derive(Debug, Default)]
pub(crate) struct WordCache {
    entries: Vec<Entry>,
}

impl WordCache {
    /// Forgets all words and begins with a text of so many bytes.
    pub(crate) fn begin(&mut self, n_bytes: usize) {
        self.entries.clear();
        if n_bytes >= WORTH_IT {
            let n = (n_bytes / BYTES_FOR_SLOT).next_power_of_two().min(MOST_SLOTS);
            self.entries.resize(n, Entry::default());
        }
    }

    /// The tokens in the output that an equal word had, and where that word began.
    #[inline]
    pub(crate) fn find(&self, text: &[u8], word: &[u8], hash: u64) -> Option<(Range<usize>, usize)> {
        let entry = self.entries.get(self.slot(hash))?;
        let known = &text[entry.start as usize..entry.end as usize];
        (known == word && !word.is_empty())
            .then(|| (entry.first as usize..(entry.first + entry.n) as usize, entry.start as usize))
    }

    fn slot(&self, hash: u64) -> usize {
        hash as usize & self.entries.len().wrapping_sub(1)
    }

    /// Keeps the tokens of a word.
    #[inline]
    pub(crate) fn keep(&mut self, word: Range<usize>, hash: u64, tokens: Range<usize>) {
        let slot = self.slot(hash);
        if word.len() <= LONGEST
            && let Some(entry) = self.entries.get_mut(slot)
        {
            *entry = Entry {
                start: word.start as u32,
                end: word.end as u32,
                first: tokens.start as u32,
                n: tokens.len() as u32,
            };
        }
    }
}
