"""`tabagent bench` and `tabagent info --memory` on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.tiny_models import tiny_llama
from tabagent import predict_memory
from tabagent.cli import main
from tabagent.cli.bench import Result


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    return str(path)


def measured(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["bench", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_size_is_measured_with_each_setting(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, model, "-p", "8,16", "-n", "4", "-t", "1", "-b", "4,8", "-ub", "4", "-fa", "on,off", "-r", "3")
    rows = [(row["test"], row["batch_size"], row["flash_attention"]) for row in found["results"]]
    assert rows == [(test, batch, attention) for batch in (4, 8) for attention in ("on", "off") for test in ("pp8", "pp16", "tg4")]
    for row in found["results"]:
        rates = row["tokens_per_second"]
        assert len(rates) == 3
        assert min(rates) > 0
        assert min(rates) <= row["mean"] <= max(rates)
        assert (row["threads"], row["micro_batch_size"], row["key_type"]) == (1, 4, "f16")
    assert found["model"].startswith("llama")
    assert found["file"] == model
    assert found["cores"] >= 1
    assert found["parameters"] > 0
    assert found["llama_cpp"]


def test_streams_at_once_are_measured_through_generate(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, model, "-p", "0", "-n", "4", "-t", "1", "--parallel", "1,3", "-r", "2")
    assert [row["test"] for row in found["results"]] == ["tg4", "tg4 x 1", "tg4 x 3"]
    assert all(len(row["tokens_per_second"]) == 2 and row["mean"] > 0 for row in found["results"])


def test_people_get_a_table_of_what_differs(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", model, "-p", "8", "-n", "2", "-t", "1", "-r", "2", "-ctk", "f16,f32"]) == 0
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["machine"] in [line[:1] for line in lines]
    (head,) = [line for line in lines if line[:1] == ["test"]]
    assert head == ["test", "threads", "keys", "tokens/s"]
    rows = [line for line in lines if line and line[0] in {"pp8", "tg2"}]
    assert [row[:3] for row in rows] == [["pp8", "1", "f16"], ["tg2", "1", "f16"], ["pp8", "1", "f32"], ["tg2", "1", "f32"]]
    assert all(row[4] == "±" for row in rows)


def test_mean_and_deviation_are_of_all_runs() -> None:
    setting: dict[str, Any] = {"threads": 1, "batch_size": 8, "micro_batch_size": 8, "flash_attention": "on", "key_type": "f16", "value_type": "f16"}
    result = Result(test="pp8", tokens_per_second=(1.0, 2.0, 3.0), **setting)
    assert (result.mean, result.deviation) == (2.0, 1.0)
    assert Result(test="pp8", tokens_per_second=(4.0,), **setting).deviation == 0.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "0", "-n", "0"], "leaves nothing to measure"),
        (["-p", "x"], "`-p x` is not a list of whole numbers from 0 on"),
        (["-t", "0"], "`-t 0` is not a list of whole numbers from 1 on"),
        (["-b", "8,,8"], "`-b 8,,8` is not"),
        (["-fa", "maybe"], "`-fa maybe` is not known; there are `auto`, `on`, `off`"),
        (["-ctk", "f17"], "`-ctk f17` is not known; there are `f32`"),
        (["-ngl", "many"], "`-ngl many` is not"),
    ],
)
def test_wrong_lists_are_usage_errors(model: str, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert main(["bench", model, *arguments]) == 2
    assert says in capsys.readouterr().err


def test_info_shows_what_loading_would_take(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", model, "--memory", "-c", "4096", "-ctk", "f32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["memory"]
    predicted = predict_memory(model, context_size=4096, kv_type=("f32", "f16"))
    assert (found["allocated"], found["total"], found["fits"]) == (predicted.allocated, predicted.total, True)
    assert (found["context_size"], found["kv_types"]) == (4096, ["f32", "f16"])
    assert main(["info", model, "--memory", "-c", "4096"]) == 0
    out = capsys.readouterr().out
    assert "context of 4,096 tokens in f16" in out
    assert "must be free" in out
    assert "fits" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["m.gguf", "-c", "8"], "add it"),
        (["hf://o/r/m.gguf", "--memory"], "`--memory` needs the file on this machine"),
        (["m.gguf", "--memory", "--metadata", "general.name"], "leave out `--tensors` and `--memory`"),
    ],
)
def test_memory_needs_a_file_and_a_table(capsys: pytest.CaptureFixture[str], model: str, arguments: list[str], says: str) -> None:
    assert main(["info", *(model if argument == "m.gguf" else argument for argument in arguments)]) == 2
    assert says in capsys.readouterr().err
