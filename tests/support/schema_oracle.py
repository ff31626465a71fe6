"""What a JSON schema says of values by `jsonschema`, what a grammar says of their texts, and whether a difference was told.

A value is written as compact JSON. A grammar fixes the order of an object's keys and how a number is written, so it accepts a value if it accepts
one of its spellings: the keys in the order in which the schema declares them or, if that is not it, in any other, and a whole number with and
without its fraction.
"""

from __future__ import annotations

import decimal
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import Any, Final

import jsonschema
import jsonschema_specifications

from schema_corpus import of_values
from support.gguf_image import I32, STRING, U32, Image, array, number
from support.tiny_models import CONTROL, NORMAL, byte_characters, tiny_llama
from tabagent import Constraint, GrammarError, Model
from tabagent.grammar import Grammar, Limitation

METASCHEMAS: Final[Any] = jsonschema_specifications.REGISTRY
# Three special tokens, then the bytes in their order.
FIRST_BYTE: Final = 3
EOS: Final = 2
# The digits of the largest double divided by the smallest one.
DIGITS: Final = 700
MOST_SPELLINGS: Final = 2_000
OUTSIDE: Final = "is outside the grammar here"
# A limitation of one keyword explains what another one of its family lets through: they decide together.
FAMILIES: Final = (
    {"properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"},
    {"items", "prefixItems", "additionalItems", "unevaluatedItems"},
    {"contains", "minContains", "maxContains"},
    {"if", "then", "else"},
    {"dependencies", "dependentRequired", "dependentSchemas"},
    {"$ref", "$dynamicRef", "$recursiveRef"},
)


def byte_vocabulary() -> Image:
    """A model whose tokens are the bytes and three special ones, so that a text has one way to be written."""
    image = tiny_llama("bpe")
    tokens = ["<unk>", "<s>", "</s>", *byte_characters()]
    image.set("tokenizer.ggml.tokens", array(STRING, [token.encode() for token in tokens]))
    image.set("tokenizer.ggml.token_type", array(I32, [*[CONTROL] * FIRST_BYTE, *[NORMAL] * 256]))
    image.set("tokenizer.ggml.merges", array(STRING, []))
    image.set("llama.vocab_size", number(U32, len(tokens)))
    embedding = next(tensor for tensor in image.tensors if tensor.name == "token_embd.weight")
    size = len(embedding.data) // embedding.shape[1] * len(tokens)
    image.replace_tensor(embedding, type(embedding)(embedding.name, embedding.kind, (embedding.shape[0], len(tokens)), embedding.data[:size]))
    return image


def loads(text: str) -> Any:
    """JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal)


@dataclass(frozen=True)
class Place:
    """A keyword in a schema, as `Limitation` names it."""

    path: str
    keyword: str


@dataclass
class Judgement:
    """What `jsonschema` found for one value."""

    valid: bool
    visited: set[Place] = field(default_factory=set)
    """The keywords that were applied."""
    failed: set[Place] = field(default_factory=set)
    """Those of them that something did not fit."""


_applied: list[tuple[int, str, bool]] = []


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool) and (isinstance(value, int) or value == value.to_integral_value())


@cache
def _recording(kind: Any) -> Any:
    """A validator class that notes each keyword it applies."""

    def noting(keyword: str, apply: Callable[..., Any]) -> Callable[..., Any]:
        def noted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            errors = list(apply(validator, value, instance, schema) or ())
            _applied.append((id(schema), keyword, bool(errors)))
            yield from errors

        return noted

    checker = kind.TYPE_CHECKER
    if kind is not jsonschema.Draft4Validator:
        checker = checker.redefine("integer", _is_integer)
    return jsonschema.validators.extend(kind, {keyword: noting(keyword, apply) for keyword, apply in kind.VALIDATORS.items()}, type_checker=checker)


class Oracle:
    """A schema as `jsonschema` reads it. `schema` must not hold one object in two places."""

    def __init__(self, schema: Any, *, kind: Any = jsonschema.Draft202012Validator, registry: Any = None) -> None:
        recording = _recording(kind)
        self.schema = schema
        self.validator = recording(schema, format_checker=kind.FORMAT_CHECKER, registry=METASCHEMAS if registry is None else registry)
        self.pointers = {id(part): pointer for pointer, part in parts(schema) if isinstance(part, dict)}

    def judge(self, value: Any) -> Judgement:
        """Validate a value."""
        _applied.clear()
        with decimal.localcontext() as exact:
            exact.prec = DIGITS
            valid = not list(self.validator.iter_errors(value))
        found = Judgement(valid)
        for schema, keyword, failed in _applied:
            if schema in self.pointers:
                place = Place(self.pointers[schema] or "/", keyword)
                found.visited.add(place)
                if failed:
                    found.failed.add(place)
        return found


def parts(schema: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """All values of a document by their JSON pointers."""
    yield pointer, schema
    children: Any = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    for key, child in children:
        yield from parts(child, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")


def told(limitations: Sequence[Limitation], places: set[Place]) -> bool:
    """Whether one of the limitations speaks of one of the places."""
    return any(_speaks_of(limitation, place) for limitation in of_values(limitations) for place in places)


def _speaks_of(limitation: Limitation, place: Place) -> bool:
    if limitation.keyword == "schema":
        return f"{place.path}/".startswith(f"{limitation.path.rstrip('/')}/")
    if limitation.path == place.path:
        return limitation.keyword == place.keyword or any({limitation.keyword, place.keyword} <= family for family in FAMILIES)
    inside = f"{place.path.rstrip('/')}/{place.keyword}"
    # When one of these keywords fails, nothing inside it need have failed.
    return place.keyword in {"not", "if", "oneOf"} and f"{limitation.path}/".startswith(f"{inside}/")


def spellings(value: Any, schema: Any) -> Iterator[str]:
    """Texts that stand for the value, the likeliest first."""
    declared: dict[str, int] = {}
    for pointer, part in parts(schema):
        if pointer.endswith("/properties") and isinstance(part, dict):
            for name in part:
                declared.setdefault(name, len(declared))
    return itertools.islice(_spellings(value, declared), MOST_SPELLINGS)


def _spellings(value: Any, declared: dict[str, int]) -> Iterator[str]:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: declared.get(name, len(declared)))
        for order in itertools.permutations(names):
            members = (tuple(f"{json.dumps(name, ensure_ascii=False)}:{text}" for text in _few(value[name], declared)) for name in order)
            yield from ("{" + ",".join(chosen) + "}" for chosen in itertools.product(*members))
    elif isinstance(value, list):
        items = (_few(item, declared) for item in value)
        yield from ("[" + ",".join(chosen) + "]" for chosen in itertools.product(*items))
    elif isinstance(value, (float, Decimal)):
        if value == int(value):
            yield str(int(value))
        yield str(value)
    else:
        yield json.dumps(value, ensure_ascii=False)


def _few(value: Any, declared: dict[str, int]) -> tuple[str, ...]:
    return tuple(itertools.islice(_spellings(value, declared), 24))


def spell(constraint: Constraint, text: str) -> bool:
    """Whether a constraint takes the bytes of the text and may end after them."""
    for byte in text.encode():
        try:
            constraint.accept(FIRST_BYTE + byte)
        except GrammarError as error:
            if OUTSIDE not in str(error):
                raise
            return False
    return constraint.can_end


def accepts(grammar: Grammar, value: Any, schema: Any) -> str | None:
    """The first spelling of the value that the grammar accepts."""
    return next((text for text in spellings(value, schema) if spell(grammar.start(), text)), None)


def compiled(model: Model, schema: Any) -> Grammar:
    """The grammar of a schema that may hold exact numbers."""
    return model.compile_grammar(json_schema=dumps(schema), compact_json=True)


def dumps(value: Any) -> str:
    """JSON with exact numbers as they are."""
    return next(_written(value))


def _written(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {dumps(part)}" for name, part in value.items()) + "}"
    elif isinstance(value, list):
        yield "[" + ", ".join(map(dumps, value)) + "]"
    elif isinstance(value, Decimal):
        yield str(value)
    else:
        yield json.dumps(value, ensure_ascii=False)


def refused_place(message: str, schema: Any) -> str | None:
    """The JSON pointer that an error of compilation names, if the schema has it."""
    found = re.search(r"invalid JSON schema at `(/[^`]*)`", message)
    if found is None:
        return None
    pointer = "" if found[1] == "/" else found[1]
    return found[1] if any(pointer == known for known, _ in parts(schema)) else None
