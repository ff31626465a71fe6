//! GGUF files: reading, checking and writing them, with no engine behind it.
//!
//! [`GgufFile`] maps a file and proves its structure before it hands out anything: every count, length and offset is
//! compared with the file's size before memory is taken for it. [`check_model`] then applies the rules on which
//! llama.cpp would abort, crash or hang, so that a bad file becomes an error and not a dead process, and [`check_data`]
//! looks at every number.
//!
//! [`GgufModel`] is a model in all its parts. [`GgufWriter`] writes files in constant memory, whole or in parts, each in one step. [`quantize_file`]
//! gives models other number formats, [`edit_metadata`] changes a file in place, and [`hash_model`] and [`diff_models`] tell what it holds and what
//! is different.

mod array;
mod byte_swap;
mod check;
mod control_vector;
mod convert;
mod diff;
mod edit;
mod error;
mod file;
mod file_id;
mod file_type;
mod ggml_type;
mod hash;
mod imatrix;
mod input;
mod lora;
mod metadata;
mod metadata_override;
mod mmap;
mod model;
mod out_type;
mod owned;
mod parser;
mod progress;
mod quantize;
pub mod quants;
mod reader;
mod shared_array;
mod split;
mod tensor;
mod text;
mod threads;
mod value;
mod writer;

pub use array::{Array, ArrayIter};
pub use check::{ARCHITECTURES, check_data, check_model, check_model_with, check_parts};
pub use control_vector::ControlVectorFile;
pub use convert::{ConvertError, ConvertOptions, Converted, OutType, convert, tokenizer_metadata};
pub use diff::{Deviation, Difference, diff_models, diff_models_with};
pub use edit::{Edit, Edited, edit_metadata, edit_metadata_to, edited};
pub use error::{GgufError, Subject};
pub use file::{GgufFile, Header};
pub use file_type::{FileType, UnknownFileType};
pub use ggml_type::GgmlType;
pub use hash::{Digest, Hashes, hash_model};
pub use imatrix::Imatrix;
pub use input::Inputs;
pub use lora::{
    ADAPTER_TYPES, ConvertedAdapter, LoadableAdapter, LoraError, LoraOptions, MergeType, Merged,
    convert_adapter, is_adapter_folder, merge_lora,
};
pub use metadata::Metadata;
pub use metadata_override::MetadataOverride;
pub use mmap::{Room, SharedBytes};
pub use model::{GgufModel, ModelTensor};
pub use out_type::UnknownOutType;
pub use owned::{OwnedArray, OwnedValue};
pub use progress::{Progress, no_progress};
pub use quantize::{
    CandidateTensor, Exemption, MeasuredTensor, Mix, Plan, PlannedTensor, QuantizeError, QuantizeOptions,
    Quantized, Reason, Role, SizeTarget, Target, TargetSizeError, TensorRule, TypeCost, candidate_types,
    choose_types, fit_options, measure_types, parse_size, plan, quantize_file, quantize_file_to_size,
    quantize_model, tensor_type,
};
pub use quants::QuantError;
pub use reader::ByteOrder;
pub use shared_array::SharedArray;
pub use split::{Split, part_path, split_paths};
pub use tensor::{Shape, TensorInfo};
pub use threads::{MAX_THREADS, spread, usable_cores, with_threads};
pub use value::{GgufStr, Value, ValueType};
pub use writer::{DataMaker, GgufWriter, SplitBy, TensorData};
