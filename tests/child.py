"""Python programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it wrote."""

    code: int
    out: str
    err: str


def run(program: str, *arguments: str | Path, timeout_s: float = 120, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a program with all warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def check(program: str, *arguments: str | Path, timeout_s: float = 120, environment: Mapping[str, str] | None = None) -> str:
    """Run a program that must end well and write nothing to stderr; its output."""
    ended = run(program, *arguments, timeout_s=timeout_s, environment=environment)
    assert (ended.code, ended.err) == (0, ""), f"exit code {ended.code}\n{ended.out}\n{ended.err}"
    return ended.out
