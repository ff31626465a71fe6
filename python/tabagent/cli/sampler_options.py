"""The sampler options whose values are more than a number, as llama.cpp writes them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabagent.cli.escapes import unescape
from tabagent.cli.failure import UsageError

if TYPE_CHECKING:
    from tabagent.sampling import Stage

__all__ = ["parse_biases", "parse_breakers", "parse_order"]

BIAS = re.compile(r"(\d+)([+-])(inf|\d+\.?\d*|\.\d+)", re.IGNORECASE)


def parse_biases(texts: Sequence[str] | None) -> list[tuple[int, float]] | None:
    """Tokens with what to add to their logits, from `15043+1` or `15043-inf`."""
    if not texts:
        return None
    biases = []
    for text in texts:
        parts = BIAS.fullmatch(text.strip())
        if parts is None:
            message = f"`--logit-bias {text}` is not a token id with `+` or `-` and a number, such as `15043+1` or `15043-inf`"
            raise UsageError(message)
        biases.append((int(parts[1]), float(parts[2] + parts[3])))
    return biases


def parse_breakers(texts: Sequence[str] | None) -> list[str] | None:
    """The texts given, with escapes for newlines and the like replaced; `none` among them is nothing."""
    return None if not texts else [unescape(text) for text in texts if text != "none"]


def parse_order(names: str | None) -> "tuple[Stage, ...] | None":
    """The stages named, separated by semicolons (or commas)."""
    if names is None:
        return None
    from tabagent.sampling import stages_by_name  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    try:
        return stages_by_name(name.strip() for name in re.split("[;,]", names) if name.strip())
    except ValueError as error:
        message = f"`--samplers {names}`: {error}"
        raise UsageError(message) from error
