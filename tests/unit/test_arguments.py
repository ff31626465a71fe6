"""Arguments, before they reach the core."""

from __future__ import annotations

import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tabagent._arguments import as_path, as_text, as_texts, as_tokens


@pytest.mark.parametrize("value", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), np.array([1, 2], np.uint8), array.array("i", [1, 2]), iter([1, 2])])
def test_integer_sequences_are_tokens(value: Any) -> None:
    tokens = as_tokens(value, "tokens")
    assert tokens == [1, 2]
    assert {type(token) for token in tokens} == {int}


def test_numpy_integers_in_a_list_are_tokens() -> None:
    assert as_tokens([np.int32(4), 5], "tokens") == [4, 5]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("12", "model.tokenize"),
        (b"12", "decode"),
        (bytearray(b"1"), "decode"),
        (memoryview(b"1"), "decode"),
        ([1, True], r"`tokens\[1\]`"),
        ([1, 2.0], r"`tokens\[1\]`"),
        ([np.float32(1)], r"`tokens\[0\]`"),
        ([np.bool_(True)], r"`tokens\[0\]`"),
        (["1"], r"`tokens\[0\]`"),
        ([None], r"`tokens\[0\]`"),
        (np.array([1.0]), "integer array"),
        (np.array([True]), "integer array"),
        (np.array([[1]]), "one-dimensional"),
        ({1, 2}, "got set"),
        ({1: 2}, "got dict"),
        (None, "got NoneType"),
        (5, "got int"),
    ],
)
def test_what_is_no_token_sequence_is_refused(value: Any, hint: str) -> None:
    with pytest.raises(TypeError, match=hint):
        as_tokens(value, "tokens")


@pytest.mark.parametrize("value", [[-1], [2**31], [0, 2**70], [10**5000], np.array([-5])])
def test_impossible_token_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"`tokens\[\d\]`"):
        as_tokens(value, "tokens")


def test_path_forms() -> None:
    assert as_path(Path("/a/b"), "path") == "/a/b"
    assert as_path("~/b", "path") == str(Path.home() / "b")
    for wrong in (b"/a", 5, None):
        with pytest.raises(TypeError, match="`path`"):
            as_path(wrong, "path")
    with pytest.raises(ValueError, match="NUL"):
        as_path("a\0b", "path")
    # Bytes of a name that are no UTF-8 are fine, other halves of characters are not.
    assert as_path("/a/\udcff", "path") == "/a/\udcff"
    with pytest.raises(ValueError, match=r"`path` holds the character U\+D800 at index 1"):
        as_path("a\ud800", "path")


def test_texts_are_whole_characters() -> None:
    assert as_text("é", "text") == "é"
    with pytest.raises(ValueError, match=r"`text` holds the lone surrogate U\+D800 at index 1"):
        as_text("é\ud800", "text")
    with pytest.raises(ValueError, match=r"`texts\[1\]` holds the lone surrogate"):
        as_texts(["a", "\udcff"], "texts")


@pytest.mark.parametrize("value", ["a", b"a", {"a": 1}, None, 5, np.array(1), [None], [b"a"], [["a"]]])
def test_what_are_no_texts_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="`texts"):
        as_texts(value, "texts")
