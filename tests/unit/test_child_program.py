"""The program of child processes: built from the same compiled crates as the extension."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from tabagent_build import child_program
from tabagent_build.errors import BuildError

ROOT = Path(__file__).parents[2]


def crates_with_features(*packages: str) -> set[str]:
    """Each crate under these packages with the features that Cargo gives it when they are built by one command."""
    command = ["cargo", "tree", "--locked", "--prefix", "none", "--edges", "normal,build", "--format", "{p} {f}"]
    command += [word for package in packages for word in ("--package", package)]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {line.removesuffix(" (*)") for line in lines if line}


def test_no_crate_is_compiled_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tmp_path / "words"
    (tmp_path / "cargo").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {words}\nexit 1\n', encoding="utf-8")
    (tmp_path / "cargo").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(BuildError, match="exit status 1"):
            child_program.install_child("editable")
    command = words.read_text(encoding="utf-8").split()
    packages = [value for flag, value in itertools.pairwise(command) if flag == "--package"]
    extension = crates_with_features("tabagent-python")
    assert crates_with_features(*packages) == extension
    # Without the extension they would be others: what the test compares is not the same by itself.
    assert not crates_with_features("tabagent-model") <= extension
