"""Compiles the workspace for Windows and AArch64, and runs unit tests there: `python tools/check_targets.py`, on Debian 12.

All crates, tests included, are compiled for both targets; the tests of the crates that need no engine run under Wine and QEMU. The first run
fetches the compiler and builds two standard libraries (`cross_rust.py`), which takes about five minutes on two cores.
"""

from __future__ import annotations

import sys
from typing import Final

from cross_cargo import environment, missing_programs, run
from cross_rust import TARGETS, CrossRust, Target, cross_rust
from tabagent_build.errors import BuildError
from tabagent_build.progress import say

UNIT_TESTS: Final = (
    ("-p", "tabagent-gguf", "-p", "tabagent-sampling", "--lib"),
    ("-p", "tabagent-sys", "-p", "tabagent-variants", "--lib", "--test", "foreign_binaries", "--test", "catalogue", "--test", "machine"),
)


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
        sys.stderr.write(f"error: {missing}\n")
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
