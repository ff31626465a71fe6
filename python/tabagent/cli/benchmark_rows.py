"""The rows of `tabagent variants --benchmark`, shown as they are measured: a table that grows on a terminal, lines elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tabagent.cli.output import printable, takes_styles, write_line, write_note

if TYPE_CHECKING:
    from typing_extensions import Self

    from tabagent.cli.variant_benchmark import Measurement

__all__ = ["Rows", "rows_for"]

TITLES: Final = ("variant", "threads", "micro-batch", "prompt tok/s", "text tok/s")
WIDTHS: Final = (-24, 8, 12, 13, 11)
"""Columns of each cell in a line; negative ones are on the left."""


class Rows(Protocol):
    """Where measurements are shown; used in a `with` block."""

    def __enter__(self) -> "Self": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def begin(self, what: str) -> None:
        """Say what is measured next."""

    def add(self, row: "Measurement") -> None:
        """Show what was measured."""


def rows_for(*, json: bool) -> Rows:
    """Where rows go: to stderr beside JSON, else to stdout."""
    if json:
        return Lines(write_note)
    return GrowingTable() if takes_styles(sys.stdout) else Lines(write_line)


class Lines:
    """A line for each row."""

    def __init__(self, write: "_Write") -> None:
        self._write = write

    def __enter__(self) -> "Self":
        self._write(_line(TITLES))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """There is nothing to end."""

    def begin(self, what: str) -> None:
        """Say it on stderr."""
        write_note(f"measuring {what}")

    def add(self, row: "Measurement") -> None:
        """Write the line at once."""
        self._write(printable(_line(_cells(row), row.problem or "")))


class GrowingTable:
    """A table on a terminal, with what is being measured below."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._rows: list[Measurement] = []

    def __enter__(self) -> "Self":
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._show(None)
        self._live.__exit__(kind, error, trace)

    def begin(self, what: str) -> None:
        """Say it below the table."""
        self._show(f"measuring {what} …")

    def add(self, row: "Measurement") -> None:
        """Add it to the table."""
        self._rows.append(row)
        self._show(None)

    def _show(self, below: str | None) -> None:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for title in TITLES:
            table.add_column(title, justify="left" if title == "variant" else "right", no_wrap=True)
        table.add_column("", overflow="fold")
        for row in self._rows:
            table.add_row(*map(printable, _cells(row)), Text(printable(row.problem or ""), style="red"))
        if below is not None:
            table.caption, table.caption_justify = Text(printable(below)), "left"
        self._live.update(table, refresh=True)


class _Write(Protocol):
    def __call__(self, text: str) -> None: ...


def _cells(row: "Measurement") -> tuple[str, ...]:
    rates = (f"{rate:,.1f}" if rate else "" for rate in (row.prompt_rate, row.text_rate))
    return row.variant, str(row.threads or "default"), str(row.micro_batch_size), *rates


def _line(cells: tuple[str, ...], problem: str = "") -> str:
    padded = (cell.ljust(-width) if width < 0 else cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{' '.join(padded)}  {' '.join(problem.split())}".rstrip()
