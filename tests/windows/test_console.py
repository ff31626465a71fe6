"""What is printed on a console, and in files and pipes, on Windows. `make test-windows` ran `console_program.py` on a console before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tabagent.cli.output import takes_styles

ENABLE_VIRTUAL_TERMINAL_PROCESSING = 4
PROMPT = "日本語 ☃"


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What `console_program.py` found."""
    read: dict[str, Any] = json.loads(Path(os.environ["TABAGENT_TEST_CONSOLE"], "facts.json").read_text(encoding="utf-8"))
    return read


def test_a_console_is_told_to_obey_escape_sequences(told: dict[str, Any]) -> None:
    assert told["terminal"]
    assert told["styles"]
    assert not told["before"] & ENABLE_VIRTUAL_TERMINAL_PROCESSING
    assert told["after"] == told["before"] | ENABLE_VIRTUAL_TERMINAL_PROCESSING


def test_a_console_shows_letters_that_its_code_page_lacks(told: dict[str, Any]) -> None:
    shown = Path(os.environ["TABAGENT_TEST_CONSOLE"], "transcript.txt").read_text(encoding="utf-8")
    assert told["text"] in shown
    assert "a column" in shown


def test_the_null_device_takes_no_styles() -> None:
    with open(os.devnull, "w", encoding="utf-8") as stream:  # noqa: PTH123 (it is no path)
        assert stream.isatty(), "Windows calls it a terminal"
        assert not takes_styles(stream)


@pytest.mark.parametrize("utf8_mode", ["0", "1"])
def test_a_pipe_gets_utf_8_whatever_the_code_page_is(model_path: Path, utf8_mode: str) -> None:
    arguments = ["run", str(model_path), "--raw", "-p", PROMPT, "-n", "2", "--temp", "0", "--display-prompt"]
    done = _tabagent(arguments, PYTHONUTF8=utf8_mode)
    assert done.stdout.decode("utf-8").startswith(PROMPT)


def test_a_pipe_gets_the_encoding_that_is_asked_for(model_path: Path) -> None:
    done = _tabagent(["run", str(model_path), "--raw", "-p", "é", "-n", "1", "--display-prompt"], PYTHONIOENCODING="cp850", PYTHONUTF8="0")
    assert done.stdout.startswith("é".encode("cp850"))


def test_an_error_in_a_pipe_names_the_file_in_utf_8(tmp_path: Path) -> None:
    path = tmp_path / f"{PROMPT}.gguf"
    done = _tabagent(["info", str(path)], code=1, PYTHONUTF8="0")
    assert str(path) in done.stderr.decode("utf-8")


def test_a_piped_prompt_is_read_as_utf_8(model_path: Path) -> None:
    done = _tabagent(["run", str(model_path), "--raw", "-n", "1", "--display-prompt"], given=PROMPT.encode(), PYTHONUTF8="0")
    assert done.stdout.decode("utf-8").startswith(PROMPT)


def _tabagent(arguments: list[str], *, code: int = 0, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tabagent", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, input=given, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr.decode("utf-8", "replace")
    return done
