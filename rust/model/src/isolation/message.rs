//! What a parent and its child say to each other: frames of a length and a message.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tabagent_llama::{AdapterFacts, ElsewhereError, MemoryNeed, MetadataOverride, ModelCopy, TokenId};
use tabagent_runtime::{BatchToken, Split};

use crate::memory::Fitted;
use crate::offload::Offload;
use crate::open::ContextSizes;

/// The version of what is said here; both sides are of one installation, but a program may be replaced while another runs.
pub(super) const PROTOCOL: u32 = 1;
/// The longest message: llama.cpp counts the bytes of a text in 31 bits.
const LONGEST: usize = 1 << 31;
/// Memory for a message is taken in parts of so many bytes, as they come.
const PART: usize = 16 << 20;

/// What the parent asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    Load(Box<Load>),
    Tokenize { text: String, add_special: bool, parse_special: bool },
    Detokenize { tokens: Vec<TokenId>, unparse_special: bool },
    LoadAdapter { id: u64, path: OsString },
    DropAdapter { id: u64 },
    Embed { ranks: bool, texts: Vec<Vec<TokenId>> },
    // The rest is for the one who has the decoder.
    Enter { adapters: Vec<(u64, OsString, f32)>, control: Option<Control> },
    Decode { rows: Vec<Row>, dropped: Vec<u64> },
    SetSplit(bool),
    CanCut { seq: u32, n: u64 },
    Copy { from: u32, to: u32, n: u64 },
    Truncate { seq: u32, from: u64 },
    Clear { seq: u32 },
    Save { seq: u32 },
    Export { id: u64, n_tokens: u64 },
    Import { bytes: ByteBuf, n_tokens: u64 },
    Restore { seq: u32, id: u64 },
    Shift { seq: u32, keep: u64, n: u64 },
}

/// Which model to load, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(super) protocol: u32,
    pub(super) version: String,
    pub(super) library: OsString,
    pub(super) module: Option<String>,
    pub(super) crash_file: Option<OsString>,
    pub(super) path: OsString,
    /// As JSON, without the metadata that replaces the file's.
    pub(super) options: String,
    pub(super) overrides: Vec<(String, Override)>,
}

/// A [`MetadataOverride`].
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Override {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
}

/// What control vectors add.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Control {
    pub(super) numbers: Vec<f32>,
    pub(super) layers: RangeInclusive<u32>,
    pub(super) key: Vec<u64>,
}

/// A [`BatchToken`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    seq: u32,
    pos: u32,
    token: TokenId,
    logits: bool,
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// More follows.
    Progress(f32),
    Loaded(Box<Loaded>),
    Failed(ElsewhereError),
    Done,
    Yes(bool),
    Tokens(Vec<TokenId>),
    Bytes(ByteBuf),
    /// There is none.
    Nothing,
    Adapter(Box<AdapterFacts>, u64),
    /// A vector; more follows.
    Vector {
        place: u64,
        is_last: bool,
        values: Vec<f32>,
    },
    /// The logits are in the shared memory, a row after another.
    Decoded {
        generation: u64,
        prompt: u64,
    },
    Aborted,
    NoSpace,
    Saved {
        id: u64,
        n_bytes: u64,
    },
}

/// A loaded model.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(super) copy: ModelCopy,
    /// The library that runs it, as JSON.
    pub(super) library: String,
    pub(super) fitted: Option<Fitted>,
    /// How many layers went to devices, where not all did.
    pub(super) offload: Offload,
    pub(super) work: Work,
}

/// What a model does.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// It has no weights.
    Tokenize,
    /// It gives vectors only.
    Embed {
        why: ElsewhereError,
        longest: u32,
        batch_size: Option<u32>,
        threads: u32,
    },
    Generate(Generate),
}

/// The sizes of a decoder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generate {
    pub(super) sizes: ContextSizes,
    pub(super) memory: MemoryNeed,
    /// Names of the number formats of keys and values.
    pub(super) kv_types: (String, String),
    /// What saved sequences depend on, in the order of [`SEQUENCE_SETTINGS`](tabagent_llama::SEQUENCE_SETTINGS).
    pub(super) settings: Vec<String>,
    pub(super) n_ctx: u64,
    pub(super) n_cells: u64,
    pub(super) n_batch: u64,
    pub(super) n_outputs_max: u64,
    pub(super) n_seq_max: u64,
    /// How many sequences with how many cells, and what is worth while.
    pub(super) split: Option<(u64, u64, u64)>,
    pub(super) can_rewind: bool,
    pub(super) can_shift: bool,
    /// Sequences can be cut anywhere.
    pub(super) always_cuts: bool,
}

impl Work {
    /// What of it is the same each time that the same model is loaded, on whatever devices.
    pub(super) fn sketch(&self) -> String {
        match self {
            Self::Tokenize => "tokenizes".to_owned(),
            Self::Embed { longest, batch_size, .. } => format!("embeds {longest} {batch_size:?}"),
            Self::Generate(Generate {
                sizes: _,
                memory: _,
                settings: _,
                kv_types,
                n_ctx,
                n_cells,
                n_batch,
                n_outputs_max,
                n_seq_max,
                split,
                can_rewind,
                can_shift,
                always_cuts,
            }) => {
                format!(
                    "generates {kv_types:?} {n_ctx} {n_cells} {n_batch} {n_outputs_max} {n_seq_max} {split:?} {can_rewind} {can_shift} {always_cuts}"
                )
            }
        }
    }
}

impl Generate {
    pub(super) fn split(&self) -> Option<Split> {
        let (n_seq, n_cells, n_worth) = self.split?;
        Some(Split { n_seq: n_seq as usize, n_cells: n_cells as usize, n_worth: n_worth as usize })
    }
}

impl Row {
    /// `None` for a position that no context has.
    pub(super) fn of(token: &BatchToken) -> Option<Self> {
        let pos = u32::try_from(token.pos).ok()?;
        Some(Self { seq: token.seq, pos, token: token.token, logits: token.logits })
    }

    pub(super) fn to_token(&self) -> BatchToken {
        BatchToken { seq: self.seq, pos: self.pos as usize, token: self.token, logits: self.logits }
    }
}

impl From<MetadataOverride> for Override {
    fn from(value: MetadataOverride) -> Self {
        match value {
            MetadataOverride::Int(value) => Self::Int(value),
            MetadataOverride::Float(value) => Self::Float(value),
            MetadataOverride::Bool(value) => Self::Bool(value),
            MetadataOverride::Str(value) => Self::Text(value),
        }
    }
}

impl From<Override> for MetadataOverride {
    fn from(value: Override) -> Self {
        match value {
            Override::Int(value) => Self::Int(value),
            Override::Float(value) => Self::Float(value),
            Override::Bool(value) => Self::Bool(value),
            Override::Text(value) => Self::Str(value),
        }
    }
}

/// Writes a message.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for one that is too long; that of `to`.
pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(invalid)?;
    let length = frame.len() - 4;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    to.write_all(&frame)
}

/// Reads a message.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for bytes that are none; that of `from`.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let start = bytes.len();
        bytes.resize(length.min(start + PART), 0);
        from.read_exact(&mut bytes[start..])?;
    }
    parse(&bytes)
}

/// Reads bytes that may be anything as messages of the parent, and of the child.
pub(super) fn read_all(bytes: &[u8]) {
    let mut from = bytes;
    while read::<Call>(&mut from).is_ok() {}
    let mut from = bytes;
    while let Ok(answer) = read::<Answer>(&mut from) {
        if let Answer::Loaded(mut loaded) = answer {
            loaded.copy.is_whole();
        }
    }
}

/// A message of bytes that may be anything.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(invalid)?;
    if rest.is_empty() { Ok(message) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let row = |token| Row::of(&BatchToken { seq: 1, pos: 7, token, logits: token > 2 }).unwrap();
        let call = Call::Decode { rows: vec![row(2), row(3)], dropped: vec![9] };
        let mut bytes = Vec::new();
        write(&mut bytes, &call).unwrap();
        write(&mut bytes, &Call::SetSplit(true)).unwrap();
        let mut from = bytes.as_slice();
        let Call::Decode { rows, dropped } = read(&mut from).unwrap() else { panic!("it was a decode") };
        assert_eq!(rows[1].to_token(), BatchToken { seq: 1, pos: 7, token: 3, logits: true });
        assert_eq!((rows.len(), dropped), (2, vec![9]));
        assert!(matches!(read(&mut from), Ok(Call::SetSplit(true))));
        let end = read::<Call>(&mut from).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn numbers_that_are_none_survive() {
        let vector = Answer::Vector { place: 0, is_last: true, values: vec![f32::NAN, f32::INFINITY, -0.0] };
        let mut bytes = Vec::new();
        write(&mut bytes, &vector).unwrap();
        let Answer::Vector { values, .. } = read(&mut bytes.as_slice()).unwrap() else {
            panic!("it was a vector")
        };
        assert!(values[0].is_nan() && values[1] == f32::INFINITY && values[2].is_sign_negative());
    }

    #[test]
    fn a_long_message_that_does_not_come_takes_no_memory() {
        let mut bytes = (1_u32 << 30).to_le_bytes().to_vec();
        bytes.extend([0; 100]);
        assert_eq!(read::<Call>(&mut bytes.as_slice()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let bytes = u32::MAX.to_le_bytes();
        assert_eq!(read::<Call>(&mut bytes.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn bytes_from_anywhere_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let call = parse::<Call>(&bytes);
            let answer = parse::<Answer>(&bytes);
            for error in [call.err(), answer.err()].into_iter().flatten() {
                prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            }
        }
    }
}
