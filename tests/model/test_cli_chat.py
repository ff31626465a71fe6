"""`tabagent chat` with real models."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from tabagent.cli import main


def test_piped_lines_are_turns_of_one_conversation(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Name a colour.\n/stats\nAnother one.\n/stats\n")))
        assert main(["chat", str(smollm2_path), "-sys", "Be brief.", "-n", "6", "--temp", "0", "-t", "1"]) == 0
        out, err = capsys.readouterr()
        outputs.append(out)
        first, second = re.findall(r"prompt (\d+) tokens, (\d+) of them known; answer (\d+) tokens", err)
        assert first[1] == "0"
        # The second turn finds all of the first one but what ended its answer.
        assert int(second[0]) > int(second[1]) >= int(first[0])
    assert outputs[0] == outputs[1] != ""


def test_a_model_without_a_template_says_what_to_give(gemma_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", str(gemma_path), "-p", "hi"]) == 1
    assert "give one as `--chat-template`" in capsys.readouterr().err


def test_a_template_can_be_given(gemma_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["chat", str(gemma_path), "-p", "hi", "--chat-template", "gemma", "-n", "3", "-t", "1"]) == 0
    assert capsys.readouterr().out
