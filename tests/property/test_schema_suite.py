"""The official JSON Schema test suite: what it calls valid is accepted, what it calls invalid is not, or a limitation says so.

`format` is an assertion here, as the suite's optional part has it, so the file that calls it an annotation is left out. What is decided
otherwise on purpose is in `OTHERWISE`. `TABAGENT_SCHEMA_DRAFTS=all` takes the older drafts as well; their files name no `$schema`, so that what
differs there between the drafts is found to be wrong.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import referencing
import referencing.jsonschema

import needs
from support import schema_oracle
from support.schema_oracle import Judgement, Oracle, Place, loads
from tabagent import GrammarError, Model

SUITE: Final = "json-schema-test-suite"
REMOTES: Final = "http://localhost:1234/"
# Its number has 309 digits; ours are below 1e308.
BEYOND: Final = "optional/float-overflow.json"
KINDS: Final[dict[str, Any]] = {
    "draft2020-12": jsonschema.Draft202012Validator,
    "draft2019-09": jsonschema.Draft201909Validator,
    "draft7": jsonschema.Draft7Validator,
    "draft6": jsonschema.Draft6Validator,
    "draft4": jsonschema.Draft4Validator,
}
DRAFTS: Final = tuple(KINDS) if os.environ.get("TABAGENT_SCHEMA_DRAFTS") == "all" else ("draft2020-12",)
OTHERWISE: Final = {
    "schema that uses custom metaschema with with no validation vocabulary": "all keywords count, whatever vocabularies a metaschema names",
}
LEFT_OUT: Final = {"format.json", "optional/format-assertion.json"}


def suite() -> Path:
    """The folder of the suite; the test is skipped if it is not there."""
    return needs.model(f"{SUITE}/tests/draft2020-12/ref.json").parents[2]


def cases() -> Iterator[Any]:
    """The files by draft, or one case that says what is missing."""
    try:
        tests = suite() / "tests"
    except (pytest.skip.Exception, pytest.fail.Exception):
        yield pytest.param("draft2020-12", "ref.json")
        return
    for draft in DRAFTS:
        for path in sorted((tests / draft).rglob("*.json")):
            name = path.relative_to(tests / draft).as_posix()
            if name not in {*LEFT_OUT, BEYOND}:
                yield pytest.param(draft, name, id=f"{draft}/{name.removesuffix('.json')}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("suite") / "bytes.gguf"
    path.write_bytes(schema_oracle.byte_vocabulary().to_bytes())
    with Model.load(path, vocab_only=True) as model:
        yield model


@pytest.fixture(scope="module")
def registry() -> Any:
    """The schemas that the suite's own server has at `REMOTES`."""
    folder = suite() / "remotes"
    resources = []
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        kind = referencing.jsonschema.DRAFT7 if name.startswith(("draft3/", "draft4/", "draft6/", "draft7/")) else referencing.jsonschema.DRAFT202012
        resource = referencing.Resource.from_contents(loads(path.read_text(encoding="utf-8")), default_specification=kind)
        resources.append((REMOTES + name, resource))
    return schema_oracle.METASCHEMAS.with_resources(resources)


class Tally:
    """What became of the instances of one file."""

    def __init__(self) -> None:
        self.right = 0
        self.told = 0
        self.refused = 0
        self.wrong: list[str] = []

    def __str__(self) -> str:
        counts = f"{self.right} right, {self.told} wrong as told, {self.refused} of schemas refused, {len(self.wrong)} wrong"
        return "\n".join([counts, *self.wrong])


def check(case: Any, model: Model, kind: Any, registry: Any, tally: Tally) -> None:
    """Decide the instances of one schema."""
    schema, tests = case["schema"], case["tests"]
    label = f"{case['description']!r} {schema_oracle.dumps(schema)}"
    try:
        grammar = schema_oracle.compiled(model, schema)
    except GrammarError as error:
        place = schema_oracle.refused_place(str(error), schema)
        if place is None or ("nothing can fit" in str(error) and any(test["valid"] for test in tests)):
            tally.wrong.append(f"{label}: {error}")
        else:
            tally.refused += len(tests)
        return
    for test in tests:
        value, valid = test["data"], test["valid"]
        try:
            text = schema_oracle.accepts(grammar, value, schema)
        except GrammarError as error:
            tally.wrong.append(f"{label}: {schema_oracle.dumps(value)}: {error}")
            continue
        if (text is not None) == valid:
            tally.right += 1
            continue
        found = judged(schema, value, kind, registry)
        # The suite may find more wrong than `jsonschema` does.
        if schema_oracle.told(grammar.limitations, found.visited if valid or found.valid else found.failed):
            tally.told += 1
        else:
            told = "; ".join(f"{limitation.keyword} at {limitation.path}" for limitation in grammar.limitations) or "no limitation"
            what = "rejected although valid" if valid else f"accepted as {text} although invalid"
            tally.wrong.append(f"{label}: {schema_oracle.dumps(value)} is {what} ({test['description']}); {told}")


def judged(schema: Any, value: Any, kind: Any, registry: Any) -> Judgement:
    """What `jsonschema` says; nothing if the schema is beyond it."""
    try:
        return Oracle(schema, kind=kind, registry=registry).judge(value)
    except (referencing.exceptions.Unresolvable, jsonschema.exceptions.UnknownType):
        return Judgement(valid=False, failed={Place("/", "$ref")})


@pytest.mark.parametrize(("draft", "name"), list(cases()))
def test_the_official_suite_decides_alike(draft: str, name: str, model: Model, registry: Any, record_property: Any) -> None:
    tally = Tally()
    for case in loads((suite() / "tests" / draft / name).read_text(encoding="utf-8")):
        if case["description"] not in OTHERWISE:
            check(case, model, KINDS[draft], registry, tally)
    for count in ("right", "told", "refused"):
        record_property(count, getattr(tally, count))
    assert not tally.wrong, str(tally)
