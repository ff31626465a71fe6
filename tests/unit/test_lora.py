"""`gguf.merge_lora`, `gguf.convert_lora` and their commands, against numpy in float64 and what llama.cpp's own converter wrote."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import gguf_image as raw
from support.tiny_adapters import ADAPTERS, ALPHA, RANK, write_peft
from support.tiny_checkpoints import smollm
from support.tiny_lora import ALPHA as TINY_ALPHA
from support.tiny_lora import EMBEDDINGS, tiny_adapter, untied_llama
from support.tiny_lora import RANK as TINY_RANK
from tabagent import GgufCancelledError, GgufError, gguf
from tabagent.cli import main
from tabagent.cli.adapter_options import parse_scaled
from tabagent.cli.failure import UsageError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "lora"
CHANGED = [EMBEDDINGS, "blk.0.attn_q.weight", "blk.1.ffn_down.weight"]
Out = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tiny model and an adapter for it."""
    model = untied_llama()
    (tmp_path / "model.gguf").write_bytes(model.to_bytes())
    (tmp_path / "adapter.gguf").write_bytes(tiny_adapter(model, CHANGED).to_bytes())
    return tmp_path


def weights(path: Path, name: str) -> np.ndarray[Any, Any]:
    return gguf.open(path).tensors[name].dequantize(np.float64)


def change(path: Path, name: str) -> np.ndarray[Any, Any]:
    """What the adapter at `path` adds to the tensor called `name`, in float64."""
    a, b = weights(path, f"{name}.lora_a"), weights(path, f"{name}.lora_b")
    product = a @ b.T if name == EMBEDDINGS else b @ a
    added: np.ndarray[Any, Any] = product * (TINY_ALPHA / TINY_RANK)
    return added


@pytest.mark.parametrize("out_type", gguf.MERGE_TYPES)
def test_changed_tensors_are_the_sums_of_numpy(out_type: str, folder: Path) -> None:
    model, adapter, out = folder / "model.gguf", folder / "adapter.gguf", folder / "out.gguf"
    done = gguf.merge_lora(model, {adapter: -0.5}, out, out_type=out_type, threads=2)
    assert (done.changed, done.tensors, done.ignored) == (3, len(gguf.open(model).tensors), ())
    for tensor in gguf.open(model).tensors:
        found = gguf.open(out).tensors[tensor.name]
        assert found.type == "F32", "as the model's own"
        if tensor.name in CHANGED:
            wanted = weights(model, tensor.name) - 0.5 * change(adapter, tensor.name)
            assert np.allclose(found.dequantize(np.float64), wanted, rtol=0, atol=1e-6)
        else:
            assert np.array_equal(found.raw, tensor.raw)


def test_adapters_and_scales_are_given_in_several_ways(folder: Path) -> None:
    model, adapter, out = folder / "model.gguf", str(folder / "adapter.gguf"), folder / "out.gguf"
    name = CHANGED[1]
    base, added = weights(model, name), change(folder / "adapter.gguf", name)
    for adapters, scales, total in (
        (adapter, None, 1.0),
        ([adapter, adapter], None, 2.0),
        ([adapter] * 2, [3, -1], 2.0),
        ({adapter: 0.25}, None, 0.25),
    ):
        gguf.merge_lora(model, adapters, out, scales=scales)
        assert np.allclose(weights(out, name), base + total * added, rtol=0, atol=2e-6)
    metadata = gguf.open(out).metadata
    assert (metadata["tabagent.lora.names"].tolist(), metadata["tabagent.lora.scales"].tolist()) == (["adapter.gguf"], [0.25])
    assert metadata["general.name"] == "tiny"


def test_calls_without_sense_are_value_errors(folder: Path) -> None:
    model, adapter, out = folder / "model.gguf", folder / "adapter.gguf", folder / "out.gguf"
    for adapters, options, text in (
        ([], {}, "no adapter"),
        ([adapter], {"scales": [1, 2]}, "`scales` has `2` items, but `adapters` has `1`"),
        ({adapter: 1}, {"scales": [1]}, "is a mapping"),
        ([adapter], {"scales": [float("nan")]}, "not finite"),
        ([adapter], {"out_type": "q4_k"}, "`q4_k` is no output type"),
        ([adapter], {"threads": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=text):
            gguf.merge_lora(model, adapters, out, **options)
    wrong: tuple[Any, ...] = ("2", 1.5, True)
    for threads in wrong:
        with pytest.raises(TypeError, match="`threads` must be an int"):
            gguf.merge_lora(model, [adapter], out, threads=threads)
    with pytest.raises(ValueError, match="`threads` must be at most"):
        gguf.merge_lora(model, [adapter], out, threads=2**40)
    with pytest.raises(FileNotFoundError):
        gguf.merge_lora(model, folder / "none.gguf", out)
    with pytest.raises(FileNotFoundError):
        gguf.merge_lora(folder / "none.gguf", adapter, out)
    assert not out.exists()


def test_hostile_adapters_are_refused(folder: Path) -> None:
    model = untied_llama()
    name = CHANGED[1]
    cases: dict[str, raw.Image] = {}
    cases["not finite"] = tiny_adapter(model, [name])
    tensor = cases["not finite"].tensors[0]
    cases["not finite"].tensors[0] = raw.Tensor(tensor.name, 0, tensor.shape, b"\x00\x00\xc0\x7f" * (len(tensor.data) // 4))
    cases["is missing"] = tiny_adapter(model, [name])
    cases["is missing"].tensors.pop()
    cases["but a factor is a matrix"] = tiny_adapter(model, [name])
    cases["but a factor is a matrix"].tensors = [raw.Tensor(f"{name}.lora_{letter}", 0, (0, 32), b"") for letter in "ab"]
    cases["save the adapter as"] = tiny_adapter(model, [name])
    cases["save the adapter as"].tensors = [raw.Tensor(part.name, 26, part.shape, part.data) for part in cases["save the adapter as"].tensors]
    cases["does not have"] = tiny_adapter(model, [name])
    cases["does not have"].tensors = [
        raw.Tensor(part.name.replace(".0.", ".9."), 0, part.shape, part.data) for part in cases["does not have"].tensors
    ]
    cases["architecture `llama`"] = tiny_adapter(model, [name]).set("general.architecture", raw.text("gemma"))
    for text, image in cases.items():
        (folder / "bad.gguf").write_bytes(image.to_bytes())
        with pytest.raises(GgufError, match=text):
            gguf.merge_lora(folder / "model.gguf", folder / "bad.gguf", folder / "out.gguf")
    assert sorted(path.name for path in folder.iterdir()) == ["adapter.gguf", "bad.gguf", "model.gguf"]


def test_progress_is_told_and_stops_the_work(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    arguments = (folder / "model.gguf", folder / "adapter.gguf", folder / "out.gguf")
    gguf.merge_lora(*arguments, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    (folder / "out.gguf").unlink()
    big = gguf.GgufWriter.of(gguf.open(folder / "model.gguf"))
    big.add_tensor("padding", np.zeros((64, 1 << 20), dtype=np.float32))
    big.write(folder / "big.gguf")
    with pytest.raises(GgufCancelledError):
        gguf.merge_lora(folder / "big.gguf", folder / "adapter.gguf", folder / "out.gguf", progress=lambda *_: False)
    assert not (folder / "out.gguf").exists()


def test_importances_are_used_when_tensors_are_packed_again(folder: Path) -> None:
    name = "blk.0.attn_q.weight"
    writer = gguf.GgufWriter()
    writer.set("general.architecture", "llama")
    packed = gguf.quantize(weights(folder / "model.gguf", name), "Q4_0")
    writer.add_tensor(name, packed, type="Q4_0", shape=(32, 32))
    writer.write(folder / "packed.gguf")
    (folder / "one.gguf").write_bytes(tiny_adapter(untied_llama(), [name]).to_bytes())
    importances = np.linspace(0, 9, 32, dtype=np.float32)
    gguf.Imatrix.of({name: importances}).write(folder / "imatrix.gguf")
    merged = {}
    for key, imatrix in {"none": None, "file": folder / "imatrix.gguf", "open": gguf.Imatrix(folder / "imatrix.gguf")}.items():
        gguf.merge_lora(folder / "packed.gguf", folder / "one.gguf", folder / "out.gguf", imatrix=imatrix)
        merged[key] = gguf.open(folder / "out.gguf").tensors[name].raw.tobytes()
    gguf.merge_lora(folder / "packed.gguf", folder / "one.gguf", folder / "out.gguf", out_type="f32")
    exact = gguf.open(folder / "out.gguf").tensors[name].dequantize()
    assert merged["none"] == gguf.quantize(exact, "Q4_0").tobytes()
    assert merged["file"] == merged["open"] == gguf.quantize(exact, "Q4_0", importance=importances).tobytes() != merged["none"]


@pytest.mark.parametrize("name", ADAPTERS)
def test_converted_adapters_are_those_of_llama_cpps_converter(name: str, tmp_path: Path) -> None:
    make, embeddings, kind = ADAPTERS[name]
    checkpoint = make()
    base = checkpoint.write(tmp_path / name)
    adapter = write_peft(tmp_path / "adapter", checkpoint, embeddings=embeddings)
    done = gguf.convert_lora(adapter, tmp_path / "out.gguf", base=base, out_type=kind.upper())
    file = gguf.open(tmp_path / "out.gguf")
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    keys = dict(file.metadata.items())
    assert keys == golden["keys"] | {"general.name": "adapter"}
    found = {tensor.name: [tensor.type, list(tensor.gguf_shape), hashlib.sha256(tensor.raw.tobytes()).hexdigest()] for tensor in file.tensors}
    assert found == golden["tensors"]
    assert (done.architecture, done.tensors) == (keys["general.architecture"], len(found))


@pytest.mark.parametrize("name", ADAPTERS)
def test_peft_adapters_merge_before_and_after_converting_alike(name: str, tmp_path: Path) -> None:
    make, embeddings, _ = ADAPTERS[name]
    checkpoint = make()
    base = checkpoint.write(tmp_path / name)
    adapter = write_peft(tmp_path / "adapter", checkpoint, embeddings=embeddings, use_rslora=True, alpha_pattern={r"layers\.1\..*": 3})
    gguf.convert(base, tmp_path / "model.gguf", out_type="f32")
    gguf.convert_lora(adapter, tmp_path / "adapter.gguf", base=base)
    merged = [gguf.merge_lora(tmp_path / "model.gguf", adapter, tmp_path / "first.gguf")]
    merged.append(gguf.merge_lora(tmp_path / "model.gguf", tmp_path / "adapter.gguf", tmp_path / "second.gguf"))
    assert merged[0] == merged[1]
    first, second = gguf.open(tmp_path / "first.gguf"), gguf.open(tmp_path / "second.gguf")
    for tensor in first.tensors:
        assert np.allclose(tensor.dequantize(), second.tensors[tensor.name].dequantize(), rtol=1e-5, atol=1e-5), tensor.name


def test_merging_is_as_good_before_converting_as_after(tmp_path: Path) -> None:
    """The adapter is merged by numpy into the checkpoint, which is then converted."""
    checkpoint = smollm()
    base = checkpoint.write(tmp_path / "base")
    adapter = write_peft(tmp_path / "adapter", checkpoint)
    gguf.convert(base, tmp_path / "model.gguf", out_type="f32")
    gguf.merge_lora(tmp_path / "model.gguf", {adapter: 0.5}, tmp_path / "merged.gguf")
    plain, factors = read_safetensors(base / "model.safetensors"), read_safetensors(adapter / "adapter_model.safetensors")
    changed = 0
    for name in plain:
        module = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{module}.lora_A.weight" in factors:
            product = factors[f"{module}.lora_B.weight"].astype(np.float64) @ factors[f"{module}.lora_A.weight"].astype(np.float64)
            plain[name] = (plain[name] + 0.5 * ALPHA / RANK * product).astype(np.float32)
            changed += 1
    assert changed == 2 * 7
    shutil.copytree(base, tmp_path / "numpy")
    rewrite_safetensors(tmp_path / "numpy" / "model.safetensors", plain)
    gguf.convert(tmp_path / "numpy", tmp_path / "numpy.gguf", out_type="f32")
    wanted = gguf.open(tmp_path / "numpy.gguf")
    for tensor in gguf.open(tmp_path / "merged.gguf").tensors:
        assert np.allclose(tensor.dequantize(), wanted.tensors[tensor.name].dequantize(), rtol=0, atol=1e-6), tensor.name


def read_safetensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            found[name] = np.frombuffer(data[start + first : start + last], dtype="<f4").reshape(entry["shape"])
    return found


def rewrite_safetensors(path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> None:
    header: dict[str, Any] = {}
    data = b""
    for name, values in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + values.nbytes]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_adapters_and_scales_are_read_from_the_command_line(tmp_path: Path) -> None:
    assert [parse_scaled(text, "=") for text in ("a.gguf", "a.gguf=0.5", "a=b.gguf=-2")] == [("a.gguf", 1.0), ("a.gguf", 0.5), ("a=b.gguf", -2.0)]
    assert parse_scaled("a.gguf:1e-1", ":") == ("a.gguf", 0.1)
    (tmp_path / "a=1").touch()
    assert parse_scaled(str(tmp_path / "a=1"), "=") == (str(tmp_path / "a=1"), 1.0)
    with pytest.raises(UsageError, match="is no number"):
        parse_scaled("a.gguf=loud", "=")


def test_the_command_merges_and_says_so(folder: Path, capsys: Out) -> None:
    model, adapter, out = str(folder / "model.gguf"), str(folder / "adapter.gguf"), str(folder / "out.gguf")
    assert main(["gguf", "merge-lora", model, out, "--lora", f"{adapter}=0.5", "--lora-scaled", f"{adapter}:0.5", "--outtype", "F16", "-t", "1"]) == 0
    assert f"wrote `{out}`: 3 of 21 tensors changed" in capsys.readouterr().err
    name = CHANGED[1]
    assert np.allclose(weights(Path(out), name), weights(Path(model), name) + change(Path(adapter), name), rtol=0, atol=2e-6)
    for arguments, text in (
        ([], "give `--lora FILE`"),
        (["--lora", adapter, "--outtype", "q4_k"], "`q4_k` is no output type"),
        (["--lora", model], "key `general.type` must be `adapter`"),
    ):
        assert main(["gguf", "merge-lora", model, out, *arguments]) != 0
        assert text in capsys.readouterr().err


def test_the_convert_command_knows_adapters(tmp_path: Path, capsys: Out) -> None:
    checkpoint = smollm()
    base = checkpoint.write(tmp_path / "base")
    adapter = write_peft(tmp_path / "adapter", checkpoint, base_model_name_or_path=str(base))
    out = str(tmp_path / "out.gguf")
    assert main(["convert", str(adapter), out]) == 0
    assert f"wrote `{out}`: adapter for llama, 28 tensors" in capsys.readouterr().err
    assert main(["convert", str(adapter), out, "--base", str(base), "--outtype", "bf16"]) == 0
    assert {tensor.type for tensor in gguf.open(out).tensors} == {"BF16"}
    assert main(["convert", str(adapter), out, "--outtype", "tq2_0"]) != 0
    assert main(["convert", str(base), out, "--base", str(base)]) != 0
    errors = capsys.readouterr().err
    assert "is an adapter" in errors
    assert "is no adapter" in errors


PEFT_FIELDS: dict[str, tuple[Any, str | None]] = {
    "alora_invocation_tokens": ([1], "only after some tokens"),
    "arrow_config": ({"top_k": 1}, "chooses among adapters"),
    "auto_mapping": ({"base_model_class": "x"}, None),
    "bias": ("all", "biases"),
    "corda_config": ({"cache_file": "x"}, None),
    "ensure_weight_tying": (True, None),
    "eva_config": ({"rho": 2.0}, None),
    "exclude_modules": (["lm_head"], None),
    "fan_in_fan_out": (True, "the other way round"),
    "inference_mode": (True, None),
    "init_lora_weights": ("pissa", "changed weights"),
    "kasa_config": ({"beta": 1}, "third factor"),
    "layer_replication": ([[0, 2], [1, 2]], "repeated layers"),
    "layers_pattern": ("layers", None),
    "layers_to_transform": ([0], None),
    "loftq_config": ({"loftq_bits": 4}, None),
    "lora_bias": (True, "biases of the factors"),
    "lora_dropout": (0.1, None),
    "lora_ga_config": ({"direction": "ArB2r"}, None),
    "megatron_config": ({"a": 1}, "spread over devices"),
    "megatron_core": ("megatron.core", None),
    "modules_to_save": (["lm_head"], "whole modules"),
    "monteclora_config": ({"a": 1}, "at random"),
    "peft_version": ("0.21.2", None),
    "qalora_group_size": (16, None),
    "revision": ("main", None),
    "target_modules": (["q_proj"], None),
    "target_parameters": (["experts.gate_up_proj"], "no modules"),
    "task_type": ("CAUSAL_LM", None),
    "trainable_token_indices": ([1, 2], "single changed tokens"),
    "use_bdlora": ({"a": 1}, "blocks of larger ones"),
    "use_dora": (True, "DoRA"),
    "use_qalora": (True, "groups of columns"),
    "velora_config": ({"a": 1}, None),
    "something_new": ({"a": 1}, "no field of that name"),
}
"""Every field of `peft`'s `LoraConfig` that does not count in the product, set to something: whether it is refused, and why."""


@pytest.mark.parametrize("field", PEFT_FIELDS)
def test_fields_of_peft_are_harmless_or_refused(field: str, tmp_path: Path) -> None:
    value, reason = PEFT_FIELDS[field]
    base = smollm().write(tmp_path / "hf")
    gguf.convert(base, tmp_path / "model.gguf", out_type="f32")
    plain = write_peft(tmp_path / "plain", smollm())
    adapter = write_peft(tmp_path / "adapter", smollm(), **{field: value})
    if reason is not None:
        for call in (
            lambda: gguf.merge_lora(tmp_path / "model.gguf", adapter, tmp_path / "out.gguf"),
            lambda: gguf.convert_lora(adapter, tmp_path / "out.gguf", base=base),
        ):
            with pytest.raises(GgufError, match=rf"key `{field}` .*{reason}"):
                call()
        assert not (tmp_path / "out.gguf").exists()
        return
    for source, out in ((plain, "plain.gguf"), (adapter, "out.gguf")):
        gguf.merge_lora(tmp_path / "model.gguf", source, tmp_path / out)
    assert gguf.open(tmp_path / "out.gguf").hashes().weights == gguf.open(tmp_path / "plain.gguf").hashes().weights


@pytest.mark.parametrize(
    ("config", "strength"),
    [
        ({"use_rslora": True}, ALPHA / RANK**0.5),
        ({"lora_alpha": 20}, 20 / RANK),
        ({"alpha_pattern": {"q_proj": 3}}, 3 / RANK),
        ({"alpha_pattern": {r"layers\.0\.self_attn\.q_proj": 3}, "use_rslora": True}, 3 / RANK**0.5),
        ({"r": 8, "rank_pattern": {".*": RANK}}, ALPHA / RANK),
    ],
)
def test_fields_of_peft_that_count_change_the_strength(config: dict[str, Any], strength: float, tmp_path: Path) -> None:
    gguf.convert(smollm().write(tmp_path / "hf"), tmp_path / "model.gguf", out_type="f32")
    name = "blk.0.attn_q.weight"
    plain = write_peft(tmp_path / "plain", smollm())
    adapter = write_peft(tmp_path / "adapter", smollm(), **config)
    for source, out in ((plain, "plain.gguf"), (adapter, "out.gguf")):
        gguf.merge_lora(tmp_path / "model.gguf", source, tmp_path / out)
    base = weights(tmp_path / "model.gguf", name)
    one, other = weights(tmp_path / "plain.gguf", name) - base, weights(tmp_path / "out.gguf", name) - base
    assert np.abs(one).max() > 0.01
    assert np.allclose(other, one * (strength / (ALPHA / RANK)), rtol=0, atol=1e-5)
