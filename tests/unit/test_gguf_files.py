"""`tabagent.gguf`: reading, checking, writing, splitting and changing files."""

from __future__ import annotations

import _thread
import gzip
import io
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import needs
import tabagent
from support import gguf_image as raw
from support.tiny_models import tiny_llama
from tabagent import GgufCancelledError, GgufError, gguf


@pytest.fixture(scope="module")
def tiny() -> bytes:
    return tiny_llama().to_bytes()


@pytest.fixture
def tiny_path(tiny: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny)
    return path


def zipped(data: bytes) -> io.BytesIO:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as out:
        out.write(data)
    packed.seek(0)
    return packed


def temporary(data: bytes) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 (the test closes it)
    file.write(data)
    return file


def moved(data: bytes) -> io.BytesIO:
    file = io.BytesIO(data)
    file.seek(100)
    return file


SOURCES: dict[str, Callable[[Path], Any]] = {
    "str": str,
    "path": lambda path: path,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "file": lambda path: path.open("rb"),
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "temporary": lambda path: temporary(path.read_bytes()),
    "memory": lambda path: moved(path.read_bytes()),
    "gzip": lambda path: gzip.GzipFile(fileobj=zipped(path.read_bytes())),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_opens_from_anything_that_holds_it(kind: str, tiny: bytes, tiny_path: Path) -> None:
    source = SOURCES[kind](tiny_path)
    file = gguf.open(source, check="full")
    if hasattr(source, "close"):
        source.close()
    assert (file.architecture, file.version, file.byte_order, file.alignment, file.size) == ("llama", 3, "little", 32, len(tiny))
    assert file.tensors["output_norm.weight"].numpy().tolist() == [1.0] * 32


def test_a_module_attribute_and_an_import_are_the_same() -> None:
    assert tabagent.gguf is gguf


def test_what_is_no_file_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="bytes or an open binary file, got int"):
        gguf.open(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="binary mode"):
        gguf.open(io.StringIO("GGUF"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`check` must be `format`, `model`, `data` or `full`, got `nothing`"):
        gguf.open(b"", check="nothing")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError) as caught:
        gguf.open("/nowhere/model.gguf")
    assert caught.value.filename == "/nowhere/model.gguf"


def test_metadata_is_a_mapping_of_python_values() -> None:
    image = raw.Image()
    numbers = {"u8": raw.U8, "i8": raw.I8, "u16": raw.U16, "i16": raw.I16, "u32": raw.U32, "i32": raw.I32, "u64": raw.U64, "i64": raw.I64}
    for name, kind in numbers.items():
        image.set(name, raw.number(kind, -3 if name[0] == "i" else 200))
    image.set("f32", raw.number(raw.F32, 0.5)).set("f64", raw.number(raw.F64, 0.1)).set("bool", raw.number(raw.BOOL, 1))
    image.set("str", raw.text("é")).set("odd", raw.text(b"a\xff"))
    image.set("numbers", raw.array(raw.I32, [1, -2, 3])).set("texts", raw.array(raw.STRING, [b"a", b"", b"c\xff"] * 9))
    metadata = gguf.open(image.to_bytes()).metadata
    assert list(metadata) == [*numbers, "f32", "f64", "bool", "str", "odd", "numbers", "texts"]
    assert {name: metadata[name] for name in numbers} == {name: -3 if name[0] == "i" else 200 for name in numbers}
    assert (metadata["f32"], metadata["f64"], metadata["bool"], metadata["str"]) == (0.5, 0.1, True, "é")
    assert metadata["odd"].encode("utf-8", "surrogateescape") == b"a\xff"
    assert [metadata.type(name) for name in ("u64", "bool", "numbers", "texts")] == ["u64", "bool", "arr[i32]", "arr[str]"]
    assert "absent" not in metadata
    assert metadata.get("absent", 7) == 7
    with pytest.raises(KeyError):
        metadata["absent"]
    values = metadata["numbers"]
    assert values == [1, -2, 3]
    assert values != [1, -2]
    assert values.numpy().dtype == np.int32
    assert (values[-1], values[:2], values[::-1], len(values), list(values)) == (3, [1, -2], [3, -2, 1], 3, [1, -2, 3])
    with pytest.raises(IndexError):
        values[3]
    texts = metadata["texts"]
    assert (len(texts), texts[24], texts[1:3], texts[26]) == (27, "a", ["", "c\udcff"], "c\udcff")
    assert texts.tolist() == ["a", "", "c\udcff"] * 9
    with pytest.raises(TypeError, match="`str` are no numbers"):
        texts.numpy()


def test_nested_arrays_are_arrays_of_arrays() -> None:
    nested = [[["a", "b"], ["c"]], [["d"]]]
    file = gguf.open(gguf.GgufWriter().set("k", nested).to_bytes())
    assert file.metadata.type("k") == "arr[arr[arr[str]]]"
    assert file.metadata["k"].tolist() == nested
    assert file.metadata["k"][0][1] == ["c"]


def test_tensors_have_numpy_shapes_and_look_into_the_file(tiny_path: Path) -> None:
    file = gguf.open(tiny_path)
    tensor = file.tensors["blk.0.ffn_down.weight"]
    assert (tensor.gguf_shape, tensor.shape, tensor.size, tensor.type) == ((48, 32), (32, 48), 48 * 32, "F32")
    values = tensor.numpy()
    assert values.shape == (32, 48)
    assert values.base is not None
    assert not values.flags.writeable
    assert not values.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0] = 1.0
    assert tensor.raw.tobytes() == tiny_path.read_bytes()[tensor.offset : tensor.offset + tensor.nbytes]
    del file, tensor
    assert np.isfinite(values).all()


def test_tensors_are_found_by_number_and_name(tiny: bytes) -> None:
    tensors = gguf.open(tiny).tensors
    assert tensors[0].name == tensors.names()[0] == "token_embd.weight"
    assert [tensor.name for tensor in tensors[:2]] == tensors.names()[:2]
    assert "output_norm.weight" in tensors
    assert "nothing" not in tensors
    with pytest.raises(KeyError, match=r"did you mean `output_norm\.weight`"):
        tensors["output_norm.weigth"]


def test_an_error_names_file_offset_key_and_rule(tiny: bytes) -> None:
    with pytest.raises(GgufError) as caught:
        gguf.open(tiny[:200])
    error = caught.value
    assert (error.file, error.tensor) == ("memory.gguf", None)
    assert error.offset is not None
    assert error.offset <= 200
    assert error.rule is not None
    assert error.rule in str(error)
    image = tiny_llama().set("llama.block_count", raw.number(raw.U32, 0))
    file = gguf.open(image.to_bytes())
    with pytest.raises(GgufError, match="at least `1`") as caught:
        file.validate("model")
    assert caught.value.key == "llama.block_count"
    offset = caught.value.offset
    assert offset is not None
    assert image.to_bytes()[offset + 8 :].startswith(b"llama.block_count")


def test_a_number_that_is_none_is_found_in_its_tensor() -> None:
    image = tiny_llama()
    tensor = image.tensors[3]
    damaged = bytearray(tensor.data)
    damaged[40:44] = np.float32(np.nan).tobytes()
    image.replace_tensor(tensor, raw.Tensor(tensor.name, 0, tensor.shape, bytes(damaged)))
    data = image.to_bytes()
    gguf.open(data, check="model")
    for check in ("data", "full"):
        with pytest.raises(GgufError, match="weight `10`") as caught:
            gguf.open(data, check=check)
        assert caught.value.tensor == tensor.name
        assert caught.value.offset is not None
        assert np.isnan(np.frombuffer(data, "<f4", 1, caught.value.offset)[0])


def test_a_written_file_holds_what_was_given(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    half = np.arange(6, dtype=np.float16).reshape(2, 3)
    writer = gguf.GgufWriter()
    writer.set("a.int", 7).set("a.negative", -7).set("a.large", 2**40).set("a.typed", 7, type="u16")
    writer.update({"a.float": 0.25, "a.bool": True, "a.text": "é", "a.list": [1, 2], "a.texts": ["x", "y"], "a.numpy": np.array([1, 2], np.uint8)})
    writer.add_tensor("half", half)
    writer.add_tensor("fortran", np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)))
    writer.add_tensor("packed", np.zeros(68, np.uint8), type="Q8_0", shape=(2, 32))
    writer.add_tensor("later", lambda: np.full((4, 1), 9, np.int16), type="I16", shape=(4, 1))
    writer.write(path)
    file = gguf.open(path)
    kinds = {key: file.metadata.type(key) for key in file.metadata}
    assert kinds == {
        "a.int": "u32", "a.negative": "i32", "a.large": "u64", "a.typed": "u16", "a.float": "f32", "a.bool": "bool", "a.text": "str",
        "a.list": "arr[i32]", "a.texts": "arr[str]", "a.numpy": "arr[u8]",
    }  # fmt: skip
    assert file.tensors["half"].numpy().tolist() == half.tolist()
    assert file.tensors["fortran"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (file.tensors["packed"].shape, file.tensors["packed"].gguf_shape) == ((2, 32), (32, 2))
    assert file.tensors["later"].numpy().tolist() == [[9]] * 4
    assert gguf.GgufWriter.of(file).to_bytes() == path.read_bytes() == writer.to_bytes()


def test_big_endian_files_are_written_and_read() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = gguf.GgufWriter(byte_order="big").set("k", 258).set("list", [1.5, 2.5]).add_tensor("t", values).to_bytes()
    assert data[4:8] == b"\0\0\0\3"
    file = gguf.open(data)
    assert (file.byte_order, file.metadata["k"], file.metadata["list"].tolist()) == ("big", 258, [1.5, 2.5])
    assert file.tensors["t"].numpy().tolist() == values.tolist()
    assert file.tensors["t"].dequantize().tolist() == values.tolist()


def every_type() -> gguf.GgufFile:
    """A file with two rows of every type, every byte of which is small, so that no scale is NaN."""
    writer = gguf.GgufWriter().set("k", 258)
    for kind in gguf.TYPES.values():
        size = 2 * kind.block_bytes + (32 if kind.name == "I2_S" else 0)
        data = (np.arange(size, dtype=np.int64) * 5 % 61 + 1).astype(np.uint8)
        writer.add_tensor(kind.name, data, type=kind.name, shape=(2, kind.block_size))
    return gguf.open(writer.to_bytes())


def test_a_big_endian_file_of_every_type_has_the_same_weights(tmp_path: Path) -> None:
    little = every_type()
    gguf.convert_byte_order(little, tmp_path / "big.gguf", "big")
    big = gguf.open(tmp_path / "big.gguf")
    assert (big.byte_order, big.metadata["k"]) == ("big", 258)
    for old, new in zip(little.tensors, big.tensors, strict=True):
        same = old.raw.tobytes() == new.raw.tobytes()
        assert same == (old.type in {"I8", "MXFP4", "NVFP4"}), old.type
        for dtype in ("float32", "float16", "bfloat16", "float64"):
            weights = old.dequantize(dtype)
            assert weights.tobytes() == new.dequantize(dtype).tobytes(), old.type
            assert weights.tobytes() == gguf.dequantize(new.raw, new.type, shape=new.shape, dtype=dtype, byte_order="big").tobytes()
    gguf.convert_byte_order(big, tmp_path / "back.gguf", "little")
    assert (tmp_path / "back.gguf").read_bytes() == gguf.GgufWriter.of(little).to_bytes()
    with pytest.raises(ValueError, match="big-endian already"):
        gguf.convert_byte_order(big, tmp_path / "no.gguf", "big")
    with pytest.raises(ValueError, match="`byte_order` must be `little`, `big` or `native`, got `middle`"):
        gguf.convert_byte_order(big, tmp_path / "no.gguf", "middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got `middle`"):
        gguf.dequantize(b"", "F32", byte_order="middle")  # type: ignore[arg-type]
    assert not (tmp_path / "no.gguf").exists()


def test_blocks_are_swapped_as_the_gguf_package_swaps_them() -> None:
    peer = needs.package("gguf")
    script = needs.package("gguf.scripts.gguf_convert_endian")
    assert len(script.byteswap_tensors) >= 4
    little = every_type()
    big = gguf.open(gguf.GgufWriter.of(little, byte_order="big").to_bytes())
    for kind, swap in script.byteswap_tensors.items():
        tensor = little.tensors[kind.name]
        stored = SimpleNamespace(data=tensor.raw.copy())
        size = peer.GGML_QUANT_SIZES[kind][1]
        for start in range(0, tensor.nbytes, size):
            swap(stored, start)
        assert stored.data.tobytes() == big.tensors[kind.name].raw.tobytes(), kind.name


def test_bfloat16_is_the_upper_half_of_a_float32_rounded_to_even(monkeypatch: pytest.MonkeyPatch) -> None:
    bits = np.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0xC0490FDB, 0x7F800000, 0x00000001], np.uint32)
    expected = [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0xC049, 0x7F80, 0x0000]
    data = bits.view(np.uint8)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    plain = gguf.dequantize(data, "F32", dtype="bfloat16")
    assert (plain.dtype, plain.tolist()) == (np.uint16, expected)
    assert gguf.dequantize(plain.view(np.uint8), "BF16", dtype="bfloat16").tolist() == expected
    # Any type of two bytes shows that it is taken from there.
    monkeypatch.setitem(sys.modules, "ml_dtypes", cast("ModuleType", SimpleNamespace(bfloat16=np.int16)))
    assert gguf.dequantize(data, "F32", dtype="bfloat16").dtype == np.int16
    with pytest.raises(ValueError, match="`bfloat16` or `float64`, not `uint16`"):
        gguf.dequantize(data, "F32", dtype=np.uint16)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda w: w.set("k", {}), TypeError, "not `dict`"),
        (lambda w: w.set("k", []), ValueError, "empty array needs a type"),
        (lambda w: w.set("k", [1, "a"]), ValueError, "all items of an array have one type"),
        (lambda w: w.set("k", 2**64), ValueError, "does not fit in 64 bits"),
        (lambda w: w.set("k", 256, type="u8"), ValueError, "`256` does not fit in `u8`"),
        (lambda w: w.set("k", "1", type="u8"), TypeError, "`u8` cannot be made of `str`"),
        (lambda w: w.set("k", True, type="u8"), TypeError, "`u8` cannot be made of `bool`"),
        (lambda w: w.set("k", 1, type="u9"), ValueError, "`u9` is no type of metadata"),
        (lambda w: w.set("k", "ab", type="arr[str]"), TypeError, "cannot be made of `str`"),
        (lambda w: w.add_tensor("t", np.zeros(3, np.complex64)), TypeError, "which GGUF lacks"),
        (lambda w: w.add_tensor("t", b"123"), ValueError, "needs `type` and `shape`"),
        (lambda w: w.add_tensor("t", b"123", type="Q9_0", shape=(1,)), ValueError, "`Q9_0` is no type of tensors"),
        (lambda w: w.add_tensor("t", b"123", type="F32", shape=(1,)).to_bytes(), GgufError, "promised with `4` bytes of data, but `3` came"),
        (lambda w: w.add_tensor("t", b"", type="Q8_0", shape=(33,)).to_bytes(), GgufError, "blocks of `32`"),
        (lambda w: w.set("general.alignment", 3).to_bytes(), GgufError, "power of two"),
    ],
)
def test_what_cannot_be_written_is_refused(call: Callable[[gguf.GgufWriter], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(gguf.GgufWriter())


def test_a_failure_in_a_tensors_maker_comes_out_as_it_is_and_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> np.ndarray[Any, Any]:
        message = "no such weights"
        raise LookupError(message)

    writer = gguf.GgufWriter().add_tensor("t", fail, type="F32", shape=(2,))
    with pytest.raises(LookupError, match="no such weights"):
        writer.write(tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_and_stops(tiny_path: Path, tmp_path: Path) -> None:
    file = gguf.open(tiny_path)
    seen: list[tuple[int, int]] = []
    file.validate("full", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(tensor.nbytes for tensor in file.tensors)
    out = tmp_path / "out.gguf"

    def stop(done: int, total: int) -> bool:
        return False

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    # Slow enough that the callback is heard before the end.
    pause = threading.Event()
    writer = gguf.GgufWriter()
    for number in range(20):
        writer.add_tensor(f"t{number}", lambda: np.zeros(1 << 20, np.int8) if not pause.wait(0.02) else b"", type="I8", shape=(1 << 20,))
    with pytest.raises(GgufCancelledError):
        writer.write(out, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        writer.write(out, progress=interrupt)
    with pytest.raises(GgufCancelledError):
        writer.write_parts(tmp_path / "part", max_tensors=5, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.gguf"]


def test_large_results_are_alike_and_their_own_whatever_memory_they_get() -> None:
    data = np.random.default_rng(5).integers(0, 60, 34 << 18, np.uint8)  # 32 MiB of weights
    expected = np.concatenate([gguf.dequantize(piece, "Q8_0") for piece in np.split(data, 64)])
    first = gguf.dequantize(data, "Q8_0")
    kept = first[:10]
    for dtype in (np.float32, np.float64, np.float32, np.float16):
        found = gguf.dequantize(data, "Q8_0", dtype=dtype)
        assert (found == expected.astype(dtype)).all()
        assert found.flags.writeable
        assert not np.shares_memory(found, first)
        found[...] = 0
        del found
    del first
    again = gguf.dequantize(data, "Q8_0", threads=1)
    assert (again == expected).all()
    again[...] = 0
    assert (kept == expected[:10]).all()


@pytest.mark.parametrize("parts", [False, True])
def test_after_ctrl_c_nothing_of_the_file_is_left(tmp_path: Path, *, parts: bool) -> None:
    pause = threading.Event()

    def slow() -> bytes:
        # Ctrl-C comes while the data is made, which takes longer than an interrupted call waits for work that only reads.
        _thread.interrupt_main()
        pause.wait(0.5)
        return bytes(1 << 20)

    writer = gguf.GgufWriter()
    for number in range(2):
        writer.add_tensor(f"t{number}", slow, type="I8", shape=(1 << 20,))
    with pytest.raises(KeyboardInterrupt):
        writer.write_parts(tmp_path / "part", max_tensors=1) if parts else writer.write(tmp_path / "whole.gguf")
    assert list(tmp_path.iterdir()) == []


def test_a_split_model_opens_by_any_part_and_merges_to_the_same_bytes(tiny: bytes, tmp_path: Path) -> None:
    paths = gguf.split(gguf.open(tiny), tmp_path / "m", max_tensors=7)
    assert [path.name for path in paths] == [f"m-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for path in paths:
        file = gguf.open(path, check="full")
        assert file.parts == [part.name for part in paths]
        assert [tensor.part for tensor in file.tensors][::19] == [0, 2]
        assert file.metadata["general.name"] == "tiny"
        assert file.size == sum(part.stat().st_size for part in paths)
    gguf.merge(paths[1], tmp_path / "whole.gguf")
    assert (tmp_path / "whole.gguf").read_bytes() == tiny
    assert gguf.open(paths[0]).hashes().weights == gguf.open(tiny).hashes().weights
    assert gguf.edit_metadata(paths[0], {"llama.context_length": 65}) == "in place"
    assert gguf.open(paths[2]).metadata["llama.context_length"] == 65
    with pytest.raises(ValueError, match="in the first, `m-00001-of-00003"):
        gguf.edit_metadata(paths[1], {"llama.context_length": 64})
    paths[2].unlink()
    with pytest.raises(GgufError, match="m-00003-of-00003"):
        gguf.open(paths[0])


def test_metadata_changes_in_place_or_by_rewriting(tiny: bytes, tiny_path: Path, tmp_path: Path) -> None:
    assert gguf.edit_metadata(tiny_path, {"llama.context_length": 65}) == "in place"
    assert gguf.open(tiny_path).metadata.type("llama.context_length") == "u32"
    assert gguf.edit_metadata(tiny_path, {"llama.context_length": 65}) == "unchanged"
    assert gguf.edit_metadata(tiny_path, {"llama.context_length": 64}) == "in place"
    assert tiny_path.read_bytes() == tiny
    template = "x" * 100
    assert gguf.edit_metadata(tiny_path, {"tokenizer.chat_template": template}, remove=["general.name"]) == "rewritten"
    file = gguf.open(tiny_path, check="full")
    assert file.metadata["tokenizer.chat_template"] == template
    assert "general.name" not in file.metadata
    copy = tmp_path / "copy.gguf"
    gguf.edit_metadata(tiny_path, {"a": 1}, types={"a": "f64"}, output=copy)
    assert gguf.open(copy).metadata.type("a") == "f64"
    assert "a" not in gguf.open(tiny_path).metadata
    with pytest.raises(TypeError, match="`u32` cannot be made of `str`"):
        gguf.edit_metadata(tiny_path, {"llama.context_length": "long"})


def test_differences_are_sentences(tiny: bytes) -> None:
    first = gguf.open(tiny)
    assert gguf.diff(first, first) == []
    second = gguf.open(gguf.GgufWriter.of(first).set("general.name", "other").to_bytes())
    assert gguf.diff(first, second) == ["key `general.name` is `tiny` in the first file and `other` in the second"]


def test_dequantizing_and_quantizing_keep_the_shape() -> None:
    values = np.random.default_rng(1).normal(size=(3, 4, 256)).astype(np.float32)
    for kind, worst in {"Q8_0": 0.02, "Q4_K": 0.5, "BF16": 0.02, "F16": 0.002, "F32": 1e-9}.items():
        stored = gguf.quantize(values, kind)
        assert stored.dtype == np.uint8
        back = gguf.dequantize(stored, kind, shape=values.shape)
        assert np.abs(back - values).max() < worst
        assert gguf.dequantize(stored.tobytes(), kind).shape == (values.size,)
        half = gguf.dequantize(stored, kind, shape=values.shape, dtype=np.float16)
        assert (half.dtype, half.tolist()) == (np.float16, back.astype(np.float16).tolist())
        file = gguf.open(gguf.GgufWriter().add_tensor("t", stored, type=kind, shape=values.shape).to_bytes())
        assert file.tensors["t"].dequantize().tolist() == back.tolist()
        assert file.tensors["t"].dequantize(np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: gguf.dequantize(b"123", "Q8_0", shape=(32,)), "`34` bytes, but the data has `3`"),
        (lambda: gguf.dequantize(b"1234", "F32", dtype=np.int32), "`dtype` is `float32`"),
        (lambda: gguf.dequantize(np.zeros(4, np.float32), "F32"), "`uint8` array"),
        (lambda: gguf.dequantize(b"", "F32", shape=(2**40, 2**40)), "more weights than 63 bits"),
        (lambda: gguf.quantize(np.zeros((2, 16)), "Q8_0"), "row|block"),
        (lambda: gguf.quantize(np.full(32, np.nan), "Q8_0"), "NaN|finite"),
        (lambda: gguf.quantize(np.zeros(32), "Q7"), "`Q7` is no type"),
        (lambda: gguf.quantize(np.zeros(32), "I8"), "cannot be quantized to"),
    ],
)
def test_wrong_arguments_of_the_number_formats_are_value_errors(call: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_types_know_their_size() -> None:
    assert gguf.TYPES["Q4_K"].bits_per_weight == 4.5
    assert (str(gguf.TYPES["Q8_0"]), gguf.TYPES["Q8_0"].id) == ("Q8_0", 8)
