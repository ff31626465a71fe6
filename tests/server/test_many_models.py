"""Several models behind one server: loaded when a request names them, closed when others need their place, and what tells of them."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from server.http import ask, send
from tabagent import Model, ModelPool, Server
from tabagent.hub_process import repository_of
from waiting import until

pytestmark = pytest.mark.model

SMALL: Final[Any] = {"context_size": 512, "threads": 1, "max_sequences": 2}
CHAT: Final[Any] = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 2, "temperature": 0}


@pytest.fixture
def server(smollm2_path: Path, tmp_path: Path) -> Iterator[Server]:
    """Three models, of which one cannot be loaded, and two may be loaded at the same time."""
    broken = tmp_path / "secret" / "broken.gguf"
    broken.parent.mkdir()
    broken.write_bytes(b"GGUF" + b"\0" * 64)
    models = {
        "first": {"path": smollm2_path, **SMALL, "aliases": ["one", "uno"], "tags": ["chat"]},
        "second": {"path": smollm2_path, **SMALL, "max_tokens": 1},
        "third": {"path": smollm2_path, **SMALL, "chat_template": "chatml"},
        "broken": {"path": broken},
    }
    with Server(models, port=0, max_models=2) as server:
        yield server


def status(server: Server) -> dict[str, str]:
    return {model["id"]: model["status"]["value"] for model in ask(server, "GET", "/v1/models").json()["data"]}


def test_a_model_is_loaded_by_the_first_request_that_names_it(server: Server) -> None:
    assert server.urls == [server.url]
    with pytest.raises(ValueError, match="several models"):
        _ = server.model
    assert status(server) == dict.fromkeys(("first", "second", "third", "broken"), "unloaded")
    reply = ask(server, "POST", "/v1/chat/completions", {**CHAT, "model": "uno"})
    assert (reply.status, reply.json()["model"]) == (200, "first")
    assert ask(server, "POST", "/v1/completions", {"prompt": "Once", "model": "second", "seed": 1}).json()["usage"]["completion_tokens"] == 1
    assert status(server)["first"] == status(server)["second"] == "loaded"
    listed = {model["id"]: model for model in ask(server, "GET", "/models").json()["data"]}
    assert listed["first"]["aliases"] == ["first", "one", "uno"]
    assert listed["first"]["tags"] == ["chat"]
    assert listed["first"]["meta"]["n_ctx"] == 512
    assert "meta" not in listed["third"]


def test_the_least_recently_used_model_makes_room(server: Server) -> None:
    for name in ("first", "second", "first", "third"):
        assert ask(server, "POST", "/tokenize", {"content": "a", "model": name}).status == 200
    assert status(server) == {"first": "loaded", "second": "unloaded", "third": "loaded", "broken": "unloaded"}


def test_requests_for_a_model_without_room_wait(server: Server) -> None:
    long = {**CHAT, "max_tokens": 300, "ignore_eos": True, "stream": True}
    running = [send(server, "/v1/chat/completions", {**long, "model": name}) for name in ("first", "second")]
    until(lambda: status(server)["first"] == status(server)["second"] == "loaded")
    replies: list[Any] = []
    waiting = [
        threading.Thread(target=lambda: replies.append(ask(server, "POST", "/tokenize", {"content": "a", "model": "third"}))) for _ in range(3)
    ]
    for thread in waiting:
        thread.start()
    until(lambda: status(server)["third"] == "loading")
    assert replies == []
    running[0].close()
    for thread in waiting:
        thread.join(60)
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert (status(server)["first"], status(server)["second"]) == ("unloaded", "loaded")
    running[1].close()


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", CHAT), ("/api/chat", CHAT), ("/v1/messages", CHAT), ("/tokenize", {"content": "a"})]
)
def test_a_model_that_cannot_be_loaded_says_why(server: Server, path: str, body: Any) -> None:
    reply = ask(server, "POST", path, {**body, "model": "broken"})
    assert reply.status == 400, reply.body
    assert "model `broken` cannot be loaded" in json.dumps(reply.json(), ensure_ascii=False)
    assert "secret" not in reply.body.decode()
    listed = {model["id"]: model["status"] for model in ask(server, "GET", "/models").json()["data"]}
    assert listed["broken"] == {"value": "unloaded", "failed": True}


def test_unknown_and_missing_names_are_told(server: Server) -> None:
    for body, code, text in (({"model": "none"}, 404, "there is no model `none`"), ({}, 400, "`model` is missing, and this server has several")):
        reply = ask(server, "POST", "/v1/chat/completions", {**CHAT, **body})
        assert reply.status == code
        assert text in reply.json()["error"]["message"]
        assert reply.json()["error"]["param"] == "model"


def test_models_are_loaded_and_unloaded_by_name(server: Server) -> None:
    assert ask(server, "POST", "/models/load", {"model": "third"}).json() == {"success": True}
    until(lambda: status(server)["third"] == "loaded")
    assert ask(server, "POST", "/models/unload", {"model": "third"}).json() == {"success": True}
    until(lambda: status(server)["third"] == "unloaded")
    assert ask(server, "POST", "/models/load", {"model": "none"}).status == 404
    assert ask(server, "POST", "/models/load", {}).status == 400


def test_what_tells_of_models_takes_their_name(server: Server) -> None:
    props = ask(server, "GET", "/props").json()
    assert (props["role"], props["max_instances"], props["models_autoload"]) == ("router", 2, True)
    assert "chatml" not in ask(server, "GET", "/props?model=first").json()["chat_template"]
    assert "im_start" in ask(server, "GET", "/props?model=third").json()["chat_template"]
    assert ask(server, "GET", "/props?model=none").status == 404
    assert ask(server, "GET", "/lora-adapters?model=first").json() == []


def test_keep_alive_says_how_long_a_model_stays(server: Server) -> None:
    ask(server, "POST", "/api/generate", {"model": "first", "keep_alive": -1})
    ask(server, "POST", "/api/chat", {"model": "second", "keep_alive": "10m"})
    running = {model["name"]: model["expires_at"] for model in ask(server, "GET", "/api/ps").json()["models"]}
    assert set(running) == {"first", "second"}
    assert running["first"] > "2300"
    assert running["second"] < "2300"
    assert {model["name"] for model in ask(server, "GET", "/api/tags").json()["models"]} == {"first", "second", "third", "broken"}
    reply = ask(server, "POST", "/api/generate", {"model": "first:latest", "keep_alive": 0})
    assert reply.json()["done_reason"] == "unload"
    until(lambda: status(server)["first"] == "unloaded")
    body = {"model": "second", "prompt": "Once", "stream": False, "keep_alive": 0, "options": {"num_predict": 1}}
    assert ask(server, "POST", "/api/generate", body).json()["done"] is True
    until(lambda: ask(server, "GET", "/api/ps").json()["models"] == [])


def test_an_idle_model_is_unloaded(smollm2_path: Path) -> None:
    with Server({"small": {"path": smollm2_path, **SMALL, "keep_alive": 0}}, port=0, any_name=True, load=["small"]) as server:
        assert ask(server, "POST", "/completion", {"prompt": "Once", "n_predict": 1, "model": "whatever"}).status == 200
        until(lambda: ask(server, "GET", "/props").json()["is_sleeping"])
        assert ask(server, "GET", "/props").json()["default_generation_settings"]["n_ctx"] == 512
        assert ask(server, "GET", "/health").status == 200
        assert ask(server, "GET", "/models").json()["data"][0]["id"] == "small"
        assert ask(server, "POST", "/tokenize", {"content": "a"}).status == 200


def test_without_autoload_a_model_must_be_loaded_first(smollm2_path: Path) -> None:
    with Server({"small": {"path": smollm2_path, **SMALL}}, port=0, autoload=False) as server:
        reply = ask(server, "POST", "/v1/chat/completions", {**CHAT, "model": "small"})
        assert (reply.status, "POST /models/load" in reply.json()["error"]["message"]) == (400, True)
        ask(server, "POST", "/models/load", {"model": "small"})
        until(lambda: status(server)["small"] == "loaded")
        assert ask(server, "POST", "/v1/chat/completions", {**CHAT, "model": "small"}).status == 200


def test_a_pool_and_a_server_share_models(smollm2_path: Path) -> None:
    with ModelPool({"small": {"path": smollm2_path, **SMALL}}) as pool, Server(pool, port=0) as server:
        with pool.get("small") as model:
            before = model.metrics().submitted
            assert ask(server, "POST", "/completion", {"prompt": "Once upon", "n_predict": 1, "model": "small"}).status == 200
            assert model.metrics().submitted == before + 1
        assert pool.stats().loads == 1
        assert pool.names() == ["small"]
        until(lambda: pool.stats().models[0].borrowed == 0)


def test_a_function_loads_a_model_of_a_server(smollm2_path: Path) -> None:
    def fail() -> Model:
        message = "no such thing"
        raise ValueError(message)

    models: Any = {"made": lambda: Model.load(smollm2_path, **SMALL), "failing": fail}
    with Server(models, port=0) as server:
        assert ask(server, "POST", "/tokenize", {"content": "a", "model": "made"}).status == 200
        reply = ask(server, "POST", "/tokenize", {"content": "a", "model": "failing"})
        assert (reply.status, "no such thing" in reply.json()["error"]["message"]) == (400, True)


def test_models_are_read_anew(smollm2_path: Path) -> None:
    now: dict[str, Any] = {"one": {"path": smollm2_path, **SMALL}, "two": {"path": smollm2_path, **SMALL}}
    with Server(dict(now), port=0, reload=lambda: now) as server:
        ask(server, "POST", "/tokenize", {"content": "a", "model": "two"})
        del now["one"]
        now["three"] = smollm2_path
        assert set(status(server)) == {"one", "two"}
        listed = ask(server, "GET", "/models?reload=1").json()["data"]
        assert {model["id"]: model["status"]["value"] for model in listed} == {"two": "loaded", "three": "unloaded"}


def test_streams_get_signs_of_life_while_their_model_is_loaded(smollm2_path: Path) -> None:
    go = threading.Event()

    def slow() -> Model:
        assert go.wait(60)
        return Model.load(smollm2_path, **SMALL)

    def broken() -> Model:
        assert go.wait(60)
        message = "it is broken"
        raise ValueError(message)

    models: Any = {"slow": slow, "broken": broken}
    with Server(models, port=0, ping=0.05) as server:
        streams = {name: send(server, "/v1/chat/completions", {**CHAT, "model": name, "stream": True}) for name in models}
        for stream in streams.values():
            read = b""
            while b":\n\n" not in read:
                read += stream.recv(1 << 16)
            assert read.startswith(b"HTTP/1.1 200")
        go.set()
        whole = {}
        for name, stream in streams.items():
            read = b""
            while not read.endswith(b"0\r\n\r\n"):
                read += stream.recv(1 << 16)
            whole[name] = read
            stream.close()
        assert b"data: [DONE]" in whole["slow"]
        assert b"it is broken" in whole["broken"]
        assert b'data: {"error"' in whole["broken"]


def test_models_of_the_hub_are_pulled(smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "fetch.py"
    there = tmp_path / "fetched.gguf"
    program.write_text(
        "import json, shutil, sys\n"
        "print(json.dumps({'status': 'pulling', 'completed': 1, 'total': 2}), flush=True)\n"
        "if 'none' in sys.argv[1]:\n    print(json.dumps({'error': 'there is no repository', 'missing': True}))\n"
        f"else:\n    shutil.copy({str(smollm2_path)!r}, {str(there)!r})\n    print(json.dumps({{'path': {str(there)!r}}}))\n"
    )
    monkeypatch.setattr("tabagent.server.hub_command", lambda: [sys.executable, str(program)])
    monkeypatch.setattr("tabagent.served_models.hub_command", lambda: [sys.executable, str(program)])
    with Server({"lazy": {"path": "hf:owner/repo/x.gguf", **SMALL}}, port=0) as server:
        assert ask(server, "POST", "/tokenize", {"content": "a", "model": "lazy"}).status == 200
        lines = [json.loads(line) for line in ask(server, "POST", "/api/pull", {"model": "hf.co/owner/repo"}).body.decode().splitlines()]
        assert [line["status"] for line in lines] == ["pulling manifest", "pulling", "success"]
        assert ask(server, "POST", "/tokenize", {"content": "a", "model": "hf.co/owner/repo"}).status == 200
        assert ask(server, "POST", "/api/pull", {"model": "hf.co/owner/repo", "stream": False}).json() == {"status": "success"}
        missing = ask(server, "POST", "/api/pull", {"model": "hf.co/none/repo", "stream": False})
        assert (missing.status, missing.json()) == (404, {"error": "there is no repository"})
        last = ask(server, "POST", "/api/pull", {"model": "hf.co/none/repo"}).body.decode().splitlines()[-1]
        assert json.loads(last) == {"error": "there is no repository"}
        refused = ask(server, "DELETE", "/api/delete", {"model": "lazy"})
        assert (refused.status, "deletes no files" in refused.json()["error"]) == (501, True)
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_names_of_the_hub_are_read() -> None:
    assert repository_of("owner/repo") == ("owner/repo", "*.gguf")
    assert repository_of("hf.co/owner/repo:Q4_K_M") == ("owner/repo", "*Q4_K_M*.gguf")
    assert repository_of("hf:owner/repo/a/*.gguf") == ("owner/repo", "a/*.gguf")
    for wrong in ("", "repo", "/repo", "owner/"):
        with pytest.raises(ValueError, match="no name of a model"):
            repository_of(wrong)


@pytest.mark.parametrize(
    ("models", "options", "error", "text"),
    [
        (3, {}, TypeError, "`model` must be a Model, a ModelPool or a mapping"),
        ({"a": 3}, {}, TypeError, r"`models\[a\]` must be a path"),
        ({"a": {}}, {}, ValueError, r"`models\[a\]` has no `path`"),
        ({"a": {"path": "x", "contxt_size": 1}}, {}, TypeError, "`contxt_size`"),
        ({"a": "x"}, {"name": "b"}, ValueError, "are those of one model"),
        ({"a": "x", "b": "x"}, {"any_name": True}, ValueError, "`any_name` is for one model"),
        ({"a": "x"}, {"load": ["b"]}, ValueError, "there is no model `b`"),
        ({"a": "x"}, {"max_models": 0}, ValueError, "max_models"),
    ],
)
def test_wrong_models_are_refused(models: Any, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Server(models, port=0, **options)
