"""Connections that nobody else can read."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from pathlib import Path
from typing import Final

import pytest

import waiting
from tabagent import Model, Server

pytestmark = pytest.mark.model

FOLDER: Final = Path(__file__).parent.parent / "golden" / "tls"
CERTIFICATE: Final = FOLDER / "cert.pem"
"""Of `localhost` and `127.0.0.1`, signed by itself, for a hundred years; its key is public, so it proves nothing to anybody else."""
KEY: Final = FOLDER / "key.pem"


def ask(server: Server, context: ssl.SSLContext, path: str, body: object = None) -> tuple[int, bytes]:
    assert server.port is not None
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=60, context=context)
    try:
        data = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, data)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_clients_that_trust_the_certificate_are_served(smollm2: Model) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    with Server(smollm2, host="127.0.0.1", port=0, ssl_cert_file=CERTIFICATE, ssl_key_file=KEY) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        assert ask(server, trusting, "/health")[0] == 200
        body = {"prompt": "Once upon a time", "n_predict": 8, "stream": True}
        status, events = ask(server, trusting, "/completion", body)
        assert status == 200
        assert events.count(b"data: ") > 2
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server, ssl.create_default_context(), "/health")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            trusting.minimum_version = trusting.maximum_version = version
            assert ask(server, trusting, "/health")[0] == 200


def test_clients_that_do_not_speak_tls_are_let_go(smollm2: Model) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    with Server(smollm2, port=0, ssl_cert_file=CERTIFICATE, ssl_key_file=KEY, head_timeout=1.0, max_connections=4) as server:
        assert server.host is not None
        assert server.port is not None
        for nonsense in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 50, b""):
            with socket.create_connection((server.host, server.port), timeout=20) as plain:
                plain.sendall(nonsense)
                answer = b"".join(iter(lambda: plain.recv(4096), b""))
            assert not answer.startswith(b"HTTP/")
        silent = [socket.create_connection((server.host, server.port)) for _ in range(4)]
        waiting.until(lambda: _is_served(server, trusting), limit_s=20)
        for each in silent:
            each.close()


def _is_served(server: Server, context: ssl.SSLContext) -> bool:
    try:
        return ask(server, context, "/health")[0] == 200
    except OSError:
        return False


def test_stopping_waits_for_no_handshake(smollm2: Model) -> None:
    server = Server(smollm2, port=0, ssl_cert_file=CERTIFICATE, ssl_key_file=KEY, drain_timeout=20.0)
    assert server.host is not None
    assert server.port is not None
    with socket.create_connection((server.host, server.port)):
        began = time.perf_counter()
        server.close()
        assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        (CERTIFICATE, None, "`ssl_key_file` must be given together with `ssl_cert_file`"),
        (None, KEY, "`ssl_cert_file` must be given together with `ssl_key_file`"),
        (KEY, KEY, "has no certificate; give a PEM file"),
        (CERTIFICATE, CERTIFICATE, "cannot read `.*cert.pem`"),
        (FOLDER / "none.pem", KEY, "cannot read `.*none.pem`"),
        (FOLDER, KEY, "cannot read"),
    ],
)
def test_wrong_files_are_named(smollm2: Model, certificate: Path | None, key: Path | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Server(smollm2, port=0, ssl_cert_file=certificate, ssl_key_file=key)
