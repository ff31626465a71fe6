"""The programs in `examples/clients` run, each with its client and this server."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import needs

if TYPE_CHECKING:
    from tabagent import Server

pytestmark = pytest.mark.model

CLIENTS: Final = Path(__file__).parents[2] / "examples" / "clients"
CITY: Final = r"City\(name='[^']+', country='[^']*'\)\n$"
CALL: Final = r"get_weather.*Paris"
"""This small model writes calls as plain text where nothing holds it to their form, and the client shows that text."""
SHOWN: Final = {
    "anthropic_client.py": r"\w.*\n\d+ tokens in, \d+ out\n$",
    "instructor_client.py": "^" + CITY,
    "langchain_client.py": r"\w.*\n" + CITY,
    "langchain_ollama_client.py": r"\w",
    "litellm_client.py": r"\w",
    "llama_index_client.py": r"\w",
    "llm_tool.sh": r"\w",
    "ollama_client.py": CALL,
    "pydantic_ai_client.py": CALL,
}
"""What each must print."""


def test_each_example_is_tested() -> None:
    assert sorted(path.name for path in CLIENTS.iterdir() if path.is_file()) == sorted(SHOWN)


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_example(qwen_server: Server, tmp_path: Path, name: str) -> None:
    python = needs.clients()
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    quiet = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGCHAIN_TRACING_V2": "false"}
    own = {"HOME": str(tmp_path), "LLM_USER_PATH": str(tmp_path), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    runner = "sh" if name.endswith(".sh") else str(python)
    command = [runner, str(CLIENTS / name), qwen_server.url]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **nowhere, **quiet, **own}, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(SHOWN[name], done.stdout, re.DOTALL), done.stdout
