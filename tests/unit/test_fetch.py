"""Fetching by name and hash, against a small package index on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tabagent import _fetch
from tabagent._fetch import FetchError, HashMismatchError, IndexFile, NotInIndexError, OfflineError

CONTENT = b"a file of some length\n" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WANTED = IndexFile("Some.Project", "some_project-1.0.tar.gz", DIGEST)


@dataclass
class Index:
    """What the server answers by path, and what it was asked."""

    url: str = ""
    answers: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    truncated: set[str] = field(default_factory=set)
    failures: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)

    def offer(self, page: str, *, kind: str = "text/html", content: bytes = CONTENT) -> None:
        self.answers["/simple/some-project/"] = (200, kind, page.encode())
        self.answers["/files/some_project-1.0.tar.gz"] = (200, "application/octet-stream", content)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    state = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            state.authorizations.append(self.headers.get("Authorization"))
            if state.failures.get(self.path, 0) > 0:
                state.failures[self.path] -= 1
                self.send_error(503)
                return
            status, kind, body = state.answers.get(self.path, (404, "text/plain", b"no"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path in state.truncated else body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/simple"
    for name in ("TABAGENT_OFFLINE", "HF_HUB_OFFLINE", "UV_DEFAULT_INDEX", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", state.url)
    monkeypatch.setattr(_fetch, "RETRY_PAUSE_SECONDS", 0.0)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def html(digest: str = DIGEST, href: str = "../../files/some_project-1.0.tar.gz") -> str:
    return f'<!DOCTYPE html><html><body><a href="../../files/other.zip">other.zip</a><a href="{href}#sha256={digest}">x</a></body></html>'


def pep691(url: str = "../../files/some_project-1.0.tar.gz") -> str:
    return json.dumps({"meta": {"api-version": "1.0"}, "files": [{"filename": WANTED.file_name, "url": url, "hashes": {"sha256": DIGEST}}]})


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (html(), "text/html"),
        (html(href="/files/some_project-1.0.tar.gz"), "application/vnd.pypi.simple.v1+html"),
        (f'<base href="/files/">{html(href="some_project-1.0.tar.gz")}', "text/html"),
        (pep691(), "application/vnd.pypi.simple.v1+json"),
        (pep691("/files/some_project-1.0.tar.gz"), "application/json"),
    ],
)
def test_fetch_follows_relative_links_of_both_index_forms(index: Index, tmp_path: Path, page: str, kind: str) -> None:
    index.offer(page, kind=kind)
    seen: list[tuple[int, int | None]] = []
    path = _fetch.fetch(WANTED, tmp_path / "deep" / "file", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_fetch_leaves_a_good_file_alone(index: Index, tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(CONTENT)
    assert _fetch.fetch(WANTED, target) == target
    assert index.asked == []


def test_fetch_replaces_a_damaged_file(index: Index, tmp_path: Path) -> None:
    index.offer(html())
    target = tmp_path / "file"
    target.write_bytes(CONTENT[:-1])
    assert _fetch.fetch(WANTED, target).read_bytes() == CONTENT


def test_wrong_content_names_expected_and_found_and_leaves_nothing(index: Index, tmp_path: Path) -> None:
    other = b"other"
    index.offer(html(), content=other)
    with pytest.raises(HashMismatchError) as caught:
        _fetch.fetch(WANTED, tmp_path / "file", remedy="or set `X`")
    assert DIGEST in str(caught.value)
    assert hashlib.sha256(other).hexdigest() in str(caught.value)
    assert str(caught.value).endswith("or set `X`")
    assert list(tmp_path.iterdir()) == []


def test_index_that_states_another_hash_is_refused_before_the_download(index: Index, tmp_path: Path) -> None:
    index.offer(html("0" * 64))
    with pytest.raises(HashMismatchError, match="0" * 64):
        _fetch.fetch(WANTED, tmp_path / "file")
    assert index.asked == ["/simple/some-project/"]


def test_index_without_the_project_says_so(index: Index, tmp_path: Path) -> None:
    with pytest.raises(NotInIndexError, match="has no project `some-project`"):
        _fetch.fetch(WANTED, tmp_path / "file")
    assert len(index.asked) == 1


def test_index_without_the_file_says_so(index: Index, tmp_path: Path) -> None:
    index.offer(html(href="../../files/some_project-0.9.tar.gz"))
    with pytest.raises(NotInIndexError, match=r"has `some-project` but not its file `some_project-1\.0\.tar\.gz`"):
        _fetch.fetch(WANTED, tmp_path / "file")


def test_truncated_download_is_tried_three_times_and_leaves_nothing(index: Index, tmp_path: Path) -> None:
    index.offer(html())
    index.truncated.add("/files/some_project-1.0.tar.gz")
    with pytest.raises(FetchError, match=r"cannot download `some_project-1\.0\.tar\.gz`"):
        _fetch.fetch(WANTED, tmp_path / "file")
    assert index.asked.count("/files/some_project-1.0.tar.gz") == 3
    assert list(tmp_path.iterdir()) == []


def test_passing_server_errors_are_survived(index: Index, tmp_path: Path) -> None:
    index.offer(html())
    index.failures = {"/simple/some-project/": 2, "/files/some_project-1.0.tar.gz": 2}
    assert _fetch.fetch(WANTED, tmp_path / "file").read_bytes() == CONTENT


def test_refused_connection_says_what_to_check(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler).socket) as socket:
        port = socket.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    with pytest.raises(FetchError, match=r"Connection refused.*check the network, proxy and index settings"):
        _fetch.fetch(WANTED, tmp_path / "file")


@pytest.mark.parametrize("name", ["TABAGENT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nothing_of_the_network(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(OfflineError, match="downloads are off"):
        _fetch.fetch(WANTED, tmp_path / "file")
    assert index.asked == []


def test_credentials_of_the_index_are_sent_and_never_shown(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("http://", "http://user:s%40cret@"))
    index.offer(html())
    _fetch.fetch(WANTED, tmp_path / "file")
    assert index.authorizations == ["Basic dXNlcjpzQGNyZXQ="] * 2
    index.answers.clear()
    with pytest.raises(NotInIndexError) as caught:
        _fetch.fetch(WANTED, tmp_path / "again")
    assert "cret" not in str(caught.value)


def test_index_of_pips_configuration_is_used_below_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    system, user = tmp_path / "system" / "pip" / "pip.conf", tmp_path / "config" / "pip" / "pip.conf"
    for file, host in ((system, "system"), (user, "user")):
        file.parent.mkdir(parents=True)
        file.write_text(f"[global]\nindex-url = https://{host}.example/simple/\n")
    assert _fetch.index_url() == "https://user.example/simple"
    user.write_text("not a configuration file")
    assert _fetch.index_url() == "https://system.example/simple"
    user.write_text("[install]\nindex-url = https://install.example/simple\n")
    assert _fetch.index_url() == "https://install.example/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert _fetch.index_url() == _fetch.DEFAULT_INDEX
    monkeypatch.setenv("PIP_INDEX_URL", "https://environment.example/simple")
    assert _fetch.index_url() == "https://environment.example/simple"


def test_index_of_another_scheme_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TABAGENT_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "file:///etc")
    with pytest.raises(FetchError, match="must start with"):
        _fetch.fetch(WANTED, tmp_path / "file")


def test_atomic_file_shows_nothing_of_an_interrupted_write(tmp_path: Path) -> None:
    def interrupted() -> None:
        with _fetch.atomic_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "own"))
    assert _fetch.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("TABAGENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _fetch.cache_folder() == tmp_path / "tabagent"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _fetch.cache_folder() == tmp_path / ".cache" / "tabagent"
