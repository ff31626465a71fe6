"""Running a program as a process of its own, as the tests for Windows do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["run_code", "run_command"]


def run_command(*arguments: object, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `tabagent` says to arguments, in UTF-8."""
    return _run(["-m", "tabagent", *arguments], folder, environment)


def run_code(code: str, *arguments: object, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a Python program says, in UTF-8."""
    return _run(["-c", code, *arguments], folder, environment)


def _run(arguments: list[object], folder: Path | None, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "utf8", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, encoding="utf-8", timeout=120, check=False)
