"""GGUF files: reading, checking, comparing, changing and writing them. No engine is needed.

    from tabagent import gguf

    file = gguf.open("model.gguf")
    print(file.metadata["general.architecture"], len(file.tensors))
    weights = file.tensors["token_embd.weight"].dequantize()

Shapes here are numpy's, rows first: a matrix of 262,144 rows of 640 weights is `(262144, 640)`. GGUF writes the same dimensions the other
way round, the length of a row first (`[640, 262144]`); that is `gguf_shape`.
"""

from tabagent.errors import GgufCancelledError, GgufError
from tabagent.gguf.conversion import OUT_TYPES, Converted, convert
from tabagent.gguf.editing import convert_byte_order, diff, edit_metadata, merge, split
from tabagent.gguf.file import GgufFile, Hashes, open  # noqa: A004 (as in `gzip.open`)
from tabagent.gguf.imatrix import Imatrix
from tabagent.gguf.lora import MERGE_TYPES, ConvertedLora, MergedLora, convert_lora, merge_lora
from tabagent.gguf.metadata import GgufArray, GgufMetadata, MetadataValue
from tabagent.gguf.quantization import FILE_TYPES, FileType, QuantizedModel, QuantizedTensor, quantize_model
from tabagent.gguf.quants import dequantize, quantize
from tabagent.gguf.tensor import GgufTensor, GgufTensors
from tabagent.gguf.types import TYPES, TensorType
from tabagent.gguf.writer import GgufWriter

__all__ = [
    "FILE_TYPES",
    "MERGE_TYPES",
    "OUT_TYPES",
    "TYPES",
    "Converted",
    "ConvertedLora",
    "FileType",
    "GgufArray",
    "GgufCancelledError",
    "GgufError",
    "GgufFile",
    "GgufMetadata",
    "GgufTensor",
    "GgufTensors",
    "GgufWriter",
    "Hashes",
    "Imatrix",
    "MergedLora",
    "MetadataValue",
    "QuantizedModel",
    "QuantizedTensor",
    "TensorType",
    "convert",
    "convert_byte_order",
    "convert_lora",
    "dequantize",
    "diff",
    "edit_metadata",
    "merge",
    "merge_lora",
    "open",
    "quantize",
    "quantize_model",
    "split",
]
