"""Prompts begin and end once with what the model wants there, and who gives it twice is told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from conftest import THREADS
from support.vocabulary_models import CONTEXT, FILES, SMALL, write_model
from tabagent import Model

# Their models want something at the beginning of a text; bert-bge and nomic-bert-moe at its end, too.
ADDING = (
    "baichuan",
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "gemma-4",
    "llama-bpe",
    "llama-spm",
    "nomic-bert-moe",
    "phi-3",
    "tiny-ugm",
)


@dataclass
class Case:
    """A model and the markers that it wants around a text."""

    model: Model
    begin: str
    end: str


@pytest.fixture(scope="module", params=[*FILES, *SMALL])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    path = tmp_path_factory.mktemp("prompts") / "model.gguf"
    write_model(request.param, path)
    with Model.load(path, context_size=CONTEXT, threads=THREADS) as model:
        whole, inner = model.tokenize("a"), model.tokenize("a", add_special=False)
        (at,) = [start for start in range(len(whole)) if whole[start : start + len(inner)] == inner]
        begin, end = ("".join(map(model.token_text, part)) for part in (whole[:at], whole[at + len(inner) :]))
        assert bool(begin or end) == (request.param in ADDING)
        yield Case(model, begin, end)
    path.unlink()


def n_prompt(model: Model, prompt: Any, **options: Any) -> int:
    return model.generate(prompt, max_tokens=1, **options).result().usage.prompt_tokens


def test_markers_are_not_doubled(case: Case) -> None:
    model, plain = case.model, len(case.model.tokenize("a b"))
    doubled = f"{case.begin}a b{case.end}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert n_prompt(model, "a b") == plain
        assert not told
        assert n_prompt(model, doubled) == plain
        assert n_prompt(model, model.tokenize(doubled, parse_special=True)) == plain
    assert [str(warning.filename) for warning in told] == [__file__] * len(told)
    assert len(told) == 2 * (bool(case.begin) + bool(case.end))
    for warning, does in zip(told, [*(["begins"] * bool(case.begin)), *(["ends"] * bool(case.end))], strict=False):
        assert f"`prompt` {does} with `{case.begin if does == 'begins' else case.end}`" in str(warning.message)
        assert "`add_special=False`" in str(warning.message)


def test_what_is_asked_for_is_given(case: Case) -> None:
    """Without `add_special` a prompt is taken as it is, and without `parse_special` a marker is text."""
    model, doubled = case.model, f"{case.begin}{case.begin}a b{case.end}{case.end}"
    tokens = model.tokenize(doubled, add_special=False, parse_special=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert n_prompt(model, doubled, add_special=False) == len(tokens)
        assert n_prompt(model, tokens, add_special=False) == len(tokens)
        assert n_prompt(model, doubled, parse_special=False) == len(model.tokenize(doubled))


def test_tokenize_is_literal(case: Case) -> None:
    model = case.model
    inner = model.tokenize(f"{case.begin}a b{case.end}", add_special=False, parse_special=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = model.tokenize(f"{case.begin}a b{case.end}", parse_special=True)
    assert len(whole) - len(inner) == bool(case.begin) + bool(case.end)
    assert model.detokenize(whole, remove_special=True) == model.detokenize(inner)


@pytest.mark.parametrize("case", ADDING, indirect=True)
def test_scores_read_the_same_prompt(case: Case) -> None:
    model = case.model
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plain = model.score("a", [" b", "c"])
        assert not told
        doubled = model.score(f"{case.begin}a", [" b", "c"])
        listed = model.score(model.tokenize(f"{case.begin}a{case.end}", parse_special=True), [" b", "c"])
        assert [str(warning.filename) for warning in told] == [__file__] * (2 + bool(case.end))
    assert doubled == plain
    assert listed == model.score(model.tokenize("a"), [" b", "c"])
    text = "a b c d e f g h i j k"
    with pytest.warns(UserWarning, match="`text` begins with.*leave it out of `text`$"):
        of_tokens = model.perplexity(model.tokenize(f"{case.begin}{text}", parse_special=True))
    assert of_tokens == model.perplexity(text)


def test_text_choices_go_on_with_a_prompt_of_tokens(case: Case) -> None:
    """Without the space that some tokenizers put in front of texts, unless the prompt ends in a special token."""
    model = case.model
    prompt = model.tokenize("a b", add_special=False)
    for text in ("c", " c", "c d"):
        (score,) = model.score(prompt, [text])
        tokens = list(score.tokens)
        if model.info.vocab_kind not in {"wordpiece", "unigram"}:  # those change texts
            assert model.detokenize(tokens, continuation=True) == text
            assert model.detokenize([*prompt, *tokens]) == f"a b{text}"
    if case.begin:
        bos = model.tokenize(case.begin, add_special=False, parse_special=True)
        (after_bos,) = model.score(bos, ["c"])
        assert list(after_bos.tokens) == model.tokenize("c", add_special=False)


@pytest.mark.parametrize("case", ADDING, indirect=True)
def test_who_asks_in_a_loop_is_told_once(case: Case) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(3):
            case.model.generate(f"{case.begin}a", max_tokens=1).result()
    assert len(told) == 1


@pytest.mark.parametrize("case", ADDING, indirect=True)
def test_a_warning_may_be_an_error(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="`prompt` begins with"):
            case.model.generate(f"{case.begin}a")
    assert case.model.stats.active == 0
