"""Embeds texts with the bundled llama.cpp through its C interface; run by tests in a process of its own.

    python embed_child.py LIBRARY_DIR MODEL_FILE < texts.json > embeddings.json

For each text: the token ids and the pooled vector. Offsets and sizes are those of the pinned build (`rust/sys/src/layouts`).
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from pathlib import Path
from typing import Any


class ModelParams(ctypes.Structure):
    """`llama_model_params`."""

    _fields_ = (("bytes", ctypes.c_uint8 * 80),)


class ContextParams(ctypes.Structure):
    """`llama_context_params`."""

    _fields_ = (("bytes", ctypes.c_uint8 * 160),)


class Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = (("n_tokens", ctypes.c_int32), ("arrays", ctypes.c_void_p * 6))


def function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    """A function of the library with its types."""
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


def main(directory: Path, model_file: str) -> None:
    """Embed the texts on stdin."""
    base, lib = (ctypes.CDLL(str(directory / name)) for name in ("libggml.so", "libllama.so"))
    function(base, "ggml_backend_load_all_from_path", None, ctypes.c_char_p)(str(directory).encode())
    pointer, text, ids = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int32)
    model_params = function(lib, "llama_model_default_params", ModelParams)()
    model = function(lib, "llama_model_load_from_file", pointer, text, ModelParams)(model_file.encode(), model_params)
    context_params = function(lib, "llama_context_default_params", ContextParams)()
    struct.pack_into("<4i", context_params, 0, 512, 512, 512, 1)
    struct.pack_into("<2i", context_params, 28, 1, 1)
    context = function(lib, "llama_init_from_model", pointer, pointer, ContextParams)(model, context_params)
    function(lib, "llama_set_embeddings", None, pointer, ctypes.c_bool)(context, True)
    vocab = function(lib, "llama_model_get_vocab", pointer, pointer)(model)
    width = function(lib, "llama_model_n_embd", ctypes.c_int32, pointer)(model)
    flags = (ctypes.c_bool, ctypes.c_bool)
    tokenize = function(lib, "llama_tokenize", ctypes.c_int32, pointer, text, ctypes.c_int32, ids, ctypes.c_int32, *flags)
    batch_of = function(lib, "llama_batch_get_one", Batch, ids, ctypes.c_int32)
    encode = function(lib, "llama_encode", ctypes.c_int32, pointer, Batch)
    pooled = function(lib, "llama_get_embeddings_seq", ctypes.POINTER(ctypes.c_float), pointer, ctypes.c_int32)
    answers = []
    for line in json.load(sys.stdin):
        tokens = (ctypes.c_int32 * 512)()
        count = tokenize(vocab, line.encode(), len(line.encode()), tokens, 512, True, True)
        assert count > 0
        assert encode(context, batch_of(tokens, count)) == 0
        answers.append({"tokens": tokens[:count], "embedding": pooled(context, 0)[:width]})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
