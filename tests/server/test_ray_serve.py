"""The routes in a replica of Ray Serve."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import needs
import tabagent

pytestmark = pytest.mark.model

CHILD = Path(__file__).parent.parent / "support" / "ray_serve_child.py"


@pytest.fixture(scope="module")
def found(smollm2_path: Path) -> dict[str, Any]:
    """What the child found; starting Ray takes longer than all its requests."""
    paths = [Path(tabagent.__file__).parent.parent, CHILD.parent.parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([needs.ray(), CHILD, smollm2_path], capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-5000:]
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_openais_client_reads_whole_answers_and_streams(found: dict[str, Any]) -> None:
    clients = found["clients"]
    assert clients["text"]
    assert "".join(clients["pieces"]) == clients["text"]
    # Pieces come one by one, not all at the end.
    assert len([piece for piece in clients["pieces"] if piece]) > 10
    assert clients["first_in"] < 0.9
    assert clients["models"] == ["smollm2"]


def test_all_routes_are_there(found: dict[str, Any]) -> None:
    routes = found["routes"]
    for path in ("/", "/health", "/v1/models/smollm2", "/api/tags", "/metrics", "/openapi.json", "/slots?model=smollm2"):
        assert routes[path] == 200, path
    assert routes["page"] == "<!doctype html>"
    assert len(routes["tokens"]) == 2
    assert routes["anthropic"] == 200


def test_errors_and_headers_are_the_servers(found: dict[str, Any]) -> None:
    routes = found["routes"]
    assert (routes["/nothing"], routes["bad"], routes["large"], routes["foreign"]) == (404, 400, 413, 403)
    assert routes["options"] == ["http://localhost:3000"]
    assert routes["ids"] == ["one"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(found: dict[str, Any], stream: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    # 1,500 tokens would take longer than this.
    assert found["disconnects"][f"stream={stream}"] < 5


def test_a_replica_whose_server_has_gone_is_replaced(found: dict[str, Any]) -> None:
    status, body = found["health"]["broken"]
    assert status == 502
    assert json.loads(body)["error"]["message"].startswith("the model's server does not answer")
    assert found["health"]["is_new"]


def test_running_answers_end_before_a_replica_stops(found: dict[str, Any]) -> None:
    assert found["shutdown"]["is_whole"]
    assert found["shutdown"]["events"] > 50
    assert found["shutdown"]["left"] == []


def test_several_models_behind_a_prefix(found: dict[str, Any]) -> None:
    assert found["prefix"] == ["small"]
    assert found["prefixed"]["completion_tokens"] == 2


def test_where_to_listen_is_ray_serves(found: dict[str, Any]) -> None:
    assert found["port"].startswith("`port` is for a server of one's own")
