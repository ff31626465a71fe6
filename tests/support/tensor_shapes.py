"""Print the tensors that llama.cpp's loader asks for, given a file of metadata: JSON pairs of name and shape.

Arguments: the library directory, the file. The loader may abort; whoever started this sees its exit code and last words.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any, Final

#: `ggml_tensor::ne` (`ggml/include/ggml.h`).
SHAPE_OFFSET: Final = 16


class ModelParams(ctypes.Structure):
    """`llama_model_params`, larger than any version of it: passed in memory, so that only its beginning counts."""

    _fields_ = (("words", ctypes.c_uint64 * 64),)


def main() -> None:
    library, header = Path(sys.argv[1]), sys.argv[2]
    base = ctypes.CDLL(str(library / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    ggml = ctypes.CDLL(str(library / "libggml.so"), mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(str(library / "libllama.so"))
    ggml.ggml_backend_load_all_from_path(str(library).encode())
    base.ggml_get_name.restype = ctypes.c_char_p
    base.ggml_get_name.argtypes = (ctypes.c_void_p,)
    found: dict[str, list[int]] = {}

    def found_one(tensor: int, _user: Any) -> None:
        shape = list((ctypes.c_int64 * 4).from_address(tensor + SHAPE_OFFSET))
        while len(shape) > 1 and shape[-1] == 1:
            shape.pop()
        found.setdefault(base.ggml_get_name(tensor).decode(), shape)

    note = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(found_one)

    class Init(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))

    base.gguf_init_from_file.restype = ctypes.c_void_p
    base.gguf_init_from_file.argtypes = (ctypes.c_char_p, Init)
    llama.llama_model_default_params.restype = ModelParams
    llama.llama_model_init_from_user.restype = ctypes.c_void_p
    llama.llama_model_init_from_user.argtypes = (ctypes.c_void_p, type(note), ctypes.c_void_p, ModelParams)
    metadata = base.gguf_init_from_file(header.encode(), Init(True, None))
    if not llama.llama_model_init_from_user(metadata, note, None, llama.llama_model_default_params()):
        sys.exit(1)
    sys.stdout.write(json.dumps(list(found.items())))


if __name__ == "__main__":
    main()
