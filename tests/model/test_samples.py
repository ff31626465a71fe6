"""Several texts of one prompt."""

import asyncio

import pytest

from tabagent import Model, SamplerConfig

PROMPT = "Far behind the hills, in a village by the sea, there lived a girl who could talk to the birds. One day"
WARM = SamplerConfig(temperature=1.0, seed=3)


def test_texts_of_one_prompt_decode_it_once_and_have_their_own_seeds(smollm2: Model) -> None:
    before = smollm2.metrics()
    stream = smollm2.generate(PROMPT, max_tokens=12, sampling=WARM, n=4)
    assert len(stream.streams) == 4
    assert stream.streams[0] is stream
    texts = stream.results()
    after = smollm2.metrics()
    n_prompt = texts[0].usage.prompt_tokens
    # The first decodes the prompt; each other one decodes its last token again, whose logits it needs.
    assert after.prompt_tokens - before.prompt_tokens == n_prompt + 3
    assert [done.usage.cached_tokens for done in texts] == [0, n_prompt - 1, n_prompt - 1, n_prompt - 1]
    assert len({done.text for done in texts}) == 4
    assert all(done.usage.completion_tokens == 12 and done.logprobs is None for done in texts)
    for index, done in enumerate(texts[:2]):
        alone = SamplerConfig(temperature=1.0, seed=3 + index)
        first = smollm2.generate(PROMPT, max_tokens=3, sampling=alone).result().tokens
        assert done.tokens[:3] == first


def test_best_of_keeps_the_most_probable(smollm2: Model) -> None:
    asked = smollm2.generate(PROMPT, max_tokens=8, sampling=WARM, n=2, best_of=5, logprobs=0)
    every = [stream.result() for stream in asked.streams]
    assert len(every) == 5
    means = sorted((sum(entry.logprob for entry in done.logprobs or ()) / len(done.tokens) for done in every), reverse=True)
    best = asked.results()
    assert [sum(entry.logprob for entry in done.logprobs or ()) / len(done.tokens) for done in best] == pytest.approx(means[:2])
    plain = smollm2.generate(PROMPT, max_tokens=8, sampling=WARM, best_of=3).results()
    assert len(plain) == 1
    assert plain[0].logprobs is None


def test_one_text_has_itself_alone(smollm2: Model) -> None:
    stream = smollm2.generate(PROMPT, max_tokens=3, sampling=WARM)
    assert stream.streams == (stream,)
    assert stream.results() == [stream.result()]


def test_all_texts_are_read_in_an_event_loop_and_end_together(smollm2: Model) -> None:
    async def read() -> list[int]:
        done = await smollm2.generate(PROMPT, max_tokens=5, sampling=WARM, n=3).aresults()
        async with smollm2.generate(PROMPT, sampling=WARM, ignore_eos=True, n=3) as stream:
            async for _ in stream:
                break
        assert [other.finish_reason for other in stream.streams] == ["cancelled"] * 3
        return [len(one.tokens) for one in done]

    assert asyncio.run(read()) == [5, 5, 5]
    with smollm2.generate(PROMPT, sampling=WARM, ignore_eos=True, n=2) as stream:
        next(stream)
    assert [other.finish_reason for other in stream.streams] == ["cancelled"] * 2


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n": 0}, ValueError, "`n`"),
        ({"n": True}, TypeError, "`n`"),
        ({"best_of": 2000}, ValueError, "`best_of`"),
        ({"n": 3, "best_of": 2}, ValueError, "`best_of` is how many texts are generated, so it must be at least `n`; got 2 with `n=3`"),
    ],
)
def test_wrong_counts_are_named(smollm2: Model, options: dict[str, int], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        smollm2.generate(PROMPT, **options)  # type: ignore[arg-type]


def test_batches_have_one_text_a_prompt(smollm2: Model) -> None:
    with pytest.raises(TypeError, match="`generate_batch` has no option `n`"):
        smollm2.generate_batch([PROMPT], n=2)
