"""Run the tests with a word in their name, Rust and Python: `make test T=WORD`.

The word is a filter of `cargo test` (a part of a test's path) and an expression of `pytest -k`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

NONE_SELECTED: Final = 5
"""pytest's exit status when no test fits."""


def run_rust(word: str) -> tuple[int, int]:
    """Run what Cargo finds; returns its exit status and how many tests ran."""
    count = 0
    # A word with spaces is an expression for pytest, which no Rust test has in its name.
    command = ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", word]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.match(r"test result: .* (\d+) passed; (\d+) failed", line):
                count += int(match[1]) + int(match[2])
            elif line.strip() and line != "running 0 tests\n":
                sys.stdout.write(line)
                sys.stdout.flush()
    return process.returncode, count


def main(word: str) -> int:
    """Run both kinds; fails if one of the tests fails, or if there is none."""
    rust, count = run_rust(word)
    python = subprocess.run([sys.executable, "-m", "pytest", "-k", word], check=False).returncode
    if rust == 0 and count == 0 and python == NONE_SELECTED:
        sys.stderr.write(f"error: no test has `{word}` in its name\n")
        return 1
    sys.stdout.write(f"{count} Rust test{'' if count == 1 else 's'}: {'failed' if rust else 'passed'}\n")
    return rust or (0 if python == NONE_SELECTED else python)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
