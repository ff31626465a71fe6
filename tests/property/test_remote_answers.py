"""Whatever a server answers, `tabagent info URL` has a header or an error of its own: no other exception, and no answer that never ends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.tiny_models import tiny_llama
from tabagent._fetch import FetchError
from tabagent.cli.remote import read_header
from tabagent.errors import GgufError

IMAGE = tiny_llama().to_bytes()
SIZE = len(IMAGE)


class Answerer:
    """Answers each request with the same bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                request = b""
                while b"\r\n\r\n" not in request:
                    piece = connection.recv(4096)
                    if not piece:
                        break
                    request += piece
                connection.sendall(self.answer)
                connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def server() -> Iterator[Answerer]:
    answerer = Answerer()
    yield answerer
    answerer.close()


NUMBERS = st.one_of(st.sampled_from([0, 1, SIZE - 1, SIZE, SIZE + 1, 2**31, 2**63, 2**64, 10**30]), st.integers(-5, 3 * SIZE))
VALUES = st.one_of(
    NUMBERS.map(str),
    st.builds("bytes {}-{}/{}".format, NUMBERS, NUMBERS, NUMBERS),
    st.sampled_from(["", "*", "bytes */*", "bytes 0-9/*", "chunked", "gzip", "http://127.0.0.1:1/x", "/x", "ftp://x/y", "٣", "1_0", "-", "\x01"]),
    st.text(st.characters(codec="latin-1"), max_size=20),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Content-Range", "Content-Length", "ETag", "Location", "Transfer-Encoding", "Content-Encoding", "Connection", "X y", ""]),
        VALUES,
    ),
    max_size=5,
)
STATUS = st.one_of(
    st.sampled_from(["HTTP/1.1 206 Partial Content", "HTTP/1.1 200 OK", "HTTP/1.0 200 OK"]),
    st.builds("HTTP/1.1 {} x".format, st.integers(0, 1000)),
    st.sampled_from(["HTTP/9.9 200", "GGUF", "", "HTTP/1.1 abc", "HTTP/1.1 200" + " x" * 40_000]),
)
BODY = st.one_of(
    st.just(IMAGE),
    st.integers(0, SIZE).map(lambda end: IMAGE[:end]),
    st.builds(lambda at, part: IMAGE[:at] + part + IMAGE[at + len(part) :], st.integers(0, 4000), st.binary(min_size=1, max_size=8)),
    st.binary(max_size=50),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(status=STATUS, headers=HEADERS, body=BODY)
def test_any_answer_is_a_header_or_an_error(server: Answerer, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
    head = "\r\n".join([status, *(f"{name}: {value}" for name, value in headers), "", ""])
    server.answer = head.encode("latin-1", "replace") + body
    try:
        file = read_header(f"http://127.0.0.1:{server.port}/model.gguf")
    except (FetchError, GgufError):
        return
    assert file.keys()


@given(length=st.sampled_from([None, SIZE]), ranged=st.booleans())
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_good_answer_is_read(server: Answerer, *, length: int | None, ranged: bool) -> None:
    fields = [f"Content-Range: bytes 0-{SIZE - 1}/{SIZE}"] if ranged else [f"Content-Length: {SIZE}"]
    if length is not None and ranged:
        fields.append(f"Content-Length: {length}")
    status = "HTTP/1.1 206 Partial Content" if ranged else "HTTP/1.1 200 OK"
    server.answer = "\r\n".join([status, *fields, "", ""]).encode() + IMAGE
    assert "general.architecture" in read_header(f"http://127.0.0.1:{server.port}/model.gguf").keys()  # noqa: SIM118 (the compiled class is no mapping)
