"""What is printed: text to stdout, messages to stderr, tables for people, JSON for programs."""

import io
import json
import logging
import os
import sys
import warnings
from types import TracebackType
from typing import Any, Final, Literal, TextIO

from rich.console import Console, RenderableType

from tabagent.cli.windows_console import obeys_escapes

__all__ = [
    "Verbosity",
    "is_terminal",
    "prepare_streams",
    "printable",
    "takes_styles",
    "write_error",
    "write_json",
    "write_line",
    "write_note",
    "write_tables",
    "write_text",
]

PIPE_WIDTH: Final = 400
"""Columns where the output is no terminal: tables are as wide as their content and never cut."""

CONTROLS: Final = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


def prepare_streams() -> None:
    r"""Make printing safe in every locale: characters that stdout or stderr cannot hold are written as escapes such as `\u2603`.

    On Windows files and pipes get UTF-8, as what is read from them is, unless `PYTHONIOENCODING` says otherwise: the code page lacks most letters.
    """
    in_utf8 = sys.platform == "win32" and not os.environ.get("PYTHONIOENCODING")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8" if in_utf8 and not is_terminal(stream) else None, errors="backslashreplace")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at the stream, or types into it; False for a closed one."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def takes_styles(stream: TextIO) -> bool:
    """Whether the stream leads to a terminal that obeys escape sequences; a Windows console is told to."""
    return is_terminal(stream) and obeys_escapes(stream)


def printable(text: str) -> str:
    """The text without control characters, which could act on a terminal; newlines and tabs stay."""
    return text.translate(CONTROLS)


def write_text(text: str) -> None:
    """Write a piece of a model's text to stdout at once. A terminal gets it without control characters, a pipe gets all of it.

    Raises:
        BrokenPipeError: the reader of the pipe has gone.
    """
    sys.stdout.write(printable(text) if is_terminal(sys.stdout) else text)
    sys.stdout.flush()


def write_line(text: str = "") -> None:
    """Write a line to stdout."""
    write_text(text + "\n")


def write_error(text: str) -> None:
    """Write one line of an error to stderr."""
    write_note(f"error: {text}")


def write_note(text: str) -> None:
    """Write a line of ours to stderr, marked as such. A closed stderr is no reason to fail."""
    try:
        sys.stderr.write(f"tabagent: {printable(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


def write_json(value: Any) -> None:
    """Write a value as JSON to stdout: indented for a terminal, one line for a pipe, ASCII where stdout is not Unicode."""
    unicode = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
    indent = 2 if is_terminal(sys.stdout) else None
    write_line(json.dumps(value, ensure_ascii=not unicode, indent=indent, allow_nan=False))


def write_tables(*tables: RenderableType) -> None:
    """Write tables to stdout with an empty line between them; colours only on a terminal and without `NO_COLOR`."""
    terminal = is_terminal(sys.stdout)
    colours: Literal["auto"] | None = "auto" if takes_styles(sys.stdout) else None
    width = None if terminal else PIPE_WIDTH
    console = Console(file=sys.stdout, width=width, color_system=colours, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for index, table in enumerate(tables):
            if index:
                console.print()
            console.print(table)
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().split("\n")))
    sys.stdout.flush()


class Verbosity:
    """Inside its `with` block, warnings of the package go to stderr, and with `verbose` all of its log.

    llama.cpp's own log is shown with `-v` only, because errors carry those of its lines that matter. Its debug level is left out: it has thousands of
    lines for each load.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._logger = logging.getLogger("tabagent")
        self._level = logging.DEBUG if verbose else logging.WARNING
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setFormatter(logging.Formatter("%(name)s: %(levelname)s: %(message)s" if verbose else "tabagent: %(message)s"))
        if not verbose:
            self._handler.addFilter(lambda record: not record.name.startswith("tabagent.llama"))
        self._llama = logging.getLogger("tabagent.llama")
        self._before = (self._logger.level, self._llama.level)
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.showwarning = _WarningLines()
        self._before = (self._logger.level, self._llama.level)
        self._logger.setLevel(self._level)
        self._llama.setLevel(max(self._level, logging.INFO))
        self._logger.addHandler(self._handler)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._logger.removeHandler(self._handler)
        for logger, level in zip((self._logger, self._llama), self._before, strict=True):
            logger.setLevel(level)
        self._warnings.__exit__(kind, error, trace)


class _WarningLines:
    """Shows each warning once and in one line, without the place in the code, which is of no use on a command line."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(self, message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = " ".join(str(message).split())
        if not issubclass(category, (DeprecationWarning, ResourceWarning)) and text not in self._shown:
            self._shown.add(text)
            write_note(f"warning: {text}")
