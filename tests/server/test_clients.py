"""Other programs' clients, which were written for other servers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import needs

if TYPE_CHECKING:
    from tabagent import Server

pytestmark = pytest.mark.model

CHILD = Path(__file__).parent.parent / "support" / "client_child.py"


@pytest.fixture
def ask(qwen_server: Server, tmp_path: Path) -> Any:
    """Runs a client in a process of its own, where nothing but this server can be reached."""

    def run(kind: str) -> dict[str, Any]:
        nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
        quiet = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGCHAIN_TRACING_V2": "false"}
        environment = {**os.environ, **nowhere, **quiet, "LLM_USER_PATH": str(tmp_path / "llm"), "HOME": str(tmp_path)}
        command = [str(needs.clients()), str(CHILD), kind, qwen_server.url, "qwen"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


def test_litellm(ask: Any) -> None:
    found = ask("litellm")
    assert found["text"]
    assert "".join(found["chunks"]) == found["text"] == found["async"] == found["ollama"] == "".join(found["ollama_chunks"])
    assert len([chunk for chunk in found["chunks"] if chunk]) > 1
    assert found["usage"] > 20
    assert found["call"][0] == "get_weather"
    assert "Paris" in found["call"][1]["city"]
    assert set(found["shaped"]) == {"name", "country"}
    assert found["refused"] == "ContextWindowExceededError"
    assert found["vector"] == 896


def test_langchain(ask: Any) -> None:
    found = ask("langchain")
    for kind in ("openai", "ollama"):
        shown = found[kind]
        assert shown["text"]
        assert "".join(shown["chunks"]) == shown["text"]
        assert shown["batch"] == [shown["text"]] * 2
        assert set(shown["shaped"]) == {"name", "country"}
    (call,) = found["openai"]["calls"]
    assert call[0] == "get_weather"
    assert "Paris" in call[1]["city"]
    assert found["openai"]["after"]
    assert found["completion"].startswith(" four")
    assert found["vectors"] == found["ollama_vectors"] == [896, 896]


def test_llama_index(ask: Any) -> None:
    found = ask("llama_index")
    assert found["text"]
    assert "".join(found["chunks"]) == found["text"]
    assert found["completion"].startswith(" four")
    assert set(found["shaped"]) == {"name", "country"}


def test_instructor(ask: Any) -> None:
    found = ask("instructor")
    assert len(found) == 3
    for city in found.values():
        assert city["name"].startswith("Paris")
        assert city["country"]


def test_pydantic_ai(ask: Any) -> None:
    found = ask("pydantic_ai")
    assert found["answer"]
    assert all("Paris" in city for city in found["cities"])
    assert found["chunks"]
    assert set(found["shaped"]) == {"name", "country"}


def test_llm(ask: Any) -> None:
    found = ask("llm")
    assert found["text"]
    assert "".join(found["chunks"]) == found["text"]
    assert len(found["chunks"]) > 1
