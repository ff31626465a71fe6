"""`tabagent embed` with a tiny model: texts from everywhere, vectors to everywhere."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from support.tiny_embedders import WIDTH, tiny_embedder
from tabagent import Model
from tabagent.cli import main

pytestmark = pytest.mark.model


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_embedder("bert").to_bytes())
    return str(path)


def expected(model: str, texts: list[str], **options: object) -> np.ndarray:
    with Model.load(model, threads=1) as loaded:
        return loaded.embed(texts, **options)  # type: ignore[arg-type]


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def test_texts_as_arguments_give_a_line_of_json_each(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", model, "one text", "another", "-t", "1"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["index"] for row in rows] == [0, 1]
    assert np.array_equal(np.array([row["embedding"] for row in rows], dtype=np.float32), expected(model, ["one text", "another"]))
    assert err == ""


@pytest.mark.parametrize("arguments", [[], ["-f", "-"], ["-f", "lines.txt"]])
def test_lines_are_texts_in_utf8(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    data = "\ufeffgrüße\r\n\na b\u2028c\n".encode()
    (tmp_path / "lines.txt").write_bytes(data)
    monkeypatch.chdir(tmp_path)
    pipe(monkeypatch, data)
    assert main(["embed", model, *arguments, "-t", "1", "--no-normalize"]) == 0
    rows = [json.loads(line)["embedding"] for line in capsys.readouterr().out.splitlines()]
    assert np.array_equal(np.array(rows, dtype=np.float32), expected(model, ["grüße", "", "a b\u2028c"], normalize=False))


def test_vectors_go_to_an_array_or_to_lines(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array, lines = tmp_path / "x.npy", tmp_path / "x.jsonl"
    for path in (array, lines):
        assert main(["embed", model, "a", "b", "--pooling", "cls", "--dimensions", "8", "-t", "1", "-o", str(path)]) == 0
        assert capsys.readouterr() == ("", f"tabagent: wrote `{path}`: 2 vectors of 8 numbers\n")
    found = np.load(array)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected(model, ["a", "b"], pooling="cls", dimensions=8))
    assert np.array_equal(np.array([json.loads(line)["embedding"] for line in lines.read_text().splitlines()], dtype=np.float32), found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.gguf", "x.jsonl", "x.npy"]


def test_no_lines_are_no_vectors(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pipe(monkeypatch, b"")
    assert main(["embed", model, "-t", "1", "-o", str(tmp_path / "none.npy")]) == 0
    assert np.load(tmp_path / "none.npy").shape == (0, WIDTH)
    assert capsys.readouterr().out == ""


def test_what_is_wrong_is_told_in_one_line(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(), encoding="utf-8"))
    long = "a " * 200
    for arguments, code, message in [
        ([model], 2, "there are no texts; give them after the model, with `-f FILE`, or pipe them in"),
        ([model, "a", "-f", "x.txt"], 2, "texts are given as arguments and with `-f`; give them in one way"),
        ([model, "a", "--pooling", "max"], 2, "`--pooling max` is not known; there are `mean`, `cls`, `last`"),
        ([model, "a", "--dimensions", "99"], 1, "`--dimensions` must be between 1 and 32"),
        ([model, "a", long, "-t", "1"], 1, "`texts[1]` has 202 tokens and 128 fit; shorten it, cut it with `--truncate`, or raise `-c`"),
        ([model, "a", "-o", str(tmp_path / "no" / "x.npy"), "-t", "1"], 1, "no such file or directory"),
        ([model, "-f", str(tmp_path / "none.txt")], 1, "none.txt`: no such file or directory"),
    ]:
        assert main(["embed", *arguments]) == code, arguments
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err, arguments
        assert err.count("\n") == 1
    assert main(["embed", model, long, "--truncate", "-t", "1"]) == 0


def test_a_model_that_cannot_embed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", str(tmp_path / "missing.gguf"), "a"]) == 1
    assert "missing.gguf" in capsys.readouterr().err
