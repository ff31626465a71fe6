"""Grammars as llama-cpp-python has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

__all__ = ["LlamaGrammar", "closed", "structure_of"]

NAMED_SCHEMAS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose value has schemas by names of the author's own."""
VALUES: Final = ("const", "enum", "default", "examples")
"""Keywords whose value is no schema."""


class LlamaGrammar:
    """What a text must look like: GBNF, or a JSON schema."""

    __slots__ = ("_grammar", "_schema")

    def __init__(self, *, _grammar: str | None = None, _schema: str | None = None) -> None:
        """Made by the class methods."""
        self._grammar = _grammar
        self._schema = _schema

    @classmethod
    def from_string(cls, grammar: str, verbose: bool = True) -> LlamaGrammar:  # noqa: ARG003 (the signature is llama-cpp-python's)
        """A grammar of its GBNF text."""
        if not isinstance(grammar, str):
            message = f"`grammar` must be a str, got {type(grammar).__name__}"
            raise TypeError(message)
        return cls(_grammar=grammar)

    @classmethod
    def from_file(cls, file: str | PathLike[str], verbose: bool = True) -> LlamaGrammar:
        """A grammar of a file of GBNF.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is empty.
        """
        text = Path(file).read_text(encoding="utf-8")
        if not text:
            message = f"`{file}` is empty; a grammar defines at least `root`"
            raise ValueError(message)
        return cls.from_string(text, verbose=verbose)

    @classmethod
    def from_json_schema(cls, json_schema: str, verbose: bool = True) -> LlamaGrammar:  # noqa: ARG003 (the signature is llama-cpp-python's)
        """What a JSON schema, given as text, describes."""
        if not isinstance(json_schema, str):
            message = f"`json_schema` must be the schema's JSON text, got {type(json_schema).__name__}"
            raise TypeError(message)
        return cls(_schema=json_schema)


def structure_of(grammar: Any) -> dict[str, Any]:
    """The grammar as options of `Model.generate`.

    Raises:
        TypeError: it is no grammar.
    """
    if grammar is None:
        return {}
    if not isinstance(grammar, LlamaGrammar):
        message = f"`grammar` must be a LlamaGrammar, got {type(grammar).__name__}; make one with `LlamaGrammar.from_string`"
        raise TypeError(message)
    if grammar._schema is not None:  # noqa: SLF001 (of this module)
        return {"json_schema": closed(_parsed(grammar._schema))}  # noqa: SLF001 (of this module)
    return {"grammar": grammar._grammar, "grammar_format": "gbnf"}  # noqa: SLF001 (of this module)


def closed(schema: Any) -> Any:
    """The schema with no properties but those it names, unless it speaks of others: what llama.cpp's own grammars of schemas allow."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {
        key: {name: closed(part) for name, part in value.items()} if key in NAMED_SCHEMAS and isinstance(value, Mapping) else closed(value)
        for key, value in schema.items()
        if key not in VALUES
    }
    made |= {key: schema[key] for key in VALUES if key in schema}
    if "properties" in made and not made.keys() & {"additionalProperties", "patternProperties", "unevaluatedProperties"}:
        made["additionalProperties"] = False
    return made


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"`json_schema` is no JSON: {error}"
        raise ValueError(message) from None
