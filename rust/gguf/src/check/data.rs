//! Checks the numbers in the tensors: none may be infinite or NaN.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::threads::spread;
use rayon::prelude::*;

use crate::byte_swap::swap_tensor;
use crate::error::{GgufError, Subject};
use crate::ggml_type::GgmlType;
use crate::model::{GgufModel, ModelTensor};
use crate::progress::Progress;
use crate::quants::{self, QuantError};
use crate::reader::ByteOrder;

/// Bytes of a tensor that one thread checks at a time, cut down to whole blocks.
const PIECE_BYTES: u64 = 1 << 20;

/// A run of whole blocks of one tensor.
struct Piece<'a> {
    tensor: ModelTensor<'a>,
    start: u64,
    end: u64,
}

/// Checks in parallel that no weight and no scale of a model's tensors is infinite or NaN, which would make every result computed with it
/// meaningless. Reports the first bad number in the file.
///
/// Any thread may call `progress`, with the bytes checked and the total; the check ends when it returns false.
///
/// # Errors
/// [`GgufError::Data`] with the tensor, the byte and the weight; [`GgufError::Cancelled`].
pub fn check_data(model: &GgufModel, progress: Progress<'_>) -> Result<(), GgufError> {
    for tensor in model.tensors() {
        if tensor.file.is_header_only() {
            return Err(fault(&tensor, 0, "has no data here: only the file's beginning was read".to_owned()));
        }
    }
    let pieces: Vec<Piece<'_>> = model.tensors().flat_map(pieces).collect();
    let total = pieces.iter().map(|piece| piece.end - piece.start).sum();
    let (done, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let fault_in = |piece: &Piece<'_>| {
        if stopped.load(Ordering::Relaxed) {
            return None;
        }
        let found = look(piece);
        let bytes = piece.end - piece.start;
        if !progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
            stopped.store(true, Ordering::Relaxed);
        }
        found
    };
    let bad = spread(|| pieces.par_iter().find_map_first(fault_in));
    match bad {
        Some(error) => Err(error),
        None if stopped.load(Ordering::Relaxed) => Err(GgufError::Cancelled),
        None => Ok(()),
    }
}

fn pieces(tensor: ModelTensor<'_>) -> impl Iterator<Item = Piece<'_>> {
    let block = tensor.info.ggml_type.block_bytes();
    let n_bytes = tensor.info.n_bytes;
    // `I2_S` has one scale behind all its blocks.
    let step = if tensor.info.ggml_type == GgmlType::I2_S {
        n_bytes.max(1)
    } else {
        (PIECE_BYTES / block).max(1) * block
    };
    let count = (n_bytes / step).max(1);
    (0..count).map(move |number| Piece {
        tensor,
        start: number * step,
        end: if number + 1 == count { n_bytes } else { (number + 1) * step },
    })
}

fn look(piece: &Piece<'_>) -> Option<GgufError> {
    let info = piece.tensor.info;
    let kind = info.ggml_type;
    let bytes = piece.tensor.data().get(piece.start as usize..piece.end as usize)?;
    let result = if piece.tensor.file.byte_order() == ByteOrder::Little {
        quants::check(kind, bytes)
    } else {
        let mut swapped = bytes.to_vec();
        swap_tensor(kind, &mut swapped);
        quants::check(kind, &swapped)
    };
    match result {
        Err(QuantError::BadBlock { block, offset, .. }) => {
            let weight = (piece.start / kind.block_bytes() + block as u64) * kind.block_size();
            let what = if kind.block_size() == 1 { "" } else { "the block of " };
            let problem = format!(
                "has an infinity or NaN at {what}weight `{weight}`; the file is damaged or was made wrongly"
            );
            Some(fault(&piece.tensor, piece.start + offset as u64, problem))
        }
        // The reader has made sure that the data is whole blocks.
        Ok(()) | Err(_) => None,
    }
}

fn fault(tensor: &ModelTensor<'_>, at: u64, problem: String) -> GgufError {
    GgufError::Data {
        file: tensor.file.file_name().to_owned(),
        offset: tensor.file.data_start(tensor.info) + at,
        subject: Subject::tensor(tensor.info.name.as_bytes()),
        problem,
    }
}
