"""Streams of a real model on Windows: the same texts as on Linux, in threads and in every event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tabagent
from tabagent import Model, SamplerConfig

GREEDY: dict[str, Any] = {"sampling": SamplerConfig.greedy(), "ignore_eos": True}
NEAR = 0.6
"""Log-probabilities of two tokens that may change places differ by less (`tests/near_ties.py`)."""


def test_the_greedy_text_is_that_of_linux(model: Model, reference: dict[str, Any]) -> None:
    steps = reference["steps"]
    done = model.generate(reference["prompt"], max_tokens=len(steps), **GREEDY).result()
    assert len(done.tokens) == len(steps)
    for index, (got, step) in enumerate(zip(done.tokens, steps, strict=True)):
        if got != step["token"]:
            top = step["top"]
            assert str(got) in top, f"token {index} is {got}, which is far from {step['token']}"
            assert abs(top[str(got)] - top[str(step["token"])]) < NEAR, f"token {index} is {got} instead of {step['token']}"
            break
    else:
        assert done.text == reference["text"]


def test_pieces_come_one_by_one_and_make_the_text(model: Model) -> None:
    stream = model.generate("Once upon a time", max_tokens=16, **GREEDY)
    pieces = list(stream)
    assert len(pieces) > 8
    assert "".join(pieces) == stream.result().text


def test_module_is_one_of_those_that_lie_beside_the_library(model: Model) -> None:
    assert model.info.variant.cpu_module in {"haswell", "x64"}
    assert (Path(tabagent.__file__).parent / "lib" / f"ggml-cpu-{model.info.variant.cpu_module}.dll").is_file()


@pytest.mark.parametrize("kind", ["ProactorEventLoop", "SelectorEventLoop"])
def test_many_streams_are_awaited_in_one_loop(model: Model, kind: str) -> None:
    # More than the threads of the default executor, and than the sequences of the model.
    count = 40

    async def read(number: int) -> str:
        return "".join([piece async for piece in model.generate(f"{number} is", max_tokens=12, **GREEDY)])

    async def main() -> list[str]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        texts = await asyncio.gather(*(read(number) for number in range(count)))
        ticking.cancel()
        assert ticks > 5, "the loop was blocked"
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio_")]
        assert not threads, f"streams are to wake the loop without a thread, and there are {threads}"
        return list(texts)

    loop = getattr(asyncio, kind)()
    try:
        texts = loop.run_until_complete(main())
    finally:
        loop.close()
    assert all(texts)
    assert len(texts) == count


def test_a_cancelled_task_frees_its_sequence(model: Model) -> None:
    async def main() -> None:
        stream = model.generate("Once upon a time", max_tokens=4000, ignore_eos=True)
        await anext(stream)
        task = asyncio.ensure_future(stream.aresult())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await stream.aresult()).finish_reason == "cancelled"

    asyncio.run(main())


def test_ctrl_c_ends_a_wait_at_once(model: Model) -> None:
    stream = model.generate("Once upon a time", max_tokens=4000, ignore_eos=True)
    next(stream)
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stream.result()
    assert time.monotonic() - start < 1
    stream.close()


def test_a_chat_answers(model: Model) -> None:
    answer = model.chat([{"role": "user", "content": "What is the capital of France?"}], max_tokens=24, sampling=SamplerConfig.greedy()).result()
    assert answer.content


def test_a_closed_model_ends_its_streams(model_path: Any) -> None:
    model = Model.load(model_path)
    stream = model.generate("Once upon a time", max_tokens=4000, ignore_eos=True)
    next(stream)
    model.close()
    with pytest.raises(tabagent.ClosedError):
        stream.result()
