"""`tabagent serve`."""

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
from typing import Any, Final

import pytest

from support.isolated import children

TABAGENT: Final = (sys.executable, "-m", "tabagent")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*TABAGENT, "serve", *arguments), capture_output=True, text=True, env={**os.environ, **environment}, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (("demo", "--prot", "1"), {}, "did you mean `--port`?"),
        (("demo", "--mmproj", "x"), {}, "no such option `--mmproj`"),
        (("demo",), {"LLAMA_ARG_PROT": "1"}, "did you mean `LLAMA_ARG_PORT`?"),
        (("demo",), {"LLAMA_ARG_MMPROJ": "x"}, "`LLAMA_ARG_MMPROJ` is set, and no option reads it"),
        (("demo", "-m", "other.gguf"), {}, "both name a model"),
        (("demo", "--port", "65536"), {}, "--port"),
        (("demo", "--api-key", ","), {}, "give no key"),
        (("demo", "--reasoning", "maybe"), {}, "`--reasoning maybe` is not known"),
        (("demo", "--pooling", "max"), {}, "`--pooling max` is not known"),
        (("demo", "--chat-template-kwargs", "{"), {}, "`--chat-template-kwargs` is not JSON"),
        (("demo", "--chat-template-kwargs", "[1]"), {}, "must be a JSON object"),
        (("demo", "--keep", "4"), {}, "give `--context-shift` too"),
        (("demo", "--spec-type", "draft-simple"), {}, "needs a draft model; give one with `-md`"),
        (("demo", "--spec-type", "draft-mtp"), {}, "`--spec-type draft-mtp` is not there"),
        (("demo", "--spec-type", "ngram"), {}, "`--spec-type ngram` is not known"),
        (("demo", "--spec-type", "ngram-simple", "-md", "demo"), {}, "both say who guesses"),
        (("demo", "--spec-draft-n-max", "4"), {}, "nothing guesses"),
        (("demo", "--spec-type", "lookup", "--spec-draft-n-min", "4"), {}, "are limits of a draft model"),
        (
            ("demo", "-md", "demo", "--spec-draft-n-min", "9", "--spec-draft-n-max", "4"),
            {},
            "`--spec-draft-n-min 9` is more than `--spec-draft-n-max 4`",
        ),
        (("demo", "-ngld", "4"), {}, "say where a draft model goes"),
        (("demo", "--override-kv", "a=b"), {}, "is no `KEY=TYPE:VALUE`"),
        (("demo", "--override-kv", "a=int:b"), {}, "is no `KEY=TYPE:VALUE`"),
        (("demo", "--rope-scaling", "cubic"), {}, "`--rope-scaling cubic` is not known"),
        (("demo", "--rope-scale", "2", "--rope-freq-scale", "0.5"), {}, "say the same"),
        (("-hf", "owner/name", "--rope-scale", "2"), {}, "need a model that is here"),
        (("demo", "--engine", "c"), {}, "`--engine c` is not known"),
        (("demo", "--fit", "maybe"), {}, "`--fit maybe` is not known"),
        (("demo",), {"LLAMA_ARG_SPEC_TYPE": "ngram"}, "`--spec-type ngram` is not known"),
        (("demo", "--chat-template", "chatml", "--chat-template-file", "x"), {}, "exclude each other"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], environment: dict[str, str], text: str) -> None:
    done = run(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.model
def test_it_tells_of_requests_where_it_is_told_to(smollm2_path: Path) -> None:
    command = (*TABAGENT, "serve", "-v", "-m", str(smollm2_path), "--port", "0", "-c", "512", "-t", "1")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        before = ""
        while not (found := re.search(r"at (http://127\.0\.0\.1:\d+)", before)):
            line = process.stderr.readline()
            assert line, before
            before = line
        request = urllib.request.Request(f"{found[1]}/completion", json.dumps({"prompt": "Once", "n_predict": 2, "ignore_eos": True}).encode())
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert reply.status == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert re.search(r"tabagent\.engine: DEBUG: request id=\d+ .* completion_tokens=2 .* finish=length", errors), errors


@pytest.mark.model
def test_it_serves_until_it_is_told_to_stop(smollm2_path: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("secret\n\n", encoding="utf-8")
    environment = {**os.environ, "LLAMA_ARG_PORT": "0", "LLAMA_ARG_THREADS": "1", "LLAMA_ARG_CTX_SIZE": "512"}
    command = (*TABAGENT, "serve", "-m", str(smollm2_path), "--api-key-file", str(keys), "--alias", "small,other", "-np", "2", "--temp", "0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"at http://127\.0\.0\.1:(\d+)", line)
        assert found, line

        def get(path: str) -> Any:
            with socket.create_connection(("127.0.0.1", int(found[1]))) as stream:
                stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\nConnection: close\r\n\r\n".encode())
                return b"".join(iter(lambda: stream.recv(1 << 16), b""))

        assert b'"id":"other"' in get("/v1/models")
        props = get("/props")
        assert b'"total_slots":2' in props
        assert b'"temperature":0.0' in props
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.model
def test_a_service_manager_is_told_of_start_and_end(smollm2_path: Path, tmp_path: Path) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.settimeout(120)
        command = [sys.executable, "-m", "tabagent", "serve", str(smollm2_path), "--port", "0", "-c", "512", "-t", "1"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "NOTIFY_SOCKET": str(place)}) as process:
            assert manager.recv(100) == b"READY=1"
            process.terminate()
            assert manager.recv(100) == b"STOPPING=1"
            assert process.wait(60) == 0


@pytest.mark.model
def test_vertex_ai_says_where_it_asks(smollm2_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    vertex = {"AIP_MODE": "PREDICTION", "AIP_HTTP_PORT": str(port), "AIP_PREDICT_ROUTE": "/ask", "AIP_HEALTH_ROUTE": "/alive"}
    command = (*TABAGENT, "serve", str(smollm2_path), "-t", "1", "-c", "512")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **vertex}) as process:
        assert process.stderr is not None
        assert f":{port}" in process.stderr.readline()
        body = json.dumps({"instances": [{"@requestFormat": "completion", "prompt": "Once", "n_predict": 2}]}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/ask", body), timeout=60) as reply:
            assert json.load(reply)["predictions"][0]["tokens_predicted"] == 2
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/alive", timeout=60) as reply:
            assert reply.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.model
def test_a_crash_of_an_isolated_model_is_an_error_and_the_next_request_is_served(smollm2_path: Path) -> None:
    command = (*TABAGENT, "serve", str(smollm2_path), "--port", "0", "-t", "1", "-c", "512", "--isolation", "process")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"at http://127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert found

        def ask(tokens: int, *, killed: bool) -> bytes:
            body = json.dumps({"prompt": "Once", "max_tokens": tokens, "temperature": 0, "stream": killed, "ignore_eos": True}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            with socket.create_connection(("127.0.0.1", int(found[1]))) as stream:
                stream.sendall(head + body)
                answer = stream.recv(1 << 16)
                if killed:
                    while b"data: " not in answer:
                        answer += stream.recv(1 << 16)
                    (child,) = children(process.pid)
                    os.kill(child, signal.SIGKILL)
                return answer + b"".join(iter(lambda: stream.recv(1 << 16), b""))

        assert b"was killed by `SIGKILL`" in ask(400, killed=True)
        assert b'"finish_reason":"length"' in ask(4, killed=False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
