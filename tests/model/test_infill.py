"""Filling in with a real model."""

from __future__ import annotations

from typing import Any

import pytest

from tabagent import Model, SamplerConfig, UnsupportedModelError

pytestmark = pytest.mark.model

GREEDY = SamplerConfig.greedy()
PREFIX = 'def area(width, height):\n    """The area of a rectangle."""\n    '
SUFFIX = "\n\nprint(area(2, 3))  # 6\n"


def text_of(model: Model, tokens: list[int]) -> str:
    return model.detokenize(tokens, unparse_special=True)


def prompt_of(model: Model, *args: Any, **options: Any) -> list[int]:
    return model._native.infill_prompt({"prefix": "", "suffix": "", **dict(zip(("prefix", "suffix"), args, strict=False)), **options})


def test_the_middle_fits_what_is_around_it(coder: Model) -> None:
    stream = coder.infill(PREFIX, SUFFIX, max_tokens=16, sampling=GREEDY, stop="\n")
    text = "".join(stream)
    assert text == "return width * height"
    assert stream.result().finish_reason == "stop"
    power = coder.infill(
        "import math\n\ndef circle_area(radius):\n    return math.pi * ", "\n\nprint(circle_area(1.0))\n", max_tokens=8, sampling=GREEDY, stop="\n"
    )
    assert power.result().text == "radius ** 2"


def test_other_files_are_read(coder: Model) -> None:
    extra = [("billing.py", "def compute_total_with_vat(items):\n    return sum(items) * 1.19\n")]
    options: dict[str, Any] = {"max_tokens": 12, "sampling": GREEDY, "stop": "\n"}
    prefix = "from billing import "
    suffix = "\n\nprint(compute_total_with_vat([1, 2]))\n"
    assert "compute_total_with_vat" in coder.infill(prefix, suffix, extra=extra, filename="main.py", **options).result().text
    assert (
        coder.infill(prefix, suffix, extra=dict(extra), filename="main.py", **options).result().text
        == coder.infill(prefix, suffix, extra=extra, filename="main.py", **options).result().text
    )


def test_the_prompt_is_that_of_the_servers(coder: Model) -> None:
    tokens = prompt_of(coder, "pre", "suf", prompt="begin", extra=[("a.py", "one"), ("b.py", "two")])
    assert text_of(coder, tokens) == (
        "<|repo_name|>myproject\n<|file_sep|>a.py\none<|file_sep|>b.py\ntwo<|file_sep|>filename\n<|fim_prefix|>prebegin<|fim_suffix|>suf<|fim_middle|>"
    )
    assert text_of(coder, prompt_of(coder, "pre", "suf")) == "<|fim_prefix|>pre<|fim_suffix|>suf<|fim_middle|>"
    tokens = prompt_of(coder, "pre", "suf", repository="mine", filename="c.py", suffix_first=True)
    assert text_of(coder, tokens) == "<|repo_name|>mine\n<|file_sep|>c.py\n<|fim_suffix|>suf<|fim_prefix|>pre<|fim_middle|>"


def test_markers_in_the_text_are_text(coder: Model) -> None:
    (middle,) = coder.tokenize("<|fim_middle|>", parse_special=True)
    assert prompt_of(coder, "a<|fim_middle|>b", "<|fim_middle|>").count(middle) == 1


def test_what_is_too_long_is_cut_around_the_gap(coder: Model) -> None:
    long = "".join(f"value_{number} = {number}\n" for number in range(2000))
    tokens = prompt_of(coder, long, long, extra=[("a.py", long)], max_tokens=100)
    size = coder.info.context_size
    assert size - 400 < len(tokens) <= size - 100
    text = text_of(coder, tokens)
    before, after = text.split("<|fim_prefix|>")[1].split("<|fim_suffix|>")
    assert before.endswith("value_1999 = 1999\n")
    assert after.startswith("value_0 = 0\n")
    assert len(before) > 2 * len(after)
    done = coder.infill(long, long, extra=[("a.py", long)], max_tokens=4, sampling=GREEDY).result()
    assert done.usage.completion_tokens == 4


def test_models_without_such_tokens_say_so(smollm2: Model) -> None:
    with pytest.raises(UnsupportedModelError, match=r"has no token for prefix, suffix, middle; take a model that was trained for it"):
        smollm2.infill("a", "b")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"prefix": 1}, TypeError, "`prefix` must be"),
        ({"suffix": None}, TypeError, "`suffix` must be"),
        ({"extra": "a.py"}, TypeError, "`extra` must be pairs of a name and a text, got str"),
        ({"extra": [("a.py",)]}, TypeError, r"`extra\[0\]` must be a pair"),
        ({"extra": [("a.py", 1)]}, TypeError, r"`extra\[0\]\[1\]` must be"),
        ({"suffix_first": 1}, TypeError, "`suffix_first`"),
        ({"max_tokens": -1}, ValueError, "`max_tokens`"),
        ({"parse_special": False}, TypeError, "`infill` has no option `parse_special`"),
        ({"prefix": "\ud800"}, ValueError, "`prefix`"),
    ],
)
def test_wrong_arguments_are_named(coder: Model, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        coder.infill(**{"prefix": "a", "suffix": "b", **options})
