"""Frameworks that use llama-cpp-python, over this package."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import needs
import tabagent

CHILD = Path(__file__).parent.parent / "support" / "framework_child.py"


def run(kind: str, model: Path) -> dict[str, Any]:
    """What the classes of a framework gave."""
    environment = {**os.environ, "PYTHONPATH": str(Path(tabagent.__file__).parent.parent), "ANONYMIZED_TELEMETRY": "false"}
    done = subprocess.run([needs.clients(), CHILD, kind, model], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_langchain(smollm2_path: Path) -> None:
    found = run("langchain", smollm2_path)
    assert found["text"].startswith(" Paris")
    assert "".join(found["stream"]) == found["text"]
    assert found["stopped"].startswith(" four")
    assert " five" not in found["stopped"]
    assert found["answer"]
    assert "".join(found["chunks"]) == found["answer"]
    (call,) = found["calls"]
    assert (call["name"], call["args"].keys()) == ("Weather", {"city"})
    assert call["args"]["city"] in {"Paris", "London"}
    assert found["structured"]["city"] in {"Paris", "London"}
    assert found["tokens"] == 2
    assert (found["vectors"], found["query"]) == ([576, 576], 576)


def test_llama_index(smollm2_path: Path) -> None:
    found = run("llama_index", smollm2_path)
    assert found["text"].startswith(" Paris")
    assert "".join(found["stream"]) == found["text"]
    assert found["chat"]
    assert found["window"] == 512


def test_openai_objects(smollm2_path: Path) -> None:
    found = run("openai", smollm2_path)
    assert found["types"] == ["ChatCompletion", "ChatCompletionChunk"]
    assert "".join(text or "" for text in found["chunks"]) == found["text"]
