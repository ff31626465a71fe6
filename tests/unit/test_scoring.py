"""The arithmetic of scores, without a model."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabagent.scoring import as_choices, choice_scores, split_at_common, windows

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


@given(prompt=TOKENS, choices=st.lists(TOKENS, min_size=1, max_size=5), cut=st.integers(0, 4))
def test_shared_tokens_and_the_rest_make_each_text(prompt: list[int], choices: list[list[int]], cut: int) -> None:
    # A tokenizer may cut the prompt's end otherwise once a choice follows.
    whole = [[*prompt[: len(prompt) - cut], 9, *choice] if cut else prompt + choice for choice in choices]
    shared, rest = split_at_common(prompt, whole)
    assert [shared + tail for tail in rest] == whole
    assert all(rest)
    assert len(shared) <= len(prompt)
    if not cut:
        assert len(shared) == len(prompt)


def test_scores_add_up() -> None:
    scores = choice_scores(["a", "bc"], [((5,), (-1.0,)), ((6, 7), (-1.0, -1.0))])
    assert [score.logprob for score in scores] == [-1.0, -2.0]
    assert [score.mean_logprob for score in scores] == [-1.0, -1.0]
    assert math.isclose(scores[0].probability, 1 / (1 + math.exp(-1)))
    assert math.isclose(sum(score.probability for score in scores), 1.0)
    assert (scores[1].text, scores[1].tokens, scores[1].logprobs) == ("bc", (6, 7), (-1.0, -1.0))


def test_scores_of_what_cannot_be_are_no_nan() -> None:
    impossible = float("-inf")
    scores = choice_scores(["a", "b"], [((5,), (impossible,)), ((6,), (impossible,))])
    assert [score.probability for score in scores] == [0.5, 0.5]
    scores = choice_scores(["a", "b"], [((5,), (impossible,)), ((6,), (-900.0,))])
    assert [score.probability for score in scores] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("choices", "error", "named"),
    [
        ("ab", TypeError, "`choices` must be"),
        (3, TypeError, "`choices` must be"),
        ([], ValueError, "`choices` is empty"),
        (["a", ""], ValueError, r"`choices\[1\]` is empty"),
        ([[1], []], ValueError, r"`choices\[1\]` is empty"),
        ([[1], [1.5]], TypeError, r"`choices\[1\]\[0\]`"),
    ],
)
def test_wrong_choices_are_named(choices: object, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        as_choices(choices)


@given(count=st.integers(2, 60), size=st.integers(4, 20))
def test_windows_side_by_side_score_their_second_halves(count: int, size: int) -> None:
    found = list(windows(range(100, 100 + count), size, None, 1))
    if count < size:
        assert found == [([1], list(range(101, 100 + count)))]
        return
    assert len(found) == count // size
    for index, (before, scored) in enumerate(found):
        start = 100 + index * size
        assert before == [1, *range(start + 1, start + size // 2 + 1)]
        assert scored == list(range(start + size // 2 + 1, start + size))


@given(count=st.integers(2, 60), size=st.integers(4, 20), stride=st.integers(1, 19))
def test_sliding_windows_score_every_token_once_with_enough_before_it(count: int, size: int, stride: int) -> None:
    stride = min(stride, size - 1)
    found = list(windows(range(count), size, stride, None))
    assert [token for _, scored in found for token in scored] == list(range(1, count))
    for index, (before, scored) in enumerate(found):
        assert len(before) + len(scored) <= size
        assert before == list(range(scored[0] - len(before), scored[0]))
        assert index == 0 or len(before) >= size - stride
