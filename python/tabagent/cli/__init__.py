"""The command line: `tabagent run`, `chat`, `embed`, `info`, `convert`, `gguf`, `variants` and `doctor`.

Nothing here is imported by the rest of the package, so that programs which use the library never load typer and rich.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (of the process, unless `arguments` are given) and return the exit code.

    0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C, 141 when the reader of a pipe has gone. Never raises.
    """
    _fill_gaps()
    try:
        from tabagent.cli.app import run_app  # noqa: PLC0415 (Ctrl-C while it is imported must not show a traceback)

        code = run_app(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        code = 130
    return _finish(code)


def _fill_gaps() -> None:
    """Open standard streams that are closed on nothing: the next file to be opened would take their numbers, and what C code prints with it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _finish(code: int) -> int:
    """Flush what was printed, whatever happened to the other end, and let a further Ctrl-C end the process at once."""
    if code == 130:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    flushed = _flush(sys.stdout, 1)
    # A message that stderr did not take is lost, but the command did its work.
    _flush(sys.stderr, 2)
    return code or flushed


def _flush(stream: TextIO, number: int) -> int:
    """Flush a standard stream; 0, or the exit code for what went wrong."""
    try:
        stream.flush()
    except OSError as error:  # nobody reads the pipe any more, or the disk is full
        # Python flushes once more at exit; without a place to write to, it would print a warning and change the exit code.
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
        return 141 if isinstance(error, BrokenPipeError) else 1
    except (ValueError, AttributeError):  # a closed stream; none at all
        return 1
    return 0
