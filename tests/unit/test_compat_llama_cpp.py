"""llama-cpp-python's interface, as far as it needs no model."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tabagent.compat import llama_cpp
from tabagent.compat.llama_cpp import Llama, LlamaDiskCache, LlamaGrammar, LlamaRAMCache, LlamaState
from tabagent.compat.llama_cpp.grammar import closed, structure_of
from tabagent.compat.llama_cpp.options import DEFAULTS, load_options, with_defaults


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"n_gpu_layer": 3}, TypeError, "`Llama` has no parameter `n_gpu_layer`"),
        ({"split_mode": 2}, ValueError, "`split_mode=2` cannot be honoured"),
        ({"main_gpu": 1}, ValueError, "`main_gpu=1` cannot be honoured"),
        ({"tensor_split": [1.0]}, ValueError, "cannot be honoured"),
        ({"numa": True}, ValueError, "`numa=True` cannot be honoured"),
        ({"lora_base": "x"}, ValueError, "give `lora_path` alone"),
        ({"tokenizer": object()}, ValueError, "cannot be honoured"),
        ({"attention_type": 1}, ValueError, "cannot be honoured"),
        ({"n_parts": 2}, ValueError, "`n_parts=2` cannot be honoured"),
    ],
)
def test_a_parameter_that_cannot_be_honoured_says_so(given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Llama("none.gguf", **given)


def test_parameters_that_ask_for_nothing_are_taken() -> None:
    settings = with_defaults({"n_parts": -1, "f16_kv": True, "device": None, "numa": False, "split_mode": 1, "verbose": False})
    assert settings == {**DEFAULTS, "verbose": False}
    wide = with_defaults({"f16_kv": False, "type_v": llama_cpp.GGML_TYPE_Q8_0})
    assert (wide["type_k"], wide["type_v"]) == (llama_cpp.GGML_TYPE_F32, llama_cpp.GGML_TYPE_Q8_0)


def test_parameters_become_options(tmp_path: Path) -> None:
    options = load_options(tmp_path / "none.gguf", with_defaults({"n_ctx": 256, "n_batch": 1024, "n_gpu_layers": -1, "type_k": 8, "use_mlock": True}))
    assert (options["context_size"], options["batch_size"], options["micro_batch_size"]) == (256, 256, 256)
    assert (options["gpu_layers"], options["kv_type"], options["mlock"], options["metadata_overrides"]) == ("auto", ("q8_0", "f16"), True, None)
    whole = load_options(tmp_path / "none.gguf", with_defaults({"n_ctx": 0, "flash_attn": True, "kv_overrides": {"a.b": 1}}))
    assert (whole["context_size"], whole["flash_attention"], whole["metadata_overrides"]) == (None, "on", {"a.b": 1})
    with pytest.raises(ValueError, match="`type_v=99` is no type of cached keys and values"):
        load_options(tmp_path, with_defaults({"type_v": 99}))
    with pytest.raises(FileNotFoundError):
        load_options(tmp_path / "none.gguf", with_defaults({"rope_freq_base": 5.0}))
    with pytest.raises(FileNotFoundError):
        Llama(tmp_path / "none.gguf")


def test_schemas_have_no_properties_but_those_they_name() -> None:
    inner: dict[str, Any] = {"properties": {"a": {"const": {"properties": {}}}}}
    assert closed(inner) == {"properties": {"a": {"const": {"properties": {}}}}, "additionalProperties": False}
    open_one = {"properties": {}, "additionalProperties": {"type": "string"}}
    assert closed(open_one) == open_one
    # A property that is named as the keyword is no keyword.
    assert closed({"properties": {"properties": {"type": "string"}}})["properties"] == {"properties": {"type": "string"}}
    assert closed({"anyOf": [inner]})["anyOf"][0]["additionalProperties"] is False
    assert closed({"$defs": {"x": inner}})["$defs"]["x"]["additionalProperties"] is False
    assert closed({"enum": [inner]}) == {"enum": [inner]}
    assert closed(True) is True


def test_grammars(tmp_path: Path) -> None:
    path = tmp_path / "g.gbnf"
    path.write_text('root ::= "x"')
    assert structure_of(LlamaGrammar.from_file(path)) == {"grammar": 'root ::= "x"', "grammar_format": "gbnf"}
    path.write_text("")
    with pytest.raises(ValueError, match="is empty"):
        LlamaGrammar.from_file(path)
    with pytest.raises(ValueError, match="`json_schema` is no JSON"):
        structure_of(LlamaGrammar.from_json_schema("{"))
    with pytest.raises(TypeError):
        LlamaGrammar.from_json_schema({"type": "object"})  # type: ignore[arg-type]
    assert structure_of(None) == {}


def state(size: int) -> LlamaState:
    import numpy as np

    return LlamaState(
        input_ids=np.zeros(1, np.intc), scores=np.zeros((1, 1), np.single), n_tokens=1, llama_state=bytes(size), llama_state_size=size, seed=0
    )


def test_a_cache_gives_the_longest_beginning_and_forgets_the_oldest() -> None:
    cache = LlamaRAMCache(capacity_bytes=25)
    first, second, third = state(10), state(10), state(10)
    cache[1, 2, 3] = first
    cache[1, 2, 4, 5] = second
    assert cache[1, 2, 4, 9] is second
    assert cache[1, 2, 3, 9] is first
    assert (2,) not in cache
    with pytest.raises(KeyError):
        cache[7, 8]
    cache[9,] = third
    assert cache.cache_size == 20
    assert cache[1, 2, 4, 5] is first
    with pytest.raises(NotImplementedError, match="there is no cache on disk"):
        LlamaDiskCache()


def test_other_libraries_find_it_by_its_name() -> None:
    program = """
import sys
from tabagent.compat import llama_cpp
llama_cpp.install(); llama_cpp.install()
import llama_cpp as found
from llama_cpp import Llama, LlamaGrammar
from llama_cpp.llama import Llama as same
from llama_cpp.llama_grammar import LlamaGrammar as also
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding
assert found is llama_cpp and Llama is same is llama_cpp.Llama and LlamaGrammar is also
sys.modules["llama_cpp"] = sys
try: llama_cpp.install()
except RuntimeError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "`llama_cpp` was imported before and is another module; call `install` first\n"


def test_all_names_are_there() -> None:
    for name in llama_cpp.__all__:
        assert hasattr(llama_cpp, name)
    assert llama_cpp.LLAMA_POOLING_TYPE_MEAN == 1
    parameters = inspect.signature(Llama.create_completion).parameters
    assert list(parameters)[1:5] == ["prompt", "suffix", "max_tokens", "temperature"]
    assert list(inspect.signature(Llama.create_chat_completion).parameters)[1:6] == ["messages", "functions", "function_call", "tools", "tool_choice"]
