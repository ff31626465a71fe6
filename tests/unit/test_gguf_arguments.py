"""Wrong values for the public functions of `tabagent.gguf`: the error says which argument it is, and nothing is written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_adapters import write_peft
from support.tiny_checkpoints import smollm
from support.tiny_lora import tiny_adapter
from support.tiny_models import tiny_llama
from tabagent import gguf

Call = Callable[["Given", Any], object]
Row = tuple[Call, str, tuple[Any, ...], tuple[Any, ...]]


class Given:
    """What the calls work on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model.gguf"
        self.model.write_bytes(tiny_llama().to_bytes())
        self.adapter = folder / "adapter.gguf"
        self.adapter.write_bytes(tiny_adapter(tiny_llama()).to_bytes())
        self.hf = folder / "hf"
        smollm().write(self.hf)
        self.peft = write_peft(folder / "peft", smollm())
        self.out = folder / "out.gguf"
        self.file = gguf.open(self.model)
        self.matrix = gguf.Imatrix.of({"t": [1.0]})

    def writer(self) -> gguf.GgufWriter:
        return gguf.GgufWriter.of(self.file)


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


BAD_TEXTS: tuple[Any, ...] = (5, 1.5, True, b"a", ["a"], {"a": 1})
NO_PATHS: tuple[Any, ...] = (5, 1.5, True, None, b"a", bytearray(b"a"), ["a"], {"a": 1}, object(), np.array("a"))
NO_FILES: tuple[Any, ...] = (5, 1.5, True, None, ["a"], {"a": 1}, object(), np.array("a"), io.StringIO("text"))
BAD_PATHS: tuple[Any, ...] = ("a\0b", "a\ud800", Path("a\ud800"), Path("a\0b"))
NO_CALLS: tuple[Any, ...] = (5, "print", True, [print])
NO_COUNTS: tuple[Any, ...] = ("1", 1.5, True, [1], b"1", np.float32(1))
BAD_COUNTS: tuple[Any, ...] = (0, -1, 10**5000)
NO_FLAGS: tuple[Any, ...] = (None, 0, 1, "yes", [])
NO_SHAPES: tuple[Any, ...] = (5, "12", b"12", {1}, {1: 2}, [1.5], ["1"], [True], np.array(1))
BAD_SHAPES: tuple[Any, ...] = ([-1], [2**70])
CHOICE: tuple[Any, ...] = ("", "middle", "\ud800")
BLOCK = bytes(34)


def optional(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value for value in values if value is not None)


CALLS: dict[str, Row] = {
    # What is called, its argument, values of a wrong type, and those that are wrong otherwise.
    "open": (lambda g, v: gguf.open(v), "file", NO_FILES, BAD_PATHS),
    "open check": (lambda g, v: gguf.open(g.model, check=v), "check", (*BAD_TEXTS, None), CHOICE),
    "open progress": (lambda g, v: gguf.open(g.model, check="data", progress=v), "progress", NO_CALLS, ()),
    "validate check": (lambda g, v: g.file.validate(v), "check", (*BAD_TEXTS, None), CHOICE),
    "validate progress": (lambda g, v: g.file.validate(progress=v), "progress", NO_CALLS, ()),
    "hashes progress": (lambda g, v: g.file.hashes(progress=v), "progress", NO_CALLS, ()),
    "metadata type": (lambda g, v: g.file.metadata.type(v), "key", (*BAD_TEXTS, None), ("\ud800",)),
    "convert": (lambda g, v: gguf.convert(v, g.out), "source", NO_PATHS, BAD_PATHS),
    "convert output": (lambda g, v: gguf.convert(g.model, v), "output", NO_PATHS, BAD_PATHS),
    "convert out_type": (lambda g, v: gguf.convert(g.model, g.out, out_type=v), "out_type", (*BAD_TEXTS, None), ("\ud800", "q4_k")),
    "convert pre_tokenizer": (lambda g, v: gguf.convert(g.model, g.out, pre_tokenizer=v), "pre_tokenizer", BAD_TEXTS, ("\ud800",)),
    "convert progress": (lambda g, v: gguf.convert(g.model, g.out, progress=v), "progress", NO_CALLS, ()),
    "edit_metadata": (lambda g, v: gguf.edit_metadata(v, {}), "path", NO_PATHS, BAD_PATHS),
    "edit_metadata values": (lambda g, v: gguf.edit_metadata(g.model, v), "values", (5, "a", [("a", 1)], {5: 1}, {b"a": 1}), ({"\ud800": 1},)),
    "edit_metadata remove": (lambda g, v: gguf.edit_metadata(g.model, remove=v), "remove", (None, 5, "a", b"a", [5], {"a": 1}), (["\ud800"],)),
    "edit_metadata types": (
        lambda g, v: gguf.edit_metadata(g.model, {"a": 1}, types=v),
        "types",
        (5, "a", [("a", "u8")], {5: "u8"}, {"a": 5}),
        ({"a": "\ud800"},),
    ),
    "edit_metadata output": (lambda g, v: gguf.edit_metadata(g.model, {"a": 1}, output=v), "output", optional(NO_PATHS), BAD_PATHS),
    "edit_metadata progress": (lambda g, v: gguf.edit_metadata(g.model, {"a": 1}, progress=v), "progress", NO_CALLS, ()),
    "split": (lambda g, v: gguf.split(v, g.out, max_tensors=1), "source", NO_FILES, BAD_PATHS),
    "split prefix": (lambda g, v: gguf.split(g.file, v, max_tensors=1), "prefix", NO_PATHS, BAD_PATHS),
    "split max_tensors": (lambda g, v: gguf.split(g.file, g.out, max_tensors=v), "max_tensors", NO_COUNTS, BAD_COUNTS),
    "split max_bytes": (lambda g, v: gguf.split(g.file, g.out, max_bytes=v), "max_bytes", NO_COUNTS, BAD_COUNTS),
    "split first": (lambda g, v: gguf.split(g.file, g.out, max_bytes=1, first_without_tensors=v), "first_without_tensors", NO_FLAGS, ()),
    "split progress": (lambda g, v: gguf.split(g.file, g.out, max_bytes=1, progress=v), "progress", NO_CALLS, ()),
    "merge": (lambda g, v: gguf.merge(v, g.out), "source", NO_FILES, BAD_PATHS),
    "merge output": (lambda g, v: gguf.merge(g.file, v), "output", NO_PATHS, BAD_PATHS),
    "merge progress": (lambda g, v: gguf.merge(g.file, g.out, progress=v), "progress", NO_CALLS, ()),
    "convert_byte_order": (lambda g, v: gguf.convert_byte_order(v, g.out, "big"), "source", NO_FILES, BAD_PATHS),
    "convert_byte_order output": (lambda g, v: gguf.convert_byte_order(g.file, v, "big"), "output", NO_PATHS, BAD_PATHS),
    "convert_byte_order order": (lambda g, v: gguf.convert_byte_order(g.file, g.out, v), "byte_order", (*BAD_TEXTS, None), CHOICE),
    "convert_byte_order progress": (lambda g, v: gguf.convert_byte_order(g.file, g.out, "big", progress=v), "progress", NO_CALLS, ()),
    "diff first": (lambda g, v: gguf.diff(v, g.model), "first", NO_FILES, BAD_PATHS),
    "diff second": (lambda g, v: gguf.diff(g.model, v), "second", NO_FILES, BAD_PATHS),
    "merge_lora": (lambda g, v: gguf.merge_lora(v, g.adapter, g.out), "base", NO_PATHS, BAD_PATHS),
    "merge_lora adapters": (
        lambda g, v: gguf.merge_lora(g.model, v, g.out),
        "adapters",
        (5, None, b"a", [5], [b"a"], {5: 1.0}, {"a": "1"}, {"a": None}),
        (*BAD_PATHS, ["a\0"], {"\ud800": 1.0}),
    ),
    "merge_lora destination": (lambda g, v: gguf.merge_lora(g.model, g.adapter, v), "destination", NO_PATHS, BAD_PATHS),
    "merge_lora scales": (lambda g, v: gguf.merge_lora(g.model, g.adapter, g.out, scales=v), "scales", (5, "1", b"1", ["1"], [None]), ([], [1, 2])),
    "merge_lora out_type": (lambda g, v: gguf.merge_lora(g.model, g.adapter, g.out, out_type=v), "out_type", (*BAD_TEXTS, None), ("\ud800", "q4_k")),
    "merge_lora imatrix": (lambda g, v: gguf.merge_lora(g.model, g.adapter, g.out, imatrix=v), "imatrix", optional(NO_PATHS), BAD_PATHS),
    "merge_lora threads": (lambda g, v: gguf.merge_lora(g.model, g.adapter, g.out, threads=v), "threads", NO_COUNTS, BAD_COUNTS),
    "merge_lora progress": (lambda g, v: gguf.merge_lora(g.model, g.adapter, g.out, progress=v), "progress", NO_CALLS, ()),
    "convert_lora": (lambda g, v: gguf.convert_lora(v, g.out), "source", NO_PATHS, BAD_PATHS),
    "convert_lora output": (lambda g, v: gguf.convert_lora(g.peft, v), "output", NO_PATHS, BAD_PATHS),
    "convert_lora base": (lambda g, v: gguf.convert_lora(g.peft, g.out, base=v), "base", optional(NO_PATHS), BAD_PATHS),
    "convert_lora out_type": (lambda g, v: gguf.convert_lora(g.peft, g.out, out_type=v), "out_type", (*BAD_TEXTS, None), ("\ud800", "Q8_0")),
    "convert_lora progress": (lambda g, v: gguf.convert_lora(g.peft, g.out, progress=v), "progress", NO_CALLS, ()),
    "dequantize": (lambda g, v: gguf.dequantize(v, "Q8_0"), "data", (5, "a", None, ["a"], np.array(["a"])), (np.zeros(34, np.int8),)),
    "dequantize type": (lambda g, v: gguf.dequantize(BLOCK, v), "type", (*BAD_TEXTS, None), ("\ud800",)),
    "dequantize shape": (lambda g, v: gguf.dequantize(BLOCK, "Q8_0", shape=v), "shape", NO_SHAPES, BAD_SHAPES),
    "dequantize dtype": (lambda g, v: gguf.dequantize(BLOCK, "Q8_0", dtype=v), "dtype", (5, "nothing", object()), ("int8", np.complex64)),
    "dequantize byte_order": (lambda g, v: gguf.dequantize(BLOCK, "Q8_0", byte_order=v), "byte_order", (*BAD_TEXTS, None), CHOICE),
    "dequantize out": (lambda g, v: gguf.dequantize(BLOCK, "Q8_0", out=v), "out", (5, "a", [0.0] * 32), (np.zeros(3, np.float32),)),
    "dequantize threads": (lambda g, v: gguf.dequantize(BLOCK, "Q8_0", threads=v), "threads", NO_COUNTS, BAD_COUNTS),
    "tensor dtype": (lambda g, v: g.file.tensors[0].dequantize(v), "dtype", (5, "nothing"), ("int8",)),
    "tensor threads": (lambda g, v: g.file.tensors[0].dequantize(threads=v), "threads", NO_COUNTS, BAD_COUNTS),
    "quantize": (lambda g, v: gguf.quantize(v, "Q8_0"), "array", (None, "a", ["a"], object(), np.zeros(32, complex)), ([[1.0], [1.0, 2.0]],)),
    "quantize type": (lambda g, v: gguf.quantize(np.zeros(32), v), "type", (*BAD_TEXTS, None), ("\ud800",)),
    "quantize importance": (lambda g, v: gguf.quantize(np.zeros(32), "Q8_0", importance=v), "importance", ("a", ["a"], object()), ()),
    "quantize threads": (lambda g, v: gguf.quantize(np.zeros(32), "Q8_0", threads=v), "threads", NO_COUNTS, BAD_COUNTS),
    "quantize_model": (lambda g, v: gguf.quantize_model(v, g.out, "Q8_0"), "source", NO_PATHS, BAD_PATHS),
    "quantize_model destination": (lambda g, v: gguf.quantize_model(g.model, v, "Q8_0"), "destination", optional(NO_PATHS), BAD_PATHS),
    "quantize_model type": (lambda g, v: gguf.quantize_model(g.model, g.out, v), "type", BAD_TEXTS, ("\ud800",)),
    "quantize_model size": (
        lambda g, v: gguf.quantize_model(g.model, g.out, target_size=v),
        "target_size",
        (1.5, True, b"1", [1]),
        (0, -1, "\ud800"),
    ),
    "quantize_model imatrix": (lambda g, v: gguf.quantize_model(g.model, g.out, "Q8_0", imatrix=v), "imatrix", optional(NO_PATHS), BAD_PATHS),
    "quantize_model layers": (lambda g, v: gguf.quantize_model(g.model, g.out, "Q8_0", prune_layers=v), "prune_layers", (5, "1", ["1"]), ([-1],)),
    "quantize_model threads": (lambda g, v: gguf.quantize_model(g.model, g.out, "Q8_0", threads=v), "threads", NO_COUNTS, BAD_COUNTS),
    "quantize_model progress": (lambda g, v: gguf.quantize_model(g.model, g.out, "Q8_0", progress=v), "progress", NO_CALLS, ()),
    "Imatrix": (lambda g, v: gguf.Imatrix(v), "path", NO_PATHS, BAD_PATHS),
    "Imatrix.of": (lambda g, v: gguf.Imatrix.of(v), "importances", (5, None, [1.0], {5: [1.0]}, {"t": ["a"]}), ({"\ud800": [1.0]},)),
    "Imatrix.write": (lambda g, v: g.matrix.write(v), "path", NO_PATHS, BAD_PATHS),
    "GgufWriter byte_order": (lambda g, v: gguf.GgufWriter(byte_order=v), "byte_order", (*BAD_TEXTS, None), CHOICE),
    "GgufWriter.of": (lambda g, v: gguf.GgufWriter.of(v), "file", (5, None, "a", b"a"), ()),
    "GgufWriter.of byte_order": (lambda g, v: gguf.GgufWriter.of(g.file, byte_order=v), "byte_order", BAD_TEXTS, CHOICE),
    "set": (lambda g, v: g.writer().set(v, 1), "key", (*BAD_TEXTS, None), ("\ud800",)),
    "set type": (lambda g, v: g.writer().set("a", 1, type=v), "type", BAD_TEXTS, ("\ud800",)),
    "update": (lambda g, v: g.writer().update(v), "values", (5, None, "a", [("a", 1)]), ()),
    "remove": (lambda g, v: g.writer().remove(v), "key", (*BAD_TEXTS, None), ("\ud800",)),
    "add_tensor": (lambda g, v: g.writer().add_tensor(v, np.zeros(1, np.float32)), "name", (*BAD_TEXTS, None), ("\ud800",)),
    "add_tensor type": (lambda g, v: g.writer().add_tensor("t", BLOCK, type=v, shape=(32,)), "type", BAD_TEXTS, ("\ud800",)),
    "add_tensor shape": (lambda g, v: g.writer().add_tensor("t", BLOCK, type="Q8_0", shape=v), "shape", NO_SHAPES, BAD_SHAPES),
    "write": (lambda g, v: g.writer().write(v), "path", NO_PATHS, BAD_PATHS),
    "write progress": (lambda g, v: g.writer().write(g.out, progress=v), "progress", NO_CALLS, ()),
    "write_parts": (lambda g, v: g.writer().write_parts(v, max_tensors=1), "prefix", NO_PATHS, BAD_PATHS),
}


@pytest.mark.parametrize("name", CALLS)
def test_error_names_the_argument(given: Given, name: str) -> None:
    call, argument, wrong_types, wrong_values = CALLS[name]
    before = sorted(given.folder.rglob("*"))
    for error, values in ((TypeError, wrong_types), (ValueError, wrong_values)):
        for value in values:
            with pytest.raises(error) as caught:
                call(given, value)
            named = f"`{argument}" in str(caught.value) or (error is ValueError and f"`{value}`" in str(caught.value))
            assert named, (value, caught.value)
            assert not isinstance(caught.value, (UnicodeError, OverflowError, OSError)), (value, caught.value)
    assert sorted(given.folder.rglob("*")) == before


@pytest.mark.parametrize("key", [5, None, "\ud800", "a\udcff", ("a",)])
def test_a_key_that_no_file_can_have_is_not_there(given: Given, key: Any) -> None:
    for mapping in (given.file.metadata, given.matrix):
        assert key not in mapping
        with pytest.raises(KeyError):
            mapping[key]


def writers(given: Given) -> dict[str, Callable[[Any], object]]:
    return {
        "write": lambda out: given.writer().write(out),
        "write_parts": lambda out: given.writer().write_parts(out, max_tensors=50),
        "merge": lambda out: gguf.merge(given.model, out),
        "convert_byte_order": lambda out: gguf.convert_byte_order(given.model, out, "big"),
        "edit_metadata": lambda out: gguf.edit_metadata(given.model, {"general.name": "a much longer name"}, output=out),
        "quantize_model": lambda out: gguf.quantize_model(given.model, out, "F16"),
        "convert_lora": lambda out: gguf.convert_lora(given.peft, out, base=given.hf),
        "merge_lora": lambda out: gguf.merge_lora(given.model, given.adapter, out),
        "Imatrix.write": given.matrix.write,
        "convert": lambda out: gguf.convert(given.hf, out),
    }


def test_a_missing_directory_is_named_and_no_temporary_file(given: Given) -> None:
    (given.folder / "file").write_bytes(b"")
    for name, write in writers(given).items():
        for place, error, text in (
            ("missing", FileNotFoundError, "there is no directory"),
            ("file", NotADirectoryError, "is a file, not a directory"),
        ):
            out = given.folder / place / "out.gguf"
            with pytest.raises(error) as caught:
                write(out)
            assert f"`{out.parent}`" in str(caught.value), name
            assert text in str(caught.value), name
            assert ".tabagent-" not in str(caught.value), name
            assert str(caught.value.filename).startswith(str(given.folder / place / "out")), name


def test_an_empty_path_is_refused_before_anything_is_written(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(given.folder)
    before = sorted(given.folder.iterdir())
    for name, write in writers(given).items():
        if name != "write_parts":
            with pytest.raises(FileNotFoundError, match="the path is empty"):
                write("")
    assert sorted(given.folder.iterdir()) == before
