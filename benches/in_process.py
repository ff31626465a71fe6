"""tabagent as a server of streams, in the process that reads them."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal

from traffic import Answer, Request
from typing_extensions import Self

from tabagent import Model, SamplerConfig, TokenStream

Readers = Literal["asyncio", "threads"]


class InProcess:
    """A loaded model. Streams are read by tasks of the running event loop, or each by a thread."""

    name = "tabagent"

    def __init__(self, model: str, *, library: str, slots: int, slot_tokens: int, threads: int, readers: Readers = "asyncio") -> None:
        self.model = Model.load(model, variant=library, context_size=slots * slot_tokens, max_sequences=slots, threads=threads, batch_size=2048)
        self._pool = ThreadPoolExecutor(32) if readers == "threads" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        self.model.close()

    async def ask(self, request: Request, answer: Answer) -> None:
        """See `traffic.Peer`."""
        stream = self.model.generate(
            request.prompt,
            max_tokens=request.max_tokens,
            sampling=SamplerConfig.greedy(),
            ignore_eos=True,
            cache_prompt=request.cache_prompt,
            add_special=False,
        )
        if self._pool is None:
            with stream:
                async for event in stream.events():
                    answer.stamps.append(time.perf_counter())
                    answer.tokens.extend(event.token_ids)
            return
        stop = threading.Event()
        reading = asyncio.get_running_loop().run_in_executor(self._pool, _read, stream, answer, stop)
        try:
            await reading
        except asyncio.CancelledError:
            stop.set()
            stream.cancel()
            raise


def _read(stream: TokenStream, answer: Answer, stop: threading.Event) -> None:
    with stream:
        for event in stream.events():
            if stop.is_set():
                return
            answer.stamps.append(time.perf_counter())
            answer.tokens.extend(event.token_ids)
