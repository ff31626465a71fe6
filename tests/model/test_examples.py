"""The programs in `examples/` run."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from support.tiny_checkpoints import smollm
from tabagent import Model, gguf
from waiting import until

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("one_core")]

EXAMPLES: Final = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up their annotations
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def test_each_example_has_a_test() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in sorted(EXAMPLES.glob("*.py")) if f'example("{path.stem}")' not in tests] == []


def test_stream(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("stream").main("Once upon a time", str(smollm2_path))
    out, err = capsys.readouterr()
    assert out.startswith("Once upon a time, ")
    assert re.fullmatch(r"\n\d+ tokens, ended by `(length|stop)`\n", err)


def test_openai_client(smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("openai_client").main("Say hello.", str(smollm2_path))
    assert re.search(r"\w", capsys.readouterr().out)


def test_structured(smollm2: Model, smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("structured")
    module.main("Ada is 36 years old and lives in London.", str(smollm2_path))
    assert "Person(name='Ada'" in capsys.readouterr().out
    person = module.extract(smollm2, "Ada is 36 years old and lives in London.")
    assert (person.name, person.city) == ("Ada", "London")


def test_scoring(smollm2: Model, smollm2_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("scoring")
    module.main("I loved every minute of it.", str(smollm2_path))
    assert re.fullmatch(r"(good|bad) \(\d+%\)\nperplexity of the review: \d+\.\d\n", capsys.readouterr().out)
    assert 0.5 <= module.rate(smollm2, "I loved every minute of it.").probability <= 1


def test_embeddings(minilm: Model, minilm_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("embeddings")
    notes = tmp_path / "notes.txt"
    notes.write_text("The cat sleeps.\n\nBerlin has 3.7 million inhabitants.\nBread needs time.\nPaint dries.\n")
    module.main(str(minilm_file), "How many people live in Berlin?", str(notes))
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"0\.[5-9]\d\d  Berlin has 3\.7 million inhabitants\.", lines[0])
    assert len(lines) == 3
    assert module.search(minilm, "animal", ["stone", "a dog", "steel"], best=1)[0][1] == "a dog"


def test_quantize_to_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, small = tmp_path / "model-f16.gguf", tmp_path / "small.gguf"
    gguf.convert(smollm().write(tmp_path / "model"), source, out_type="f16")
    size = source.stat().st_size * 3 // 4
    example("quantize_to_size").main(str(source), str(small), str(size))
    assert small.stat().st_size <= size
    report = capsys.readouterr().out.splitlines()
    assert report[0].startswith(f"{small}: ")
    assert sum(int(line.split()[0]) for line in report[1:]) == len(gguf.open(small).tensors)


class Client:
    """A web client of an ASGI application."""

    def __init__(self, app: Any, body: object) -> None:
        self.app = app
        self.status = 0
        self.texts: list[str] = []
        self.came = asyncio.Event()
        self.gone = asyncio.Event()
        self.requests = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive(self) -> dict[str, Any]:
        if self.requests:
            return self.requests.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["body"]:
            self.texts.append(message["body"].decode())
            self.came.set()

    async def post(self, path: str) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "headers": [],
            "query_string": b"",
        }
        await self.app(scope, self.receive, self.send)


@pytest.fixture
async def app(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("MODEL", str(smollm2_path))
    module = example("async_web")
    async with module.lifespan(module.app):
        yield module.app


async def test_async_web_streams(app: Any) -> None:
    client = Client(app, {"prompt": "Once upon a time", "max_tokens": 8})
    await client.post("/generate")
    assert client.status == 200
    assert len(client.texts) > 1
    assert "".join(client.texts).strip()


async def test_async_web_ends_with_its_client(app: Any) -> None:
    client = Client(app, {"prompt": "Once upon a time", "max_tokens": 512})
    serving = asyncio.ensure_future(client.post("/generate"))
    await asyncio.wait_for(client.came.wait(), 60)
    client.gone.set()
    await asyncio.wait_for(serving, 60)
    until(lambda: not (app.state.model.stats.active or app.state.model.stats.queued), limit_s=5)
    assert len(client.texts) < 500


@pytest.mark.parametrize("body", [{}, {"prompt": 3}, {"prompt": "x", "max_tokens": "many"}])
async def test_async_web_refuses_wrong_requests(app: Any, body: object) -> None:
    client = Client(app, body)
    await client.post("/generate")
    assert client.status == 400
    assert "error" in json.loads("".join(client.texts))
