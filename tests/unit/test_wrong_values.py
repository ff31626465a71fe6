"""Wrong values for public functions: the error says which argument it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_models import tiny_llama
from tabagent import Model, StateError

Call = Callable[[Model, Any], object]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with Model.load(path, context_size=64, threads=1) as model:
        yield model


def about_token(name: str) -> Call:
    return lambda model, token: getattr(model, name)(token)


NO_FLAGS: tuple[Any, ...] = (None, 0, 1, "yes", [], np.bool_(True))
NO_TOKENS: tuple[Any, ...] = (
    None,
    "a",
    b"a",
    bytearray(b"a"),
    memoryview(b"a"),
    5,
    1.5,
    {1},
    {1: 2},
    [1.5],
    [True],
    ["a"],
    [None],
    [[1]],
    np.array(1),
    np.array([[1]]),
    np.array([1.0]),
    np.array([True]),
    np.array(["a"]),
)
NO_TOKEN_IDS: tuple[Any, ...] = ([-1], [263], [2**40], [10**5000], np.array([-1]), np.array([2**63], np.uint64), np.array([263], np.uint16))
NO_TEXTS: tuple[Any, ...] = (None, 5, 1.5, b"a", bytearray(b"a"), ["a"], np.array("a"))
CALLS: dict[str, tuple[Call, str, tuple[Any, ...], tuple[Any, ...]]] = {
    # What is called, its argument, values of a wrong type, and those that are wrong otherwise.
    "tokenize": (lambda m, v: m.tokenize(v), "text", NO_TEXTS, ("\ud800", "a\udcff")),
    "tokenize add_special": (lambda m, v: m.tokenize("a", add_special=v), "add_special", NO_FLAGS, ()),
    "tokenize parse_special": (lambda m, v: m.tokenize("a", parse_special=v), "parse_special", NO_FLAGS, ()),
    "tokenize_batch": (
        lambda m, v: m.tokenize_batch(v),
        "texts",
        ("a", b"a", None, 5, {"a"}, {"a": 1}, [b"a"], [None], [["a"]], np.array(1)),
        (["\ud800"],),
    ),
    "detokenize": (lambda m, v: m.detokenize(v), "tokens", NO_TOKENS, NO_TOKEN_IDS),
    "detokenize remove_special": (lambda m, v: m.detokenize([1], remove_special=v), "remove_special", NO_FLAGS, ()),
    "detokenize unparse_special": (lambda m, v: m.detokenize([1], unparse_special=v), "unparse_special", NO_FLAGS, ()),
    "detokenize clean_up": (lambda m, v: m.detokenize([1], clean_up_tokenization_spaces=v), "clean_up_tokenization_spaces", NO_FLAGS, ()),
    "detokenize continuation": (lambda m, v: m.detokenize([1], continuation=v), "continuation", NO_FLAGS, ()),
    "detokenize_batch": (
        lambda m, v: m.detokenize_batch(v),
        "lists",
        ("a", b"a", bytearray(b"a"), None, 5, {1: 2}, set(), np.array(1), np.array([1])),
        (),
    ),
    "detokenize_batch item": (lambda m, v: m.detokenize_batch([[1], v]), "lists[1]", NO_TOKENS, NO_TOKEN_IDS),
    **{
        name: (about_token(name), "token", (None, "a", b"a", 1.0, True, [1], np.array([1]), np.float32(1)), (-1, 263, 2**70))
        for name in ("token_to_bytes", "token_text", "token_score", "token_attributes", "is_eog", "is_control")
    },
    "token_to_bytes special": (lambda m, v: m.token_to_bytes(1, special=v), "special", NO_FLAGS, ()),
    "chat_template": (lambda m, v: m.chat_template(v), "name", (5, b"a", ["a"]), ("\ud800",)),
    "generate": (lambda m, v: m.generate(v), "prompt", tuple(v for v in NO_TOKENS if not isinstance(v, str)), (*NO_TOKEN_IDS, "\ud800")),
    "generate logprobs_mode": (lambda m, v: m.generate("a", logprobs_mode=v), "logprobs_mode", (None, 5, b"raw"), ("cooked", "\ud800")),
    "generate stop": (lambda m, v: m.generate("a", stop=v), "stop", (None, 5, b"a", {"a": 1}, [b"a"]), (["\ud800"], "\ud800")),
    "generate ban": (lambda m, v: m.generate("a", ban=v), "ban", (None, 5, b"a", {"a": 1}, [b"a"]), (["\ud800"], "\ud800", "", ["a", ""])),
    "generate stop_tokens": (lambda m, v: m.generate("a", stop_tokens=v), "stop_tokens", NO_TOKENS, NO_TOKEN_IDS),
    "score": (lambda m, v: m.score(v, ["a"]), "prompt", tuple(v for v in NO_TOKENS if not isinstance(v, str)), (*NO_TOKEN_IDS, "\ud800")),
    "score choices": (lambda m, v: m.score("a", v), "choices", ("a", b"a", None, 5, {"a"}, np.array(1)), ([], [""], ["\ud800"])),
    "score choice": (lambda m, v: m.score("a", ["b", v]), "choices[1]", tuple(v for v in NO_TOKENS if not isinstance(v, str)), (*NO_TOKEN_IDS, [])),
    "perplexity": (lambda m, v: m.perplexity(v), "text", tuple(v for v in NO_TOKENS if not isinstance(v, str)), (*NO_TOKEN_IDS, "\ud800")),
    "create_context flash_attention": (
        lambda m, v: m.create_context(flash_attention=v),
        "flash_attention",
        (None, True, 1, b"on"),
        ("perhaps", "\ud800"),
    ),
    "create_context kv_type": (lambda m, v: m.create_context(kv_type=v), "kv_type", (None, 5, b"f16"), ("f17", "\ud800")),
}


@pytest.mark.parametrize("name", CALLS)
def test_error_names_the_argument(model: Model, name: str) -> None:
    call, argument, wrong_types, wrong_values = CALLS[name]
    for error, values in ((TypeError, wrong_types), (ValueError, wrong_values)):
        for value in values:
            with pytest.raises(error) as caught:
                call(model, value)
            assert f"`{argument}" in str(caught.value), (value, caught.value)
            assert not isinstance(caught.value, (UnicodeError, OverflowError))


@pytest.mark.parametrize("tokens", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), np.array([1, 2], np.uint8), [np.int64(1), np.uint8(2)]])
def test_all_kinds_of_integers_are_tokens(model: Model, tokens: Any) -> None:
    assert model.detokenize(tokens) == "<s></s>"
    assert model.detokenize_batch([tokens, iter(tokens)]) == ["<s></s>", "<s></s>"]
    assert model.token_text(tokens[0]) == "<s>"


def test_context_names_the_argument(model: Model, tmp_path: Path) -> None:
    with model.create_context(context_size=64) as context:
        wrong: list[tuple[str, Callable[[Any], object], tuple[Any, ...], tuple[Any, ...]]] = [
            ("tokens", context.decode, NO_TOKENS, ([], [-1])),
            ("sequences", lambda v: context.decode([1], sequences=v), ("a", b"a", bytearray(b"a"), 5, {0}, {0: 1}, np.array(0), [0.0]), ([], [-1])),
            ("positions", lambda v: context.decode([1], positions=v), ("a", b"a", 5, {0}, np.array(0), [None]), ([-1],)),
            ("logits", lambda v: context.decode([1], logits=v), (None, 5, b"all", np.array(True), [1]), ("some", [True, True])),
            ("end", lambda v: context.remove(0, 5, v), ("a", 1.5), (0, 5, -1)),
            ("path", context.save_state, (5, b"a"), ("a\0b", "\ud800")),
            ("state", context.load_state, (5, None), ("a\0b", "\ud800")),
        ]
        for argument, call, wrong_types, wrong_values in wrong:
            for error, values in ((TypeError, wrong_types), (ValueError, wrong_values)):
                for value in values:
                    with pytest.raises(error, match=f"^`{argument}"):
                        call(value)
        for place in (tmp_path, Path("/dev/null")):
            with pytest.raises(StateError, match=f"^`{place}`: .*no regular file"):
                context.load_state(place)
