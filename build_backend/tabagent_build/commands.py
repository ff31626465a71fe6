"""Commands of a build: run for what they make, or for what they say."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from typing import Final

from tabagent_build.errors import BuildError

__all__ = ["INSTALL_COMPILER", "answer", "run"]

INSTALL_COMPILER: Final = (
    "install one: `apt install build-essential` on Debian and Ubuntu, `dnf install gcc gcc-c++` on Fedora; "
    "or name yours in `CC` and `CXX`; or install a ready wheel of tabagent, which needs no compiler"
)


def run(command: list[str], *, env: dict[str, str] | None = None) -> None:
    """Run one step of a build, its output kept back and shown, at its end, only if it fails."""
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    except OSError as error:
        message = f"`{command[0]}` does not start ({error})"
        raise BuildError(message) from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-60:])
        message = f"`{shlex.join(command)}` failed with exit status {done.returncode}; its last lines:\n{tail}"
        raise BuildError(message)


def answer(command: Sequence[str]) -> str:
    """What a compiler says of itself.

    Raises:
        BuildError: it does not start, or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.CalledProcessError) as error:
        message = f"`{shlex.join(command)}` does not work ({error}); {INSTALL_COMPILER}"
        raise BuildError(message) from error
    return done.stdout.strip()
