"""A progress bar on a terminal's stderr, for what takes over a second."""

import sys
import time
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TaskID, TaskProgressColumn, TextColumn, TransferSpeedColumn

from tabagent.cli.output import is_terminal

__all__ = ["ProgressBar"]

PATIENCE_S: Final = 1.0


class ProgressBar:
    """Shows how far something is once it has taken a second, and removes itself at the end.

    Without a terminal on stderr it shows nothing.
    """

    def __init__(self, label: str, *, in_bytes: bool = False, patience_s: float = PATIENCE_S) -> None:
        self._label = label
        self._in_bytes = in_bytes
        self._enabled = is_terminal(sys.stderr)
        self._show_at = time.monotonic() + patience_s
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "ProgressBar":  # noqa: PYI034 (`Self` is in `typing` from Python 3.11 on)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def part(self, done: float) -> bool:
        """Show a part between 0 and 1. Returns True, which tells a loader to go on."""
        self._update(done, 1.0)
        return True

    def bytes(self, done: int, total: int | None) -> None:
        """Show a number of bytes, of which `total` are expected (None: not known)."""
        self._update(done, total)

    def _update(self, done: float, total: float | None) -> None:
        if not self._enabled:
            return
        if self._bar is None:
            if time.monotonic() < self._show_at or done == total:
                return
            self._start(total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def _start(self, total: float | None) -> None:
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn()]
        columns += [DownloadColumn(), TransferSpeedColumn()] if self._in_bytes else [TaskProgressColumn()]
        self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True, redirect_stdout=False, redirect_stderr=False)
        self._task = self._bar.add_task(self._label, total=total)
        self._bar.start()
