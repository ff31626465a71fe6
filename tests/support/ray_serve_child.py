"""Ray Serve. Runs in the environment with Ray: `ray_serve_child.py MODEL` serves, asks as clients do, and prints what came of it as JSON."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import Any, Final

# Ray's own modules warn of each other.
warnings.simplefilter("ignore")

import ray  # noqa: E402
from openai import OpenAI  # noqa: E402
from ray import serve  # noqa: E402

from tabagent.integrations.ray import ModelServer, TabagentDeployment  # noqa: E402
from waiting import until  # noqa: E402

LOAD: Final[dict[str, Any]] = {"context_size": 2048, "deterministic": True}
QUESTION: Final[Any] = [{"role": "user", "content": "Tell me a long story."}]
LONG: Final[dict[str, Any]] = {"messages": QUESTION, "max_tokens": 1500, "ignore_eos": True, "temperature": 0}


class Breakable(ModelServer):
    """A replica that can be asked for its process, and to lose its server."""

    def pid(self) -> int:
        return os.getpid()

    def lose_server(self) -> None:
        self._server.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Asking:
    """A client of the bytes."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, path: str, body: Any = None, *, method: str | None = None, headers: dict[str, str] | None = None) -> tuple[int, str, Any]:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json", **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(asked, timeout=120) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def busy(self) -> int:
        """How many slots compute."""
        return sum(slot["is_processing"] for slot in json.loads(self("/slots")[1]))

    def begin(self, body: Any) -> socket.socket:
        """Ask for a chat and read nothing."""
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        stream = socket.create_connection(("127.0.0.1", self.port))
        stream.sendall(head.encode() + data)
        return stream


def clients(port: int) -> dict[str, Any]:
    """OpenAI's client."""
    client: Any = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120)
    whole = client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=24, temperature=0)
    pieces, times = [], []
    begun = time.perf_counter()
    for chunk in client.chat.completions.create(model="smollm2", messages=QUESTION, max_tokens=24, temperature=0, stream=True):
        pieces.append(chunk.choices[0].delta.content or "")
        times.append(time.perf_counter() - begun)
    return {
        "text": whole.choices[0].message.content,
        "pieces": pieces,
        "first_in": times[0] / times[-1],
        "models": [model.id for model in client.models.list()],
    }


def routes(ask: Asking) -> dict[str, Any]:
    """Other routes, errors and headers."""
    found: dict[str, Any] = {
        path: ask(path)[0]
        for path in ("/", "/health", "/v1/models/smollm2", "/api/tags", "/metrics", "/openapi.json", "/nothing", "/slots?model=smollm2")
    }
    found["page"] = ask("/")[1][:15].lower()
    found["tokens"] = json.loads(ask("/tokenize", {"content": "Hello world"})[1])["tokens"]
    found["anthropic"] = ask("/v1/messages", {"model": "smollm2", "max_tokens": 4, "messages": QUESTION})[0]
    found["bad"] = ask("/v1/chat/completions", {"messages": 1})[0]
    found["large"] = ask("/tokenize", {"content": "x" * (1 << 21)})[0]
    found["options"] = ask("/v1/models", method="OPTIONS", headers={"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"})[
        2
    ].get_all("access-control-allow-origin")
    found["foreign"] = ask("/v1/models", headers={"Origin": "https://evil.example"})[0]
    found["ids"] = ask("/v1/models", headers={"X-Request-ID": "one"})[2].get_all("x-request-id")
    return found


def disconnects(ask: Asking) -> dict[str, Any]:
    """Clients that go away, with and without streaming."""
    found = {}
    for stream in (True, False):
        lost = ask.begin({**LONG, "stream": stream})
        until(lambda: ask.busy() == 1)
        lost.close()
        found[f"stream={stream}"] = until(lambda: ask.busy() == 0)
    return found


def health(ask: Asking, handle: Any) -> dict[str, Any]:
    """A replica whose server has gone is replaced."""
    before = handle.pid.remote().result()
    handle.lose_server.remote().result()
    broken = ask("/health")
    until(lambda: ask("/health")[0] == 200, limit_s=120)
    return {"broken": broken[:2], "is_new": handle.pid.remote().result() != before}


def shutdown(ask: Asking, folder: Path) -> dict[str, Any]:
    """The application goes while it answers."""
    came = b""
    with ask.begin({**LONG, "max_tokens": 100, "stream": True}) as stream:
        came += stream.recv(1)
        ending = threading.Thread(target=serve.delete, args=("default",))
        ending.start()
        while b"data: [DONE]" not in came and (piece := stream.recv(1 << 16)):
            came += piece
        ending.join()
    return {
        "is_whole": b"data: [DONE]" in came,
        "events": came.count(b"data: {"),
        "left": [path.name for path in folder.glob("tabagent-*")],
    }


def main(model: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    port = free_port()
    ask = Asking(port)
    with tempfile.TemporaryDirectory(prefix="ray-tmp-") as folder:
        actor = {"num_cpus": 1, "runtime_env": {"env_vars": {"TMPDIR": folder}}}
        ray.init(num_cpus=3, include_dashboard=False, logging_level="error", log_to_driver=False, object_store_memory=100 << 20)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            deployment = serve.deployment(Breakable).options(
                max_ongoing_requests=TabagentDeployment.max_ongoing_requests,
                health_check_period_s=1,
                graceful_shutdown_timeout_s=60,
                ray_actor_options=actor,
            )
            app = deployment.bind(model, load=LOAD, name="smollm2", slots=True, metrics=True, max_body_bytes=1 << 20)
            handle = serve.run(app)
            found["clients"] = clients(port)
            found["routes"] = routes(ask)
            found["disconnects"] = disconnects(ask)
            found["health"] = health(ask, handle)
            several = TabagentDeployment.options(ray_actor_options={"num_cpus": 1}).bind({"small": {"path": model, "context_size": 256}})
            serve.run(several, name="several", route_prefix="/llm")
            found["prefix"] = [model["id"] for model in json.loads(ask("/llm/v1/models")[1])["data"]]
            found["prefixed"] = json.loads(ask("/llm/v1/completions", {"model": "small", "prompt": "One", "max_tokens": 2})[1])["usage"]
            serve.delete("several")
            found["shutdown"] = shutdown(ask, Path(folder))
            try:
                ModelServer(model, port=8000)
            except ValueError as error:
                found["port"] = str(error)
        finally:
            serve.shutdown()
            ray.shutdown()
    return found


if __name__ == "__main__":
    result = main(sys.argv[1])
    sys.stdout.write("\n" + json.dumps(result) + "\n")
