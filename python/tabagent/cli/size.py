"""Sizes of files on the command line."""

from tabagent.cli.arguments import argument_text
from tabagent.cli.failure import UsageError

__all__ = ["parse_size"]


def parse_size(text: str) -> int:
    """Bytes from `500M`, `2G`, `1.5GiB` or a plain number.

    Raises:
        UsageError: it is no size, or not above 0.
    """
    from tabagent import _native  # noqa: PLC0415 (not needed for `--help`)

    try:
        return _native.gguf_parse_size(argument_text(text, "the size"))
    except ValueError as error:
        raise UsageError(str(error)) from error
