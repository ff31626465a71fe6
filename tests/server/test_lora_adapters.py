"""Adapters of a server, by number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.http import ask
from support.real_adapters import write_adapter
from tabagent import AdapterError, Model, SamplerConfig, Server

pytestmark = pytest.mark.model

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[Model]:
    with Model.load(smollm2_path, context_size=512, max_sequences=2, threads=1, deterministic=True) as model:
        yield model


@pytest.fixture(scope="module")
def files(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [write_adapter(folder / f"{name}.gguf", smollm2_path, seed=seed, size=0.5) for seed, name in enumerate(("first", "second"))]


@pytest.fixture
def server(model: Model, files: list[Path]) -> Iterator[Server]:
    with Server(model, port=0, adapters={files[0]: 1.0, files[1]: 0.0}) as server:
        yield server


def text(server: Server, **more: Any) -> str:
    reply = ask(server, "POST", "/completion", {"prompt": PROMPT, "n_predict": 12, "temperature": 0, **more})
    assert reply.status == 200, reply.body
    content: str = reply.json()["content"]
    return content


def test_requests_get_the_adapters_that_they_name(server: Server, model: Model, files: list[Path]) -> None:
    listed = ask(server, "GET", "/lora-adapters").json()
    assert [(entry["id"], entry["path"], entry["scale"]) for entry in listed] == [(0, "first.gguf", 1.0), (1, "second.gguf", 0.0)]
    greedy = SamplerConfig.greedy()
    expected = {}
    for name, file in (("none", None), ("first", files[0]), ("second", files[1])):
        adapters = None if file is None else [(model.load_adapter(file), 1.0)]
        expected[name] = model.generate(PROMPT, max_tokens=12, sampling=greedy, adapters=adapters).result().text
    assert len(set(expected.values())) == 3
    assert text(server) == expected["first"]
    assert text(server, lora=[]) == text(server, lora=[{"id": 0, "scale": 0}]) == expected["none"]
    assert text(server, lora=[{"id": 1, "scale": 1}]) == expected["second"]
    assert ask(server, "POST", "/lora-adapters", [{"id": 1, "scale": 1.0}]).json() == {"success": True}
    assert [entry["scale"] for entry in ask(server, "GET", "/lora-adapters").json()] == [0.0, 1.0]
    assert text(server) == text(server, id_slot=1) == expected["second"]
    assert text(server, lora=[], id_slot=1) == expected["none"]


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ([{"id": 2}], "`id` must be between 0 and 1, got `2`"),
        ([{"scale": 1}], "`lora[0]` must have an `id`"),
        ([{"id": 0, "scale": "x"}], "`scale` must be a number"),
        ([3], "`lora[0]` must be an object"),
        ("x", "must be a list"),
    ],
)
def test_wrong_adapters_are_refused(server: Server, lora: Any, message: str) -> None:
    for path, body in (("/completion", {"prompt": PROMPT, "lora": lora}), ("/lora-adapters", lora)):
        reply = ask(server, "POST", path, body)
        assert reply.status == 400
        assert message in reply.json()["error"]["message"]
    assert ask(server, "GET", "/lora-adapters").json()[0]["scale"] == 1.0


def test_a_file_that_is_no_adapter_is_told_of_at_the_start(model: Model, smollm2_path: Path) -> None:
    with pytest.raises(AdapterError):
        Server(model, port=0, adapters=[smollm2_path])


def test_a_model_without_adapters_has_none(steady_server: Server) -> None:
    assert ask(steady_server, "GET", "/lora-adapters").json() == []
    reply = ask(steady_server, "POST", "/completion", {"prompt": PROMPT, "lora": [{"id": 0}]})
    assert (reply.status, "start the server with `--lora`" in reply.json()["error"]["message"]) == (400, True)
