"""`make test T=NAME`: what counts as passed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import named


@pytest.fixture
def cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `cargo` that prints what is in the returned file and exits with the number in its first line."""
    script = tmp_path / "answer.txt"
    program = tmp_path / "cargo"
    program.write_text(f"#!/bin/sh\ntail -n +2 '{script}'\nexit $(head -n 1 '{script}')\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return script


EMPTY = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s\n"
ONE = "running 1 test\ntest a::name ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s\n"
BROKEN = "running 1 test\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s\n"


@pytest.mark.parametrize(
    ("answer", "ends", "status"),
    [
        (EMPTY + ONE, (0, 0), 0),
        (EMPTY, (0, 0), 0),
        (ONE, (0, named.NONE_SELECTED), 0),
        (EMPTY, (0, named.NONE_SELECTED), 1),
        (ONE, (0, 1), 1),
        (BROKEN, (101, 0), 101),
        ("", (101, named.NONE_SELECTED), 101),
    ],
)
def test_a_name_must_be_there_and_its_tests_must_pass(
    cargo: Path, monkeypatch: pytest.MonkeyPatch, answer: str, ends: tuple[int, int], status: int
) -> None:
    rust, python = ends
    cargo.write_text(f"{rust}\n{answer}", encoding="utf-8")
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, python)

    monkeypatch.setattr(subprocess, "run", run)
    assert named.main("name") == status
    assert commands[0][-2:] == ["-k", "name"]


def test_nothing_is_said_of_crates_without_such_a_test(cargo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cargo.write_text(f"0\n{EMPTY}{ONE}", encoding="utf-8")
    assert named.run_rust("name") == (0, 1)
    assert capsys.readouterr().out == "running 1 test\ntest a::name ... ok\n"
