"""What `tabagent.gguf` takes from numpy and gives to it: types, masks, `out`, `threads`; and errors of the system."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_adapters import write_peft
from support.tiny_checkpoints import smollm
from support.tiny_lora import tiny_adapter, untied_llama
from tabagent import gguf

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

NO_NUMBERS: dict[str, Any] = {
    "text": "abc",
    "texts": ["a"] * 32,
    "bytes": [b"a"] * 32,
    "None": None,
    "nothing in a list": [None] * 32,
    "objects": np.array([object()] * 32),
    "decimals": [Decimal(1)] * 32,
    "complex": np.ones(32, np.complex64),
    "complex in a list": [1 + 2j] * 32,
    "times": np.zeros(32, "datetime64[s]"),
    "spans": np.zeros(32, "timedelta64[s]"),
    "records": np.zeros(32, [("a", "f4")]),
    "raw": np.zeros(32, "V4"),
    "masked": np.ma.MaskedArray(np.ones(32), [True] + [False] * 31),
    "a dict": {"a": 1},
}


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_what_is_no_real_number_is_refused(case: str) -> None:
    value = NO_NUMBERS[case]
    calls: list[Callable[[], object]] = [
        lambda: gguf.quantize(value, "Q8_0"),
        lambda: gguf.Imatrix.of({"t": value}),
        lambda: gguf.GgufWriter().add_tensor("t", value),
    ]
    if value is not None:
        calls.append(lambda: gguf.quantize(np.ones(32), "Q8_0", importance=value))
    if not isinstance(value, (str, list, dict)):
        calls.append(lambda: gguf.dequantize(value, "F32"))
        calls.append(lambda: gguf.GgufWriter().add_tensor("t", value, type="F32", shape=(32,)))
    for call in calls:
        with pytest.raises(TypeError, match=r"`|numbers"):
            call()


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i8", "u8", "f2", "f4", "f8", ">f4", ">i2", "g"])
def test_every_real_number_is_taken(dtype: str) -> None:
    values = np.array([0, 1] * 16, dtype=dtype)
    assert gguf.dequantize(gguf.quantize(values, "F32"), "F32").tolist() == [0, 1] * 16
    assert gguf.Imatrix.of({"t": values})["t"].tolist() == [0, 1] * 16
    unmasked = np.ma.MaskedArray(values, [False] * 32)
    assert gguf.quantize(unmasked, "F32").tolist() == gguf.quantize(values, "F32").tolist()


def test_texts_and_numbers_are_no_matrix() -> None:
    for value in (5, "x", [("a", [1.0])], None):
        with pytest.raises(TypeError, match="`importances` must be a mapping from names of tensors to numbers"):
            gguf.Imatrix.of(value)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match="`importances key` must be a str"):
        gguf.Imatrix.of({1: [1.0]})  # type: ignore[dict-item]  # that is the point
    for data in ("text", [1, 2], 5, None):
        with pytest.raises(TypeError, match=r"bytes or a `uint8` array"):
            gguf.dequantize(data, "F32")  # type: ignore[arg-type]  # that is the point


@pytest.fixture(scope="module")
def stored() -> tuple[np.ndarray[Any, Any], tuple[int, int]]:
    values = np.random.default_rng(0).normal(size=(1024, 512)).astype(np.float32)
    return gguf.quantize(values, "Q4_K"), (1024, 512)


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "bfloat16"])
def test_out_takes_the_weights(dtype: str, threads: int | None, stored: tuple[np.ndarray[Any, Any], tuple[int, int]]) -> None:
    data, shape = stored
    expected = gguf.dequantize(data, "Q4_K", shape=shape, dtype=dtype)
    out = np.full(shape, 3, dtype=expected.dtype)
    assert gguf.dequantize(data, "Q4_K", shape=shape, out=out, threads=threads) is out
    assert np.array_equal(out, expected)
    whole = np.zeros((3, *shape), dtype=expected.dtype)
    gguf.dequantize(data, "Q4_K", shape=shape, dtype=dtype, out=whole[1], threads=threads)
    assert np.array_equal(whole[1], expected)
    assert not whole[0].any()
    assert not whole[2].any()
    file = gguf.open(gguf.GgufWriter().add_tensor("t", data, type="Q4_K", shape=shape).to_bytes())
    assert file.tensors["t"].dequantize(dtype, out=out, threads=threads) is out
    assert np.array_equal(file.tensors["t"].dequantize(dtype, threads=threads), expected)


def test_threads_make_the_same_blocks(stored: tuple[np.ndarray[Any, Any], tuple[int, int]]) -> None:
    values = gguf.dequantize(stored[0], "Q4_K", shape=stored[1])
    assert all(np.array_equal(gguf.quantize(values, "Q4_0", threads=n), gguf.quantize(values, "Q4_0")) for n in (1, 3))
    for wrong, kind in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        for call in (lambda n=wrong: gguf.quantize(values, "Q4_0", threads=n), lambda n=wrong: gguf.dequantize(stored[0], "Q4_K", threads=n)):
            with pytest.raises(kind, match="`threads`"):
                call()


def test_out_that_does_not_fit_is_refused(stored: tuple[np.ndarray[Any, Any], tuple[int, int]]) -> None:
    data, shape = stored
    locked = np.zeros(shape, np.float32)
    locked.flags.writeable = False
    cases: list[tuple[Any, type[Exception], str]] = [
        ([0.0], TypeError, "numpy array"),
        (np.zeros(5, np.float32), ValueError, "has shape"),
        (np.zeros(shape, np.int32), ValueError, "`dtype` is `float32`"),
        (np.zeros(shape, ">f4"), ValueError, r"`out` is of|`dtype`"),
        (np.zeros(shape[::-1], np.float32).T, ValueError, "not contiguous"),
        (np.zeros((shape[0], 2 * shape[1]), np.float32)[:, ::2], ValueError, "not contiguous"),
        (locked, ValueError, "read-only"),
    ]
    for out, kind, text in cases:
        with pytest.raises(kind, match=text):
            gguf.dequantize(data, "Q4_K", shape=shape, out=out)
    with pytest.raises(ValueError, match="`out` is of `float32`, but the weights are of `float16`"):
        gguf.dequantize(data, "Q4_K", shape=shape, dtype=np.float16, out=np.zeros(shape, np.float32))
    room = np.zeros(4096, np.uint8)
    with pytest.raises(ValueError, match="overlaps"):
        gguf.dequantize(room[:128], "F32", out=room[64:192].view(np.float32))


def test_nothing_and_single_numbers_are_decoded() -> None:
    assert gguf.dequantize(b"", "F32", shape=(0, 7)).shape == (0, 7)
    assert gguf.dequantize(np.float32(5).tobytes(), "F32", shape=()).tolist() == 5
    assert gguf.dequantize(gguf.quantize(5, "F32"), "F32").tolist() == [5]


def writers(folder: Path) -> dict[str, Callable[[Path], object]]:
    image = untied_llama()
    model, adapter, base = folder / "model.gguf", folder / "adapter.gguf", folder / "hf"
    model.write_bytes(image.to_bytes())
    adapter.write_bytes(tiny_adapter(image).to_bytes())
    smollm().write(base)
    write_peft(folder / "peft", smollm())
    matrix = gguf.Imatrix.of({"t": [1.0]})
    return {
        "writer": lambda out: gguf.GgufWriter.of(gguf.open(model)).write(out),
        "merge": lambda out: gguf.merge(model, out),
        "byte order": lambda out: gguf.convert_byte_order(model, out, "big"),
        "edit": lambda out: gguf.edit_metadata(model, {"general.name": "x"}, output=out),
        "convert": lambda out: gguf.convert(base, out),
        "quantize": lambda out: gguf.quantize_model(model, out, "Q8_0"),
        "merge lora": lambda out: gguf.merge_lora(model, adapter, out),
        "convert lora": lambda out: gguf.convert_lora(folder / "peft", out, base=base),
        "imatrix": matrix.write,
    }


def test_errors_of_the_system_name_their_number_and_the_callers_path(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    cases: list[tuple[Path, type[OSError], int]] = [
        (tmp_path / "missing" / "out.gguf", FileNotFoundError, errno.ENOENT),
        (tmp_path / "file" / "out.gguf", NotADirectoryError, errno.ENOTDIR),
        (tmp_path / "folder", IsADirectoryError, errno.EISDIR),
        (tmp_path / ("x" * 300), OSError, errno.ENAMETOOLONG),
        (Path("/proc/none/out.gguf"), FileNotFoundError, errno.ENOENT),
        (Path("/dev/null"), OSError, errno.EINVAL),
    ]
    if not ROOT:
        (tmp_path / "locked").mkdir(mode=0o500)
        cases.append((tmp_path / "locked" / "out.gguf", PermissionError, errno.EACCES))
    for name, write in writers(tmp_path).items():
        for path, kind, number in cases:
            with pytest.raises(kind) as caught:
                write(path)
            error = caught.value
            assert (error.errno, error.filename) == (number, str(path)), name
            assert error.strerror, name
            assert ".tabagent-" not in str(error), name
    split = gguf.GgufWriter.of(gguf.open(tmp_path / "model.gguf"))
    with pytest.raises(FileNotFoundError) as caught:
        split.write_parts(tmp_path / "missing" / "m", max_tensors=5)
    assert caught.value.filename.startswith(str(tmp_path / "missing" / "m-00001-of-"))
