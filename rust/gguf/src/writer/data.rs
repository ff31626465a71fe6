//! Where the data of a tensor to be written comes from.

use std::io::{self, Write};

use crate::byte_swap::{swap_blocks, swap_tensor};
use crate::ggml_type::GgmlType;
use crate::mmap::SharedBytes;
use crate::reader::ByteOrder;

/// Makes a tensor's data when its turn to be written comes.
pub type DataMaker = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync>;

/// The data of a tensor to be written.
///
/// Only [`TensorData::Owned`] takes memory before its turn; with the others a file of any size is written in constant memory.
pub enum TensorData {
    /// In memory, in the byte order of the file to be written.
    Owned(Vec<u8>),
    /// A piece of an open file, whose byte order is given.
    Shared(SharedBytes, ByteOrder),
    /// Made when it is written, in the byte order of the file to be written; once for each time that the file is written.
    Made {
        /// How many bytes it will be; another number is an error.
        n_bytes: u64,
        /// Writes them.
        make: DataMaker,
    },
}

impl TensorData {
    /// Data of `n_bytes` that `make` writes when its turn comes.
    pub fn made(
        n_bytes: u64,
        make: impl Fn(&mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::Made { n_bytes, make: Box::new(make) }
    }

    /// Bytes that will be written.
    pub fn n_bytes(&self) -> u64 {
        match self {
            Self::Owned(bytes) => bytes.len() as u64,
            Self::Shared(bytes, _) => bytes.len() as u64,
            Self::Made { n_bytes, .. } => *n_bytes,
        }
    }

    /// Writes the data of a tensor of type `kind` to `out` for a file of `order`.
    pub(crate) fn emit(&self, kind: GgmlType, order: ByteOrder, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Owned(bytes) => in_pieces(bytes, out),
            Self::Shared(bytes, theirs) if *theirs == order => in_pieces(bytes, out),
            Self::Shared(bytes, _) => {
                let block = kind.block_bytes() as usize;
                let trailer = if kind == GgmlType::I2_S { block } else { 0 };
                let (blocks, trailer) = bytes.split_at(bytes.len().saturating_sub(trailer));
                let mut swapped = Vec::new();
                for piece in blocks.chunks(PIECE_BYTES / block * block) {
                    swapped.clear();
                    swapped.extend_from_slice(piece);
                    swap_blocks(kind, &mut swapped);
                    out.write_all(&swapped)?;
                }
                let mut trailer = trailer.to_vec();
                swap_tensor(kind, &mut trailer);
                out.write_all(&trailer)
            }
            Self::Made { make, .. } => make(out),
        }
    }
}

/// What is written at a time, so that progress can be told.
const PIECE_BYTES: usize = 4 << 20;

fn in_pieces(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    bytes.chunks(PIECE_BYTES).try_for_each(|piece| out.write_all(piece))
}

impl From<Vec<u8>> for TensorData {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}

impl std::fmt::Debug for TensorData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorData({} bytes)", self.n_bytes())
    }
}
