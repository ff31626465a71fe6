"""`gguf.convert` and `tabagent convert` on tiny checkpoints, against what llama.cpp's own converter made of them."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import needs
from support.tiny_checkpoints import FAMILIES, SIZES, decoder_tensors, llama3, llama_block, packed_llama, smollm, write_safetensors
from tabagent import gguf
from waiting import until

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "convert"


def kept(value: Any) -> Any:
    """A value as `support/convert_golden.py` keeps it."""
    items = value.tolist() if isinstance(value, gguf.GgufArray) else value
    if isinstance(items, list) and len(items) > 8:
        return {"items": len(items), "sha256": hashlib.sha256(json.dumps(items).encode()).hexdigest()}
    return items


@pytest.mark.parametrize("name", FAMILIES)
def test_keys_and_tensors_are_those_of_llama_cpps_converter(name: str, tmp_path: Path) -> None:
    make, kind = FAMILIES[name]
    done = gguf.convert(make().write(tmp_path / name), tmp_path / "out.gguf", out_type=kind)
    file = gguf.open(tmp_path / "out.gguf")
    file.validate("model")
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert {key: kept(value) for key, value in file.metadata.items()} == golden["keys"]
    found = {tensor.name: [tensor.type, list(tensor.gguf_shape), hashlib.sha256(tensor.raw.tobytes()).hexdigest()] for tensor in file.tensors}
    assert found == golden["tensors"]
    assert list(found) == list(golden["tensors"]), "in the same order"
    assert (done.architecture, done.tensors) == (golden["keys"]["general.architecture"], len(found))


def test_packed_weights_are_unpacked_rows_a_fourth_apart(tmp_path: Path) -> None:
    checkpoint = packed_llama()
    folder = checkpoint.write(tmp_path / "model")
    gguf.convert(folder, tmp_path / "out.gguf", out_type="f32")
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]

    def stored(name: str) -> bytes:
        start, end = header[name]["data_offsets"]
        return data[start:end]

    name = "model.layers.0.mlp.up_proj.weight"
    packed = np.frombuffer(stored(name), dtype=np.uint8).reshape(header[name]["shape"])
    scale = (np.frombuffer(stored(f"{name}_scale"), dtype="<u2").astype("<u4") << 16).view("<f4")[0]
    expected = np.concatenate([((packed >> shift) & 3).astype(np.float32) - 1 for shift in (0, 2, 4, 6)]) / scale
    assert np.array_equal(gguf.open(tmp_path / "out.gguf").tensors["blk.0.ffn_up.weight"].numpy(), expected)


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    folder = llama3().write(tmp_path / "model")
    told: list[tuple[int, int]] = []
    gguf.convert(folder, tmp_path / "out.gguf", progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0


def large_folder(folder: Path) -> Path:
    """A checkpoint that takes long enough to be stopped: 256 MB of embeddings that are all zero."""
    checkpoint = llama3()
    checkpoint.config["vocab_size"] = 1_000_000
    checkpoint.tensors, checkpoint.shards = {}, 1
    checkpoint.write(folder)
    shapes = decoder_tensors("F32", SIZES | {"vocab": 1_000_000}, block=llama_block, tied=True)
    blobs = {name: ("F32", shape, bytes(4 * int(np.prod(shape)))) for name, (_, shape) in shapes.items()}
    write_safetensors(folder / "model.safetensors", blobs)
    return folder


def test_progress_can_stop_it_without_a_trace(tmp_path: Path) -> None:
    folder = large_folder(tmp_path / "model")
    with pytest.raises(gguf.GgufCancelledError):
        gguf.convert(folder, tmp_path / "out.gguf", out_type="q8_0", progress=lambda done, total: False)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_ctrl_c_leaves_no_file(tmp_path: Path) -> None:
    needs.machine(sys.platform != "win32", "Windows has no SIGINT for one process")
    folder = large_folder(tmp_path / "model")
    work = tmp_path / "work"
    work.mkdir()
    command = [sys.executable, "-m", "tabagent", "convert", str(folder), str(work / "out.gguf"), "--outtype", "q8_0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        until(lambda: any(work.iterdir()) or child.poll() is not None)
        assert child.poll() is None, "it ended before it wrote"
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert list(work.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "architecture `MambaForCausalLM` is not supported; supported are `LlamaForCausalLM`"),
        ({"hidden_size": None}, "config.json`: key `hidden_size` or"),
        ({"quantization_config": {"quant_method": "awq"}}, "method `awq`"),
    ],
)
def test_what_cannot_be_converted_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    checkpoint = smollm()
    checkpoint.config = checkpoint.config | change
    folder = checkpoint.write(tmp_path / "model")
    with pytest.raises(gguf.GgufError, match="cannot convert") as caught:
        gguf.convert(folder, tmp_path / "out.gguf")
    assert message in str(caught.value)
    assert not (tmp_path / "out.gguf").exists()


def test_wrong_types_and_missing_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`q4_k` is no output type"):
        gguf.convert(tmp_path, tmp_path / "out.gguf", out_type="q4_k")
    with pytest.raises(gguf.GgufError, match=r"there is no `config\.json`"):
        gguf.convert(tmp_path, tmp_path / "out.gguf")


def test_unknown_splitting_needs_a_name(tmp_path: Path) -> None:
    checkpoint = smollm()
    tokenizer: Any = checkpoint.files["tokenizer.json"]
    tokenizer["pre_tokenizer"] = {"type": "Whitespace"}
    folder = checkpoint.write(tmp_path / "model")
    with pytest.raises(gguf.GgufError, match=r"llama\.cpp has no name"):
        gguf.convert(folder, tmp_path / "out.gguf")
    gguf.convert(folder, tmp_path / "out.gguf", pre_tokenizer="gpt-2")
    assert gguf.open(tmp_path / "out.gguf").metadata["tokenizer.ggml.pre"] == "gpt-2"


def test_command_converts_and_says_what(tmp_path: Path) -> None:
    folder = smollm().write(tmp_path / "model")
    out = tmp_path / "out.gguf"

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tabagent", "convert", *arguments], capture_output=True, text=True, check=False)

    done = command(str(folder), str(out), "--outtype", "q8_0")
    assert done.returncode == 0, done.stderr
    assert f"wrote `{out}`: llama, " in done.stderr
    assert gguf.open(out).tensors["blk.0.ffn_up.weight"].type == "Q8_0"
    wrong = command(str(folder), str(out), "--outtype", "q4")
    assert (wrong.returncode, "`q4` is no output type" in wrong.stderr) == (2, True)
    missing = command(str(tmp_path), str(tmp_path / "no.gguf"))
    assert (missing.returncode, "config.json" in missing.stderr) == (1, True)
