"""`gguf.quantize_model` and `tabagent quantize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.wide_models import LAYERS, WIDTH, wide_llama
from tabagent import gguf
from tabagent.cli import main
from tabagent.cli.failure import UsageError
from tabagent.cli.quantize import Job, parse_override, parse_rules

Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def wide_bytes() -> bytes:
    return wide_llama().to_bytes()


@pytest.fixture
def wide(tmp_path: Path, wide_bytes: bytes) -> Path:
    path = tmp_path / "wide.gguf"
    path.write_bytes(wide_bytes)
    return path


def imatrix(path: Path) -> Path:
    """An importance matrix for all matrices of the layers."""
    writer = gguf.GgufWriter()
    writer.update({"general.type": "imatrix", "imatrix.datasets": ["wiki.txt"]})
    writer.set("imatrix.chunk_count", 5, type="u32").set("imatrix.chunk_size", 512, type="u32")
    random = np.random.default_rng(1)
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            sums = random.uniform(0.1, 4.0, size=(1, WIDTH)).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.{name}.weight.in_sum2", sums)
            writer.add_tensor(f"blk.{layer}.{name}.weight.counts", np.ones((1, 1), dtype=np.float32))
    writer.write(path)
    return path


def types_of(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type for tensor in gguf.open(path, check="full").tensors}


def test_a_model_gets_the_mixture_of_its_type(wide: Path, tmp_path: Path) -> None:
    done = gguf.quantize_model(wide, tmp_path / "out.gguf", "q4_k_m")
    types = types_of(tmp_path / "out.gguf")
    assert types == {tensor.name: tensor.type for tensor in done.tensors}
    assert [types[f"blk.{layer}.attn_v.weight"] for layer in range(8)] == ["Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q4_K", "Q6_K", "Q6_K"]
    assert (types["token_embd.weight"], types["blk.0.attn_norm.weight"]) == ("Q6_K", "F32")
    assert (done.paths, done.file_type, done.problem) == ((tmp_path / "out.gguf",), 15, None)
    reasons = {tensor.name: tensor.reason for tensor in done.tensors}
    assert reasons["blk.0.attn_v.weight"] == "mixture: attn_v"
    assert reasons["blk.0.attn_q.weight"] == "default"
    assert reasons["blk.0.attn_norm.weight"] == "kept: one dimension"
    assert next(tensor.shape for tensor in done.tensors if tensor.name == "token_embd.weight") == (263, WIDTH)
    assert done.bits_per_weight_before == 32
    assert 4.5 < done.bits_per_weight < 6
    metadata = gguf.open(tmp_path / "out.gguf").metadata
    assert list(metadata)[-2:] == ["general.quantization_version", "general.file_type"]


def test_rows_are_what_quantizing_them_alone_gives(wide: Path, tmp_path: Path) -> None:
    gguf.quantize_model(wide, tmp_path / "out.gguf", "Q5_0", threads=2)
    before, after = gguf.open(wide), gguf.open(tmp_path / "out.gguf")
    name = "blk.3.ffn_up.weight"
    alone = gguf.quantize(before.tensors[name].numpy(), "Q5_0")
    assert after.tensors[name].raw.tobytes() == alone.tobytes()


def test_dry_run_writes_nothing_and_says_what_would_be_refused(wide: Path, tmp_path: Path) -> None:
    done = gguf.quantize_model(wide, None, "IQ2_XXS", dry_run=True)
    assert done.problem is not None
    assert "needs an importance matrix" in done.problem
    assert (done.paths, [path.name for path in tmp_path.iterdir()]) == ((), ["wide.gguf"])
    assert gguf.quantize_model(wide, None, "Q8_0", dry_run=True).problem is None


def test_importances_change_bytes_and_are_named_in_the_metadata(wide: Path, tmp_path: Path) -> None:
    matrix = imatrix(tmp_path / "imatrix.gguf")
    gguf.quantize_model(wide, tmp_path / "plain.gguf", "Q4_K_S")
    gguf.quantize_model(wide, tmp_path / "with.gguf", "Q4_K_S", imatrix=matrix, exclude_weights=["ffn_up"])
    plain, weighted = gguf.open(tmp_path / "plain.gguf"), gguf.open(tmp_path / "with.gguf")
    same = {
        name: plain.tensors[name].raw.tobytes() == weighted.tensors[name].raw.tobytes() for name in ("blk.1.attn_q.weight", "blk.1.ffn_up.weight")
    }
    assert same == {"blk.1.attn_q.weight": False, "blk.1.ffn_up.weight": True}
    expected = {"file": str(matrix), "dataset": "wiki.txt", "entries_count": LAYERS * 6, "chunks_count": 5}
    assert {key: weighted.metadata[f"quantize.imatrix.{key}"] for key in expected} == expected
    gguf.quantize_model(wide, tmp_path / "iq2.gguf", "IQ2_XXS", imatrix=matrix)
    assert types_of(tmp_path / "iq2.gguf")["blk.4.attn_q.weight"] == "IQ2_XXS"
    with pytest.raises(gguf.GgufError, match="needs an importance matrix"):
        gguf.quantize_model(wide, tmp_path / "no.gguf", "IQ2_XXS", imatrix=matrix, include_weights=["attn_v"])


def test_options_choose_types_layers_and_metadata(wide: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    gguf.quantize_model(
        wide,
        out,
        "Q4_K_M",
        tensor_types={r"blk\.[01]\.attn_v": "q8_0", "attn_v": "f16"},
        token_embedding_type="Q5_1",  # noqa: S106 (no password)
        metadata_overrides={"general.name": "other", "llama.rope.freq_base": 5e5, "some.count": 3},
        prune_layers=[2],
    )
    types, metadata = types_of(out), gguf.open(out).metadata
    assert [types[f"blk.{layer}.attn_v.weight"] for layer in (0, 1, 2)] == ["Q8_0", "Q8_0", "F16"]
    assert (types["token_embd.weight"], f"blk.{LAYERS - 1}.attn_q.weight" in types) == ("Q5_1", False)
    assert (metadata["llama.block_count"], metadata["general.name"], metadata["llama.rope.freq_base"]) == (LAYERS - 1, "other", 5e5)
    assert (metadata["some.count"], metadata.type("some.count")) == (3, "u32")
    gguf.quantize_model(wide, out, "Q4_K_M", pure=True)
    assert set(types_of(out).values()) == {"F32", "Q4_K"}


def test_parts_are_merged_or_kept(wide: Path, tmp_path: Path) -> None:
    parts = gguf.split(wide, tmp_path / "part", max_tensors=40)
    gguf.quantize_model(wide, tmp_path / "whole.gguf", "Q8_0")
    gguf.quantize_model(parts[1], tmp_path / "merged.gguf", "Q8_0")
    assert (tmp_path / "merged.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()
    done = gguf.quantize_model(parts[0], tmp_path / "kept.gguf", "Q8_0", keep_split=True)
    assert [path.name for path in done.paths] == ["kept-00001-of-00002.gguf", "kept-00002-of-00002.gguf"]
    assert types_of(done.paths[0]) == types_of(tmp_path / "whole.gguf")


def test_quantizing_twice_needs_permission(wide: Path, tmp_path: Path) -> None:
    gguf.quantize_model(wide, tmp_path / "q8.gguf", "Q8_0")
    with pytest.raises(gguf.GgufError, match=r"already quantized \(tensor `.*` is `Q8_0`\).*--allow-requantize"):
        gguf.quantize_model(tmp_path / "q8.gguf", tmp_path / "out.gguf", "Q4_0")
    assert not (tmp_path / "out.gguf").exists()
    gguf.quantize_model(tmp_path / "q8.gguf", tmp_path / "out.gguf", "Q4_0", allow_requantize=True)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"type": "Q4_K_XL"}, ValueError, "`Q4_K_XL` is no file type"),
        ({"type": 15}, TypeError, "`type` must be a str"),
        ({"type": None}, ValueError, "give one of `type`, `target_size` and `target_bits_per_weight`"),
        ({"target_size": "90MB"}, ValueError, "give one of `type`"),
        ({"type": None, "target_size": "90 stones"}, ValueError, "`90 stones` is no file size"),
        ({"type": None, "target_size": 0}, ValueError, "`target_size` must be at least 1"),
        ({"type": None, "target_bits_per_weight": float("nan")}, ValueError, "no bits per weight"),
        ({"type": None, "target_size": "90MB", "keep_split": True}, ValueError, "parts are to be kept"),
        ({"tensor_types": {"(": "q8_0"}}, ValueError, "no regular expression"),
        ({"tensor_types": {"a": "q8"}}, ValueError, "`q8` is no type"),
        ({"tensor_types": ["a"]}, TypeError, "`tensor_types` must be a mapping"),
        ({"output_tensor_type": "i8"}, ValueError, None),
        ({"token_embedding_type": "i8"}, ValueError, "`I8` is no type"),
        ({"prune_layers": [99]}, ValueError, "layer `99` cannot be left out"),
        ({"prune_layers": [-1]}, ValueError, r"`prune_layers\[0\]` must be at least 0"),
        ({"prune_layers": "0"}, TypeError, "`prune_layers` must be a sequence of ints"),
        ({"prune_layers": range(LAYERS)}, ValueError, "no layer would stay"),
        ({"threads": 0}, ValueError, "`threads` must be at least 1"),
        ({"threads": 10**9}, ValueError, "`threads` must be at most 1024"),
        ({"max_buffer_bytes": 0}, ValueError, "`max_buffer_bytes` must be at least 1"),
        ({"pure": 1}, TypeError, "`pure` must be True or False"),
        ({"metadata_overrides": {"a": [1]}}, TypeError, "must be a number"),
        ({"metadata_overrides": {"a": 2**40}}, ValueError, "key `a` cannot be replaced"),
        ({"metadata_overrides": {"llama.block_count": 0}}, gguf.GgufError, "llama.block_count"),
        ({"metadata_overrides": {"general.architecture": "nonsense"}}, gguf.GgufError, "`nonsense`"),
        ({"imatrix": "missing.dat"}, FileNotFoundError, "missing.dat"),
        ({"include_weights": "attn"}, TypeError, "`include_weights` must be a sequence"),
        ({"destination": None}, ValueError, "`destination` is missing"),
        ({"destination": "a\0b"}, ValueError, "NUL"),
        ({"source": "missing.gguf"}, FileNotFoundError, "missing.gguf"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], text: str | None, wide: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"source": wide, "destination": tmp_path / "out.gguf", "type": "Q4_K_M", **arguments}
    if text is None:  # a model with tied embeddings has no output.weight, but its embeddings get the type
        text = "`I8` is no type"
    with pytest.raises(error, match=text):
        gguf.quantize_model(given.pop("source"), given.pop("destination"), given.pop("type"), **given)
    assert [path.name for path in tmp_path.iterdir()] == ["wide.gguf"]


def test_the_source_is_never_overwritten(wide: Path, wide_bytes: bytes) -> None:
    with pytest.raises(ValueError, match="is the file to be quantized"):
        gguf.quantize_model(wide, wide, "Q8_0")
    assert wide.read_bytes() == wide_bytes


def test_progress_is_told_and_can_stop_it(wide: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    gguf.quantize_model(wide, tmp_path / "out.gguf", "Q8_0", progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == sum(tensor.nbytes for tensor in gguf.open(tmp_path / "out.gguf").tensors)
    (tmp_path / "out.gguf").unlink()
    source = tmp_path / "large.gguf"
    rows = 60_000
    writer = wide_llama().add_tensor("blk.0.large.weight", lambda: np.ones((rows, WIDTH), dtype=np.float32), type="F32", shape=(rows, WIDTH))
    writer.write(source)
    with pytest.raises(gguf.GgufCancelledError):
        gguf.quantize_model(source, tmp_path / "out.gguf", "IQ3_S", progress=lambda done, total: False)
    assert {path.name for path in tmp_path.iterdir()} == {"wide.gguf", "large.gguf"}


def test_a_size_can_be_asked_for(tmp_path: Path, capsys: Out) -> None:
    # Every type of every tensor is measured, four times over: three layers have all kinds of tensors, too.
    wide, out = tmp_path / "wide.gguf", tmp_path / "out.gguf"
    wide_llama(layers=3).write(wide)
    told: list[tuple[int, int]] = []
    done = gguf.quantize_model(wide, out, target_size=800_000, progress=lambda done, total: told.append((done, total)))
    assert 720_000 < out.stat().st_size <= 800_000
    assert len({tensor.type for tensor in done.tensors}) > 2
    assert {tensor.reason for tensor in done.tensors} == {"measured", "kept: one dimension"}
    assert told[-1][0] == told[-1][1]
    types_of(out)
    smaller = gguf.quantize_model(wide, None, target_bits_per_weight=4.5, tensor_types={"attn_v": "q8_0"}, dry_run=True)
    assert smaller.bits_per_weight <= 4.5
    assert {tensor.type for tensor in smaller.tensors if "attn_v" in tensor.name} == {"Q8_0"}
    with pytest.raises(ValueError, match="raise it to"):
        gguf.quantize_model(wide, out, target_size="100kB")
    assert main(["quantize", str(wide), str(out), "--target-size", "0.6MB"]) == 0
    assert out.stat().st_size <= 600_000
    assert f"wrote `{out}`" in capsys.readouterr().err
    assert main(["quantize", str(wide), "--target-bpw", "3.5", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_weight"] <= 3.5


def test_types_are_listed() -> None:
    assert (gguf.FILE_TYPES["Q4_K_M"].id, gguf.FILE_TYPES["Q4_K"].id, gguf.FILE_TYPES["COPY"].id) == (15, 15, None)
    assert gguf.FILE_TYPES["Q8_0"].bits_per_weight == 8.5
    assert str(gguf.FILE_TYPES["BF16"]) == "BF16"


@pytest.mark.parametrize(
    ("arguments", "destination", "kind", "threads"),
    [
        (["a/in.gguf", "q4_k"], "a/ggml-model-Q4_K.gguf", "q4_k", None),
        (["in.gguf", "15", "4"], "ggml-model-Q4_K_M.gguf", "15", 4),
        (["in.gguf", "out.gguf", "F16"], "out.gguf", "F16", None),
        (["in.gguf", "out.gguf", "copy", "0"], "out.gguf", "copy", None),
    ],
)
def test_arguments_are_those_of_llama_quantize(arguments: list[str], destination: str, kind: str, threads: int | None) -> None:
    job = Job.parse(arguments, dry_run=False, keep_split=False, threads=None)
    assert (job.destination, job.type, job.threads) == (str(Path(destination)), kind, threads)
    assert job.source == arguments[0]
    assert Job.parse(["in.gguf", "F16"], dry_run=False, keep_split=True, threads=7) == Job("in.gguf", "ggml-model-F16", "F16", 7)
    assert Job.parse(["in.gguf", "F16"], dry_run=True, keep_split=False, threads=None).destination is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "give a model and a type"),
        (["in.gguf"], "give a model and a type"),
        (["in.gguf", "out.gguf"], "`out.gguf` is no type"),
        (["in.gguf", "out.gguf", "Q9"], "`Q9` is no type"),
        (["in.gguf", "Q8_0", "two"], "`two` is no number of threads"),
        (["in.gguf", "Q8_0", "2", "3"], "`3` is one argument too many"),
        (["in.gguf", "--target-size", "9MB"], "give a model and the file to write"),
        (["in.gguf", "Q8_0", "--target-size", "9MB"], "`Q8_0` is a type"),
        (["in.gguf", "out.gguf", "--target-size", "9MB", "--target-bpw", "4"], "cannot be used together"),
        (["in.gguf", "out.gguf", "--target-size", "x"], "`x` is no file size"),
        (["in.gguf", "out.gguf", "--target-size", "0"], "`0` is no file size"),
        (["in.gguf", "Q8_0", "--tensor-type", "attn"], "`attn` is no rule"),
        (["in.gguf", "Q8_0", "--override-kv", "a=1"], "`a=1` is no override"),
        (["in.gguf", "Q8_0", "--override-kv", "a=bool:yes"], "`yes` in `a=bool:yes` is no bool"),
        (["in.gguf", "Q8_0", "--prune-layers", "1,x"], "is no list of layers"),
        (["in.gguf", "Q8_0", "--max-buffer-size", "0"], "must be at least 1"),
        (["in.gguf", "Q8_0", "--include-weights", "a", "--exclude-weights", "b"], "cannot be used together"),
    ],
)
def test_wrong_command_lines_are_told_in_one_line(arguments: list[str], text: str, capsys: Out) -> None:
    assert main(["quantize", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


def test_rules_and_overrides_are_read() -> None:
    assert parse_rules(["a=q8_0", "b=f16", "a=f32"]) == {"a": "q8_0", "b": "f16"}
    texts = ["a=int:-3", "b=float:1.5", "c=bool:true", "d=str:x=y:z"]
    assert [parse_override(text) for text in texts] == [("a", -3), ("b", 1.5), ("c", True), ("d", "x=y:z")]
    with pytest.raises(UsageError):
        parse_rules(["=q8_0"])


def test_command_quantizes_beside_the_source(wide: Path, tmp_path: Path, capsys: Out) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("attn_q=q8_0\n\tffn=q5_0 attn_q=f16\n", encoding="utf-8")
    assert main(["quantize", str(wide), "Q4_K_M", "1", "--tensor-type-file", str(rules)]) == 0
    out = tmp_path / "ggml-model-Q4_K_M.gguf"
    assert f"wrote `{out}`: " in capsys.readouterr().err
    types = types_of(out)
    assert (types["blk.0.attn_q.weight"], types["blk.0.ffn_up.weight"], types["blk.0.attn_v.weight"]) == ("Q8_0", "Q5_0", "Q6_K")
    assert main(["quantize", str(out), str(tmp_path / "again.gguf"), "Q4_0"]) == 1
    assert "already quantized" in capsys.readouterr().err
    assert main(["quantize", str(wide), str(wide), "Q4_0"]) == 1
    assert "is the file to be quantized" in capsys.readouterr().err


def test_a_tensor_tells_that_its_rows_do_not_fit(tmp_path: Path) -> None:
    source = tmp_path / "odd.gguf"
    writer = gguf.GgufWriter().set("general.architecture", "clip")
    writer.add_tensor("a.weight", np.zeros((4, 96), np.float32)).add_tensor("b.weight", np.zeros((4, 256), np.float32)).write(source)
    done = gguf.quantize_model(source, None, "Q4_K_M", dry_run=True)
    assert [(tensor.name, tensor.type, tensor.is_misfit) for tensor in done.tensors] == [("a.weight", "Q5_0", True), ("b.weight", "Q4_K", False)]


def test_dry_run_shows_a_table_or_json(wide: Path, tmp_path: Path, capsys: Out) -> None:
    assert main(["quantize", "--dry-run", str(wide), "IQ2_XS"]) == 0
    shown = capsys.readouterr()
    line = next(line for line in shown.out.splitlines() if line.startswith("blk.0.attn_v.weight"))
    assert line.split() == ["blk.0.attn_v.weight", "128", "x", "256", "F32", "->", "Q2_K", "mixture:", "attn_v", "10.5", "KiB"]
    assert "this would be refused" in shown.err
    assert "would write: " in shown.err
    assert main(["quantize", "--dry-run", "--json", str(wide), "Q8_0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["problem"], found["paths"], found["file_type"], found["dry_run"]) == (None, [], 7, True)
    tensor = next(tensor for tensor in found["tensors"] if tensor["name"] == "blk.0.attn_v.weight")
    assert tensor == {
        "name": "blk.0.attn_v.weight",
        "shape": [128, 256],
        "type_before": "F32",
        "type": "Q8_0",
        "reason": "default",
        "bytes_before": 131072,
        "bytes": 34816,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["wide.gguf"]


def test_list_shows_every_type(capsys: Out) -> None:
    assert main(["quantize", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in gguf.FILE_TYPES)
    assert main(["quantize", "--list", "--json"]) == 0
    assert {kind["name"] for kind in json.loads(capsys.readouterr().out)} == set(gguf.FILE_TYPES)
