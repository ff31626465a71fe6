"""Run the tiny model with adapters beside it, as llama.cpp applies them, and keep the logits.

    LLAMA_CPP_LIB_PATH=python/tabagent/lib python tests/support/lora_logits_golden.py

It needs the `llama_cpp` package of the pinned version, of which only the declarations of llama.cpp's functions are used; the tests compare
what merged models give with the file that this writes into `tests/golden/lora`.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from support.tiny_lora import CASES, TOKENS, tiny_adapters, untied_llama  # noqa: E402 (the path is set above)


def main() -> None:
    """Write the logits after the last token, by case."""
    import llama_cpp  # type: ignore[import-not-found, unused-ignore]

    library = Path(os.environ["LLAMA_CPP_LIB_PATH"])
    ctypes.CDLL(str(library / "libggml.so")).ggml_backend_load_all_from_path(str(library).encode())
    llama_cpp.llama_backend_init()
    image = untied_llama()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "model.gguf"
        path.write_bytes(image.to_bytes())
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        adapters = {}
        for name, adapter in tiny_adapters(image).items():
            file = Path(work) / f"{name}.gguf"
            file.write_bytes(adapter.to_bytes())
            adapters[name] = llama_cpp.llama_adapter_lora_init(model, str(file).encode())
            assert adapters[name], name
        for case, parts in CASES.items():
            found[case] = run(llama_cpp, model, [(adapters[name], scale) for name, scale in parts])
    golden = TESTS / "golden" / "lora" / "logits.json"
    golden.parent.mkdir(parents=True, exist_ok=True)
    golden.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def run(llama_cpp: Any, model: Any, adapters: list[tuple[Any, float]]) -> list[float]:
    """The logits with these adapters."""
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx, parameters.n_threads, parameters.flash_attn_type = 64, 1, 0
    parameters.type_k = parameters.type_v = 0
    context = llama_cpp.llama_init_from_model(model, parameters)
    pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(adapters))(*(adapter for adapter, _ in adapters))
    scales = (ctypes.c_float * len(adapters))(*(scale for _, scale in adapters))
    assert llama_cpp.llama_set_adapters_lora(context, pointers, len(adapters), scales) == 0
    tokens = (llama_cpp.llama_token * len(TOKENS))(*TOKENS)
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(TOKENS))) == 0
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    values = [float(logits[index]) for index in range(n_vocab)]
    llama_cpp.llama_free(context)
    return values


if __name__ == "__main__":
    main()
