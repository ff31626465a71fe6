//! Texts with numbers, found by their bytes.

use crate::hash::{HashKeys, table_size};

/// No entry.
const EMPTY: u32 = u32::MAX;

/// Texts, numbered in the order in which they came.
#[derive(Debug)]
pub(crate) struct TextTable {
    keys: HashKeys,
    bytes: Vec<u8>,
    /// Where each text begins in `bytes`, and where the last one ends.
    starts: Vec<u32>,
    /// Half of a hash, and a number.
    slots: Vec<(u32, u32)>,
    longest: usize,
}

impl TextTable {
    /// A table without texts that has room for `n`.
    pub(crate) fn with_room(n: usize) -> Self {
        Self {
            keys: HashKeys::new(),
            bytes: Vec::new(),
            starts: {
                let mut starts = Vec::with_capacity(n + 1);
                starts.push(0);
                starts
            },
            slots: vec![(0, EMPTY); table_size(n)],
            longest: 0,
        }
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Bytes of the longest text.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The text with this number.
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        &self.bytes[self.starts[number] as usize..self.starts[number + 1] as usize]
    }

    /// The hash of a text, for [`TextTable::find_hashed`].
    #[inline]
    pub(crate) fn hash(&self, text: &[u8]) -> u64 {
        self.keys.text(text)
    }

    /// The number of a text.
    #[inline]
    pub(crate) fn find(&self, text: &[u8]) -> Option<u32> {
        if text.len() > self.longest { None } else { self.find_hashed(text, self.hash(text)) }
    }

    /// The number of a text whose hash is known.
    #[inline]
    pub(crate) fn find_hashed(&self, text: &[u8], hash: u64) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (tag, number) = self.slots[at];
            if number == EMPTY {
                return None;
            }
            if tag == (hash >> 32) as u32 && self.get(number) == text {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a text that is not there and returns its number; that of the one that is there if it is.
    pub(crate) fn insert(&mut self, text: &[u8]) -> Result<u32, u32> {
        let hash = self.hash(text);
        if let Some(known) = self.find_hashed(text, hash) {
            return Err(known);
        }
        let number = self.push(text);
        if self.len() * 2 > self.slots.len() {
            self.grow();
        } else {
            self.place(hash, number);
        }
        Ok(number)
    }

    /// Adds a text that is not to be found.
    pub(crate) fn push(&mut self, text: &[u8]) -> u32 {
        self.bytes.extend_from_slice(text);
        self.starts.push(self.bytes.len() as u32);
        self.longest = self.longest.max(text.len());
        self.len() as u32 - 1
    }

    /// Bytes of all texts.
    pub(crate) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].1 != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = ((hash >> 32) as u32, number);
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![(0, EMPTY); table_size(self.len())];
        let last = self.len() as u32 - 1;
        let known = old.iter().map(|(_, number)| *number).filter(|number| *number != EMPTY);
        for number in known.chain([last]) {
            self.place(self.keys.text(self.get(number)), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_their_bytes() {
        let mut table = TextTable::with_room(2);
        for n in 0..1000_u32 {
            assert_eq!(table.insert(n.to_string().as_bytes()), Ok(n));
        }
        assert_eq!(table.insert(b"77"), Err(77));
        let hidden = table.push(b"hidden");
        assert_eq!((table.find(b"hidden"), table.get(hidden)), (None, &b"hidden"[..]));
        for n in 0..1000_u32 {
            assert_eq!(table.find(n.to_string().as_bytes()), Some(n));
        }
        assert_eq!((table.find(b""), table.find(b"0123456789"), table.longest()), (None, None, 6));
        assert_eq!(table.insert(b""), Ok(1001));
        assert_eq!(table.find(b""), Some(1001));
    }
}
