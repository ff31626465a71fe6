"""Texts that do not fit the context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tabagent import ContextFullError, ContextShift, Model, SamplerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREEDY = SamplerConfig.greedy()
STORY = "The river ran past the mill, and the miller's daughter sat on its bank and counted the boats. "


@pytest.fixture(scope="module")
def small(smollm2_path: Path) -> Iterator[Model]:
    with Model.load(smollm2_path, context_size=256, max_sequences=4, threads=1) as model:
        yield model


def test_text_goes_on_past_the_context_and_stays_text(small: Model) -> None:
    stream = small.generate(STORY, max_tokens=400, sampling=GREEDY, ignore_eos=True, overflow="shift", logprobs=0)
    events = list(stream.events())
    usage = stream.usage
    assert usage is not None
    assert (usage.completion_tokens, stream.finish_reason) == (400, "length")
    # 252 tokens may leave, 126 at a time.
    n_prompt = len(small.tokenize(STORY))
    n_shifts = -(-(n_prompt + 399 - 256) // 126)
    assert usage.dropped_tokens == 126 * n_shifts
    logprobs = [token.logprob for event in events for token in event.logprobs]
    # A context whose positions do not fit its cells gives noise: less than a thousandth for each token.
    assert np.mean(logprobs[256:]) > -2.5


def test_what_stays_is_seen_as_it_was(small: Model) -> None:
    """Right after a shift, what comes is what comes after the tokens that are left, nearly: they were computed with those that left in sight."""
    shift = ContextShift(keep=8, discard=20)
    prompt = small.tokenize(STORY * 16)[:256]
    stream = small.generate(prompt, max_tokens=2, sampling=GREEDY, ignore_eos=True, overflow=shift, add_special=False)
    tokens = [token for event in stream.events() for token in event.token_ids]
    assert stream.usage is not None
    assert stream.usage.dropped_tokens == 20
    left = [*prompt[:8], *prompt[28:], tokens[0]]
    with small.create_context(context_size=512) as context:
        context.decode(left)
        logits = context.logits()
    assert tokens[1] in np.argsort(logits)[-3:]


def test_several_shift_beside_each_other(small: Model) -> None:
    prompts = [STORY, "Once upon a time", "def main():\n"]
    alone = [small.generate(p, max_tokens=270, sampling=GREEDY, ignore_eos=True, overflow="shift").result() for p in prompts]
    streams = [small.generate(p, max_tokens=270, sampling=GREEDY, ignore_eos=True, overflow="shift") for p in prompts]
    for before, stream in zip(alone, streams, strict=True):
        done = stream.result()
        assert done.usage.completion_tokens == 270
        assert done.usage.dropped_tokens == before.usage.dropped_tokens > 0
        assert done.text[:40] == before.text[:40]


def test_long_prompts_raise_end_or_lose_their_middle(small: Model) -> None:
    prompt = STORY * 20
    with pytest.raises(ContextFullError, match="tokens but the context holds 256"):
        small.generate(prompt)
    stopped = small.generate(prompt, overflow="stop").result()
    assert (stopped.text, stopped.finish_reason) == ("", "length")
    assert stopped.usage.prompt_tokens == len(small.tokenize(prompt))
    assert stopped.usage.dropped_tokens == stopped.usage.prompt_tokens - 256
    shifted = small.generate(prompt, max_tokens=8, sampling=GREEDY, overflow="shift").result()
    assert shifted.usage.prompt_tokens == stopped.usage.prompt_tokens
    assert shifted.usage.completion_tokens == 8


def test_texts_that_are_surely_too_long_are_taken_too(small: Model) -> None:
    prompt = STORY * 4000
    assert small.generate(prompt, overflow="stop").result().finish_reason == "length"
    assert small.generate(prompt, overflow="shift", max_tokens=2, sampling=GREEDY).result().usage.completion_tokens == 2


def test_batch_of_prompts_goes_on_past_one_that_does_not_fit(small: Model) -> None:
    batch = small.generate_batch(["Hi", STORY * 20, "Hello"], max_tokens=3, sampling=GREEDY, overflow="stop")
    assert [done.usage.completion_tokens for done in batch] == [3, 0, 3]


def test_shift_does_not_go_with_what_goes_back(small: Model) -> None:
    with pytest.raises(ValueError, match=r"cannot be gone back to, as `ban` needs it"):
        small.generate("Hi", overflow="shift", ban="no")
    with small.session() as session:
        session.append("Hi")
        with pytest.raises(ValueError, match=r"as `session` needs it"):
            session.generate(overflow="shift")
    stream = small.generate("Hi", overflow="shift", max_tokens=200, ignore_eos=True)
    next(stream)
    with pytest.raises(ValueError, match=r"as `fork` needs it"):
        stream.fork()
    stream.cancel()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("shifted", ValueError, r"`overflow` must be 'error', 'stop', 'shift' or a ContextShift, got 'shifted'"),
        (3, TypeError, "got int"),
        (None, TypeError, "got NoneType"),
        (ContextShift(keep=255), ValueError, r"`keep` is 255 but the context holds 256 tokens, of which at least two must be free to leave"),
    ],
)
def test_wrong_wishes_are_refused(small: Model, given: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        small.generate("Hi", overflow=given)  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize("given", [{"keep": -1}, {"discard": 0}, {"keep": 1.5}, {"keep": True}])
def test_wrong_shifts_are_refused(given: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(given))):
        ContextShift(**given)  # type: ignore[arg-type] # wrong on purpose


def test_sliding_windows_are_not_shifted(gemma_path: Path) -> None:
    with Model.load(gemma_path, context_size=256, threads=1) as model, pytest.raises(ValueError, match=r"cannot lose tokens of its middle"):
        model.generate("Hi", overflow="shift")
