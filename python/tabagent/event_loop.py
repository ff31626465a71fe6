"""What awaits a stream or a call: asyncio's event loop, or trio's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio
    import socket

__all__ = ["EventLoop", "Waker", "running_loop"]

T = TypeVar("T")


class Waker:
    """The socket that becomes readable when there is something to take."""

    __slots__ = ("_socket", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        """Its number, which selectors know."""
        self._socket: socket.socket | None = None

    def __del__(self) -> None:
        # The object owns a duplicate of the socket.
        if self._socket is not None:
            self._socket.close()

    def socket(self) -> socket.socket:
        """The same as an object, for loops that read sockets instead of watching them. Made once: a completion port takes a socket for good."""
        if self._socket is None:
            import socket  # noqa: PLC0415 (needed on Windows alone)

            self._socket = socket.fromfd(self.fd, socket.AF_INET, socket.SOCK_STREAM)
            self._socket.setblocking(False)
        return self._socket


class EventLoop(Protocol):
    """What a stream needs of an event loop."""

    async def pause(self) -> None:
        """Let other tasks run once."""

    async def readable(self, waker: Waker) -> None:
        """Wait until the socket is readable, or was and has been read.

        Raises:
            NotImplementedError: the loop can neither watch nor read this socket.
        """

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Wait for a blocking call in a thread."""


def running_loop() -> EventLoop:
    """The loop that runs the calling task.

    Raises:
        RuntimeError: there is none, or one of another library.
    """
    trio = sys.modules.get("trio")
    if trio is not None:
        try:
            # In trio's guest mode asyncio has a running loop, too, but it is not the task's.
            trio.lowlevel.current_task()
        except RuntimeError:
            pass
        else:
            return _Trio(trio)
    import asyncio  # noqa: PLC0415 (slow to import, and loaded already where this runs)

    try:
        return _Asyncio(asyncio.get_running_loop())
    except RuntimeError:
        message = (
            "streams and calls can be awaited in asyncio and trio only, and neither runs here; read with `for`, or use the call without `a`, in a "
            "thread where that must not block"
        )
        raise RuntimeError(message) from None


class _Asyncio:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def pause(self) -> None:
        import asyncio  # noqa: PLC0415 (loaded already)

        await asyncio.sleep(0)

    async def readable(self, waker: Waker) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        try:
            self._loop.add_reader(waker.fd, _wake, future)
        except NotImplementedError:
            # Windows' default loop, which waits for operations to complete.
            await self._read(waker)
            return
        try:
            await future
        finally:
            self._loop.remove_reader(waker.fd)

    async def _read(self, waker: Waker) -> None:
        try:
            await self._loop.sock_recv(waker.socket(), 16)
        except OSError as error:
            message = "the socket belongs to the completion port of another event loop"
            raise NotImplementedError(message) from error

    async def in_thread(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(None, call)


class _Trio:
    def __init__(self, trio: Any) -> None:
        self._trio = trio

    async def pause(self) -> None:
        await self._trio.lowlevel.checkpoint()

    async def readable(self, waker: Waker) -> None:
        await self._trio.lowlevel.wait_readable(waker.fd)

    async def in_thread(self, call: Callable[[], T]) -> T:
        # Like asyncio, trio does not wait for the thread when the task is cancelled. What runs there is cancelled then, which ends the call.
        result: T = await self._trio.to_thread.run_sync(call, abandon_on_cancel=True)
        return result


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
