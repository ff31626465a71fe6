"""`/openapi.json`, and that the server is as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

import needs
from made_up import made_up
from server.http import ask
from support.served import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tabagent import Server

pytestmark = pytest.mark.model

DOCS: Final = Path(__file__).parents[2] / "docs" / "server.md"
METHODS: Final = ("get", "post", "delete", "put", "patch")


@pytest.fixture
def document(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = ask(server, "GET", "/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "x", path)


def test_every_route_of_the_document_is_there_and_no_other_method(server: Server, document: dict[str, Any]) -> None:
    assert len(document["paths"]) > 50
    for path, item in document["paths"].items():
        for method in METHODS:
            status = ask(server, method.upper(), filled(path), {}).status
            assert (status != 405) == (method in item), (method, path, status)


def plain(path: str) -> str:
    """The path without names of what is in it, and without what stands before it."""
    return re.sub(r"/(\{\w+\}|NAME|ID|N)(?=/|$)", "", path)


def test_every_route_of_the_guide_is_in_the_document(document: dict[str, Any]) -> None:
    rows = [line.split("|")[1] for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith(("| `GET", "| `POST"))]
    named = {plain(path) for row in rows for path in re.findall(r"(?:`|GET |POST |DELETE )(/[\w./-]+)", row)}
    assert len(named) > 30
    assert named <= {plain(path) for path in document["paths"]}


def test_the_document_holds_together(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for reference in re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)):
        assert reference in document["components"]["schemas"]


def test_what_bodies_may_have_is_read(server: Server, document: dict[str, Any]) -> None:
    """A field of the wrong type is refused by its name, so nothing stands there that nobody reads."""
    schemas = document["components"]["schemas"]
    whole: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "max_tokens": 1},
        "/v1/completions": {"prompt": "Hi", "max_tokens": 1},
        "/completion": {"prompt": "Hi", "max_tokens": 1},
        "/v1/responses": {"input": "Hi", "max_output_tokens": 1},
        "/v1/messages": {"model": "x", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]},
    }
    objects = {
        "chat_template_kwargs",
        "stream_options",
        "response_format",
        "logit_bias",
        "text",
        "reasoning",
        "output_config",
        "tool_choice",
        "thinking",
    }
    for path, body in whole.items():
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for field in set(schemas[schema["$ref"].rsplit("/", 1)[1]]["properties"]) - {"json_schema"}:
            wrong: Any = [1.5] if field in objects else {"wrong": [1.5]}
            reply = ask(server, "POST", path, {**body, field: wrong})
            assert reply.status == 400, (path, field, reply.body)
            assert field in reply.body.decode(), (path, field, reply.body)


def test_made_up_requests_are_answered(smollm2_path: Path) -> None:
    needs.clients()
    with serving(str(smollm2_path), "--metrics", "--slots", "-c", "512", "-np", "2", "-n", "4") as server:
        done = made_up(server.url, "--max-examples", "3", "--seed", "1", "--workers", "2", timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
