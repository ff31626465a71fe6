"""The classes of errors: what they derive from, that every kind of error of the core has one, and what the docs say of them."""

from __future__ import annotations

import builtins
import errno
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest

import tabagent
from tabagent import _native, errors, gguf
from tabagent.variants import choose_variant

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
PYTHON_ONLY = (errors.ToolError,)
"""What is about Python's own things, which the core does not know."""
CLASSES = {name: getattr(errors, name) for name in errors.__all__}


def test_all_errors_are_tabagent_errors_and_public() -> None:
    for name, kind in CLASSES.items():
        assert issubclass(kind, errors.TabagentError)
        assert getattr(tabagent, name) is kind
        assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.LibraryLoadError, OSError),
        (errors.IncompatibleLibraryError, errors.LibraryLoadError),
        (errors.ModelLoadError, OSError),
        (errors.ModelNotFoundError, FileNotFoundError),
        (errors.InvalidModelError, ValueError),
        (errors.GgufError, ValueError),
        (errors.ContextFullError, ValueError),
        (errors.OutOfMemoryError, MemoryError),
        (errors.VariantError, ValueError),
        (errors.ForkedError, RuntimeError),
    ],
)
def test_errors_have_the_builtin_base_that_fits(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)
    assert str(kind("text")) == "text"


def test_kinds_and_classes_correspond_one_to_one() -> None:
    kinds = _native.error_kinds()
    narrow = {name: kind for name, kind in CLASSES.items() if kind is not errors.TabagentError and not issubclass(kind, PYTHON_ONLY)}
    named = {name: "".join(map(str.capitalize, name.split("_"))) + "Error" for name in kinds}
    special = {"value": ValueError, "type": TypeError, "io": OSError}
    expected = special | {name: narrow.get(named[name]) for name in kinds.keys() - special.keys()}
    assert kinds == expected
    assert {kind.__name__ for name, kind in kinds.items() if name not in special} == narrow.keys()


def refused(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the caller compares the class
        call()
    return caught.value


def damaged(directory: Path) -> Path:
    path = directory / "damaged.gguf"
    path.write_bytes(b"GGUF" + (99).to_bytes(4, "little") + bytes(16))
    return path


def test_facts_of_a_gguf_file_arrive(tmp_path: Path) -> None:
    error = refused(lambda: gguf.open(damaged(tmp_path)))
    assert type(error) is errors.GgufError
    assert (error.file, error.key, error.tensor) == ("damaged.gguf", None, None)
    assert isinstance(error.offset, int)
    assert error.rule
    assert error.rule in str(error)


def test_reason_and_path_of_the_operating_system_arrive(tmp_path: Path) -> None:
    path = tmp_path / "none.gguf"
    error = refused(lambda: gguf.open(path))
    assert type(error) is FileNotFoundError
    assert (error.errno, error.filename) == (errno.ENOENT, str(path))


def test_what_a_function_that_makes_data_raises_arrives(tmp_path: Path) -> None:
    error_of_mine = ZeroDivisionError("mine")

    def data() -> NoReturn:
        raise error_of_mine

    writer = gguf.GgufWriter()
    writer.add_tensor("x", data, type="F32", shape=(4,))
    error = refused(lambda: writer.write(tmp_path / "x.gguf"))
    assert error is error_of_mine


@pytest.mark.parametrize(
    ("call", "kind", "part"),
    [
        (lambda: gguf.quantize(np.ones((1, 100), np.float32), "Q4_K"), ValueError, "choose another type"),
        (lambda: gguf.quantize(np.full((1, 256), np.nan, np.float32), "Q4_K"), ValueError, "weight `0` is not finite"),
        (lambda: tabagent.SamplerConfig(top_p=2.0), ValueError, "got `2`"),
        (lambda: choose_variant("zen99"), errors.VariantError, "unknown variant `zen99`"),
        (lambda: choose_variant(""), errors.VariantError, "ask for `auto`"),
        (lambda: tabagent.Model.load("/none/m.gguf"), errors.ModelNotFoundError, "/none/m.gguf"),
    ],
)
def test_calls_raise_the_class_of_their_kind(call: Callable[[], object], kind: type[Exception], part: str) -> None:
    error = refused(call)
    assert type(error) is kind
    assert part in str(error)


def rows() -> list[list[str]]:
    """The first table of the docs, without its head."""
    lines = DOCS.read_text(encoding="utf-8").split("\n\n")[2].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def builtin_bases(kind: type[BaseException]) -> list[str]:
    """The builtin classes that `kind` is, without those that another of them derives from."""
    found = [base for base in kind.__mro__ if base.__module__ == builtins.__name__ and issubclass(base, Exception)]
    return sorted(b.__name__ for b in found if not any(o is not b and issubclass(o, b) for o in found))


def test_docs_list_every_class_with_its_base_and_its_sentence() -> None:
    listed = {re.sub("`", "", name): (base, when, advice) for name, base, when, advice in rows()}
    assert len(listed) == len(rows())
    assert listed.keys() == CLASSES.keys()
    for name, (base, when, advice) in listed.items():
        assert sorted(re.findall(r"`(\w+)`", base)) == builtin_bases(CLASSES[name]), name
        assert when == CLASSES[name].__doc__, name
        assert advice.endswith("."), name
