"""Running texts that are forked."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from tabagent import Model, SamplerConfig

GREEDY = SamplerConfig.greedy()
WARM = SamplerConfig(temperature=1.2, seed=11)
PROMPT = "The old sailor told the children a story about"
LONG = PROMPT * 20


def test_a_greedy_fork_says_what_the_text_says(smollm2: Model) -> None:
    with smollm2.generate(PROMPT, max_tokens=30, sampling=GREEDY, ignore_eos=True) as stream:
        beginning = "".join(itertools.islice(stream, 7))
        fork = stream.fork()
        assert beginning + "".join(fork) == stream.result().text
        whole, other = stream.result(), fork.result()
        assert other.text == whole.text
        assert other.tokens == whole.tokens
        assert other.usage.completion_tokens == 30
        assert other.usage.prompt_tokens == whole.usage.prompt_tokens


def test_forks_share_the_cells_of_a_running_text(smollm2: Model) -> None:
    n_prompt = len(smollm2.tokenize(LONG))
    with smollm2.generate(LONG, sampling=GREEDY, ignore_eos=True) as stream:
        read = [token for event in itertools.islice(stream.events(), 5) for token in event.token_ids]
        done = stream.fork(sampling=WARM)
        with done:
            next(done)
    assert done.usage is not None
    assert done.usage.cached_tokens == n_prompt + len(read) - 1
    assert list(done.result().tokens[: len(read)]) == read


def test_forks_have_seeds_of_their_own(smollm2: Model) -> None:
    def texts() -> list[str]:
        with smollm2.generate(PROMPT, max_tokens=24, sampling=WARM, ignore_eos=True) as stream:
            for _ in itertools.islice(stream, 4):
                pass
            forks = [
                stream.fork(),
                stream.fork(),
                stream.fork(seed=5),
                stream.fork(sampling=SamplerConfig(temperature=1.2, seed=5)),
                stream.fork(seed=5),
            ]
            deeper = forks[0].fork(sampling=GREEDY)
            return [stream.result().text, *(fork.result().text for fork in (*forks, deeper))]

    first = texts()
    assert texts() == first
    whole, one, two, three, four, five, _ = first
    assert three == four == five
    assert len({whole, one, two, three}) == 4
    beginning = "".join(itertools.islice(smollm2.generate(PROMPT, max_tokens=24, sampling=WARM, ignore_eos=True), 4))
    assert all(text.startswith(beginning) for text in first)


def test_forks_keep_the_form_and_the_stop_strings(smollm2: Model) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
    }
    with smollm2.generate("A sailor as JSON: ", json_schema=schema, sampling=WARM, max_tokens=80, logprobs=0) as stream:
        events = list(itertools.islice(stream.events(), 3))
        fork = stream.fork().result()
        assert fork.text.startswith("".join(event.text for event in events))
        assert set(fork.parse()) == {"name", "age"}
        assert fork.logprobs is not None
        assert len(fork.logprobs) == len(fork.tokens)
    plain = smollm2.generate(PROMPT, max_tokens=30, sampling=GREEDY, ignore_eos=True).result()
    stop = plain.text[len(plain.text) // 2 :][:6]
    with smollm2.generate(PROMPT, max_tokens=30, sampling=GREEDY, ignore_eos=True, stop=stop) as stream:
        for _ in itertools.islice(stream, 3):
            pass
        assert stream.fork().result().text == plain.text[: plain.text.index(stop)]


def test_forks_of_forks_and_of_ended_texts(smollm2: Model) -> None:
    stream = smollm2.generate(PROMPT, max_tokens=20, sampling=GREEDY, ignore_eos=True)
    whole = stream.result()
    ended = stream.fork().result()
    assert (ended.text, ended.tokens, ended.finish_reason) == (whole.text, whole.tokens, "length")
    stream = smollm2.generate(PROMPT, max_tokens=20, sampling=GREEDY, ignore_eos=True)
    fork = stream
    for _ in range(5):
        next(fork)
        fork = fork.fork()
    assert fork.result().text == whole.text


@pytest.mark.parametrize("options", [{"deterministic": True}, {"max_sequences": 1}, {"kv_unified": False}])
def test_forks_in_any_memory(smollm2_path: Path, options: dict[str, bool]) -> None:
    with Model.load(smollm2_path, threads=1, context_size=512, **options) as model:  # type: ignore[arg-type]
        stream = model.generate(PROMPT, max_tokens=12, sampling=GREEDY, ignore_eos=True)
        next(stream)
        fork = stream.fork()
        assert stream.result().text == fork.result().text


def test_window_models_fork(gemma: Model) -> None:
    stream = gemma.generate(PROMPT, max_tokens=12, sampling=GREEDY, ignore_eos=True)
    next(stream)
    assert len(stream.fork().result().tokens) == 12
    stream.close()


def test_tasks_read_forks(smollm2: Model) -> None:
    async def read() -> tuple[str, str]:
        async with smollm2.generate(PROMPT, max_tokens=12, sampling=GREEDY, ignore_eos=True) as stream:
            await stream.__anext__()
            fork = stream.fork()
            return (await stream.aresult()).text, (await fork.aresult()).text

    one, other = asyncio.run(read())
    assert one == other


def test_wrong_forks_are_named(smollm2: Model) -> None:
    stream = smollm2.generate(PROMPT, max_tokens=4, sampling=GREEDY)
    with pytest.raises(TypeError, match="`sampling`"):
        stream.fork(sampling="warm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`seed`"):
        stream.fork(seed=-1)
    with pytest.raises(ValueError, match="a text with `ban` cannot be forked"):
        smollm2.generate(PROMPT, max_tokens=4, ban="x").fork()
    with smollm2.session() as session:
        session.append(PROMPT)
        with pytest.raises(RuntimeError, match=r"`Session\.branch`"):
            session.generate(max_tokens=4).fork()
