//! Importance matrices in the `.dat` form, which `llama-imatrix` wrote before it wrote GGUF, and still can
//! (`IMatrixCollector::save_imatrix_legacy` in `tools/imatrix/imatrix.cpp`; read by `common_imatrix_load_legacy` in
//! `common/imatrix-loader.cpp`).
//!
//! All numbers are little-endian, lengths and counts `i32`:
//!
//! ```text
//! number of entries
//! each: length of the name, name, calls, number of values, values (F32: means times calls)
//! in newer files: number of chunks
//! in newer files still: length of the data set's name, name
//! ```

use std::sync::Arc;

use crate::error::{GgufError, Subject};
use crate::mmap::{Bytes, SharedBytes};
use crate::progress::{Progress, go_on};
use crate::reader::{ByteOrder, Encoding, Reader};
use crate::text::{grouped, pointer_problem};

use super::Imatrix;
use super::entry::{self, Entry, Sums, to_numbers};

/// Tokens that a call counts as: what `llama-imatrix` processes at a time unless told otherwise.
pub(super) const CALL_TOKENS: u16 = 512;

/// Bytes of an entry whose name and values are empty.
const MIN_ENTRY_BYTES: u64 = 12;

/// A position in a `.dat` file.
struct Parser<'a> {
    name: &'a str,
    bytes: &'a Arc<Bytes>,
    reader: Reader<'a>,
}

/// Reads the matrix that `bytes`, the file called `name`, hold.
pub(super) fn read(name: &str, bytes: &Arc<Bytes>, progress: Progress<'_>) -> Result<Imatrix, GgufError> {
    let encoding = Encoding { order: ByteOrder::Little, short_lengths: false };
    let mut parser = Parser { name, bytes, reader: Reader::new(bytes.as_slice(), encoding) };
    let header = |problem: String| Err(invalid(name, 0, Subject::Header, problem));
    if let Some(problem) = pointer_problem(bytes.as_slice()) {
        return header(problem.to_owned());
    }
    let Some(n_entries) = parser.reader.i32() else {
        return header("ends before its count of entries; it is no importance matrix, or cut off".to_owned());
    };
    let fits = u64::try_from(n_entries)
        .is_ok_and(|n| n.saturating_mul(MIN_ENTRY_BYTES) <= parser.reader.remaining());
    if n_entries < 1 || !fits {
        let bytes = grouped(bytes.as_slice().len() as u64);
        return header(format!(
            "promises `{n_entries}` entries in `{bytes}` bytes; it is no importance matrix, neither GGUF nor `.dat`"
        ));
    }
    let mut matrix = Imatrix::empty();
    for number in 1..=n_entries {
        go_on(progress)?;
        let (name, entry) = parser.entry(number)?;
        // If a name comes several times the last entry counts, as in the tool.
        matrix.entries.insert(name, entry);
    }
    parser.trailer(&mut matrix)?;
    Ok(matrix)
}

impl Parser<'_> {
    fn entry(&mut self, number: i32) -> Result<(String, Entry), GgufError> {
        let at = self.reader.position();
        let subject = Subject::tensor(format!("number {number}").as_bytes());
        let cut = |what: &str| {
            invalid(
                self.name,
                at,
                subject.clone(),
                format!("ends in its {what}; the file is cut off or damaged"),
            )
        };
        let text = self.text().ok_or_else(|| cut("name"))?;
        let calls = self.reader.i32().ok_or_else(|| cut("counts"))?;
        let n_values = self.reader.i32().ok_or_else(|| cut("counts"))?;
        let fail = |problem| invalid(self.name, at, Subject::tensor(text.as_bytes()), problem);
        let n_bytes = u64::try_from(n_values).unwrap_or_default() * 4;
        if n_bytes == 0 {
            return Err(fail(format!("promises `{n_values}` importances, but there must be at least one")));
        }
        let start = self.reader.position() as usize;
        if self.reader.take(n_bytes).is_none() {
            let (n_bytes, left) = (grouped(n_bytes), grouped(self.reader.remaining()));
            return Err(fail(format!(
                "promises importances of `{n_bytes}` bytes, but `{left}` follow; the file is cut off"
            )));
        }
        let stored = SharedBytes::new(self.bytes, start..self.reader.position() as usize);
        let divisor = if calls > 0 { calls as f32 } else { 1.0 };
        let importances: Vec<f32> = to_numbers(&stored, ByteOrder::Little).map(|sum| sum / divisor).collect();
        if let Some(problem) = entry::problem(&importances) {
            return Err(fail(problem));
        }
        let sums = if calls > 0 {
            Sums::PerCall(stored, CALL_TOKENS)
        } else {
            Sums::Stored(stored, ByteOrder::Little)
        };
        let counts = vec![i64::from(calls.max(1))];
        Ok((text, Entry { importances, counts, sums }))
    }

    /// Reads the number of chunks and the data set, which older files do not have.
    fn trailer(&mut self, matrix: &mut Imatrix) -> Result<(), GgufError> {
        let at = self.reader.position();
        let cut = || {
            invalid(
                self.name,
                at,
                Subject::Header,
                "ends in what follows its entries; the file is cut off".to_owned(),
            )
        };
        if self.reader.remaining() == 0 {
            return Ok(());
        }
        let n_chunks = self.reader.i32().ok_or_else(cut)?;
        matrix.n_chunks = u32::try_from(n_chunks).unwrap_or_default();
        if self.reader.remaining() == 0 {
            return Ok(());
        }
        let dataset = self.text().ok_or_else(cut)?;
        if !dataset.is_empty() {
            matrix.datasets.push(dataset);
        }
        Ok(())
    }

    /// Reads a text that follows its length. As in C it ends at the first zero byte.
    fn text(&mut self) -> Option<String> {
        let length = u64::try_from(self.reader.i32()?).ok()?;
        let bytes = self.reader.take(length)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

fn invalid(file: &str, offset: u64, subject: Subject, problem: String) -> GgufError {
    GgufError::Invalid { file: file.to_owned(), offset, subject, problem }
}
