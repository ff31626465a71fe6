"""Turns of a conversation, a line each."""

import contextlib
import sys
from typing import Final

from tabagent.cli.failure import one_line
from tabagent.cli.output import is_terminal, write_line, write_note
from tabagent.cli.prompt_source import decode_utf8

__all__ = ["LineReader"]

PROMPT: Final = "> "


class LineReader:
    """Reads lines: with a prompt, history and line editing from a terminal, plainly from a pipe."""

    def __init__(self) -> None:
        self.is_terminal = is_terminal(sys.stdin)
        self._edits = self.is_terminal and is_terminal(sys.stdout)
        if self._edits:
            with contextlib.suppress(ImportError):  # `input` works without
                import readline  # noqa: F401, PLC0415 (its presence gives `input` a history)

    def read(self, prompt: str = PROMPT) -> str | None:
        """The next line without its end; None at the end of the input. What of it is not UTF-8 is replaced, and a note says so.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self._edits:
            try:
                # In a locale that is not UTF-8, `input` keeps the bytes as lone surrogates.
                return _decoded(input(prompt).encode("utf-8", "surrogateescape"))
            except EOFError:
                write_line()
                return None
            except UnicodeError:
                write_note("the line is no text in this locale; type it again")
                return ""
        line = sys.stdin.buffer.readline()
        return _decoded(line.rstrip(b"\r\n")) if line else None

    def confirm(self, question: str) -> bool:
        """Whether a person at the terminal agrees; no without one."""
        if not self._edits:
            return False
        answer = self.read(f"{question} [Y/n] ")
        return answer is not None and answer.strip().lower() in {"", "y", "yes"}


def _decoded(line: bytes) -> str:
    try:
        return decode_utf8(line, "the line")
    except ValueError as error:
        write_note(f"{one_line(error).partition(';')[0]}; what cannot be read is replaced by U+FFFD")
        return line.decode("utf-8", "replace")
