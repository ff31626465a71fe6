//! The numbers in the tensors: none may be infinite or not a number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;

use crate::error::{GgufError, Subject};
use crate::model::{GgufModel, ModelTensor};
use crate::progress::Progress;
use crate::reader::ByteOrder;

use super::finite::first_bad_weight;

/// Bytes of a tensor that one thread looks at in a row; a multiple of every block is taken.
const PIECE_BYTES: u64 = 1 << 20;

/// A run of whole blocks of one tensor.
struct Piece<'a> {
    tensor: ModelTensor<'a>,
    start: u64,
    end: u64,
}

/// Looks at every weight and every scale of a model's tensors, in parallel, for infinities and NaN, which make all that is computed
/// with them meaningless. Of several faults the first one in the file is told.
///
/// `progress` is called with the bytes seen and all bytes, from any thread; where it returns false the check ends.
///
/// # Errors
/// [`GgufError::Data`] with the tensor, the byte and the weight; [`GgufError::Cancelled`].
pub fn check_data(model: &GgufModel, progress: Progress<'_>) -> Result<(), GgufError> {
    for tensor in model.tensors() {
        if tensor.file.is_header_only() {
            return Err(fault(&tensor, 0, "has no data here: only the file's beginning was read".to_owned()));
        }
        let plain = tensor.info.ggml_type.block_size() == 1;
        if !plain && tensor.file.byte_order() != ByteOrder::native() {
            let problem = format!(
                "has blocks of type `{}` in the other byte order, which cannot be decoded; get the file made for this machine",
                tensor.info.ggml_type
            );
            return Err(fault(&tensor, 0, problem));
        }
    }
    let pieces: Vec<Piece<'_>> = model.tensors().flat_map(pieces).collect();
    let total = pieces.iter().map(|piece| piece.end - piece.start).sum();
    let (done, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let bad = pieces.par_iter().find_map_first(|piece| {
        if stopped.load(Ordering::Relaxed) {
            return None;
        }
        let found = look(piece);
        let bytes = piece.end - piece.start;
        if !progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
            stopped.store(true, Ordering::Relaxed);
        }
        found
    });
    match bad {
        Some(error) => Err(error),
        None if stopped.load(Ordering::Relaxed) => Err(GgufError::Cancelled),
        None => Ok(()),
    }
}

fn pieces(tensor: ModelTensor<'_>) -> impl Iterator<Item = Piece<'_>> {
    let block = tensor.info.ggml_type.block_bytes();
    let step = (PIECE_BYTES / block).max(1) * block;
    // What follows the blocks of `I2_S`, its scale, goes with the last piece.
    let n_bytes = tensor.info.n_bytes;
    let count = (n_bytes / step).max(1);
    (0..count).map(move |number| Piece {
        tensor,
        start: number * step,
        end: if number + 1 == count { n_bytes } else { (number + 1) * step },
    })
}

fn look(piece: &Piece<'_>) -> Option<GgufError> {
    let info = piece.tensor.info;
    let bytes = piece.tensor.data().get(piece.start as usize..piece.end as usize)?;
    let kind = info.ggml_type;
    let bad = first_bad_weight(kind, bytes, piece.tensor.file.byte_order())?;
    let weight = piece.start / kind.block_bytes() * kind.block_size() + bad;
    let at = weight / kind.block_size() * kind.block_bytes();
    let problem =
        format!("has an infinity or NaN at weight `{weight}`; the file is damaged or was made wrongly");
    Some(fault(&piece.tensor, at, problem))
}

fn fault(tensor: &ModelTensor<'_>, at: u64, problem: String) -> GgufError {
    GgufError::Data {
        file: tensor.file.file_name().to_owned(),
        offset: tensor.file.data_start(tensor.info) + at,
        subject: Subject::tensor(tensor.info.name.as_bytes()),
        problem,
    }
}
