"""What llama-server's clients are told besides texts: progress, timings, prompts, figures."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import needs
from server.http import ask
from support.served import SERVE, serving
from tabagent import Model, Server

pytestmark = pytest.mark.model

LONG = "The story begins in a small town by the sea. " * 30


def events(server: Server, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The data of all events, those that have a name, too."""
    data = re.findall(r"^data: (\{.*)$", ask(server, "POST", path, body).body.decode(), re.MULTILINE)
    return [json.loads(text) for text in data]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": LONG, "n_predict": 3}),
        ("/v1/completions", {"prompt": LONG, "max_tokens": 3}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": LONG}], "max_tokens": 3}),
        ("/responses", {"input": LONG, "max_output_tokens": 3}),
    ],
)
def test_progress_of_the_prompt_is_told(server: Server, path: str, body: dict[str, Any]) -> None:
    asked = {**body, "stream": True, "return_progress": True, "timings_per_token": True, "cache_prompt": False}
    told = [event for event in events(server, path, asked) if "prompt_progress" in event]
    progress = [event["prompt_progress"] for event in told]
    assert len(progress) >= 2
    assert progress[0]["processed"] == progress[0]["cache"] == 0
    assert progress[-1]["processed"] == progress[-1]["total"] > 200
    assert sorted(entry["processed"] for entry in progress) == [entry["processed"] for entry in progress]
    timings = [event["timings"] for event in told]
    assert (timings[0]["prompt_n"], timings[0]["prompt_ms"]) == (0, 0)
    assert timings[-1]["prompt_ms"] > 0
    assert not [event for event in events(server, path, {**body, "stream": True}) if "prompt_progress" in event]


def test_a_rate_counts_the_decodes_and_not_the_first_token(server: Server) -> None:
    def timings(tokens: int) -> dict[str, float]:
        found: dict[str, float] = ask(server, "POST", "/completion", {"prompt": "Once", "n_predict": tokens, "ignore_eos": True}).json()["timings"]
        return found

    assert (timings(1)["predicted_n"], timings(1)["predicted_per_second"]) == (1, 0)
    many = timings(9)
    assert many["predicted_per_second"] == pytest.approx(8e3 / many["predicted_ms"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_tells_its_prompt_if_asked(server: Server, stream: bool) -> None:  # noqa: FBT001 (a case)
    body = {"messages": [{"role": "user", "content": "Say yes"}], "max_tokens": 2, "stream": stream}

    def last(more: dict[str, Any]) -> dict[str, Any]:
        reply = ask(server, "POST", "/v1/chat/completions", {**body, **more})
        found: dict[str, Any] = reply.events()[-1] if stream else reply.json()
        return found

    told = last({"verbose": True, "temperature": 0.25})["__verbose"]
    assert "<|im_start|>user\nSay yes<|im_end|>" in told["prompt"]
    assert (told["generation_settings"]["temperature"], told["tokens_predicted"], told["stop_type"]) == (0.25, 2, "limit")
    assert "__verbose" not in last({})


def test_what_does_not_fit_is_told(smollm2_path: Path) -> None:
    body = {"prompt": "Once", "ignore_eos": True}
    with (
        Model.load(smollm2_path, context_size=256, max_sequences=1, threads=1) as model,
        Server(model, port=0, verbose=True) as server,
    ):
        assert ask(server, "POST", "/completion", {**body, "n_predict": 3}).json()["truncated"] is False
        full = ask(server, "POST", "/completion", body).json()
        assert (full["truncated"], full["stop_type"]) == (True, "limit")
        assert full["tokens_cached"] == 256
        assert "__verbose" in ask(server, "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}).json()


def figure(server: Any, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", ask(server, "GET", "/metrics").body.decode(), re.MULTILINE)
    assert found, name
    return float(found[1])


def test_rates_are_those_since_the_last_look(smollm2_path: Path) -> None:
    with serving(str(smollm2_path), "-c", "256", "-np", "1", "--metrics") as server:
        assert ask(server, "POST", "/completion", {"prompt": "Once upon", "n_predict": 8, "ignore_eos": True}).status == 200
        assert figure(server, "llamacpp:predicted_tokens_seconds") > 0
        assert figure(server, "llamacpp:predicted_tokens_seconds") == 0
        assert figure(server, "llamacpp:n_tokens_max") == 8 + len(ask(server, "POST", "/tokenize", {"content": "Once upon"}).json()["tokens"])
        for name in ("queue_time", "time_to_first_token", "request_duration"):
            assert figure(server, f'tabagent_{name}_seconds_bucket{{le="\\+Inf"}}') == figure(server, f"tabagent_{name}_seconds_count") == 1
        before = figure(server, "llamacpp:prompt_tokens_total")
        assert ask(server, "POST", "/v1/embeddings", {"input": ["hello world"]}).status == 200
        assert figure(server, "llamacpp:prompt_tokens_total") > before


def test_sockets_of_a_service_manager_are_taken(smollm2_path: Path) -> None:
    needs.machine(sys.platform != "win32", "there is no such service manager on Windows")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        number = listener.fileno()
        script = f'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&{number}'
        command = ["/bin/bash", "-c", script, "sh", *SERVE, str(smollm2_path), "-c", "256", "-t", "1"]
        with subprocess.Popen(command, pass_fds=(number,), stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            try:
                assert f"at http://127.0.0.1:{port}" in process.stderr.readline()
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as response:
                    assert response.status == 200
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
    refused = subprocess.run(
        ["/bin/bash", "-c", 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"', "sh", *SERVE, "demo", "--port", "1"],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("LLAMA_ARG_")},
    )
    assert refused.returncode == 2
    assert "`--host` and `--port` have nothing to say" in refused.stderr
