"""Runs Ninja: its steps as progress, and of a failure all that the failed commands wrote."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tabagent_build.errors import BuildError
from tabagent_build.progress import BuildProgress

__all__ = ["run_ninja", "step_name"]

STEP = re.compile(r"\[(\d+)/(\d+)\] (.*)")
OBJECT = re.compile(r"(?:Building|Linking) .*? (\S+/)?CMakeFiles/([^/]+)\.dir/(\S+)\.o$")


def run_ninja(ninja: str, folder: Path, targets: Sequence[str], jobs: int, env: Mapping[str, str], *, progress: BuildProgress | None = None) -> None:
    """Bring targets of a configured build folder up to date; what was built before is not built again.

    Raises:
        BuildError: a command failed; the text holds its whole output.
    """
    command = [ninja, "-j", str(jobs), *targets]
    # The lines are recognized by the status that is set here.
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**env, "NINJA_STATUS": "[%f/%t] ", "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        try:
            with progress or BuildProgress() as shown:
                kept = _follow(process.stdout, shown)
        except BaseException:
            # Ninja stops its compilers and removes what they had half written.
            process.terminate()
            raise
    if process.returncode != 0:
        message = f"`{shlex.join(command)}` in `{folder}` failed with exit status {process.returncode}:\n{kept}"
        raise BuildError(message)


def step_name(description: str) -> str:
    """CMake's words for a step, shortened: `ggml-cpu-haswell: ops.cpp` for an object file, else the file that is made."""
    if match := OBJECT.match(description):
        return f"{match[2]}: {PurePosixPath(match[3]).name}"
    return PurePosixPath(description.rsplit(maxsplit=1)[-1]).name if description.startswith("Linking ") else description


def _follow(lines: Iterable[str], progress: BuildProgress) -> str:
    """Show the steps, and return what the failed ones wrote, with Ninja's own last words.

    A warning of a step that succeeded is no news: it comes from a tree that is pinned.
    """
    kept: list[str] = []
    failed = False
    for line in lines:
        if match := STEP.fullmatch(line.rstrip("\n")):
            progress.step(int(match[1]), int(match[2]), step_name(match[3]))
            failed = False
        elif line.startswith(("FAILED: ", "ninja: ")):
            failed = True
        if failed:
            kept.append(line)
    return "".join(kept).rstrip("\n")
