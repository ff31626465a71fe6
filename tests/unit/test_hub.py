"""Models by name, against a server on this machine that answers as the Hub does."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from child import Ended, run
from tabagent.errors import ModelNotFoundError
from tabagent.hub import _files_of_one_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "README.md": b"# a model",
    "tiny-Q4_K_M.gguf": b"GGUF tiny q4",
    "tiny-Q8_0.gguf": b"GGUF tiny q8",
    "big/big-F16-00001-of-00003.gguf": b"GGUF part 1",
    "big/big-F16-00002-of-00003.gguf": b"GGUF part 2",
    "big/big-F16-00003-of-00003.gguf": b"GGUF part 3",
    "torn-00002-of-00002.gguf": b"GGUF the first part is missing",
}


@dataclass
class Hub:
    """The server, and what it was asked for."""

    url: str
    home: Path
    asked: list[str] = field(default_factory=list)

    def fetch(self, repo_id: str, pattern: str, **environment: str) -> Ended:
        """What `fetch_model` gives in a process with the Hub's settings."""
        program = """
            import sys
            from tabagent.hub import fetch_model
            from tabagent.errors import ModelLoadError
            repo, pattern, revision = sys.argv[1:]
            try:
                print(fetch_model(repo, pattern, revision=revision or None))
            except ModelLoadError as error:
                print(f"{type(error).__name__}: {error}")
        """
        settings = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1"}
        settings |= {"HF_ENDPOINT": self.url, "HF_HOME": str(self.home)}
        revision = environment.pop("revision", "")
        return run(program, repo_id, pattern, revision, environment={**settings, **environment})


class Handler(http.server.BaseHTTPRequestHandler):
    """The few routes of the Hub that a download needs."""

    hub: ClassVar[Hub]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if path in {"/api/models/someone/models", "/api/models/someone/models/revision/main", f"/api/models/someone/models/revision/{COMMIT}"}:
            siblings = [{"rfilename": name} for name in FILES]
            self.reply(200, json.dumps({"id": "someone/models", "sha": COMMIT, "siblings": siblings}).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/someone/models/resolve/"):
            name = path.split("/", 5)[5]
            content = FILES[name]
            self.reply(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})
        elif path == "/api/models/someone/models/revision/nowhere":
            self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif path == "/api/models/someone/gated":
            self.reply(403, b"", {"X-Error-Code": "GatedRepo"})
        elif path == "/api/models/someone/broken":
            self.reply(500, b"", {})
        else:
            self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the base class)
        return


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", tmp_path / "hf")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Handler.hub
    server.shutdown()
    thread.join()
    server.server_close()


def path_of(ended: Ended) -> Path:
    assert (ended.code, ended.err) == (0, "")
    path = Path(ended.out.strip())
    assert path.is_file(), ended.out
    return path


def test_pattern_fetches_the_file_it_means_once(hub: Hub) -> None:
    path = path_of(hub.fetch("someone/models", "*Q4_K_M.gguf"))
    assert path.read_bytes() == FILES["tiny-Q4_K_M.gguf"]
    assert path_of(hub.fetch("someone/models", "tiny-Q4_K_M.gguf")) == path
    assert len([line for line in hub.asked if line.startswith("GET /someone/")]) == 1


def test_a_program_fetches_for_a_server(hub: Hub) -> None:
    program = "import sys; from tabagent.hub_process import main; sys.exit(main(sys.argv[1:]))"
    settings = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1", "HF_ENDPOINT": hub.url, "HF_HOME": str(hub.home)}
    done = run(program, "hf.co/someone/models:Q4_K_M", environment=settings)
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert lines[0] == {"status": "pulling someone/models"}
    assert Path(lines[-1]["path"]).read_bytes() == FILES["tiny-Q4_K_M.gguf"]
    for name, text in (("someone/nothing", "no repository"), ("wrong", "no name of a model"), ("someone/models:Q9", "Q9")):
        failed = run(program, name, environment=settings)
        last = json.loads(failed.out.splitlines()[-1])
        assert (failed.code, last["missing"], text in last["error"]) == (1, True, True), last


def test_case_is_ignored_where_nothing_else_fits(hub: Hub) -> None:
    assert path_of(hub.fetch("someone/models", "*q8_0*")).name == "tiny-Q8_0.gguf"


def test_all_parts_of_a_split_model_are_fetched(hub: Hub) -> None:
    path = path_of(hub.fetch("someone/models", "*F16*"))
    assert path.name == "big-F16-00001-of-00003.gguf"
    assert sorted(part.read_bytes() for part in path.parent.iterdir()) == [b"GGUF part 1", b"GGUF part 2", b"GGUF part 3"]


def test_missing_part_of_a_split_model_is_named(hub: Hub) -> None:
    out = hub.fetch("someone/models", "torn*").out
    assert "ModelNotFoundError" in out
    assert "`torn-00001-of-00002.gguf`" in out


def test_ambiguous_pattern_lists_the_candidates(hub: Hub) -> None:
    out = hub.fetch("someone/models", "tiny*").out
    assert out.startswith("ModelLoadError: 2 models of `someone/models` match `tiny*`: `tiny-Q4_K_M.gguf`, `tiny-Q8_0.gguf`")


def test_pattern_without_match_lists_what_there_is(hub: Hub) -> None:
    out = hub.fetch("someone/models", "*IQ1*").out
    assert out.startswith("ModelNotFoundError: no GGUF file of `someone/models` matches `*IQ1*`; it has `tiny-Q4_K_M.gguf`")
    assert "README" not in out


@pytest.mark.parametrize(
    ("repo", "revision", "start"),
    [
        ("someone/nothing", "", "ModelNotFoundError: there is no repository `someone/nothing`"),
        ("someone/models", "nowhere", "ModelNotFoundError: `someone/models` has no revision `nowhere`"),
        ("someone/gated", "", "ModelLoadError: access to `someone/gated` is restricted"),
        ("someone/broken", "", "ModelLoadError: cannot fetch `someone/broken`"),
        ("not a name/", "", "ModelLoadError: `not a name/` is no repository name"),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(hub: Hub, repo: str, revision: str, start: str) -> None:
    ended = hub.fetch(repo, "*", revision=revision)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(start)
    assert "\n" not in ended.out.strip()


def test_revision_is_respected(hub: Hub) -> None:
    assert COMMIT in str(path_of(hub.fetch("someone/models", "*Q8_0*", revision=COMMIT)))


def test_offline_mode_takes_the_cache_and_asks_nothing(hub: Hub) -> None:
    path = path_of(hub.fetch("someone/models", "*Q4_K_M.gguf"))
    hub.asked.clear()
    assert path_of(hub.fetch("someone/models", "*.gguf", HF_HUB_OFFLINE="1")) == path
    out = hub.fetch("someone/models", "*Q8_0.gguf", HF_HUB_OFFLINE="1").out
    assert out.startswith("ModelNotFoundError")
    out = hub.fetch("someone/other", "*", HF_HUB_OFFLINE="1").out
    assert out.startswith("ModelNotFoundError: `someone/other` is not in the cache")
    assert hub.asked == []


def test_cache_is_used_when_the_hub_cannot_be_reached(hub: Hub) -> None:
    path = path_of(hub.fetch("someone/models", "*Q4_K_M.gguf"))
    hub.url = "http://127.0.0.1:9"
    assert path_of(hub.fetch("someone/models", "*Q4_K_M.gguf")) == path
    out = hub.fetch("someone/other", "*").out
    assert out.startswith("ModelLoadError: cannot fetch `someone/other`")


BESIDE = ["m-Q4_K_M.gguf", "mmproj-m-F16.gguf", "m.imatrix.gguf", "imatrix.gguf", "x/mmproj.gguf"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.gguf", ["m-Q4_K_M.gguf"]),
        ("*", ["m-Q4_K_M.gguf"]),
        ("m*.gguf", ["m-Q4_K_M.gguf"]),
        ("mmproj-*", ["mmproj-m-F16.gguf"]),
        ("*MMPROJ-m*", ["mmproj-m-F16.gguf"]),
        ("m.imatrix.gguf", ["m.imatrix.gguf"]),
        ("x/mmproj.gguf", ["x/mmproj.gguf"]),
    ],
)
def test_what_is_no_model_counts_only_by_its_name(pattern: str, expected: list[str]) -> None:
    assert _files_of_one_model("a/b", pattern, BESIDE) == expected


def test_a_repository_without_a_model_is_told_by_what_it_has() -> None:
    with pytest.raises(ModelNotFoundError, match=r"no GGUF file of `a/b` matches `\*\.gguf`; it has `mmproj-m-F16\.gguf`"):
        _files_of_one_model("a/b", "*.gguf", BESIDE[1:2])
