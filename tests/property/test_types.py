"""Random texts of grammars made from types: the type takes each of them, unless a limitation says what is not enforced."""

from __future__ import annotations

import datetime as dt
import enum
import ipaddress
import random
import re
import uuid
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, TypeAdapter, computed_field
from typing_extensions import NotRequired, TypedDict

from schema_corpus import of_values
from support import schema_oracle
from support.schema_walk import walk
from tabagent import Model
from tabagent.grammar import source_of

T = TypeVar("T")
WALKS = 25


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 12


class Pair(NamedTuple):
    a: int
    b: str


class Box(BaseModel, Generic[T]):
    value: T
    other: Optional[T] = None  # noqa: UP045 (a form that users write)


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Wolf(BaseModel):
    kind: Literal["wolf"] = "wolf"
    pack: list[Dog] = []


Wild = Annotated[Dog | Wolf, Field(discriminator="kind")]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    others: list[Annotated[Cat | Wild, Field(discriminator="kind")]] = Field(default=[], max_length=2)


class Named(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    x: int = Field(alias="ex")
    y: int = Field(validation_alias=pydantic.AliasChoices("p", "q"))
    z: int = Field(1, serialization_alias="zed")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.x


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", use_enum_values=True)
    color: Color
    when: dt.date | None = None


class Tree(BaseModel):
    n: int
    kids: list[Tree] = []


class Map(RootModel[dict[str, int]]):
    pass


class Stripped(BaseModel):
    code: Annotated[str, StringConstraints(to_upper=True, max_length=3)]


@dataclass
class Plain:
    a: int
    b: str = "x"
    c: int = field(init=False, default=3)


class Items(TypedDict):
    a: int
    b: NotRequired[Color]


class StrippedByConfig(BaseModel):
    model_config = pydantic.ConfigDict(str_strip_whitespace=True)
    name: str = Field(min_length=1)


KINDS: list[Any] = [
    int,
    float,
    bool,
    str,
    bytes,
    Any,
    Decimal,
    Annotated[Decimal, Field(max_digits=4, decimal_places=2)],
    Annotated[Decimal, Field(max_digits=3)],
    Annotated[Decimal, Field(gt=0, le=5, decimal_places=1)],
    Annotated[Decimal, Field(multiple_of=0.25, ge=-1, le=1)],
    complex,
    Color,
    Rank,
    Literal["a", 1, True],
    Literal[Rank.LOW],
    Annotated[int, Field(gt=2, lt=40, multiple_of=3)],
    Annotated[float, Field(ge=0, le=1)],
    pydantic.FiniteFloat,
    pydantic.NegativeFloat,
    pydantic.StrictInt,
    Annotated[str, Field(pattern=r"^\d{2}$")],
    Annotated[str, Field(min_length=1, max_length=2)],
    Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=2, max_length=4)],
    Annotated[str, pydantic.StringConstraints(strip_whitespace=True, pattern=r"^[ a]{2}$")],
    StrippedByConfig,
    Annotated[bytes, Field(min_length=1, max_length=3)],
    pydantic.ByteSize,
    Hashable,
    list[Hashable],
    dt.date,
    dt.datetime,
    dt.time,
    dt.timedelta,
    pydantic.PastDate,
    pydantic.FutureDate,
    pydantic.AwareDatetime,
    pydantic.NaiveDatetime,
    pydantic.PastDatetime,
    uuid.UUID,
    pydantic.UUID1,
    pydantic.UUID4,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    Path,
    re.Pattern,
    pydantic.AnyUrl,
    pydantic.HttpUrl,
    pydantic.FileUrl,
    pydantic.PostgresDsn,
    pydantic.Json,
    pydantic.Base64Bytes,
    pydantic.SecretStr,
    list[int],
    set[int],
    tuple[int, str],
    tuple[int, ...],
    dict[str, int],
    dict[int, str],
    dict[bool, str],
    dict[float, str],
    dict[Color, int],
    dict[Literal["a", "b"], int],
    dict[dt.date, int],
    dict[Annotated[str, Field(pattern="^a+$")], list[int]],
    Annotated[list[int], Field(min_length=1, max_length=2)],
    Annotated[set[int], Field(min_length=2, max_length=3)],
    Annotated[dict[str, int], Field(min_length=1, max_length=2)],
    int | str | None,
    Pair,
    Box[int],
    Box[list[str]],
    Owner,
    Wild,
    TypeAdapter(Wild),
    Named,
    Open,
    Closed,
    Tree,
    Map,
    Stripped,
    Plain,
    Items,
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("types") / "bytes.gguf"
    path.write_bytes(schema_oracle.byte_vocabulary().to_bytes())
    with Model.load(path, vocab_only=True) as model:
        yield model


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_type_takes_what_its_grammar_writes(kind: Any, model: Model) -> None:
    grammar = model.compile_grammar(json_schema=kind, compact_json=True)
    source = source_of(json_schema=kind)
    assert source is not None
    assert source.parser is not None
    complete = 0
    for seed in range(WALKS):
        text = bytearray()
        if not walk(grammar, random.Random(seed), text):  # noqa: S311 (tests)
            continue
        complete += 1
        if not of_values(grammar.limitations):
            source.parser(text.decode())
    assert complete >= 5


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (pydantic.ImportString, "import-string"),
        (pydantic.ImportString[Any], "import-string"),  # type: ignore[misc] # a special form to a type checker
        (pydantic.FilePath, "file-path"),
        (pydantic.NewPath, "new-path"),
        (pydantic.SocketPath, "socket-path"),
        (pydantic.Json, "json-string"),
    ],
)
def test_what_no_schema_can_ask_for_is_told(kind: Any, named: str, model: Model) -> None:
    for whole, path in ((kind, "/"), (pydantic.create_model("Holder", x=(kind, ...)), "/properties/x")):
        told = [(limitation.path, limitation.message) for limitation in model.compile_grammar(json_schema=whole).limitations]
        assert (path, f"the format `{named}` is not enforced") in told


def test_tag_of_a_union_is_required_though_it_has_a_default(model: Model) -> None:
    grammar = model.compile_grammar(json_schema=Owner, compact_json=True)
    for text, fits in [
        ('{"pet":{"kind":"cat"}}', True),
        ('{"pet":{"kind":"cat","lives":3},"others":[{"kind":"wolf","pack":[{"kind":"dog"}]}]}', True),
        ('{"pet":{}}', False),
        ('{"pet":{"lives":3}}', False),
        ('{"pet":{"kind":"wolf"}}', False),
        ('{"pet":{"kind":"dog"},"others":[{}]}', False),
    ]:
        assert schema_oracle.spell(grammar.start(), text) is fits, text


@pytest.mark.parametrize(
    ("kind", "fit", "differ"),
    [
        (dt.date, ["2024-02-29", "2000-02-29", "2023-01-31", "0001-12-31"], ["2023-02-29", "1900-02-29", "2023-04-31", "0000-01-01"]),
        (dt.datetime, ["2023-01-31T23:59:59Z", "2024-02-29T00:00:00.123456+23:59"], ["2023-01-31T23:59:60Z", "2023-01-31T24:00:00Z", "2023-01-31"]),
        (dt.time, ["23:59:59", "00:00:00.5Z"], ["23:59:60", "24:00:00"]),
        (dt.timedelta, ["P1D", "P3DT4H5M6S", "PT36H", "PT0.5S", "PT5M6S"], ["P", "PT", "P1Y", "P1DT"]),
        (Annotated[Decimal, Field(max_digits=4, decimal_places=2)], ["0.25", "-99.99", "12", "1.5"], ["100", "0.125", '"1.5"']),
        (Annotated[Decimal, Field(max_digits=3)], ["999", "-0.125", "12.5"], ["1000", "0.1234", "12.34"]),
        (pydantic.HttpUrl, ["https://example.com", "http://a.b-c.de:80/x/y.html?q=1&r=2#top"], ["ftp://example.com", "https://", "example.com"]),
        (pydantic.UUID4, ["16fd2706-8baf-433b-82eb-8c7fada847da"], ["16fd2706-8baf-133b-82eb-8c7fada847da"]),
        (pydantic.ByteSize, ["0", "1024", '"512"', '"1 KB"', '"1.5GiB"', '"7B"'], ["-1", "1.5", '"1 kilo"', '"KB"', '""']),
        (Hashable, ["1", "-0.5", '"a"'], ["[]", "{}", "[1]"]),
        (dict[int, str], ['{"1":"a","-20":"b"}', "{}"], ['{"a":"b"}', '{"1.5":"a"}']),
    ],
    ids=str,
)
def test_types_have_the_texts_that_people_write(kind: Any, fit: list[str], differ: list[str], model: Model) -> None:
    grammar = model.compile_grammar(json_schema=kind, compact_json=True)
    source = source_of(json_schema=kind)
    assert source is not None
    assert source.parser is not None
    for texts, fits in ((fit, True), (differ, False)):
        for written in texts:
            text = written if written[0] in '{["-0123456789' and kind not in QUOTED else f'"{written}"'
            assert schema_oracle.spell(grammar.start(), text) is fits, text
            if fits:
                source.parser(text)


QUOTED = (dt.date, dt.datetime, dt.time, dt.timedelta, pydantic.HttpUrl, pydantic.UUID4)
