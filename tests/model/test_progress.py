"""How far prompts have come."""

from __future__ import annotations

import asyncio

import pytest

from tabagent import Model, SamplerConfig

GREEDY = SamplerConfig.greedy()
LONG = "The old lighthouse keeper counted the ships that passed. " * 30


def test_a_function_is_told_of_each_step(smollm2: Model) -> None:
    n_prompt = len(smollm2.tokenize(LONG))
    told: list[tuple[int, int]] = []
    stream = smollm2.generate(LONG, max_tokens=4, sampling=GREEDY, progress=lambda done, total: told.append((done, total)))
    assert len(list(stream.events())) <= 5
    assert told[-1] == (n_prompt, n_prompt)
    assert {total for _, total in told} == {n_prompt}
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert stream.result().text == smollm2.generate(LONG, max_tokens=4, sampling=GREEDY).result().text


def test_true_gives_events_without_text(smollm2: Model) -> None:
    with smollm2.generate(LONG, max_tokens=4, sampling=GREEDY, progress=True) as stream:
        events = list(stream.events())
        done = stream.result()
    progress = [event.prompt_progress for event in events if event.prompt_progress is not None]
    assert progress
    assert all(event.text == "" and event.token_ids == [] for event in events if event.prompt_progress is not None)
    assert events[0].prompt_progress is not None
    assert eval(repr(events[0]), {"TokenEvent": dict}) == {"prompt_progress": events[0].prompt_progress}  # noqa: S307 (our own words)
    assert "".join(event.text for event in events) == done.text
    assert "".join(smollm2.generate(LONG, max_tokens=4, sampling=GREEDY, progress=True)) == done.text


def test_false_cancels(smollm2: Model) -> None:
    done = smollm2.generate(LONG, progress=lambda _done, _total: False).result()
    assert done.finish_reason == "cancelled"


def test_what_it_raises_is_raised_where_the_stream_is_read(smollm2: Model) -> None:
    def fail(done: int, total: int) -> None:
        message = f"{done} of {total}"
        raise KeyError(message)

    stream = smollm2.generate(LONG, progress=fail)
    with pytest.raises(KeyError, match="of"):
        next(stream)
    assert stream.result().finish_reason == "cancelled"


def test_tasks_are_told_too(smollm2: Model) -> None:
    async def read() -> list[int]:
        told: list[int] = []
        stream = smollm2.generate(LONG, max_tokens=3, sampling=GREEDY, progress=lambda done, _: told.append(done))
        assert [text async for text in stream]
        return told

    assert asyncio.run(read())


def test_chat_tells_too(coder: Model) -> None:
    told: list[int] = []
    stream = coder.chat([{"role": "user", "content": LONG}], max_tokens=3, sampling=GREEDY, progress=lambda done, _: told.append(done))
    assert stream.result().content
    assert told


def test_it_is_a_function_or_a_bool(smollm2: Model) -> None:
    with pytest.raises(TypeError, match="`progress` must be True or False, got str"):
        smollm2.generate("Hi", progress="yes")  # type: ignore[arg-type]
