"""Random schemas against `jsonschema`: no valid value is rejected, no invalid one accepted or written, unless a limitation says so.

`TABAGENT_SCHEMA_CASES=N` tries the schemas of the seeds 0 to N - 1, `TABAGENT_SCHEMA_SEED=S` begins at S.
"""

from __future__ import annotations

import decimal
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import jsonschema
import pytest

from schema_corpus import of_values
from support import schema_oracle
from support.random_schemas import SchemaMaker, ValueMaker, smaller
from support.schema_oracle import Oracle
from support.schema_walk import walk
from tabagent import GrammarError, Model
from tabagent.grammar import Grammar

CASES: Final = int(os.environ.get("TABAGENT_SCHEMA_CASES") or 200)
FIRST: Final = int(os.environ.get("TABAGENT_SCHEMA_SEED") or 0)
VALUES: Final = 12
WALKS: Final = 3


@dataclass
class Fault:
    """How a grammar and `jsonschema` differ, without a limitation that says so."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("schemas") / "bytes.gguf"
    path.write_bytes(schema_oracle.byte_vocabulary().to_bytes())
    with Model.load(path, vocab_only=True) as model:
        yield model


def fault_of(schema: Any, seed: int, model: Model, counts: Counter[str]) -> Fault | None:
    """What is wrong with the grammar of the schema, as far as the values and walks of a seed show."""
    chance = random.Random(seed)  # noqa: S311 (tests)
    oracle, values = Oracle(schema), ValueMaker(chance, schema)
    try:
        grammar = schema_oracle.compiled(model, schema)
    except GrammarError as error:
        counts["refused"] += 1
        valid = next((value for value in (values.value() for _ in range(3 * VALUES)) if oracle.judge(value).valid), None)
        if schema_oracle.refused_place(str(error), schema) is None:
            return Fault("refused without a place", str(error))
        if valid is not None and "nothing can fit" in str(error):
            return Fault("refused", f"{schema_oracle.dumps(valid)} fits, and the error is: {error}")
        return None
    counts["limited" if of_values(grammar.limitations) else "exact"] += 1
    for _ in range(VALUES):
        fault = decided(grammar, oracle, values.value(), counts)
        if fault is not None:
            return fault
    for _ in range(WALKS):
        fault = walked(grammar, oracle, chance, counts)
        if fault is not None:
            return fault
    return None


def decided(grammar: Grammar, oracle: Oracle, value: Any, counts: Counter[str]) -> Fault | None:
    found = oracle.judge(value)
    try:
        text = schema_oracle.accepts(grammar, value, oracle.schema)
    except GrammarError as error:
        return Fault("failed", f"{schema_oracle.dumps(value)}: {error}")
    counts["valid" if found.valid else "invalid"] += 1
    if (text is not None) == found.valid:
        return None
    counts["told"] += 1
    if schema_oracle.told(grammar.limitations, found.visited if found.valid else found.failed):
        return None
    return Fault("rejected", schema_oracle.dumps(value)) if found.valid else Fault("accepted", str(text))


def walked(grammar: Grammar, oracle: Oracle, chance: random.Random, counts: Counter[str]) -> Fault | None:
    """A text that the grammar's masks lead to must be valid."""
    text = bytearray()
    try:
        if not walk(grammar, chance, text):
            counts["walks cut"] += 1
            return None
    except GrammarError as error:
        return Fault("failed", f"after {bytes(text)!r}: {error}")
    try:
        found = oracle.judge(schema_oracle.loads(text.decode()))
    except decimal.InvalidOperation:
        counts["walks to numbers beyond Python's"] += 1
        return None
    counts["walks"] += 1
    if found.valid:
        return None
    counts["told"] += 1
    return None if schema_oracle.told(grammar.limitations, found.failed) else Fault("written", text.decode())


def shrunk(schema: Any, still: Callable[[Any], bool]) -> Any:
    """A schema with the same fault from which nothing can be taken."""
    tried = 0
    while True:
        for cut in smaller(schema):
            tried += 1
            if tried > 600:
                return schema
            try:
                jsonschema.Draft202012Validator.check_schema(cut)
                if still(cut):
                    schema = cut
                    break
            except (jsonschema.exceptions.SchemaError, jsonschema.exceptions._WrappedReferencingError, RecursionError):
                continue
        else:
            return schema


def report(seed: int, schema: Any, fault: Fault, model: Model) -> str:
    def still(cut: Any) -> bool:
        found = fault_of(cut, seed, model, Counter())
        return found is not None and found.kind == fault.kind

    least = shrunk(schema, still)
    return f"seed {seed}: {schema_oracle.dumps(least)}: {fault_of(least, seed, model, Counter()) or fault}"


def test_random_schemas_are_decided_as_jsonschema_does(model: Model) -> None:
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for seed in range(FIRST, FIRST + CASES):
        schema = SchemaMaker(random.Random(seed)).document()  # noqa: S311 (tests)
        try:
            fault = fault_of(schema, seed, model, counts)
        except RecursionError:
            # It refers to itself without anything between, and `jsonschema` follows it for ever.
            counts["endless"] += 1
            continue
        if fault is not None:
            counts[fault.kind] += 1
            if len(faults) < 12:
                faults.append(report(seed, schema, fault, model))
    assert not faults, "\n".join([str(dict(counts)), *faults])
