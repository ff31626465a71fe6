"""Generated text as it comes."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from tabagent import _native, log
from tabagent import exit as at_exit
from tabagent._native import TokenEvent
from tabagent.completion import Completion, FinishReason, Timings, Usage, stop_match_of, timings_of, usage_of
from tabagent.errors import GrammarError, SamplingError
from tabagent.event_loop import Waker, running_loop
from tabagent.samples import Samples, forked

if TYPE_CHECKING:
    from typing_extensions import Self

    from tabagent.hooks import Hooks
    from tabagent.objects import ObjectStream
    from tabagent.sampling import SamplerConfig

__all__ = ["TokenEvents", "TokenStream"]

READY_IN_A_ROW: Final = 16
"""After so many events that were there already, an async reader lets other tasks run once."""


class TokenStream:
    """A text while it is generated: an iterator of str, an async iterator of str, and a context manager of both kinds.

        for text in model.generate("Once upon a time"): ...
        async for text in model.generate("Once upon a time"): ...

    Generation runs whether or not anybody reads (256 events ahead at the most). Dropping the stream, leaving its `with` block, `close` and
    `cancel` end it, and so do Ctrl-C while waiting for it and the cancellation of a task that awaits it.

    All readers of a stream share one position in it: each piece goes to one of them. Threads may share it; of tasks only one may
    wait at a time. `result` is the exception: it is always the whole text from the first token on. An error that ended the stream is raised by
    every reader that reaches the end. Async reading works in asyncio and trio, and adds no thread.
    """

    __slots__ = (
        "__weakref__",
        "_again",
        "_awaited",
        "_closed",
        "_forks",
        "_has_logprobs",
        "_hooks",
        "_lock",
        "_model",
        "_native",
        "_others",
        "_parser",
        "_progress",
        "_ready",
        "_samples",
        "_seen",
        "_wake_fd",
        "_waker",
    )

    def __init__(
        self,
        native: _native.Stream,
        *,
        model: object = None,
        has_logprobs: bool = False,
        parser: Callable[[str], Any] | None = None,
        hooks: Hooks | None = None,
        again: Callable[[TokenStream, Sequence[TokenEvent], Callable[[SamplerConfig], SamplerConfig]], TokenStream] | None = None,
        seen: Iterable[TokenEvent] = (),
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Made by `Model.generate`. The model is kept alive as long as the stream."""
        self._native = native
        self._model = model
        self._has_logprobs = has_logprobs
        self._parser = parser
        self._hooks = hooks
        self._others: tuple[TokenStream, ...] = ()
        self._samples = Samples()
        self._again = again
        self._forks = 0
        self._progress = progress
        self._seen: list[TokenEvent] = list(seen)
        self._lock = threading.RLock()
        self._awaited = False
        self._closed = False
        self._ready = 0
        self._wake_fd: int | None = None
        self._waker: Waker | None = None
        at_exit.watch_stream(self)

    # Reading

    def __iter__(self) -> TokenStream:
        return self

    def __next__(self) -> str:
        while (event := self._next_event()) is not None:
            if event.text:
                return event.text
        raise StopIteration

    def __aiter__(self) -> TokenStream:
        return self

    async def __anext__(self) -> str:
        while (event := await self._next_event_async()) is not None:
            if event.text:
                return event.text
        raise StopAsyncIteration

    def events(self) -> TokenEvents:
        """The rest of the stream as events: text with its token ids and, if asked for, log-probabilities. For `for` and `async for`."""
        return TokenEvents(self)

    def objects(self, *, into: Any = None) -> ObjectStream:
        """The values so far of the JSON text, one after each event, from the first token on. For `for` and `async for`.

            for person in model.generate("A sailor: ", json_schema=Person, max_tokens=64).objects(into=Person):
                print(person.name)

        A string is there as far as it has come, keys are in the order of the text, and everything else comes when it is certain; the last value is
        the complete one. A value that was given does not change. Nothing may have been read from the stream before.

        Args:
            into: a class that pydantic can describe, such as the one that was given as `json_schema`: the values are objects of it. Fields that
                have not come have their default, or None; those that are complete are validated, and so is the last object.

        Raises:
            GrammarError: no JSON was asked for, or where it begins cannot be seen in the text.
            RuntimeError: the stream was read before.
            ValueError: the text is not JSON, or breaks a rule of the type (pydantic's `ValidationError` is one).
        """
        from tabagent.grammar import TextAfter  # noqa: PLC0415 (needed here alone)
        from tabagent.objects import ObjectStream  # noqa: PLC0415 (needed here alone)

        if self._parser is None:
            message = "there are no objects to read: the text was not asked for with `json_schema` or `json_mode`, or its beginning is a token"
            raise GrammarError(message)
        if self._seen:
            message = "the stream was read before; call `objects` first"
            raise RuntimeError(message)
        return ObjectStream(self, into, self._parser.starts if isinstance(self._parser, TextAfter) else ())

    def result(self) -> Completion:
        """Wait for the end, and give the whole text from the first token on, whatever was read before. Blocks.

        After `cancel` or `close` it is what had come until then. Not for use in an event loop: there it is `await stream.aresult()`.

        Raises:
            TabagentError: what ended the stream, if that was an error.
        """
        while self._wait_event() is not None:
            pass
        return self._completion()

    async def aresult(self) -> Completion:
        """As `result`, for an event loop."""
        while await self._await_event() is not None:
            pass
        return self._completion()

    # Several texts of one prompt

    def beside(self, others: Iterable[TokenStream], samples: Samples) -> TokenStream:
        """Called by `Model.generate`: the others end with this one."""
        self._others, self._samples = tuple(others), samples
        return self

    @property
    def streams(self) -> tuple[TokenStream, ...]:
        """The streams of all texts that `n` or `best_of` asked for, of which this one is the first."""
        return (self, *self._others)

    def results(self) -> list[Completion]:
        """Wait for all texts that `n` asked for. With `best_of` they are those with the most probable tokens, best first, else all in order. Blocks.

        Raises:
            TabagentError: what ended one of their streams, if that was an error.
        """
        return self._samples.choose([stream.result() for stream in self.streams])

    async def aresults(self) -> list[Completion]:
        """As `results`, for an event loop."""
        return self._samples.choose([await stream.aresult() for stream in self.streams])

    def fork(self, *, seed: int | None = None, sampling: SamplerConfig | None = None) -> TokenStream:
        """Another text that begins as this one, as far as it was read, and goes its own way from here. This one goes on as before.

            stream = model.generate("Once upon a time", max_tokens=32)
            beginning = next(stream) + next(stream)
            other = stream.fork(seed=1)

        Reading gives what comes after the beginning; `result` has the whole text, and `max_tokens` counts it. It is computed with the options of
        this one, and shares its cells while that one runs, so that the beginning is not decoded again (where the memory can be cut there).

        Args:
            seed: the seed of its choices; None for that of this text plus 1 for its first fork, 2 for the second and so on, or for a new one if
                this text has none.
            sampling: how to choose its tokens from here on; None for as this one.

        Raises:
            TypeError, ValueError: an argument is wrong, or the text has `ban`.
            RuntimeError: it is a text of a session, of which `Session.branch` makes another one.
            Others: those of `Model.generate`.
        """
        if self._again is None:
            message = "a text of a session is not forked; call `Session.branch` before it is generated"
            raise RuntimeError(message)
        self._forks += 1
        choose = functools.partial(forked, seed=seed, sampling=sampling, number=self._forks)
        return self._again(self, tuple(self._seen), choose)

    # Ending

    def cancel(self) -> None:
        """End the generation, and those of the other texts of `n`. Returns at once; what has come already can still be read. No effect at the end."""
        self._native.cancel()
        for other in self._others:
            other.cancel()

    def close(self) -> None:
        """End the generation and the reading, and wait until the model is free again, which takes one micro-batch at the most."""
        self._closed = True
        self.cancel()
        # An error that ended the stream is for its readers, and nobody reads any more.
        with contextlib.suppress(Exception):
            while self._wait_event() is not None:
                pass
        for other in self._others:
            other.close()

    async def aclose(self) -> None:
        """As `close`, for an event loop."""
        self._closed = True
        self.cancel()
        for other in self._others:
            await other.aclose()
        if self._awaited:  # the task that waits sees the end
            return
        with contextlib.suppress(Exception):
            while await self._await_event() is not None:
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    # Facts

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the generation ended; None while it runs."""
        summary = self._native.summary()
        if summary is None:
            return None
        reason: FinishReason = summary["finish_reason"]
        return reason

    @property
    def usage(self) -> Usage | None:
        """Tokens counted; None while it runs."""
        summary = self._native.summary()
        return None if summary is None else usage_of(summary)

    @property
    def timings(self) -> Timings | None:
        """Where the time went; None while it runs."""
        summary = self._native.summary()
        return None if summary is None else timings_of(summary)

    def __repr__(self) -> str:
        state = self.finish_reason or "running"
        return f"<TokenStream {state}, {sum(len(event.token_ids) for event in tuple(self._seen))} tokens read>"

    # Inside

    def _next_event(self) -> TokenEvent | None:
        """The next event for a reader; None at the end."""
        return None if self._closed else self._wait_event()

    async def _next_event_async(self) -> TokenEvent | None:
        """The next event for an async reader; None at the end."""
        return None if self._closed else await self._await_event()

    def _wait_event(self) -> TokenEvent | None:
        """Wait for the next event and keep it; None at the end."""
        try:
            with self._lock:
                while (event := self._native.next_event()) is not None:
                    if self._keep(event):
                        return event
        except SamplingError as error:
            log.forward()
            explained = self._explained(error)
            raise explained from explained.__cause__
        except BaseException:
            # An error has ended the stream already, but Ctrl-C has not: cancelling frees the model.
            self._native.cancel()
            log.forward()
            raise
        log.forward()
        return None

    async def _await_event(self) -> TokenEvent | None:
        """Wait for the next event in an event loop and keep it; None at the end."""
        if self._awaited:
            message = "another task waits for this stream already; read it in one task, or give each task a stream of its own"
            raise RuntimeError(message)
        self._awaited = True
        try:
            event = await self._await_next()
        except BaseException:
            # A cancelled task, or an error that has ended the stream already.
            self._native.cancel()
            log.forward()
            raise
        finally:
            self._awaited = False
        if event is None:
            log.forward()
        return event

    async def _await_next(self) -> TokenEvent | None:
        loop = running_loop()
        if self._ready >= READY_IN_A_ROW:
            self._ready = 0
            await loop.pause()
        if not self._lock.acquire(blocking=False):
            # A thread waits for the next event already; wait behind it.
            return await loop.in_thread(self._wait_event)
        self._lock.release()
        if (event := self._poll()) is not None or self._native.finished:
            self._ready += 1
            return event
        self._ready = 0
        try:
            waker = self._waker = self._waker or Waker(self._descriptor())
            while True:
                self._native.clear_wake()
                if (event := self._poll()) is not None or self._native.finished:
                    return event
                await loop.readable(waker)
        except NotImplementedError:
            return await loop.in_thread(self._wait_event)

    def _poll(self) -> TokenEvent | None:
        """Take the next event, if there is one now, and keep it; otherwise None, and `finished` says whether the stream has ended."""
        with self._lock:
            try:
                while (event := self._native.poll_event()) is not None:
                    if self._keep(event):
                        return event
            except SamplingError as error:
                explained = self._explained(error)
                raise explained from explained.__cause__
        return None

    def _keep(self, event: TokenEvent) -> bool:
        """Keep a piece of text. False for news of the prompt that a function was told."""
        if event.prompt_progress is None:
            self._seen.append(event)
            return True
        if self._progress is None:
            return True
        done, total, _ = event.prompt_progress
        if self._progress(done, total) is False:
            self._native.cancel()
        return False

    def _explained(self, error: SamplingError) -> SamplingError:
        """The error that ended the stream. If a logits processor raised, its own exception is the cause."""
        return error if self._hooks is None else self._hooks.explain(error)

    def _descriptor(self) -> int:
        """The descriptor that tells of news."""
        if self._wake_fd is None:
            self._wake_fd = self._native.wake_fd()
        return self._wake_fd

    def _completion(self) -> Completion:
        """Everything that came, after the end."""
        summary: dict[str, Any] = self._native.summary() or {}
        with self._lock:
            seen = tuple(self._seen)
        logprobs = tuple(logprob for event in seen for logprob in event.logprobs)
        tokens = tuple(token for event in seen for token in event.token_ids)
        return Completion(
            text="".join(event.text for event in seen),
            tokens=tokens,
            finish_reason=summary["finish_reason"],
            stop_match=stop_match_of(summary),
            usage=usage_of(summary),
            timings=timings_of(summary),
            logprobs=logprobs if self._has_logprobs else None,
            constraint_complete=summary["constraint_complete"],
            parser=self._parser,
        )


class TokenEvents(Iterator[TokenEvent], AsyncIterator[TokenEvent]):
    """The events of a stream, from where it has been read to. Made by `TokenStream.events`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream

    def __iter__(self) -> TokenEvents:
        return self

    def __next__(self) -> TokenEvent:
        event = self._stream._next_event()  # noqa: SLF001 (its own other half)
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> TokenEvents:
        return self

    async def __anext__(self) -> TokenEvent:
        event = await self._stream._next_event_async()  # noqa: SLF001 (its own other half)
        if event is None:
            raise StopAsyncIteration
        return event
