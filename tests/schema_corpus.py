"""The schemas of `tests/schemas`, and what an output must be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema

from tabagent import Limitation

FOLDER: Final = Path(__file__).parent / "schemas"


def of_values(limitations: Sequence[Limitation]) -> list[Limitation]:
    """The limitations by which a value may be invalid: names that come twice in a text leave a valid one."""
    return [limitation for limitation in limitations if "readers of JSON keep its last value" not in limitation.message]


@dataclass(frozen=True)
class CorpusSchema:
    """A schema as users write them."""

    name: str
    schema: Any

    def check(self, text: str, *, limited: bool) -> Any:
        """The value of a complete output, which must be valid JSON, and valid by the schema unless that demands what is not enforced."""
        value = json.loads(text)
        if not limited:
            kind = jsonschema.validators.validator_for(self.schema, default=jsonschema.Draft202012Validator)
            kind(self.schema, format_checker=kind.FORMAT_CHECKER).validate(value)
        return value


def corpus() -> Iterator[CorpusSchema]:
    """All schemas by name."""
    for path in sorted(FOLDER.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "schema" in content:
            yield CorpusSchema(path.stem, content["schema"])
