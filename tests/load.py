"""Clients that ask a server for everything at once, for as long as is asked: `python tests/load.py --seconds 600 MODEL OTHER` (`make load`).

`tabagent serve` runs with two models, of which one is loaded when it is first asked for. Each client makes one request after another:
conversations and texts, streamed and not, some of which it leaves in the middle, vectors, tokens, lists, and bodies that are wrong. In the end
every request must have been answered as it should, no request may still run, and memory and descriptors of the process must be what they were.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from support.served import ServerProcess, serving
from waiting import until

WORDS: Final = ["the", "sea", "a", "town", "and", "rain", "over", "hills", "with", "bread", "of", "stone", "in", "summer", "by", "lamps"]
MOST_GROWTH: Final = 48 << 20
"""Bytes: what an allocator holds back of requests that come together by chance."""


class Load:
    """A server under load, and what came of it."""

    def __init__(self, server: ServerProcess, *, clients: int, seed: int = 0) -> None:
        self.server = server
        self.clients = clients
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def run(self, seconds: float) -> None:
        """Keep all clients busy for so long."""
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._client, args=(end, number)) for number in range(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def settle(self) -> None:
        """Wait until no request runs and all connections but the one that asks are closed."""
        for model in ("one", "two"):
            until(lambda model=model: not any(slot["is_processing"] for slot in json.loads(self._ask("GET", f"/slots?model={model}")[1])), limit_s=60)  # type: ignore[misc]

    def _client(self, end: float, number: int) -> None:
        rng = random.Random(f"{self.seed} {number}")  # noqa: S311 (no secret)
        kinds = [self._chat, self._chat, self._stream, self._stream, self._leave, self._leave, self._text, self._embed, self._look, self._wrong]
        while time.monotonic() < end:
            kind = rng.choice(kinds)
            try:
                kind(rng)
            except Exception as error:  # noqa: BLE001 (reported at the end)
                with self._lock:
                    self.faults.append(f"{kind.__name__}: {type(error).__name__}: {error}")
            else:
                with self._lock:
                    self.counts[kind.__name__.strip("_")] += 1

    def _begin(self, method: str, path: str, body: Any = None) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=300)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"})
        return connection

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = self._begin(method, path, body)
        try:
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _body(self, rng: random.Random, **more: Any) -> dict[str, Any]:
        said = " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))
        limits = {"max_tokens": rng.randint(1, 12), "ignore_eos": True, "seed": rng.randint(0, 99)}
        return {"model": rng.choice(("one", "one", "two")), "messages": [{"role": "user", "content": said}], **limits, **more}

    def _chat(self, rng: random.Random) -> None:
        body = self._body(rng)
        status, answer = self._ask("POST", "/v1/chat/completions", body)
        assert status == 200, answer
        assert json.loads(answer)["usage"]["completion_tokens"] == body["max_tokens"]

    def _stream(self, rng: random.Random) -> None:
        path, last = rng.choice((("/v1/chat/completions", b"data: [DONE]"), ("/v1/messages", b'"message_stop"'), ("/api/chat", b'"done":true')))
        status, answer = self._ask("POST", path, self._body(rng, stream=True, options={"num_predict": 5}))
        assert status == 200, answer
        assert last in answer.replace(b": true", b":true"), answer[-300:]

    def _leave(self, rng: random.Random) -> None:
        connection = self._begin("POST", "/v1/chat/completions", self._body(rng, stream=True, max_tokens=400))
        if rng.random() < 0.6:
            response = connection.getresponse()
            assert response.status == 200
            response.read(rng.randint(1, 2000))
            response.close()
        connection.close()

    def _text(self, rng: random.Random) -> None:
        status, answer = self._ask("POST", "/completion", {"prompt": " ".join(rng.choices(WORDS, k=9)), **self._body(rng)})
        assert status == 200, answer
        assert json.loads(answer)["stop"] is True

    def _embed(self, rng: random.Random) -> None:
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(rng.randint(1, 5))]
        status, answer = self._ask("POST", "/v1/embeddings", {"model": "one", "input": texts})
        assert status == 200, answer
        assert len(json.loads(answer)["data"]) == len(texts)

    def _look(self, rng: random.Random) -> None:
        path = rng.choice(("/health", "/v1/models", "/props?model=one", "/metrics?model=one", "/api/tags", "/openapi.json", "/slots?model=one"))
        status, answer = self._ask("GET", path)
        assert status == 200, answer

    def _wrong(self, rng: random.Random) -> None:
        body: Any = rng.choice((b"{", b"[]", b"\xff", {"model": "none"}, {"model": "one", "messages": 1}, {"model": "one"}))
        status, answer = self._ask(
            "POST", rng.choice(("/v1/chat/completions", "/v1/responses", "/v1/messages", "/completion", "/v1/embeddings")), body
        )
        # A response needs no input.
        assert status in {400, 404} or (status == 200 and body == {"model": "one"}), (status, answer)


def report(first: str, second: str, *, clients: int, seconds: float, seed: int = 0) -> list[str]:
    """Run the load; what it was, and each fault in a line that begins with `fault`."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "serve.toml"
        models = "".join(f"[models.{name}]\nmodel = {json.dumps(path)}\n" for name, path in (("one", first), ("two", second)))
        config.write_text(f"c = 2048\nnp = 4\ncram = 8\n{models}", encoding="utf-8")
        with serving("--config", str(config), "--metrics", "--slots") as server:
            load = Load(server, clients=clients, seed=seed)
            # What is made once is there then.
            load.run(max(seconds / 4, 5))
            load.settle()
            memory, descriptors = server.memory(), server.descriptors()
            load.run(seconds)
            load.settle()
            until(lambda: server.descriptors() <= descriptors + 2, limit_s=30)
            grown = server.memory() - memory
    lines = [f"{dict(load.counts)}, {grown / 2**20:+.1f} MiB, {descriptors} descriptors before and after"]
    if grown > MOST_GROWTH:
        lines.append(f"fault: the server has {grown / 2**20:.1f} MiB more than before")
    return lines + [f"fault: {fault}" for fault in load.faults]


def main() -> int:
    """Run the load and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs=2)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = report(*options.models, clients=options.clients, seconds=options.seconds, seed=options.seed)
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if any(line.startswith("fault") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
