"""`tabagent chat` with real models."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tabagent import Model, SamplerConfig
from tabagent.cli import main


def test_piped_lines_are_turns_of_one_conversation(
    smollm2: Model, smollm2_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Name a colour.\n/stats\nAnother one.\n")))
    assert main(["chat", str(smollm2_path), "-sys", "Be brief.", "-n", "6", "--temp", "0", "-t", "1"]) == 0
    out, err = capsys.readouterr()
    chat = smollm2.conversation(system="Be brief.", sampling=SamplerConfig.greedy(), max_tokens=6)
    first = chat.send("Name a colour.").result().content
    assert out.startswith(first)
    assert len(out) > len(first) + 1
    assert "of them known; answer" in err


def test_a_model_without_a_template_says_what_to_give(gemma_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", str(gemma_path), "-p", "hi"]) == 1
    assert "give one as `--chat-template`" in capsys.readouterr().err


def test_a_template_can_be_given(gemma_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["chat", str(gemma_path), "-p", "hi", "--chat-template", "gemma", "-n", "3", "-t", "1"]) == 0
    assert capsys.readouterr().out
