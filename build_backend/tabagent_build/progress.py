"""How far a long build is: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

__all__ = ["BuildProgress", "say"]

SECONDS_BETWEEN_LINES: Final = 30.0
"""Where the output is no terminal, a line appears after so many seconds, or after each tenth of the steps."""


class BuildProgress:
    """Shows the steps of a build as they end: `[123/310] ggml-cpu-haswell: ops.cpp`.

    Leaving it clears the line of a terminal, so that what follows starts in the first column. With `only_rewritten`, which suits a few quick
    steps, nothing is shown elsewhere.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic, *, only_rewritten: bool = False) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._writes_lines = not only_rewritten
        self._rewrites = self._stream.isatty() and os.environ.get("TERM", "") != "dumb"
        self._said_at = clock()
        self._tenths = 0
        self._started = clock()

    def __enter__(self) -> BuildProgress:  # noqa: PYI034 (`Self` is in `typing` from Python 3.11 on)
        return self

    def __exit__(self, *_: object) -> None:
        if self._rewrites:
            self._write("\r\x1b[K")

    def step(self, done: int, total: int, name: str) -> None:
        """Show that `done` of `total` steps have ended, the last of them `name`."""
        if self._rewrites:
            # A line that reaches the last column would wrap, and the next one could not overwrite it.
            line = f"[{done}/{total}] {name}"[: max(1, shutil.get_terminal_size().columns - 1)]
            self._write(f"\r{line}\x1b[K")
            return
        if not self._writes_lines:
            return
        now, tenths = self._clock(), done * 10 // max(total, 1)
        if tenths > self._tenths or now - self._said_at >= SECONDS_BETWEEN_LINES:
            self._tenths, self._said_at = tenths, now
            self._write(f"[{done}/{total}] {now - self._started:.0f} s, {name}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def say(text: str) -> None:
    """Tell the one who waits, past the build frontend's own output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
