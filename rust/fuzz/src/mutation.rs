//! Damage.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// Numbers at which sizes and offsets go wrong.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];
/// Pieces of text at which readers of texts go wrong.
const TEXTS: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "{{",
    "}}",
    "{%",
    "%}",
    "<",
    ">",
    "/",
    ":",
    ",",
    "\n",
    "\0",
    "-1",
    "1e999",
    "null",
    "\\ud800",
    "\u{1f642}",
    "\u{202e}",
    "true",
];
/// A damaged input is at most so many times longer than its seed, and some bytes.
const LARGEST: usize = 1 << 16;

/// Damages inputs, the same way for the same start.
pub(crate) struct Mutation(Xoshiro256PlusPlus);

impl Mutation {
    pub(crate) fn new(start: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(start))
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    /// A damaged copy of `seed`, perhaps with parts of `other`.
    pub(crate) fn damage(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            self.damage_once(&mut bytes, other);
        }
        bytes.truncate(seed.len() * 2 + LARGEST);
        bytes
    }

    fn damage_once(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(32)).min(bytes.len());
        match self.below(10) {
            // A bit.
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            // A number of 1 to 8 bytes, either way round.
            2 | 3 => {
                let width = 1 << self.below(4);
                let number = NUMBERS[self.below(NUMBERS.len())];
                let mut number = number.to_le_bytes()[..width].to_vec();
                if self.below(4) == 0 {
                    number.reverse();
                }
                for (byte, new) in bytes.iter_mut().skip(at).zip(number) {
                    *byte = new;
                }
            }
            // A number that is a little off.
            4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = byte.wrapping_add((self.below(9) as u8).wrapping_sub(4));
                }
            }
            // Cut off.
            5 => bytes.truncate(at),
            // A part is gone.
            6 => drop(bytes.drain(at..end)),
            // A part comes again, and again.
            7 => {
                let part = bytes[at..end].to_vec();
                let times = 1 << self.below(8);
                bytes.splice(at..at, part.repeat(times));
            }
            // A piece of text.
            8 => drop(bytes.splice(at..at, TEXTS[self.below(TEXTS.len())].bytes())),
            // A part of another seed.
            _ => {
                let from = self.below(other.len() + 1);
                let part = &other[from..(from + self.below(256)).min(other.len())];
                bytes.splice(at..end, part.iter().copied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_changes_and_is_the_same_for_the_same_start() {
        let seed = b"some seed with a few words in it".repeat(3);
        let make = |start| {
            let mut mutation = Mutation::new(start);
            (0..100).map(|_| mutation.damage(&seed, b"other")).collect::<Vec<_>>()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        assert!(make(1).iter().filter(|damaged| **damaged != seed).count() > 80);
        assert!(Mutation::new(1).damage(b"", b"").len() <= LARGEST);
    }
}
