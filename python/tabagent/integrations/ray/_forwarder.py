"""Requests that Ray Serve hands to a replica, passed on to the HTTP server beside it, and its responses on their way back."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from yarl import URL

from tabagent.log import package_log

__all__ = ["Forwarder"]

OF_ONE_CONNECTION: Final = frozenset(
    {"connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that concern one connection (RFC 9110, 7.6.1), and are not passed on."""
OF_RAY: Final = frozenset({"x-request-id"})
"""Headers of responses that Ray Serve's proxy writes itself, from what the request had."""
ASKED_FROM: Final = 1 << 14
"""From how many bytes on the server is asked before a body is sent (`Expect: 100-continue`)."""


class Forwarder:
    """A client of a server on a socket in the file system. Used in one event loop, in which it is made when the first request comes."""

    def __init__(self, socket: str | os.PathLike[str]) -> None:
        self._socket = os.fspath(socket)
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: Request) -> Response:
        """The server's response to a request. Its body is read from the server as fast as the client takes it.

        Cancelling the task, which Ray Serve does when the client goes away, closes the connection, and with that the server ends what it computes.
        """
        size = _body_size(request)
        try:
            answer = await self._client().request(
                request.method,
                _address(request.scope),
                headers=_passed_on(request.headers.raw),
                data=request.stream() if size else None,
                # A body that the server finds too large is never sent: in the middle of it the connection would break before the answer is read.
                expect100=size is not None and size > ASKED_FROM,
                allow_redirects=False,
                skip_auto_headers=SKIPPED,
            )
        except aiohttp.ClientError as error:
            package_log.error("the model's server at `%s` does not answer: %s", self._socket, error)
            return _unreachable()
        response = StreamingResponse(_body(answer), status_code=answer.status)
        response.raw_headers = [(name.lower(), value) for name, value in _passed_on(answer.raw_headers, without=OF_RAY, as_bytes=True)]
        return response

    async def is_healthy(self) -> bool:
        """Whether the server takes requests."""
        try:
            async with self._client().get("http://replica/health") as answer:
                return bool(answer.status == 200)
        except aiohttp.ClientError:
            return False

    def close(self) -> None:
        """Ask nothing more. Connections end with their requests. May be called again, and from any thread."""
        if self._session is not None:
            self._session.detach()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # A connection for each request: one that was kept could be closed by the server just when the next request goes out.
                connector=aiohttp.UnixConnector(self._socket, limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


SKIPPED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp would add of itself."""


def _passed_on(headers: Iterable[tuple[bytes, bytes]], without: frozenset[str] = frozenset(), *, as_bytes: bool = False) -> list[tuple[Any, Any]]:
    """Headers without those that concern one connection, among them those that `Connection` names."""
    found = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    named = {part.strip().lower() for name, value in found if name.lower() == "connection" for part in value.split(",")}
    left = [(name, value) for name, value in found if name.lower() not in OF_ONE_CONNECTION | named | without]
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in left] if as_bytes else left


def _body_size(request: Request) -> float | None:
    """How many bytes the body has: infinite where the request does not say, None without a body."""
    given = request.headers.get("content-length")
    if given is not None and given.isascii() and given.isdigit():
        return int(given) or None
    return math.inf if "transfer-encoding" in request.headers else None


def _address(scope: Any) -> URL:
    """Where the server is asked: the path without the application's prefix, and the query, both as the client wrote them."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.decode("latin-1").partition("?")[0].removeprefix(quote(scope.get("root_path", "")))
    query = scope["query_string"].decode("latin-1")
    return URL(f"http://replica/{path.lstrip('/')}{'?' if query else ''}{query}", encoded=True)


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """What the server sends, piece by piece as it comes. The connection is closed when nobody reads it to its end."""
    try:
        async for piece in answer.content.iter_any():
            yield piece
    finally:
        answer.close()


def _unreachable() -> Response:
    message = "the model's server does not answer; Ray Serve replaces the replica when its health check fails, so try again later"
    return JSONResponse({"error": {"message": message, "type": "server_error", "param": None, "code": 502}}, status_code=502)
