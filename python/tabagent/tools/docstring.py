"""What the docstring of a function says of it and of its parameters."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Final

__all__ = ["read_docstring"]


SECTIONS: Final = ("Args:", "Arguments:", "Parameters:", "Params:")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The description in front, and that of each parameter: of docstrings in the styles of Google, NumPy and Sphinx, and of Epydoc."""
    if not text or not text.strip():
        return "", {}
    import docstring_parser  # noqa: PLC0415 (needed for functions alone)

    plain = inspect.cleandoc(text)
    first, _, rest = plain.partition("\n")
    if first.rstrip() in SECTIONS and rest[:1].strip():
        # The first line's indentation is unknown; what follows it at the margin belongs to it.
        plain = f"{first}\n{textwrap.indent(rest, '    ')}"
    try:
        # A line of its own in front: a docstring may begin with its parameters.
        found = docstring_parser.parse(f"\n\n{plain}")
    except docstring_parser.ParseError:
        return plain, {}
    parameters: dict[str, str] = {}
    for parameter in found.params:
        for name in parameter.arg_name.split(","):
            parameters[name.strip().lstrip("*")] = _joined(parameter.description or "")
    return (found.description or "").strip(), parameters


def _joined(text: str) -> str:
    """The lines of each paragraph as one line."""
    return "\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))
