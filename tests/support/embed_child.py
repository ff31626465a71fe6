"""Embeds texts with the bundled llama.cpp through its C interface; run by tests in a process of its own.

    PYTHONPATH=tests python embed_child.py LIBRARY_DIR MODEL_FILE < texts.json > embeddings.json

For each text: the token ids and the pooled vector. Offsets and sizes are those of the pinned build (`rust/sys/src/layouts`).
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from pathlib import Path
from typing import Any

from support.fake_llama import param_struct


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
    model_layout, context_layout = param_struct("llama_model_params"), param_struct("llama_context_params")
    model_bytes, context_bytes = ctypes.c_uint8 * model_layout.size, ctypes.c_uint8 * context_layout.size
    # A struct, for C functions do not return arrays.
    model_type = type("ModelParams", (ctypes.Structure,), {"_fields_": (("bytes", model_bytes),)})
    context_type = type("ContextParams", (ctypes.Structure,), {"_fields_": (("bytes", context_bytes),)})
    base, lib = (ctypes.CDLL(str(directory / name)) for name in ("libggml.so", "libllama.so"))
    function(base, "ggml_backend_load_all_from_path", None, ctypes.c_char_p)(str(directory).encode())
    pointer, text, ids = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int32)
    model_params = function(lib, "llama_model_default_params", model_type)()
    model = function(lib, "llama_model_load_from_file", pointer, text, model_type)(model_file.encode(), model_params)
    context_params = function(lib, "llama_context_default_params", context_type)()
    wanted = {"n_ctx": 512, "n_batch": 512, "n_ubatch": 512, "n_seq_max": 1, "n_threads": 1, "n_threads_batch": 1}
    for name, value in wanted.items():
        struct.pack_into("<i", context_params, context_layout.offsets[name], value)
    context = function(lib, "llama_init_from_model", pointer, pointer, context_type)(model, context_params)
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
