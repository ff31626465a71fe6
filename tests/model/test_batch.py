"""Many requests at once: batches of prompts, priorities, deadlines, a bounded queue, and what is measured of it."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from near_ties import assert_alike
from tabagent import Completion, FinishCounts, Model, QueueFullError, SamplerConfig

GREEDY = SamplerConfig.greedy()
PROMPTS = [f"Story number {number}:" for number in range(40)]


def alone(model: Model, prompt: Any, **options: Any) -> Completion:
    return model.generate(prompt, sampling=GREEDY, cache_prompt=False, **options).result()


def test_completions_come_in_order_and_are_those_of_each_prompt(smollm2: Model) -> None:
    seen: list[tuple[int, int | None]] = []
    batch = smollm2.generate_batch(
        PROMPTS, max_tokens=4, sampling=GREEDY, cache_prompt=False, progress=lambda done, total: seen.append((done, total))
    )
    completions = list(batch)
    assert len(completions) == len(PROMPTS)
    for prompt, done in zip(PROMPTS, completions, strict=True):
        assert_alike(smollm2, prompt, done.tokens, alone(smollm2, prompt, max_tokens=4).tokens)
    assert sorted(done for done, _ in seen) == sorted(range(1, len(PROMPTS) + 1))
    assert {total for _, total in seen} == {len(PROMPTS)}


def test_each_completion_comes_as_soon_as_it_is_done(smollm2: Model) -> None:
    lengths = iter([60, 2, 2, 2])

    def begin(prompt: Any, **options: Any) -> Any:
        return generate(prompt, **{**options, "max_tokens": next(lengths)})

    generate = smollm2.generate
    batch = smollm2.generate_batch((), ignore_eos=True)
    batch._submit, batch._prompts = begin, iter(PROMPTS[:4])
    batch._begin_more()
    order = [index for index, _ in batch.as_completed()]
    assert sorted(order) == [0, 1, 2, 3]
    assert order[-1] == 0, "the long one comes last"


def test_an_endless_iterable_is_taken_a_little_ahead(smollm2: Model) -> None:
    taken = []

    def prompts() -> Iterator[str]:
        for number in itertools.count():
            taken.append(number)
            yield f"Number {number}"

    with smollm2.generate_batch(prompts(), max_tokens=1) as batch:
        first = list(itertools.islice(batch, 5))
    assert all(isinstance(done, Completion) for done in first)
    assert len(taken) <= 5 + 9 * 4 * smollm2.info.max_sequences
    assert len(list(batch)) < 9 * 4 * smollm2.info.max_sequences, "it ends"


def test_prompts_that_fail_raise_in_their_place(smollm2: Model) -> None:
    prompts: list[Any] = ["One", [10**8], "Three", None, "Five"]
    batch = smollm2.generate_batch(prompts, max_tokens=2)
    results: list[Any] = []
    while True:
        try:
            results.append(next(batch))
        except StopIteration:
            break
        except (TypeError, ValueError) as error:
            results.append(str(error))
    assert [type(result) for result in results] == [Completion, str, Completion, str, Completion]
    assert results[1].startswith("`prompts[1]`: ")
    assert results[3].startswith("`prompts[3]`: ")
    given = smollm2.generate_batch(prompts, max_tokens=2, return_errors=True).results()
    assert [type(result) for result in given] == [Completion, ValueError, Completion, TypeError, Completion]


@pytest.mark.parametrize("prompts", ["text", b"bytes", 7, None])
def test_what_is_no_list_of_prompts_is_refused(smollm2: Model, prompts: Any) -> None:
    with pytest.raises(TypeError, match="`prompts` must be an iterable of prompts, got"):
        smollm2.generate_batch(prompts)


def test_unknown_options_are_named(smollm2: Model) -> None:
    with pytest.raises(TypeError, match="`generate_batch` has no option `max_token`"):
        smollm2.generate_batch(["One"], max_token=3)


async def test_batches_are_read_in_event_loops(smollm2: Model) -> None:
    batch = smollm2.generate_batch(PROMPTS[:10], max_tokens=3, sampling=GREEDY, cache_prompt=False)
    completions = [done async for done in batch]
    assert len(completions) == 10
    for prompt, done in zip(PROMPTS, completions, strict=False):
        want = await asyncio.to_thread(alone, smollm2, prompt, max_tokens=3)
        await asyncio.to_thread(assert_alike, smollm2, prompt, done.tokens, want.tokens)


def test_collected_streams_have_one_event(smollm2: Model) -> None:
    plain = smollm2.generate(PROMPTS[0], max_tokens=12, sampling=GREEDY, cache_prompt=False).result()
    events = list(smollm2.generate(PROMPTS[0], max_tokens=12, sampling=GREEDY, cache_prompt=False, collect=True).events())
    assert [event.text for event in events] == [plain.text]
    assert tuple(events[0].token_ids) == plain.tokens


def test_requests_share_their_steps(smollm2_path: Path) -> None:
    with Model.load(smollm2_path, context_size=2048, threads=1) as model:
        done = model.generate_batch(PROMPTS[:16], max_tokens=8, ignore_eos=True).results()
        metrics = model.metrics()
        assert metrics.submitted == 16
        assert metrics.ended == FinishCounts(stop=0, length=16, cancelled=0, timeout=0, error=0)
        assert metrics.completion_tokens == 16 * 8
        assert metrics.prompt_tokens + metrics.cached_tokens == sum(one.usage.prompt_tokens for one in done)
        assert metrics.cached_tokens == sum(one.usage.cached_tokens for one in done)
        assert metrics.requests_per_step > 3
        assert metrics.first_token.count == 16
        assert metrics.token_gap.count > 0
        assert 0 < metrics.token_gap.p50_s <= metrics.token_gap.p99_s <= metrics.token_gap.max_s * 1.02
        assert max(one.timings.requests_per_step for one in done) > 3
        gaps = done[0].timings.token_gaps_s
        assert gaps is not None
        assert 0 < gaps[0] <= gaps[1] <= gaps[2]
        body = metrics.prometheus()
        assert re.search(r"^tabagent_completion_tokens_total 128$", body, re.MULTILINE)
        assert re.search(r'^tabagent_token_gap_seconds\{quantile="0.99"\} [0-9.e-]+$', body, re.MULTILINE)
        assert "tabagent_requests_active 0\n" in body


def test_a_time_limit_ends_a_request_with_what_came(smollm2: Model) -> None:
    done = smollm2.generate(PROMPTS[0], ignore_eos=True, timeout=2).result()
    assert done.finish_reason == "timeout"
    assert done.text
    assert smollm2.generate(PROMPTS[0], timeout=0).result().finish_reason == "timeout"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"timeout": -1}, ValueError, "`timeout` must be a number of seconds of at least 0"),
        ({"timeout": float("nan")}, ValueError, "`timeout` must be"),
        ({"timeout": "soon"}, TypeError, "`timeout` must be"),
        ({"priority": 2**40}, ValueError, "`priority` must be"),
        ({"priority": "high"}, TypeError, "`priority` must be"),
        ({"collect": 1}, TypeError, "`collect` must be"),
    ],
)
def test_wrong_terms_are_refused(smollm2: Model, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        smollm2.generate("One", **options)


def test_a_full_queue_refuses(smollm2_path: Path) -> None:
    with Model.load(smollm2_path, context_size=512, threads=1, max_sequences=1, max_queue=2) as model:
        running = model.generate(PROMPTS[0], ignore_eos=True)
        next(running)
        waiting = [model.generate(PROMPTS[1], max_tokens=1) for _ in range(2)]
        with pytest.raises(QueueFullError, match="the queue is full: 2 requests wait, as many as `max_queue` allows"):
            model.generate(PROMPTS[2])
        running.cancel()
        assert [stream.result().finish_reason for stream in waiting] == ["length", "length"]
        assert model.generate(PROMPTS[2], max_tokens=1).result().tokens


def test_higher_priority_is_served_first(smollm2_path: Path) -> None:
    with Model.load(smollm2_path, context_size=1024, threads=1, max_sequences=1) as model:
        running = model.generate(PROMPTS[0], ignore_eos=True)
        next(running)
        low = model.generate(PROMPTS[1], max_tokens=2, priority=-1)
        high = model.generate(PROMPTS[2], max_tokens=2, priority=1)
        assert high.result().tokens, "it goes before the one that runs"
        assert low.finish_reason is None
        running.cancel()
        assert low.result().tokens


def test_deterministic_models_give_every_request_its_own_bits(smollm2_path: Path, gemma_path: Path) -> None:
    for path in (smollm2_path, gemma_path):
        with Model.load(path, context_size=1024, threads=1, deterministic=True) as model:
            options: dict[str, Any] = {"max_tokens": 5, "sampling": SamplerConfig(seed=3), "logprobs": 1}
            prompts = [PROMPTS[0] * length for length in (1, 3, 9)]
            solo = [model.generate(prompt, **options).result() for prompt in prompts]
            together = model.generate_batch(prompts * 2, **options).results()
            for index, done in enumerate(together):
                want = solo[index % len(prompts)]
                assert done.tokens == want.tokens
                assert [one.logprob for one in done.logprobs or ()] == [one.logprob for one in want.logprobs or ()]
                assert done.usage.cached_tokens == 0


def test_prompts_that_begin_alike_are_decoded_once(smollm2_path: Path) -> None:
    shared = " ".join(f"word{number}" for number in range(120))
    with Model.load(smollm2_path, context_size=2048, threads=1) as model:
        n_shared = len(model.tokenize(shared))
        done = model.generate_batch([f"{shared} {name}" for name in ("one", "two", "three", "four")], max_tokens=3, cache_prompt=True).results()
        assert [one.usage.cached_tokens >= n_shared - 2 for one in done] == [False, True, True, True]
        metrics = model.metrics()
        assert metrics.prompt_tokens < n_shared + 40
        assert metrics.cache_hit_rate > 0.7
        again = model.generate(f"{shared} five", max_tokens=1, cache_prompt=True).result()
        assert again.usage.cached_tokens >= n_shared - 2


def test_threads_read_their_streams_while_others_come_and_go(smollm2: Model) -> None:
    want = {prompt: alone(smollm2, prompt, max_tokens=20, ignore_eos=True).tokens for prompt in PROMPTS[:6]}
    got: dict[str, tuple[int, ...]] = {}

    def read(prompt: str) -> None:
        stream = smollm2.generate(prompt, max_tokens=20, ignore_eos=True, sampling=GREEDY, cache_prompt=False)
        pieces = list(stream)
        done = stream.result()
        assert "".join(pieces) == done.text
        got[prompt] = done.tokens

    def disturb() -> None:
        for number in range(12):
            stream = smollm2.generate(f"Noise {number}", ignore_eos=True)
            next(stream)
            stream.cancel()

    threads = [threading.Thread(target=read, args=(prompt,)) for prompt in want] + [threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(got) == set(want)
    for prompt, tokens in want.items():
        assert_alike(smollm2, prompt, got[prompt], tokens)
