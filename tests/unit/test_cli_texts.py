"""Texts on the command line in every locale: they arrive as they were typed, or are refused, and what is printed loses nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cli_fakes import FakeModel, loader
from tabagent import Model, SamplerConfig, Trigger
from tabagent.cli import main
from tabagent.cli.line_reader import LineReader

TEXT = "日本語 é"


def as_argument(text: str | bytes) -> str:
    """What Python makes of the bytes of an argument where the locale is ASCII."""
    data = text.encode() if isinstance(text, str) else text
    return data.decode("ascii", "surrogateescape")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    model = FakeModel(["x"])
    monkeypatch.setattr(Model, "load", loader(model))
    return model


@pytest.mark.parametrize(
    ("arguments", "name", "wanted"),
    [
        (["--choices", TEXT, "--choices", "no"], "choices", [TEXT, "no"]),
        (["--regex", TEXT], "regex", TEXT),
        (["--grammar", f'root ::= "{TEXT}"'], "grammar", f'root ::= "{TEXT}"'),
        (["--json-schema", f'{{"const": "{TEXT}"}}'], "json_schema", {"const": TEXT}),
        (["--regex", "a", "--trigger", TEXT], "trigger", Trigger(TEXT)),
        (["--stop", TEXT], "stop", [TEXT]),
        (["--stop", f"\\n{TEXT}", "-e"], "stop", [f"\n{TEXT}"]),
        (["--dry-multiplier", "1", "--dry-sequence-breaker", TEXT], "sampling", SamplerConfig(dry_multiplier=1, dry_breakers=(TEXT,))),
    ],
)
def test_texts_arrive_in_a_locale_that_cannot_hold_them(fake: FakeModel, arguments: Sequence[str], name: str, wanted: Any) -> None:
    assert main(["run", "m.gguf", "-p", as_argument(TEXT), *map(as_argument, arguments)]) == 0
    assert fake.text_of(0) == TEXT
    assert fake.options[0][name] == wanted


@pytest.mark.parametrize(
    "arguments",
    [
        ["--choices", b"a\xff"],
        ["--regex", b"a\xff"],
        ["--grammar", b'root ::= "\xff"'],
        ["--json-schema", b'{"const": "\xff"}'],
        ["--regex", b"a", "--trigger", b"\xff"],
        ["--stop", b"a\xff"],
        ["--dry-sequence-breaker", b"\xff"],
        ["-p", b"a\xff"],
    ],
)
def test_texts_that_are_not_utf_8_are_refused(fake: FakeModel, arguments: Sequence[str | bytes], capsys: pytest.CaptureFixture[str]) -> None:
    texts = [as_argument(text) for text in arguments]
    assert main(["run", "m.gguf", *([] if "-p" in texts else ["-p", "x"]), *texts]) != 0
    told = capsys.readouterr().err
    assert "is not UTF-8 (byte" in told
    assert "0xff" in told
    assert fake.prompts == []


def test_arguments_of_a_process_in_the_c_locale_arrive(tmp_path: Path) -> None:
    program = """
import sys
from cli_fakes import FakeModel, loader
from tabagent import Model
from tabagent.cli import main
model = FakeModel(["\\u2603\\n"])
Model.load = loader(model)
code = main()
assert model.options[0]["choices"] == ["\\u65e5\\u672c\\u8a9e"], model.options
sys.exit(code)
"""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("PYTHONIOENCODING", None)
    command = [sys.executable, "-c", program, "run", "m.gguf", "-p", "x", "--choices", "日本語"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"\\u2603\n")


@pytest.mark.parametrize("option", ["--json-schema", "--grammar"])
def test_files_that_are_no_text_are_refused(fake: FakeModel, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"GGUF\x03\x00\xff\xfe")
    assert main(["run", "m.gguf", "-p", "x", option, str(path)]) == 2
    assert f"the file `{path}` is not UTF-8 (byte 6 is 0xff)" in capsys.readouterr().err
    assert fake.prompts == []


def test_turn_that_is_not_utf_8_is_told_and_the_conversation_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = FakeModel(["B", "D"])
    monkeypatch.setattr(Model, "load", loader(model))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\xffb\nc\n"), encoding="utf-8"))
    assert main(["run", "m.gguf", "-i"]) == 0
    out, told = capsys.readouterr()
    assert out == "B\nD\n"
    assert told == "tabagent: the line is not UTF-8 (byte 1 is 0xff); what cannot be read is replaced by U+FFFD\n"
    assert model.text_of(1) == "a\ufffdbB\nc"


def test_line_typed_in_a_locale_that_cannot_hold_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    typed: list[Any] = [as_argument(TEXT), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")]

    def type_line(_: str) -> Any:
        item = typed.pop(0)
        if isinstance(item, Exception):
            raise item
        return item

    reader = LineReader()
    monkeypatch.setattr(reader, "_edits", True)
    monkeypatch.setattr("builtins.input", type_line)
    assert reader.read() == TEXT
    assert reader.read() == ""
