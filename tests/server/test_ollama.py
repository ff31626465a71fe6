"""Ollama's own client against the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import numpy as np
import pytest

import needs
from tabagent import Model, Server

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", name="ollama")
def ollama_package() -> Any:
    return needs.package("ollama")


HELLO: list[Any] = [{"role": "user", "content": "Say hello to the sea."}]
GREEDY: dict[str, Any] = {"temperature": 0, "num_predict": 12}


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name.
    """
    return city


@pytest.fixture(scope="module")
def url(coder: Model) -> Iterator[str]:
    with Server(coder, port=0, name="coder") as server:
        yield server.url


@pytest.fixture(scope="module")
def client(ollama: Any, url: str) -> Iterator[Any]:
    made = ollama.Client(host=url)
    yield made
    made._client.close()


def test_conversations_are_answered(client: Any, coder: Model) -> None:
    whole = client.chat(model="coder", messages=HELLO, options=GREEDY)
    assert (whole.model, whole.message.role, whole.done) == ("coder", "assistant", True)
    assert whole.done_reason in {"stop", "length"}
    assert whole.message.content
    assert whole.prompt_eval_count == len(coder.apply_chat_template(HELLO, tokenize=True))
    assert 0 < whole.eval_count <= 12
    assert whole.total_duration >= whole.eval_duration > 0
    written = datetime.fromisoformat(whole.created_at[:26] + "+00:00")
    assert abs(datetime.now(timezone.utc) - written) < timedelta(minutes=1)
    parts = list(client.chat(model="coder", messages=HELLO, options=GREEDY, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert (parts[-1].eval_count, parts[-1].done_reason) == (whole.eval_count, whole.done_reason)


def test_bodies_are_lines(url: str) -> None:
    asked = {"model": "coder", "messages": HELLO, "options": {"num_predict": 2}}
    response = httpx.post(f"{url}/api/chat", json=asked, timeout=60)
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert lines[-1]["done"] is True
    assert lines[-1]["message"] == {"role": "assistant", "content": ""}


def test_texts_are_answered_or_continued(client: Any, coder: Model) -> None:
    asked = client.generate(model="coder", prompt=HELLO[0]["content"], options=GREEDY)
    assert asked.response == client.chat(model="coder", messages=HELLO, options=GREEDY).message.content
    assert asked.context[: asked.prompt_eval_count] == coder.apply_chat_template(HELLO, tokenize=True)
    assert len(asked.context) >= asked.prompt_eval_count + asked.eval_count
    raw = client.generate(model="coder", prompt="def add(a, b):\n    return", raw=True, options=GREEDY)
    assert raw.prompt_eval_count == len(coder.tokenize("def add(a, b):\n    return"))
    assert raw.context is None
    more = client.generate(model="coder", prompt="And now to the sky.", context=asked.context, options=GREEDY)
    assert more.prompt_eval_count > len(asked.context)
    told = client.generate(model="coder", prompt="Hi", system="Speak French.", options=GREEDY)
    assert told.prompt_eval_count > client.generate(model="coder", prompt="Hi", options=GREEDY).prompt_eval_count - 20
    text = "".join(part.response for part in client.generate(model="coder", prompt=HELLO[0]["content"], options=GREEDY, stream=True))
    assert text == asked.response


def test_suffixes_are_filled_in(client: Any) -> None:
    prefix = 'def area(width, height):\n    """The area of a rectangle."""\n    '
    done = client.generate(model="coder", prompt=prefix, suffix="\n\nprint(area(2, 3))  # 6\n", options={**GREEDY, "stop": ["\n"]})
    assert done.response == "return width * height"


def test_models_are_loaded_by_empty_requests(client: Any) -> None:
    assert client.generate(model="coder").done_reason == "load"
    assert client.generate(model="coder", keep_alive=0).done_reason == "unload"
    assert client.chat(model="coder", messages=[], keep_alive="5m").done_reason == "load"


def test_forms_are_held_to(client: Any) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
    options = {**GREEDY, "num_predict": 100}
    said = client.chat(model="coder", messages=HELLO, format=schema, options=options).message.content
    assert json.loads(said)["colour"] in {"red", "blue"}
    said = client.generate(model="coder", prompt="A colour as JSON.", format=schema, options=options).response
    assert json.loads(said)["colour"] in {"red", "blue"}


def test_tools_are_called(client: Any, url: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "Call the tool: what is the weather in Rome?"}]
    options = {**GREEDY, "num_predict": 120}
    whole = client.chat(model="coder", messages=messages, tools=[weather], options=options)
    parts = list(client.chat(model="coder", messages=messages, tools=[weather], options=options, stream=True))
    called = [call for part in parts for call in part.message.tool_calls or []]
    assert [call.function.name for call in called] == [call.function.name for call in whole.message.tool_calls or []]
    messages += [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}]},
        {"role": "tool", "tool_name": "weather", "content": "Sunny."},
    ]
    answer = client.chat(model="coder", messages=messages, tools=[weather], options=options)
    assert answer.message.content or answer.message.tool_calls
    assert url


def test_probabilities_come_with_tokens(client: Any) -> None:
    done = client.chat(model="coder", messages=HELLO, options=GREEDY, logprobs=True, top_logprobs=2)
    assert len(done.logprobs) == done.eval_count
    assert all(len(entry.top_logprobs) == 2 and entry.logprob <= 0 for entry in done.logprobs)


def test_texts_become_vectors(ollama: Any, client: Any, minilm: Model) -> None:
    with Server(minilm, port=0, name="minilm") as server:
        embedder = ollama.Client(host=server.url)
        made = embedder.embed(model="minilm", input=["a cat", "a dog"])
        assert np.allclose(np.array(made.embeddings), minilm.embed(["a cat", "a dog"]), atol=1e-5)
        assert made.prompt_eval_count > 0
        assert np.array(embedder.embed(model="minilm", input="a cat", dimensions=16).embeddings).shape == (1, 16)
        one = np.array(embedder.embeddings(model="minilm", prompt="a cat").embedding)
        assert np.allclose(one / np.linalg.norm(one), made.embeddings[0], atol=1e-4)
        assert embedder.embed(model="minilm", input=[]).embeddings == []
        embedder._client.close()


def test_models_are_told_of(client: Any, url: str, coder: Model) -> None:
    (listed,) = client.list().models
    assert (listed.model, listed.details.family, listed.details.format) == ("coder", "qwen2", "gguf")
    assert listed.size == coder.info.size
    assert len(listed.digest) == 64
    (running,) = client.ps().models
    assert running.context_length == coder.info.context_size
    shown = client.show("coder")
    assert shown.modelinfo["general.architecture"] == "qwen2"
    assert shown.modelinfo["qwen2.block_count"] == coder.info.layers
    assert {"completion", "tools", "insert"} <= set(shown.capabilities)
    assert "<|im_start|>" in shown.template
    version = httpx.get(f"{url}/api/version", timeout=30).json()["version"]
    assert [int(part) >= 0 for part in version.split(".")] == [True] * 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"think": True}, '"coder" does not support thinking'),
        ({"keep_alive": "soon"}, "invalid duration"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "texts only"),
        ({"options": {"top_k": "many"}}, "top_k"),
        ({"format": "xml"}, "`format` must be `json` or a schema"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "exceeds the available context size"),
    ],
)
def test_wrong_requests_are_named(url: str, options: dict[str, Any], text: str) -> None:
    response = httpx.post(f"{url}/api/chat", json={"model": "coder", "messages": HELLO, **options}, timeout=60)
    assert response.status_code == 400
    assert text in response.json()["error"]


def test_unknown_paths_are_not_found(ollama: Any, client: Any, url: str) -> None:
    for path, status in (("push", 404), ("pull", 501)):
        response = httpx.post(f"{url}/api/{path}", json={"model": "coder"}, timeout=30)
        assert response.status_code == status
        assert "error" in response.json()
    with pytest.raises(ollama.ResponseError, match="model is required"):
        client._request_raw("POST", "/api/chat", json={"messages": HELLO})
