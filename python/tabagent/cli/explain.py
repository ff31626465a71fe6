"""What the stages of a sampling step did, as a table for the terminal."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

    from tabagent.sampling import StageReport

__all__ = ["stages_table"]

SHOWN_TOKENS: Final = 4
LONGEST_TEXT: Final = 14


def stages_table(reports: "Sequence[StageReport]", text_of: Callable[[int], str], *, title: str | None = None) -> "Table":
    """A table with one line a stage: its name and parameters, how many tokens and how much probability it left, and the best tokens.

    Args:
        reports: what `SamplerConfig.probabilities(..., explain=True)` gave, first stage first.
        text_of: the text of a token.
        title: a line above the table.
    """
    from rich import box  # noqa: PLC0415 (needed for this option alone)
    from rich.table import Table  # noqa: PLC0415 (only needed where a table is printed)
    from rich.text import Text  # noqa: PLC0415 (only needed where a table is printed)

    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("kept", justify="right", no_wrap=True)
    table.add_column("mass", justify="right", no_wrap=True)
    table.add_column("best tokens: before > after")
    for report in reports:
        name = Text(report.name, style="bold")
        for line in _parameters(report.parameters):
            name.append(f"\n  {line}", style="dim")
        table.add_row(name, f"{report.kept:,}", percent(report.mass), _tokens(report, text_of))
    return table


def _parameters(parameters: Mapping[str, float]) -> list[str]:
    return [f"{name} {value:g}" for name, value in parameters.items() if not (name == "min_keep" and value == 1)]


def _tokens(report: "StageReport", text_of: Callable[[int], str]) -> str:
    lines = []
    for token, before, after in report.top[:SHOWN_TOKENS]:
        change = percent(before) if math.isclose(before, after, abs_tol=5e-5) else f"{percent(before)} > {percent(after) if after else 'removed'}"
        lines.append(f"{visible(text_of(token))} {change}")
    return "\n".join(lines)


def visible(text: str) -> str:
    """A token's text on one line, in quotes, with what cannot be seen escaped, and not too long."""
    shown = text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"
    return '"' + "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown) + '"'


def percent(share: float) -> str:
    """A share in per cent, with enough digits for small ones."""
    value = 100 * share
    if value >= 99.95 or value == 0:
        return f"{value:.0f}%"
    return f"{value:.1f}%" if value >= 0.1 else f"{value:.1g}%"
