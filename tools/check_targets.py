"""Compiles the workspace for Windows and AArch64, and runs unit tests there: `python tools/check_targets.py`, on Debian 12.

All crates, tests included, are compiled for both targets; the tests of the crates that need no engine run under Wine and QEMU. The first run
fetches the compiler and builds two standard libraries (`cross_rust.py`), which takes about five minutes on two cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cross_rust import ROOT, TARGETS, CrossRust, Target, cross_rust
from tabagent_build.cache import finished_folder
from tabagent_build.errors import BuildError
from tabagent_build.progress import say

UNIT_TESTS: Final = (
    ("-p", "tabagent-gguf", "-p", "tabagent-sampling", "--lib"),
    ("-p", "tabagent-sys", "-p", "tabagent-variants", "--lib", "--test", "foreign_binaries", "--test", "catalogue", "--test", "machine"),
)
WINE_FOLDER: Final = "/usr/lib/wine"
"""Where Debian's `wine64` has its program, which is on no search path."""


def missing_programs() -> dict[str, str]:
    """The programs that are not here, with Debian's package of each."""
    return {program: package for target in TARGETS for program, package in target.packages.items() if find(program) is None}


def find(program: str) -> str | None:
    """The path of a program."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), WINE_FOLDER]))


def environment(rust: CrossRust, target: Target) -> dict[str, str]:
    """What makes Cargo compile for a target and run its programs."""
    name = target.triple.upper().replace("-", "_")
    program, *arguments = target.runner
    values = {
        **os.environ,
        **rust.environment(),
        "CARGO_TARGET_DIR": str(ROOT / "target" / "cross"),
        "CARGO_PROFILE_DEV_DEBUG": "false",
        "CARGO_PROFILE_TEST_DEBUG": "false",
        f"CARGO_TARGET_{name}_LINKER": target.linker,
        f"CARGO_TARGET_{name}_RUNNER": " ".join([find(program) or program, *arguments]),
        f"CC_{target.triple.replace('-', '_')}": target.linker,
    }
    # That of the host is none of the target.
    values.pop("PYO3_PYTHON", None)
    if program == "wine64":
        values |= {"WINEPREFIX": str(wine_prefix(rust)), "WINEDEBUG": "-all,err+module"}
    return values


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


def run(command: Sequence[str], settings: Mapping[str, str]) -> None:
    """Run a command, whose failure is an error."""
    done = subprocess.run(command, cwd=ROOT, env=dict(settings), check=False)
    if done.returncode:
        message = f"`{' '.join(command)}` failed (code {done.returncode})"
        raise BuildError(message)


def check(rust: CrossRust, target: Target) -> None:
    """Compile everything for a target, and run tests there."""
    settings = environment(rust, target)
    common = ["--locked", "--target", target.triple]
    say(f"compiling all crates for {target.triple}")
    run(["cargo", "check", "--workspace", "--all-targets", *common], settings)
    for tests in UNIT_TESTS:
        run(["cargo", "test", "--quiet", *common, *tests], settings)


def main() -> int:
    """Check both targets."""
    if missing := missing_programs():
        names, packages = ", ".join(f"`{name}`" for name in missing), " ".join(sorted(set(missing.values())))
        sys.stderr.write(f"error: {names} not found; install Debian's packages: apt-get install {packages}\n")
        return 1
    try:
        rust = cross_rust()
        for target in TARGETS:
            check(rust, target)
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    say("all targets are fine")
    return 0


if __name__ == "__main__":
    sys.exit(main())
