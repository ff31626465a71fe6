"""Objects while they are written: values so far, in plain types and in classes."""

from __future__ import annotations

import copy
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from fake_stream import FakeStream, stream_of
from tabagent import GrammarError
from tabagent.grammar import TextAfter
from tabagent.objects import NOTHING, Snapshots
from tabagent.stream import TokenStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)


def is_beginning(part: Any, whole: Any) -> bool:
    """Whether the value may become the whole by writing on."""
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    if isinstance(part, dict) and isinstance(whole, dict):
        names = list(whole)[: len(part)]
        return list(part) == names and all(
            is_beginning(part[name], whole[name]) if name == names[-1] else part[name] == whole[name] for name in names
        )
    if isinstance(part, list) and isinstance(whole, list):
        return (
            len(part) <= len(whole)
            and part[:-1] == whole[: len(part) - 1 if part else 0]
            and all(map(is_beginning, part[-1:], whole[len(part) - 1 :]))
        )
    return type(part) is type(whole) and bool(part == whole)


def stream(*pieces: str, parser: Any = json.loads, reason: str = "stop") -> TokenStream:
    made = stream_of(FakeStream(*pieces, reason=reason))
    made._parser = parser
    return made


@given(VALUES, st.integers(1, 7), st.booleans())
def test_every_value_is_a_beginning_of_the_last_one(value: Any, size: int, ascii_only: bool) -> None:  # noqa: FBT001
    text = json.dumps(value, ensure_ascii=ascii_only)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    found = list(stream(*pieces).objects())
    kept = copy.deepcopy(found)
    assert found[-1] == value
    for before, after in itertools.pairwise(found):
        assert is_beginning(before, after)
    assert found == kept


@given(VALUES, st.integers(1, 7))
def test_a_loop_sees_what_a_list_keeps(value: Any, size: int) -> None:
    text = json.dumps(value)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    seen = [json.dumps(part) for part in stream(*pieces).objects()]
    assert seen == [json.dumps(part) for part in list(stream(*pieces).objects())]


PIECES = ['{"na', 'me": "Ann', 'a", "tags": ["', "x", '", "y"], "age": 3', "1, ", '"pet": {"name": ', '"Rex"', "}}"]


def test_values_come_after_each_event() -> None:
    assert list(stream(*PIECES).objects()) == [
        {},
        {"name": "Ann"},
        {"name": "Anna", "tags": [""]},
        {"name": "Anna", "tags": ["x"]},
        {"name": "Anna", "tags": ["x", "y"]},
        {"name": "Anna", "tags": ["x", "y"], "age": 31},
        {"name": "Anna", "tags": ["x", "y"], "age": 31, "pet": {}},
        {"name": "Anna", "tags": ["x", "y"], "age": 31, "pet": {"name": "Rex"}},
        {"name": "Anna", "tags": ["x", "y"], "age": 31, "pet": {"name": "Rex"}},
    ]


async def test_async_values_are_the_same() -> None:
    assert [value async for value in stream(*PIECES).objects()] == list(stream(*PIECES).objects())


def test_parts_that_somebody_keeps_do_not_change() -> None:
    tags: list[Any] = []
    states: list[str] = []
    for value in stream(*PIECES).objects():
        if "tags" in value:
            tags.append(value["tags"])
            states.append(json.dumps(value["tags"]))
        del value
    assert [json.dumps(part) for part in tags] == states
    assert states[0] != states[-1]


def test_a_number_at_the_top_comes_at_the_end() -> None:
    assert list(stream("1", "2", ".5").objects()) == [12.5]
    assert list(stream("  7 ").objects()) == [7]
    assert list(stream("").objects()) == []


def test_a_text_that_was_cut_ends_with_what_there_is() -> None:
    assert list(stream('{"a": "x', reason="length").objects())[-1] == {"a": "x"}
    assert list(stream('{"a": 1', reason="cancelled").objects())[-1] == {}


def test_text_before_a_trigger_is_passed_over() -> None:
    parser = TextAfter(("</think>", "JSON:"), json.loads)
    found = list(stream('so {"x" ', "</thi", 'nk>{"a"', ": 1}", parser=parser).objects())
    assert found == [{}, {"a": 1}]


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(ValueError, match="byte 7 cannot follow"):
        list(stream('{"a": nope}').objects())
    with pytest.raises(GrammarError, match="there are no objects to read"):
        stream("x", parser=None).objects()
    read = stream(*PIECES)
    next(read)
    with pytest.raises(RuntimeError, match="was read before"):
        read.objects()


class Pet(BaseModel):
    name: str = Field(min_length=1)


class Person(BaseModel):
    name: str
    tags: list[Literal["x", "y"]] = []
    age: int | None = None
    pet: Pet | None = None
    home: str


def test_objects_of_a_model_grow() -> None:
    pieces = [*PIECES[:-1], "}, ", '"home": "Ro', 'me"}']
    found = list(stream(*pieces).objects(into=Person))
    assert all(isinstance(person, Person) for person in found)
    assert [(person.name, person.tags, person.age) for person in found[:6]] == [
        (None, [], None),
        ("Ann", [], None),
        ("Anna", [""], None),
        ("Anna", ["x"], None),
        ("Anna", ["x", "y"], None),
        ("Anna", ["x", "y"], 31),
    ]
    pets = [person.pet for person in found]
    assert pets[5] is None
    assert isinstance(pets[6], Pet)
    assert pets[6].name is None
    assert pets[7] == Pet(name="Rex")
    assert [person.home for person in found[-2:]] == ["Ro", "Rome"]
    assert found[-1] == Person(name="Anna", tags=["x", "y"], age=31, pet=Pet(name="Rex"), home="Rome")
    assert found[0].model_fields_set == set()


async def test_objects_of_a_model_grow_in_event_loops() -> None:
    pieces = [*PIECES[:-1], '}, "home": ""}']
    found = [person.model_dump() async for person in stream(*pieces).objects(into=Person)]
    assert found == [person.model_dump() for person in stream(*pieces).objects(into=Person)]


def test_the_last_object_is_validated() -> None:
    with pytest.raises(ValidationError, match="home"):
        list(stream(*PIECES).objects(into=Person))
    with pytest.raises(ValidationError, match="pet"):
        list(stream('{"name": "a", "pet": {"name": ""}, "home": "b"}').objects(into=Person))


@dataclass
class Point:
    x: int
    y: int


def test_lists_of_objects_grow() -> None:
    found = list(stream('[{"x": 1, "y"', ": 2}, ", '{"x": 3, "y": 4}', "]").objects(into=list[Point]))
    assert found == [[{"x": 1}], [Point(1, 2)], [Point(1, 2), Point(3, 4)], [Point(1, 2), Point(3, 4)]]


def pieces_of(text: str) -> Iterator[str]:
    return (text[at : at + 4] for at in range(0, len(text), 4))


@pytest.mark.parametrize("shape", ["items", "text", "fields"])
def test_a_loop_takes_time_in_proportion_to_the_text(shape: str) -> None:
    def seconds(count: int) -> float:
        value: Any = {"items": ["ab"] * count, "text": "abcdef" * count, "fields": {str(n): n for n in range(count)}}[shape]
        text = json.dumps(value)
        best = float("inf")
        for _ in range(3):
            snapshots, last = Snapshots(), NOTHING
            start = time.process_time()
            for piece in pieces_of(text):
                last = snapshots.feed(piece)
            best = min(best, time.process_time() - start)
            assert last == value
        return best

    small, large = seconds(10_000), seconds(80_000)
    assert large < small * 20, f"8 times the text took {large / small:.1f} times as long"
