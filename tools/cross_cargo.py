"""Cargo for another platform on this one: its environment, and the Wine or QEMU that runs what it makes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cross_rust import ROOT, TARGETS, CrossRust, Target
from tabagent_build.cache import finished_folder
from tabagent_build.errors import BuildError
from tabagent_build.progress import say

__all__ = [
    "TARGET_FOLDER",
    "environment",
    "find",
    "missing_programs",
    "run",
    "run_by_wine",
    "run_on_console",
    "runner",
    "windows_path",
    "wine_prefix",
    "wine_settings",
]

WINE_FOLDER: Final = "/usr/lib/wine"
"""Where Debian's `wine64` has its program, which is on no search path."""
TARGET_FOLDER: Final = ROOT / "target" / "cross"
"""Where Cargo puts what it makes for other platforms."""


def missing_programs(targets: Sequence[Target] = TARGETS) -> str | None:
    """What to tell if programs that these targets need are not here."""
    missing = {program: package for target in targets for program, package in target.packages.items() if find(program) is None}
    if not missing:
        return None
    names, packages = ", ".join(f"`{name}`" for name in missing), " ".join(sorted(set(missing.values())))
    return f"{names} not found; install Debian's packages: apt-get install {packages}"


def find(program: str) -> str | None:
    """The path of a program."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), WINE_FOLDER]))


def runner(target: Target) -> list[str]:
    """The command before the name of a program of a target."""
    program, *arguments = target.runner
    return [find(program) or program, *arguments]


def environment(rust: CrossRust, target: Target) -> dict[str, str]:
    """What makes Cargo compile for a target and run its programs."""
    name = target.triple.upper().replace("-", "_")
    values = {
        **os.environ,
        **rust.environment(),
        "CARGO_TARGET_DIR": str(TARGET_FOLDER),
        "CARGO_PROFILE_DEV_DEBUG": "false",
        "CARGO_PROFILE_TEST_DEBUG": "false",
        f"CARGO_TARGET_{name}_LINKER": target.linker,
        f"CARGO_TARGET_{name}_RUNNER": " ".join(runner(target)),
        f"CC_{target.triple.replace('-', '_')}": target.linker,
    }
    # That of the host is none of the target.
    values.pop("PYO3_PYTHON", None)
    if target.runner[0] == "wine64":
        values |= wine_settings(rust)
    return values


def wine_settings(rust: CrossRust) -> dict[str, str]:
    """What Wine reads from the environment."""
    return {"WINEPREFIX": str(wine_prefix(rust)), "WINEDEBUG": "-all,err+module"}


def wine_prefix(rust: CrossRust) -> Path:
    """The folder that Wine takes for its Windows; made first if it is not in the cache."""

    def make(work: Path) -> None:
        say("making a folder for Wine (700 MB; it is kept in the cache)")
        settings = {**os.environ, "WINEPREFIX": str(work), "WINEDEBUG": "-all"}
        run([find("wine64") or "wine64", "winecfg", "-v", "win10"], settings)
        source = ROOT / "tools" / "wine" / "bcryptprimitives"
        library = work / "drive_c" / "windows" / "system32" / "bcryptprimitives.dll"
        compiler = TARGETS[0].linker
        run([compiler, "-shared", "-o", str(library), f"{source}.c", f"{source}.def", "-ladvapi32"], settings)

    return finished_folder(rust.folder / "wine", make)


def windows_path(path: Path) -> str:
    """The path by which programs under Wine know a file of this system."""
    return "Z:" + str(path.absolute()).replace("/", "\\")


def run_by_wine(command: Sequence[str], settings: Mapping[str, str]) -> None:
    """Run a program for Windows and print what it says. It reads and writes pipes: of a file, CPython finds no handle under Wine.

    Raises:
        BuildError: it fails.
    """
    whole = [find("wine64") or "wine64", *command]
    with subprocess.Popen(whole, cwd=ROOT, env=dict(settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout or ():
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
    if process.returncode:
        message = f"`{' '.join(command)}` failed under Wine (code {process.returncode})"
        raise BuildError(message)


def run_on_console(command: Sequence[str], settings: Mapping[str, str]) -> str:
    """Run a program for Windows on a console, as Wine makes one of a terminal. Returns what the terminal got.

    Raises:
        BuildError: it fails.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    shown = bytearray()
    whole = [find("wine64") or "wine64", *command]
    with subprocess.Popen(whole, cwd=ROOT, env=dict(settings), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        # Processes of Wine's own may keep the terminal, so its end is not waited for.
        while True:
            if select.select([ours], [], [], 0.5)[0]:
                try:
                    shown += os.read(ours, 1 << 16)
                except OSError:  # nobody has the terminal any more
                    break
            elif process.poll() is not None:
                break
    os.close(ours)
    text = shown.decode("utf-8", "replace")
    if process.returncode:
        message = f"`{' '.join(command)}` failed on a console under Wine (code {process.returncode}): {text}"
        raise BuildError(message)
    return text


def run(command: Sequence[str], settings: Mapping[str, str], folder: Path = ROOT) -> None:
    """Run a command, whose failure is an error.

    Raises:
        BuildError: it failed, after it told why.
    """
    done = subprocess.run(command, cwd=folder, env=dict(settings), check=False)
    if done.returncode:
        message = f"`{' '.join(command)}` failed (code {done.returncode})"
        raise BuildError(message)
