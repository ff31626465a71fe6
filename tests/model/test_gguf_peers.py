"""Our files in llama.cpp and in the `gguf` package, and theirs in ours."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import needs
from support.tiny_models import tiny_llama
from tabagent import Model, SamplerConfig, gguf
from tabagent.errors import InvalidModelError

peer = needs.package("gguf")


def answer(path: Path) -> str:
    with Model.load(path, context_size=64, threads=1) as model:
        return model.generate([1, 5, 9], max_tokens=8, ignore_eos=True, sampling=SamplerConfig.greedy()).result().text


@pytest.mark.model
def test_our_files_run_in_llama_cpp_like_the_original(smollm2_path: Path, tmp_path: Path) -> None:
    expected = answer(smollm2_path)
    file = gguf.open(smollm2_path)
    rewritten = tmp_path / "again.gguf"
    gguf.GgufWriter.of(file).write(rewritten)
    assert hashlib.sha256(rewritten.read_bytes()).digest() == hashlib.sha256(smollm2_path.read_bytes()).digest()
    gguf.edit_metadata(rewritten, {"general.name": "a name that is longer than the old one, so that all tensors move"})
    assert answer(rewritten) == expected
    parts = gguf.split(file, tmp_path / "part", max_bytes=30_000_000)
    assert len(parts) >= 3
    assert answer(parts[0]) == expected


@pytest.mark.model
def test_a_model_written_from_arrays_loads_and_a_damaged_one_does_not(tmp_path: Path) -> None:
    source = gguf.open(tiny_llama().to_bytes())
    writer = gguf.GgufWriter()
    for key, value in source.metadata.items():
        writer.set(key, value, type=source.metadata.type(key))
    for tensor in source.tensors:
        kind = "F32" if len(tensor.shape) == 1 or tensor.shape[1] % 32 else "Q8_0"
        writer.add_tensor(tensor.name, gguf.quantize(tensor.numpy(), kind), type=kind, shape=tensor.shape)
    path = tmp_path / "quantized.gguf"
    writer.write(path)
    with Model.load(path, threads=1) as model:
        assert model.generate([1, 5], max_tokens=2, ignore_eos=True).result().usage.completion_tokens == 2
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InvalidModelError) as caught:
        Model.load(path)
    assert caught.value.tensor is not None
    assert caught.value.offset is not None


@pytest.mark.peer
def test_the_gguf_package_reads_ours(tmp_path: Path) -> None:
    path = tmp_path / "ours.gguf"
    values = {"general.architecture": "llama", "i": -5, "u": 7, "f": 0.5, "b": True, "texts": ["a", "é"], "numbers": [1, 2, 3]}
    weights = np.random.default_rng(2).normal(size=(3, 64)).astype(np.float32)
    writer = gguf.GgufWriter().update(values).add_tensor("w", weights)
    writer.add_tensor("q", gguf.quantize(weights, "Q8_0"), type="Q8_0", shape=weights.shape).write(path)
    reader = peer.GGUFReader(path)
    assert {key: reader.get_field(key).contents() for key in values} == values
    ours = {tensor.name: tensor for tensor in gguf.open(path).tensors}
    for tensor in reader.tensors:
        assert list(tensor.shape) == list(ours[tensor.name].gguf_shape)
        assert tensor.data.tobytes() == ours[tensor.name].raw.tobytes()
        decoded = peer.dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(decoded, ours[tensor.name].dequantize())


@pytest.mark.peer
@pytest.mark.parametrize("order", ["little", "big"])
def test_we_read_what_the_gguf_package_writes_and_write_the_same_bytes(order: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.gguf"
    endian = peer.GGUFEndian.BIG if order == "big" else peer.GGUFEndian.LITTLE
    writer = peer.GGUFWriter(path, "llama", endianess=endian)
    writer.add_uint8("u8", 1)
    writer.add_int64("i64", -(2**40))
    writer.add_float64("f64", 0.1)
    writer.add_bool("bool", True)
    writer.add_array("texts", ["a", "é", ""])
    writer.add_array("numbers", [1, -2, 3])
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "f32": np.arange(12, dtype=np.float32).reshape(3, 4),
        "f16": np.arange(5, dtype=np.float16),
        "i8": np.arange(7, dtype=np.int8),
    }
    for name, array in arrays.items():
        # The package swaps the array in place.
        writer.add_tensor(name, array.copy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    file = gguf.open(path)
    assert file.byte_order == order
    assert (file.metadata["u8"], file.metadata["i64"], file.metadata["f64"], file.metadata["bool"]) == (1, -(2**40), 0.1, True)
    assert (file.metadata["texts"], file.metadata["numbers"]) == (["a", "é", ""], [1, -2, 3])
    for name, array in arrays.items():
        assert np.array_equal(file.tensors[name].numpy(), array), name
        assert np.array_equal(file.tensors[name].dequantize(), array.astype(np.float32)), name
    assert gguf.GgufWriter.of(file).to_bytes() == path.read_bytes()


@pytest.mark.model
def test_opening_a_large_vocabulary_is_quick_and_right(gemma_path: Path) -> None:
    file = gguf.open(gemma_path, check="full")
    tokens = file.metadata["tokenizer.ggml.tokens"]
    assert (len(tokens), tokens[2], tokens[262_143]) == (262_144, "<bos>", "<unused6241>")
    assert tokens.tolist()[2:5] == tokens[2:5] == list(tokens)[2:5]
    assert file.metadata["tokenizer.ggml.scores"].numpy().shape == (262_144,)
    embedding = file.tensors["token_embd.weight"]
    assert embedding.shape == (262_144, 640)
