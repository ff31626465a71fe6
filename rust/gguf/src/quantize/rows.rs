//! One tensor on its way from one type to another, some rows at a time.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::ggml_type::GgmlType;
use crate::imatrix::Imatrix;
use crate::mmap::SharedBytes;
use crate::quants::{self, QuantError};
use crate::threads::Crew;

use super::error::QuantizeError;

/// Weights that a task decodes and encodes: 64 KiB of them, which stay in a core's cache.
const TASK: usize = 16 * 1024;

/// The threads that do the work, and the first failure: a writer's data can only fail with an [`io::Error`].
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) crew: Arc<Crew>,
    pub(super) failure: Arc<Mutex<Option<QuantizeError>>>,
    pub(super) buffer_bytes: usize,
}

/// The rows of one tensor.
pub(super) struct Rows {
    pub(super) name: String,
    pub(super) data: SharedBytes,
    pub(super) from: GgmlType,
    pub(super) to: GgmlType,
    pub(super) row_len: usize,
    /// Rows that share a row of importances: those of one expert.
    pub(super) rows_an_expert: usize,
    /// The importance matrix and the tensor's name in it; the importances have the right length.
    pub(super) importances: Option<(Arc<Imatrix>, String)>,
}

impl Workshop {
    /// Remembers why a tensor could not be made.
    fn fail(&self, rows: &Rows, source: QuantError) -> io::Error {
        let error = QuantizeError::Data { tensor: rows.name.clone(), to: rows.to, source };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        io::Error::new(io::ErrorKind::InvalidData, "the tensor cannot be made")
    }
}

impl Rows {
    /// Writes all rows in the new type.
    pub(super) fn write(&self, workshop: &Workshop, out: &mut dyn Write) -> io::Result<()> {
        if self.from == self.to {
            return self.copy(workshop, out);
        }
        let row_before = row_bytes(self.from, self.row_len);
        let row_after = row_bytes(self.to, self.row_len);
        let task_rows = (TASK / self.row_len.max(1)).max(1);
        let n_threads = workshop.crew.size();
        let n_fitting = workshop.buffer_bytes / (row_before + row_after).max(1) / task_rows;
        let n_tasks = n_fitting.min(tasks_a_thread(self.to) * n_threads).max(n_threads);
        let rows_at_once = n_tasks * task_rows;
        let mut encoded = Vec::new();
        for (slab, bytes) in self.data.chunks(rows_at_once * row_before.max(1)).enumerate() {
            encoded.resize(bytes.len() / row_before.max(1) * row_after, 0);
            let work = || {
                bytes
                    .par_chunks(task_rows * row_before.max(1))
                    .zip(encoded.par_chunks_mut(task_rows * row_after.max(1)))
                    .enumerate()
                    .try_for_each_init(Vec::new, |values, (task, (bytes, out))| {
                        let first_row = slab * rows_at_once + task * task_rows;
                        self.encode(first_row, bytes, values, out)
                    })
            };
            workshop.crew.install(work).map_err(|error| workshop.fail(self, error))?;
            out.write_all(&encoded)?;
        }
        Ok(())
    }

    /// Decodes and encodes some rows, of which the first is number `first_row` of the tensor.
    fn encode(
        &self,
        first_row: usize,
        bytes: &[u8],
        values: &mut Vec<f32>,
        out: &mut [u8],
    ) -> Result<(), QuantError> {
        let row_after = row_bytes(self.to, self.row_len).max(1);
        let n_rows = out.len() / row_after;
        values.resize(n_rows * self.row_len, 0.0);
        quants::dequantize(self.from, bytes, values)?;
        let Some((imatrix, name)) = &self.importances else {
            quants::quantize(self.to, values, self.row_len, None, out)?;
            return quants::check(self.to, out);
        };
        let importances = imatrix.importances(name).unwrap_or_default();
        let mut row = 0;
        while row < n_rows {
            let expert = (first_row + row) / self.rows_an_expert;
            let end = n_rows.min((expert + 1) * self.rows_an_expert - first_row);
            let n_experts = (importances.len() / self.row_len.max(1)).max(1);
            let start = expert % n_experts * self.row_len;
            quants::quantize(
                self.to,
                &values[row * self.row_len..end * self.row_len],
                self.row_len,
                importances.get(start..start + self.row_len),
                &mut out[row * row_after..end * row_after],
            )?;
            row = end;
        }
        quants::check(self.to, out)
    }

    /// Writes the tensor as it is, if its numbers are finite.
    fn copy(&self, workshop: &Workshop, out: &mut dyn Write) -> io::Result<()> {
        let blocks = (TASK * 64 / self.from.block_size() as usize).max(1);
        if self.from == GgmlType::I2_S {
            return out.write_all(&self.data);
        }
        for piece in self.data.chunks(blocks * self.from.block_bytes() as usize) {
            workshop
                .crew
                .install(|| quants::check(self.from, piece))
                .map_err(|error| workshop.fail(self, error))?;
            out.write_all(piece)?;
        }
        Ok(())
    }
}

/// Tasks of each thread between two writes. The work can be stopped only there, so there are few where a task takes tens of milliseconds.
fn tasks_a_thread(to: GgmlType) -> usize {
    if to.is_lattice() { 2 } else { 32 }
}

fn row_bytes(kind: GgmlType, row_len: usize) -> usize {
    row_len / kind.block_size() as usize * kind.block_bytes() as usize
}
