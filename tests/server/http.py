"""Requests over plain sockets, for what clients do not do: broken bodies, lost connections, slow reading."""

from __future__ import annotations

import http.client
import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.served import ServerProcess
    from tabagent import Server

__all__ = ["Reply", "ask", "connect", "send"]


class Reply:
    """A whole response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The events of a stream, `[DONE]` left out."""
        lines = self.body.decode().split("\n\n")
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return [json.loads(text) for text in data if text != "[DONE]"]


def ask(server: Server | ServerProcess, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Reply:
    """One request on a connection of its own. A body that is no bytes is sent as JSON."""
    assert server.host is not None
    assert server.port is not None
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def connect(server: Server | ServerProcess) -> socket.socket:
    assert server.host is not None
    assert server.port is not None
    return socket.create_connection((server.host, server.port), timeout=120)


def send(server: Server | ServerProcess, path: str, body: Any) -> socket.socket:
    """Begin a request, and leave its response unread."""
    data = json.dumps(body).encode()
    stream = connect(server)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    stream.sendall(head.encode() + data)
    return stream
