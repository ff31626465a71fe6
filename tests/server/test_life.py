"""Clients that go away, read slowly or send nonsense, keys, hosts and origins, and the server's end."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from server.http import ask, connect, send
from tabagent import ClosedError, Server
from waiting import until

if TYPE_CHECKING:
    from tabagent import Model

pytestmark = pytest.mark.model

LONG: Final[Any] = {"messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": 1500, "ignore_eos": True, "temperature": 0}


def idle(server: Server) -> bool:
    stats = server.model.stats
    return stats.active == 0 and stats.queued == 0


def hang_up(stream: socket.socket) -> None:
    """Reset the connection."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("leave", [hang_up, socket.socket.close])
def test_a_client_that_goes_away_frees_its_slot(server: Server, stream: bool, leave: Any) -> None:  # noqa: FBT001 (a parameter of the test)
    lost = send(server, "/v1/chat/completions", {**LONG, "stream": stream})
    until(lambda: server.model.stats.active == 1)
    leave(lost)
    until(lambda: idle(server))


def test_a_client_that_goes_away_in_the_prompt_frees_its_slot(server: Server) -> None:
    before = server.model.metrics().prompt_tokens
    lost = send(server, "/completion", {"prompt": "a different story " * 600, "cache_prompt": False, "n_predict": 1})
    until(lambda: server.model.stats.active == 1)
    hang_up(lost)
    until(lambda: idle(server))
    assert server.model.metrics().prompt_tokens - before < 1800


def test_a_client_that_does_not_read_holds_only_itself_up(server: Server) -> None:
    lost = send(server, "/v1/chat/completions", {**LONG, "stream": True, "n": 2})
    until(lambda: server.model.stats.active == 2)
    reply = ask(server, "POST", "/v1/chat/completions", {"messages": LONG["messages"], "max_tokens": 4})
    assert reply.status == 200
    lost.close()
    until(lambda: idle(server))


def test_a_client_that_never_reads_is_ended(smollm2_path: Path) -> None:
    from tabagent import Model

    body = {"prompt": "Once", "n_predict": 4000, "ignore_eos": True, "stream": True, "n_probs": 500}
    with (
        Model.load(smollm2_path, context_size=4096, threads=1) as model,
        Server(model, port=0, timeout=0.5) as server,
        send(server, "/completion", body),
    ):
        until(lambda: model.stats.active == 1)
        until(lambda: model.metrics().ended.cancelled == 1, limit_s=120)
        until(lambda: idle(server))


def test_a_silent_stream_says_that_it_is_there(smollm2_path: Path) -> None:
    from tabagent import Model

    with Model.load(smollm2_path, context_size=2048, threads=1, max_sequences=1) as model, Server(model, port=0, ping=0.05) as server:
        first = send(server, "/v1/chat/completions", {**LONG, "stream": True})
        until(lambda: model.stats.active == 1)
        with send(server, "/v1/chat/completions", {**LONG, "stream": True, "max_tokens": 1}) as second:
            came = b""
            while b"\n:\n\n" not in came:
                came += second.recv(1 << 16)
            assert b"data:" not in came
        first.close()
        until(lambda: idle(server))


def test_malformed_requests_are_answered_and_nothing_else_happens(server: Server) -> None:
    bodies = [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"messages": 1e999}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"prompt": ' + b"[" * 200 + b"]" * 200 + b"}",
    ]
    for path in (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/completion",
        "/tokenize",
        "/detokenize",
        "/apply-template",
        "/rerank",
    ):
        for body in bodies:
            reply = ask(server, "POST", path, body)
            assert 400 <= reply.status < 500, (path, body[:40], reply.status)
            assert reply.json()["error"]["message"], (path, body[:40])
    for head in (b"nonsense\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n", b"POST /completion HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"\0" * 1000):
        with connect(server) as stream:
            stream.sendall(head)
            stream.shutdown(socket.SHUT_WR)
            assert b"200 OK" not in stream.recv(1 << 16)
    assert ask(server, "GET", "/health").json() == {"status": "ok"}


def test_limits_are_named(smollm2: Model) -> None:
    with Server(smollm2, port=0, max_body_bytes=1000, max_choices=2, max_connections=2, head_timeout=0.2) as server:
        reply = ask(server, "POST", "/completion", {"prompt": "x" * 2000})
        assert (reply.status, "max_body_bytes" in reply.json()["error"]["message"]) == (413, True)
        with connect(server) as stream:
            stream.sendall(b"POST /completion HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            stream.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
            assert b"413" in stream.recv(1 << 16)
        reply = ask(server, "POST", "/completion", {"prompt": ["a", "b", "c"], "n_predict": 1})
        assert (reply.status, "max_choices" in reply.json()["error"]["message"]) == (400, True)
        with connect(server) as slow:
            slow.sendall(b"GET /health HTTP/1.1\r\n")
            assert b"200" not in slow.recv(100)

        def answers(stream: socket.socket) -> bool:
            stream.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b"200 OK" in stream.recv(1 << 16)

        # A place is free a moment after its client has gone.
        with ExitStack() as held:

            def take_all() -> bool:
                with ExitStack() as taken:
                    if not all(answers(taken.enter_context(connect(server))) for _ in range(2)):
                        return False
                    held.push(taken.pop_all())
                    return True

            until(take_all)
            reply = ask(server, "GET", "/health")
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert "max_connections" in reply.json()["error"]["message"]


def test_a_full_queue_says_when_to_come_back(smollm2_path: Path) -> None:
    from tabagent import Model

    with Model.load(smollm2_path, context_size=2048, threads=1, max_sequences=1, max_queue=1) as model, Server(model, port=0) as server:
        streams = [send(server, "/v1/chat/completions", LONG)]
        until(lambda: model.stats.active == 1)
        streams.append(send(server, "/v1/chat/completions", LONG))
        until(lambda: model.stats.queued == 1)
        reply = ask(server, "POST", "/v1/chat/completions", LONG)
        assert (reply.status, reply.json()["error"]["type"], reply.headers["retry-after"]) == (503, "unavailable_error", "1")
        for stream in streams:
            stream.close()
        until(lambda: idle(server))


def test_keys_open_the_server(smollm2: Model) -> None:
    with Server(smollm2, port=0, api_keys=["one", "two"]) as server:
        assert ask(server, "GET", "/health").status == 200
        for headers in ({}, {"Authorization": "Bearer three"}, {"Authorization": "Bearer "}, {"x-api-key": "on"}):
            reply = ask(server, "GET", "/props", headers=headers)
            assert (reply.status, reply.json()["error"]["type"]) == (401, "authentication_error"), headers
        for headers in ({"Authorization": "Bearer one"}, {"x-api-key": "two"}):
            assert ask(server, "GET", "/props", headers=headers).status == 200


def test_pages_of_other_sites_cannot_ask(server: Server, smollm2: Model) -> None:
    assert ask(server, "GET", "/props", headers={"Host": "evil.example"}).status == 403
    assert ask(server, "GET", "/props", headers={"Host": "localhost:1234"}).status == 200
    reply = ask(server, "GET", "/props", headers={"Origin": "https://evil.example"})
    assert (reply.status, "access-control-allow-origin" in reply.headers) == (403, False)
    reply = ask(server, "OPTIONS", "/completion", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in reply.headers
    reply = ask(server, "OPTIONS", "/completion", headers={"Origin": "http://localhost:3000"})
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
    with Server(smollm2, port=0, allowed_origins=["https://chat.example"], allowed_hosts=["my.host"]) as other:
        reply = ask(other, "GET", "/props", headers={"Origin": "https://chat.example", "Host": "my.host:80"})
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "https://chat.example")


def test_requests_have_ids(server: Server) -> None:
    assert ask(server, "GET", "/health", headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"
    made = [ask(server, "GET", "/nothing", headers={"x-request-id": "not one word"}).headers["x-request-id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(name.startswith("req_") for name in made)


def test_a_socket_in_the_file_system(smollm2: Model, tmp_path: Path) -> None:
    path = tmp_path / "tabagent.sock"
    with Server(smollm2, unix_path=path) as server:
        assert server.url == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(path))
            stream.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b'{"status":"ok"}' in stream.recv(1 << 16)
    assert not path.exists()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    Server(smollm2, unix_path=path).close()


def test_a_prefix_stands_before_every_path(smollm2: Model) -> None:
    with Server(smollm2, port=0, prefix="/llm") as server:
        assert ask(server, "GET", "/llm/health").status == 200
        assert ask(server, "GET", "/health").status == 404
    with pytest.raises(ValueError, match="`prefix` must begin with `/`"):
        Server(smollm2, port=0, prefix="llm/")


def test_an_address_in_use_is_an_os_error(server: Server, smollm2: Model) -> None:
    with pytest.raises(OSError, match="cannot listen at"):
        Server(smollm2, port=server.port)


def test_closing_lets_requests_end_and_takes_no_more(smollm2: Model) -> None:
    server = Server(smollm2, port=0)
    replies: list[Any] = []
    body = {"messages": LONG["messages"], "max_tokens": 100, "ignore_eos": True, "stream": True}
    asking = threading.Thread(target=lambda: replies.append(ask(server, "POST", "/v1/chat/completions", body)))
    asking.start()
    until(lambda: smollm2.stats.active == 1)
    server.close()
    asking.join()
    assert replies[0].body.endswith(b"data: [DONE]\n\n")
    with pytest.raises(ConnectionError):
        ask(server, "GET", "/health")
    server.close()


def test_closing_ends_what_takes_too_long(smollm2_path: Path) -> None:
    from tabagent import Model

    with Model.load(smollm2_path, context_size=8192, threads=1) as model:
        server = Server(model, port=0, drain_timeout=0.1)
        replies: list[Any] = []
        body = {**LONG, "max_tokens": 8000, "stream": True}
        asking = threading.Thread(target=lambda: replies.append(ask(server, "POST", "/v1/chat/completions", body)))
        asking.start()
        until(lambda: model.stats.active == 1)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 20
        asking.join()
        assert replies[0].events()[-1]["error"]["type"] == "unavailable_error"
        until(lambda: model.stats.active == 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_serving_with_code_0(smollm2_path: Path, number: int) -> None:
    code = f"import tabagent, sys; m = tabagent.Model.load({str(smollm2_path)!r}, threads=1, context_size=512)\n"
    code += "from tabagent import server as s\n"
    code += "with s.noting_signals() as wait, tabagent.Server(m, port=0) as server:\n    print(server.port, flush=True)\n    wait()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port)) as stream:
            stream.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in stream.recv(1 << 16)
        os.kill(process.pid, number)
        assert process.wait(60) == 0


def test_a_closed_model_is_told_of(smollm2_path: Path) -> None:
    from tabagent import Model

    model = Model.load(smollm2_path, context_size=512, threads=1)
    with Server(model, port=0) as server:
        model.close()
        with pytest.raises(ClosedError):
            Server(model, port=0)
        reply = ask(server, "POST", "/v1/chat/completions", {"messages": LONG["messages"]})
        assert (reply.status, reply.json()["error"]["type"]) == (503, "unavailable_error")
        assert "closed" in json.dumps(reply.json())


def test_headers_are_written_as_most_servers_do(server: Server) -> None:
    with connect(server) as stream:
        stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\n\r\n")
        head = b"".join(iter(lambda: stream.recv(1 << 16), b"")).partition(b"\r\n\r\n")[0].decode()
    names = {line.partition(":")[0] for line in head.splitlines()[1:]}
    assert {"Content-Type", "Access-Control-Allow-Origin", "X-Request-Id", "Process-Start-Time-Unix"} <= names
