"""Many prompts, worked through in order and as fast as the model can."""

from __future__ import annotations

import selectors
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Final

from tabagent._arguments import Tokens, as_bool, as_callback, is_iterable, type_name
from tabagent.completion import Completion
from tabagent.stream import TokenStream

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CompletionBatch"]

UNREAD: Final = 8
"""So many times as many as run at a time may be done before the first that is still missing; then no more are begun."""


class CompletionBatch(Iterator[Completion], AsyncIterator[Completion]):
    """The completions of many prompts, in their order. Made by `Model.generate_batch`; for `for`, `async for` and `with`.

    Prompts are taken from their iterable a few ahead of what the model decodes, so there may be any number of them. A prompt that fails raises
    its error where its completion would have come, or is that error with `return_errors`; the next call goes on with the next prompt. Leaving
    the `with` block, `cancel` and Ctrl-C end what runs. One thread or task reads it.
    """

    __slots__ = ("_ahead", "_done", "_next", "_progress", "_prompts", "_return_errors", "_running", "_selector", "_submit", "_taken", "_total")

    def __init__(
        self,
        submit: Callable[[str | Tokens], TokenStream],
        prompts: Iterable[str | Tokens],
        *,
        ahead: int,
        return_errors: bool,
        progress: Callable[[int, int | None], object] | None,
    ) -> None:
        """Made by `Model.generate_batch`. `submit` begins a prompt; `ahead` are begun at a time."""
        if isinstance(prompts, (str, bytes)) or not is_iterable(prompts):
            message = f"`prompts` must be an iterable of prompts, got {type_name(prompts)}; for one prompt there is `generate`"
            raise TypeError(message)
        self._submit = submit
        self._prompts = iter(prompts)
        self._total = len(prompts) if isinstance(prompts, Sized) else None
        self._ahead = ahead
        self._return_errors = as_bool(return_errors, "return_errors")
        self._progress = as_callback(progress, "progress")
        self._taken = 0
        self._next = 0
        self._running: dict[int, TokenStream] = {}
        self._done: dict[int, Completion | Exception] = {}
        self._selector: selectors.BaseSelector | None = None
        self._begin_more()

    # Reading

    def __iter__(self) -> CompletionBatch:
        return self

    def __next__(self) -> Completion:
        while self._next not in self._done:
            if not self._running:
                raise StopIteration
            self._wait()
        self._next += 1
        outcome = self._done.pop(self._next - 1)
        self._begin_more()
        return self._given(outcome)

    def as_completed(self) -> Iterator[tuple[int, Completion]]:
        """Each completion as soon as it is there, with the place of its prompt, counted from 0. A failed prompt raises as it does in order."""
        while True:
            for index in sorted(self._done):
                yield index, self._given(self._done.pop(index))
            if not self._running:
                return
            self._wait()

    def results(self) -> list[Completion]:
        """All that are left, in order. Blocks; Ctrl-C stops it."""
        return list(self)

    def __aiter__(self) -> CompletionBatch:
        return self

    async def __anext__(self) -> Completion:
        index = self._next
        if index not in self._done:
            if index not in self._running:
                raise StopAsyncIteration
            stream = self._running[index]
            try:
                outcome: Completion | Exception = await stream.aresult()
            except Exception as error:  # noqa: BLE001 (given to whoever reads it)
                outcome = error
            self._finish(index, outcome)
        self._next += 1
        outcome = self._done.pop(index)
        self._begin_more()
        return self._given(outcome)

    # Ending

    def cancel(self) -> None:
        """End what runs and begin no more. What has come already can still be read."""
        self._prompts = iter(())
        for stream in self._running.values():
            stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel()
        for stream in self._running.values():
            stream.close()
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    def __repr__(self) -> str:
        return f"<CompletionBatch {self._taken - len(self._running)} done, {len(self._running)} running>"

    # Inside

    def _begin_more(self) -> None:
        """Begin prompts until enough run."""
        while len(self._running) < self._ahead and len(self._done) < UNREAD * self._ahead:
            try:
                prompt = next(self._prompts)
            except StopIteration:
                return
            index, self._taken = self._taken, self._taken + 1
            try:
                self._running[index] = self._submit(prompt)
            except (TypeError, ValueError, RuntimeError) as error:
                error.args = (f"`prompts[{index}]`: {error}", *error.args[1:])
                self._done[index] = error

    def _wait(self) -> None:
        """Wait until at least one more is done."""
        try:
            ended = self._ended()
        except BaseException:
            self.cancel()
            raise
        for index in ended:
            try:
                outcome: Completion | Exception = self._running[index].result()
            except Exception as error:  # noqa: BLE001 (given to whoever reads it)
                outcome = error
            self._finish(index, outcome)

    def _ended(self) -> list[int]:
        """Those that have ended; waits for one."""
        while True:
            ended = [index for index, stream in self._running.items() if stream.finish_reason is not None]
            if ended:
                return ended
            if self._selector is None:
                self._selector = selectors.DefaultSelector()
            watched = {key.data for key in self._selector.get_map().values()}
            for index, stream in self._running.items():
                if index not in watched:
                    self._selector.register(stream._descriptor(), selectors.EVENT_READ, index)  # noqa: SLF001 (its own other half)
            for key, _ in self._selector.select():
                stream = self._running[key.data]
                stream._native.clear_wake()  # noqa: SLF001 (as above)

    def _finish(self, index: int, outcome: Completion | Exception) -> None:
        """Keep an outcome and begin the next prompts."""
        stream = self._running.pop(index)
        if self._selector is not None and stream._wake_fd is not None:  # noqa: SLF001 (its own other half)
            self._selector.unregister(stream._wake_fd)  # noqa: SLF001 (as above)
        self._done[index] = outcome
        self._begin_more()
        if self._progress is not None:
            self._progress(self._taken - len(self._running), self._total)

    def _given(self, outcome: Completion | Exception) -> Completion:
        """The outcome for a reader."""
        if isinstance(outcome, Exception) and not self._return_errors:
            raise outcome
        return outcome  # type: ignore[return-value] # errors where they were asked for
