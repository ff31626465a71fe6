"""The logic of streams, without a model."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable

import pytest
import trio
import trio.testing

from fake_stream import FakeStream, stream_of
from tabagent.errors import DecodeError
from tabagent.stream import TokenStream
from waiting import until_awaited


def test_iterating_gives_the_texts_and_then_stops() -> None:
    stream = stream_of(FakeStream("a", "b", "c"))
    assert list(stream) == ["a", "b", "c"]
    assert list(stream) == []
    assert stream.finish_reason == "stop"


def test_event_without_text_is_no_piece() -> None:
    fake = FakeStream("a", "")
    stream = stream_of(fake)
    assert list(stream) == ["a"]
    assert stream.result().tokens == (0, 1)


def test_result_has_what_was_read_before() -> None:
    stream = stream_of(FakeStream("a", "b", "c"))
    assert next(stream) == "a"
    result = stream.result()
    assert (result.text, result.tokens) == ("abc", (0, 1, 2))
    assert list(stream) == []
    assert stream.result() == result


def test_result_says_how_it_ended() -> None:
    result = stream_of(FakeStream("a", "b", "c")).result()
    assert result.stop_match is not None
    assert (result.stop_match.kind, result.stop_match.value) == ("eog", 2)
    assert result.usage.total_tokens == 13
    assert result.timings.prompt_tokens_per_s == 3.0
    assert result.timings.decode_tokens_per_s == 4.0
    assert result.logprobs is None
    assert stream_of(FakeStream("a"), has_logprobs=True).result().logprobs == ()


def test_facts_are_none_while_it_runs() -> None:
    fake = FakeStream("a", reason=None)
    stream = stream_of(fake)
    assert (stream.finish_reason, stream.usage, stream.timings) == (None, None, None)
    fake.end("length")
    assert stream.finish_reason == "length"
    assert stream.usage is not None
    assert stream.usage.completion_tokens == 1


def test_events_and_texts_share_one_place() -> None:
    stream = stream_of(FakeStream("a", "b", "c"))
    events = stream.events()
    assert next(stream) == "a"
    assert next(events).token_ids == [1]
    assert list(stream) == ["c"]
    assert list(events) == []


def test_error_surfaces_in_every_reader() -> None:
    stream = stream_of(FakeStream("a", error=DecodeError("it broke")))
    assert next(stream) == "a"
    for _ in range(2):
        with pytest.raises(DecodeError, match="it broke"):
            next(stream)
    with pytest.raises(DecodeError, match="it broke"):
        stream.result()
    stream.close()


def test_cancelled_stream_still_gives_what_had_come() -> None:
    fake = FakeStream("a", "b", reason=None)
    stream = stream_of(fake)
    stream.cancel()
    assert list(stream) == ["a", "b"]
    assert stream.result().finish_reason == "cancelled"


def test_closed_stream_ends_at_once_and_keeps_its_result() -> None:
    fake = FakeStream("a", "b", reason=None)
    stream = stream_of(fake)
    assert next(stream) == "a"
    stream.close()
    assert list(stream) == []
    assert list(stream.events()) == []
    assert stream.result().text == "ab"
    assert stream.result().finish_reason == "cancelled"


def test_exception_in_with_block_cancels() -> None:
    fake = FakeStream("a", reason=None)
    with pytest.raises(KeyError), stream_of(fake) as stream:
        raise KeyError(next(stream))
    assert fake.reason == "cancelled"


def test_leaving_a_loop_drops_the_stream() -> None:
    fake = FakeStream("a", "b", reason=None)
    alive = weakref.ref(fake)
    gc.disable()
    try:
        for _ in stream_of(fake):
            break
        del fake
        assert alive() is None, "a reference cycle keeps the stream alive"
    finally:
        gc.enable()


def test_interrupt_while_waiting_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeStream("a", reason=None)
    stream = stream_of(fake)

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "next_event", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.result()
    assert fake.reason == "cancelled"


def test_threads_share_a_stream_without_loss() -> None:
    fake = FakeStream(reason=None)
    stream = stream_of(fake)
    pieces: list[list[str]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda own=own: own.extend(stream)) for own in pieces]
    for thread in threads:
        thread.start()
    wanted = [str(number) for number in range(200)]
    for text in wanted:
        fake.push(text)
    fake.end("stop")
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert sorted((piece for own in pieces for piece in own), key=int) == wanted
    assert stream.result().text == "".join(wanted)


async def when_awaited(stream: TokenStream, act: Callable[[str], object], text: str) -> None:
    """Do something as soon as a task waits for the stream."""
    await until_awaited(stream)
    act(text)


async def test_async_iterating_gives_texts_as_they_come() -> None:
    fake = FakeStream("a", reason=None)
    stream = stream_of(fake)
    assert await anext(stream) == "a"
    for text in ("b", "c"):
        feeding = asyncio.ensure_future(when_awaited(stream, fake.push, text))
        assert await anext(stream) == text
        await feeding
    feeding = asyncio.ensure_future(when_awaited(stream, fake.end, "stop"))
    assert [text async for text in stream] == []
    await feeding
    assert (await stream.aresult()).text == "abc"


async def test_async_events_share_the_place() -> None:
    stream = stream_of(FakeStream("a", "b", "c"))
    assert await anext(stream) == "a"
    assert [event.text async for event in stream.events()] == ["b", "c"]


async def test_async_error_surfaces() -> None:
    stream = stream_of(FakeStream("a", error=DecodeError("it broke")))
    assert await anext(stream) == "a"
    for _ in range(2):
        with pytest.raises(DecodeError):
            await anext(stream)
    with pytest.raises(DecodeError):
        await stream.aresult()


async def test_cancelling_the_waiting_task_cancels_the_stream() -> None:
    fake = FakeStream(reason=None)
    stream = stream_of(fake)
    task = asyncio.ensure_future(anext(stream))
    await until_awaited(stream)
    assert fake.cancels == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.reason == "cancelled"
    assert [text async for text in stream] == []


async def test_second_waiting_task_is_refused() -> None:
    fake = FakeStream(reason=None)
    stream = stream_of(fake)
    task = asyncio.ensure_future(anext(stream))
    await until_awaited(stream)
    with pytest.raises(RuntimeError, match="another task"):
        await anext(stream)
    assert fake.cancels == 0, "the refused reader must not end the stream of the other"
    fake.push("a")
    assert await task == "a"


async def test_async_context_manager_ends_the_stream() -> None:
    fake = FakeStream("a", reason=None)
    async with stream_of(fake) as stream:
        assert await anext(stream) == "a"
    assert fake.reason == "cancelled"
    assert [text async for text in stream] == []


async def test_task_waits_behind_a_thread_that_waits() -> None:
    fake = FakeStream(reason=None)
    stream = stream_of(fake)
    rest: list[str] = []
    thread = threading.Thread(target=lambda: rest.extend(stream))
    thread.start()
    assert await asyncio.to_thread(fake.waiting.wait, 30)
    task = asyncio.ensure_future(anext(stream, None))
    await until_awaited(stream)
    fake.push("a")
    fake.push("b")
    fake.end("stop")
    last = await asyncio.wait_for(task, 5)
    thread.join(5)
    assert sorted([*rest, *([last] if last else [])]) == ["a", "b"]


async def test_ready_stream_lets_other_tasks_run() -> None:
    stream = stream_of(FakeStream(*"x" * 200))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    assert len([text async for text in stream]) == 200
    task.cancel()
    assert turns >= 10


def test_stream_may_change_its_event_loop() -> None:
    fake = FakeStream(reason=None)
    stream = stream_of(fake)

    async def one(text: str) -> str:
        feeding = asyncio.ensure_future(when_awaited(stream, fake.push, text))
        got = await anext(stream)
        await feeding
        return got

    assert [asyncio.run(one(text)) for text in "abc"] == ["a", "b", "c"]


class Unwatching(asyncio.SelectorEventLoop):
    """Watches no descriptors but reads sockets, as Windows' default loop does."""

    def add_reader(self, fd: object, callback: object, *args: object) -> None:
        raise NotImplementedError


class Socketless(Unwatching):
    """Does neither."""

    async def sock_recv(self, sock: object, nbytes: int) -> bytes:
        raise NotImplementedError


@pytest.mark.parametrize(("kind", "uses_threads"), [(Unwatching, False), (Socketless, True)])
def test_loop_that_watches_no_descriptors_reads_the_socket_or_waits_in_a_thread(kind: type[Unwatching], uses_threads: bool) -> None:  # noqa: FBT001
    fake = FakeStream("a", reason=None)
    stream = stream_of(fake)

    async def read() -> list[str]:
        first = await anext(stream)
        feeding = asyncio.ensure_future(when_awaited(stream, fake.push, "b"))
        second = await anext(stream)
        await feeding
        feeding = asyncio.ensure_future(when_awaited(stream, fake.end, "stop"))
        rest = [text async for text in stream]
        await feeding
        return [first, second, *rest]

    loop = kind()
    try:
        assert loop.run_until_complete(read()) == ["a", "b"]
        assert any(thread.name.startswith("asyncio_") for thread in threading.enumerate()) == uses_threads
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_trio_reads_a_stream_that_comes_in_pieces() -> None:
    fake = FakeStream("a", reason=None)
    stream = stream_of(fake)

    async def feed() -> None:
        for text in ("b", "", "c"):
            await trio.testing.wait_all_tasks_blocked()
            fake.push(text)
        await trio.testing.wait_all_tasks_blocked()
        fake.end("stop")

    async def main() -> list[str]:
        async with trio.open_nursery() as nursery, stream:
            nursery.start_soon(feed)
            found = [text async for text in stream]
        assert (await stream.aresult()).text == "abc"
        return found

    assert trio.run(main) == ["a", "b", "c"]


def test_cancelled_trio_task_ends_the_stream() -> None:
    fake = FakeStream(reason=None)
    stream = stream_of(fake)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert (fake.cancels, stream.finish_reason) == (1, "cancelled")


def test_trio_waits_behind_a_thread_that_reads() -> None:
    fake = FakeStream(reason=None)
    stream = stream_of(fake)
    reader = threading.Thread(target=stream.result)

    async def main() -> str:
        reader.start()
        while not fake.waiting.is_set():
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.aresult)
            await trio.testing.wait_all_tasks_blocked()
            fake.push("a")
            fake.end("stop")
        return (await stream.aresult()).text

    assert trio.run(main) == "a"
    reader.join()


def test_reading_in_no_known_event_loop_says_so() -> None:
    step = stream_of(FakeStream("a")).__anext__()
    with pytest.raises(RuntimeError, match="can be awaited in asyncio and trio only"):
        step.send(None)
