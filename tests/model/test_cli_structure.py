"""`tabagent run` with a real model: the form of the text, log-probabilities, and the look into sampling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tabagent.cli import main


def test_explanation_shows_what_the_grammar_leaves(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["run", "--raw", str(smollm2_path), "-t", "1", "-c", "256", "-p", "The capital of France is", "--temp", "0.8", "--seed", "1"]
    assert main([*common, "--regex", "[0-9]{3}", "--explain"]) == 0
    out = capsys.readouterr().out
    text = out.splitlines()[-1]
    assert len(text) == 3
    assert text.isdecimal()
    assert out.count("token ") == 3
    assert "Paris" not in out
    kept = [int(line.split()[1]) for line in out.splitlines() if line.startswith("top_k")]
    assert kept
    assert max(kept) <= 10


def test_wrong_form_is_named_by_its_option(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["run", "--raw", str(smollm2_path), "-t", "1", "-c", "64", "-p", "a"]
    for arguments, named in ((["--regex", "("], "`--regex`: "), (["--regex", "a", "--trigger-token", "99999"], "`--trigger` names token `99999`")):
        assert main([*common, *arguments]) == 1
        assert named in capsys.readouterr().err


def test_what_is_not_enforced_is_told_to_who_asks(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = '{"type": "array", "items": {"type": "integer"}, "maxItems": 2, "uniqueItems": true}'
    common = ["run", "--raw", str(smollm2_path), "-t", "1", "-c", "64", "-p", "a", "-n", "2", "--json-schema", schema]
    assert main([*common, "-v"]) == 0
    assert "not enforced: `uniqueItems` at `/` of the schema" in capsys.readouterr().err
    assert main(common) == 0
    assert capsys.readouterr().err == ""


def test_empty_stop_text_is_named_by_its_option(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--raw", str(smollm2_path), "-t", "1", "-c", "64", "-p", "a", "--stop", ""]) == 1
    assert "`--stop` is empty" in capsys.readouterr().err


def test_form_logprobs_and_explanation_are_printed(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["run", "--raw", str(smollm2_path), "-t", "1", "-c", "256", "-p", "The capital of France is", "--temp", "0", "-n", "4"]
    assert main([*common, "--choices", " Paris", "--choices", " London", "--logprobs", "2"]) == 0
    text, *table = capsys.readouterr().out.splitlines()
    assert text == " Paris"
    assert any('" Paris"' in line for line in table)
    assert main([*common, "--json-schema", '{"type": "integer"}', "--logprobs", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert isinstance(json.loads(report["text"]), int) is report["constraint_complete"]
    assert len(report["logprobs"]) == len(report["tokens"])
    assert main([*common, "-n", "2", "--temp", "0.7", "--seed", "1", "--explain"]) == 0
    out = capsys.readouterr().out
    assert out.count("token ") >= 2
    assert "top_k" in out
