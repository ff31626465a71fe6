"""A line of JSON for each request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import waiting
from server.http import ask, send
from tabagent import Model, Server

pytestmark = pytest.mark.model


def lines(path: Path, count: int) -> list[dict[str, object]]:
    """So many lines of the log; they come a little after the responses."""
    waiting.until(lambda: path.read_text().count("\n") >= count)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_request_has_a_line(smollm2: Model, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text('{"before": true}\n')
    with Server(smollm2, port=0, access_log=path, slots=True) as server:
        reply = ask(server, "GET", "/health?key=secret", headers={"x-request-id": "mine"})
        assert ask(server, "GET", "/nothing").status == 404
        assert ask(server, "POST", "/completion", b"{").status == 400
        streamed = ask(server, "POST", "/completion", {"prompt": "a secret", "n_predict": 4, "stream": True})
        before, health, nothing, broken, stream = lines(path, 5)
    assert before == {"before": True}
    assert (health["id"], health["method"], health["path"], health["status"]) == ("mine", "GET", "/health", 200)
    assert (health["bytes"], health["complete"]) == (len(reply.body), True)
    assert (nothing["path"], nothing["status"]) == ("/nothing", 404)
    assert broken["status"] == 400
    assert (stream["status"], stream["bytes"], stream["complete"]) == (200, len(streamed.body), True)
    assert isinstance(stream["ms"], float)
    assert isinstance(stream["head_ms"], float)
    assert stream["ms"] >= stream["head_ms"]
    assert "secret" not in path.read_text()


def test_a_client_that_goes_away_is_seen(smollm2: Model, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with Server(smollm2, port=0, access_log=path) as server:
        connection = send(server, "/completion", {"prompt": "Once", "n_predict": 400, "ignore_eos": True, "stream": True})
        assert connection.recv(1)
        connection.close()
        (line,) = lines(path, 1)
    assert (line["status"], line["complete"]) == (200, False)


def test_a_file_that_cannot_be_written_is_said_at_the_start(smollm2: Model, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot write the access log"):
        Server(smollm2, port=0, access_log=tmp_path / "none" / "access.log")


def test_stderr_is_a_dash(smollm2: Model, capfd: pytest.CaptureFixture[str]) -> None:
    with Server(smollm2, port=0, access_log="-") as server:
        ask(server, "GET", "/health")
    assert json.loads(capfd.readouterr().err)["path"] == "/health"
