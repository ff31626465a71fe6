"""What `tabagent run` was told about the text's form, as the package's own arguments."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabagent.cli.failure import UsageError

__all__ = ["structure_of"]


def structure_of(json_schema: str | None, grammar: str | None, regex: str | None, choices: Sequence[str] | None) -> dict[str, Any]:
    """The arguments of `Model.generate` that say what the text must look like; none if nothing was asked for.

    Raises:
        UsageError: more than one form was asked for, or the schema is neither a file nor JSON.
        OSError: a file cannot be read.
    """
    given = {"json_schema": json_schema, "grammar": grammar, "regex": regex, "choices": list(choices) if choices else None}
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) > 1:
        flags = " and ".join(f"`--{name.replace('_', '-')}`" for name in asked)
        message = f"{flags} were given; the text can have one form only"
        raise UsageError(message)
    if json_schema is not None:
        return {"json_schema": _schema(json_schema)}
    if grammar is not None:
        return {"grammar": _file_or_text(grammar)}
    return asked


def _schema(given: str) -> Any:
    text = _file_or_text(given)
    try:
        return json.loads(text)
    except ValueError as error:
        what = f"the file `{given}` holds no JSON" if text is not given else f"`--json-schema {given:.40}` is neither a file nor JSON"
        message = f"{what}: {error}"
        raise UsageError(message) from error


def _file_or_text(given: str) -> str:
    """A file's text if there is such a file; else what was given, which is the text itself."""
    path = os.path.expanduser(given)  # noqa: PTH111 (a grammar's text may be no valid path)
    try:
        is_file = Path(path).is_file()
    except (OSError, ValueError):
        return given
    return Path(path).read_text(encoding="utf-8-sig") if is_file else given
