//! The importances of one tensor.

use std::io::{self, Write};

use crate::mmap::SharedBytes;
use crate::reader::ByteOrder;
use crate::writer::TensorData;

/// Bytes of numbers that are scaled at a time when they are written.
const PIECE_BYTES: usize = 1 << 16;

/// The importances of one tensor, and what they were computed from.
#[derive(Debug)]
pub(super) struct Entry {
    /// Of all columns of all matrices.
    pub(super) importances: Vec<f32>,
    /// Tokens that each matrix was multiplied with; one count where all have the same.
    pub(super) counts: Vec<i64>,
    pub(super) sums: Sums,
}

/// Sums of squares, as long as the importances.
#[derive(Debug)]
pub(super) enum Sums {
    /// As they lie in a file.
    Stored(SharedBytes, ByteOrder),
    /// Little-endian sums of a `.dat` file, whose counts are calls of this many tokens; so the sums must be multiplied, too.
    PerCall(SharedBytes, u16),
    /// The sums are the importances, because the counts are 1.
    AsImportances,
}

impl Entry {
    /// The sums as the data of a tensor.
    pub(super) fn sums(&self) -> TensorData {
        match &self.sums {
            Sums::Stored(bytes, order) => TensorData::Shared(bytes.clone(), *order),
            Sums::PerCall(bytes, tokens) => {
                let (bytes, tokens) = (bytes.clone(), f32::from(*tokens));
                TensorData::made(bytes.len() as u64, move |out| scaled(&bytes, tokens, out))
            }
            Sums::AsImportances => TensorData::Owned(to_bytes(self.importances.iter().copied())),
        }
    }

    /// The counts in tokens as the data of a tensor.
    pub(super) fn counts(&self) -> TensorData {
        let tokens = if let Sums::PerCall(_, tokens) = self.sums { f32::from(tokens) } else { 1.0 };
        TensorData::Owned(to_bytes(self.counts.iter().map(|&count| count as f32 * tokens)))
    }
}

/// What is wrong with the first importance that cannot be used.
pub(super) fn problem(importances: &[f32]) -> Option<String> {
    let (column, value) =
        importances.iter().enumerate().find(|(_, value)| !value.is_finite() || **value < 0.0)?;
    Some(format!(
        "has importance `{value}` for column `{column}`, but a mean of squares is finite and not negative"
    ))
}

/// The numbers that `bytes` hold in `order`.
pub(super) fn to_numbers(bytes: &[u8], order: ByteOrder) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(move |number| match order {
        ByteOrder::Little => f32::from_le_bytes(*number),
        ByteOrder::Big => f32::from_be_bytes(*number),
    })
}

fn to_bytes(numbers: impl Iterator<Item = f32>) -> Vec<u8> {
    numbers.flat_map(f32::to_le_bytes).collect()
}

fn scaled(bytes: &[u8], factor: f32, out: &mut dyn Write) -> io::Result<()> {
    bytes.chunks(PIECE_BYTES).try_for_each(|piece| {
        out.write_all(&to_bytes(to_numbers(piece, ByteOrder::Little).map(|number| number * factor)))
    })
}
