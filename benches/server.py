"""Compares `tabagent serve` with llama.cpp's `llama-server` at what is about a server, over the same library, with the same settings, in one run.

`serving.py --programs tabagent serve llama-server` compares streams; this has the rest:

    ready       seconds from the start of the process to the first good `/health`, beside those of `Model.load` in a process of its own
    health      how long `/health` takes while 8 streams decode: the median, p99 and the longest of the answers
    idle        how much memory 2,000 streams of events take that wait in the queue, in MiB (proportional set size) over the server with 16,
                of which 8 run
    embeddings  seconds for `/v1/embeddings` of 1,000 texts of MiniLM, 100 a request

`make bench-serving` tells the environment. Medians over the rounds; each round asks every program once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from http_servers import HttpServer, Size, llama_server, tabagent_serve
from run import MODELS, library_directory
from serving import Figures, print_table, summary
from traffic import Answer, Request, percentile
from workload import LONG_TEXT

STREAMS = 8
IDLE = 2000
TEXTS = 1000
TEXTS_A_REQUEST = 100


def post(server: HttpServer, path: str, body: object) -> Any:
    """One request, and the value of its response."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        value = json.loads(response.read())
    if response.status != 200:
        message = f"{server.name} answered {response.status} to {path}: {value}"
        raise RuntimeError(message)
    return value


def memory_mib(pid: int) -> float:
    """The proportional set size of a process, in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    message = "the system does not tell a proportional set size"
    raise RuntimeError(message)


async def ask_health(server: HttpServer) -> Figures:
    """`/health` again and again on one connection, while streams decode."""
    tokens = post(server, "/tokenize", {"content": LONG_TEXT[:400]})["tokens"]
    answers = [Answer() for _ in range(STREAMS)]
    streams = [asyncio.ensure_future(server.ask(Request([*tokens, index + 10], 96), answer)) for index, answer in enumerate(answers)]
    while min(len(answer.stamps) for answer in answers) < 2:
        await asyncio.wait(streams, timeout=0.02)
    times: list[float] = []
    while not any(stream.done() for stream in streams):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        # llama-server closes a connection after some requests; the next one is on another.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not any(stream.done() for stream in streams):
                asked = time.perf_counter()
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                await reader.readexactly(length)
                times.append((time.perf_counter() - asked) * 1e3)
                await asyncio.sleep(0.005)
        writer.close()
    await asyncio.gather(*streams)
    return {"asked": float(len(times)), "p50_ms": percentile(times, 50), "p99_ms": percentile(times, 99), "max_ms": max(times)}


async def ask_idle(server: HttpServer) -> Figures:
    """Streams that are begun and wait: more than there are slots."""
    body = json.dumps({"prompt": "Once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}).encode()
    head = f"POST /completion HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connections = []

    async def begin(count: int) -> None:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head + body)
            await writer.drain()
            connections.append(writer)
        await asyncio.sleep(3)

    await begin(2 * STREAMS)
    before = memory_mib(server.pid)
    await begin(IDLE)
    after = memory_mib(server.pid)
    for writer in connections:
        writer.close()
    return {"streams": float(IDLE), "mib": after - before, "kib_each": (after - before) * 1024 / IDLE}


async def ask_embeddings(server: HttpServer) -> Figures:
    """1,000 texts of other lengths."""
    texts = [LONG_TEXT[index * 7 % 3000 :][: 40 + index % 200] for index in range(TEXTS)]
    began = time.perf_counter()
    for at in range(0, TEXTS, TEXTS_A_REQUEST):
        found = post(server, "/v1/embeddings", {"input": texts[at : at + TEXTS_A_REQUEST], "model": "any"})["data"]
        assert len(found) == TEXTS_A_REQUEST
    took = time.perf_counter() - began
    return {"seconds": took, "texts_s": TEXTS / took}


LOAD = """
import sys, time
began = time.perf_counter()
from tabagent import Model
Model.load(sys.argv[1], variant=sys.argv[2], max_sequences=8, context_size=4096, threads=int(sys.argv[3])).close()
print(time.perf_counter() - began)
"""


def ready(programs: dict[str, Callable[[], HttpServer]], model: str, library: str, threads: int) -> dict[str, Figures]:
    """One start of each."""
    found: dict[str, Figures] = {}
    for name, start in programs.items():
        with start() as server:
            found[name] = {"ready_s": server.ready_s}
    began = time.perf_counter()
    loaded = subprocess.run([sys.executable, "-c", LOAD, model, library, str(threads)], capture_output=True, text=True, check=True)
    found["Model.load"] = {"ready_s": time.perf_counter() - began, "inside_s": float(loaded.stdout)}
    return found


@contextlib.contextmanager
def running(programs: dict[str, Callable[[], HttpServer]]) -> Iterator[list[HttpServer]]:
    """All of them."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(start()) for start in programs.values()]


def main() -> None:
    """Prints a Markdown table for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scenarios", nargs="+", choices=["ready", "health", "idle", "embeddings"], default=["ready", "health", "idle", "embeddings"]
    )
    parser.add_argument("--model", default="SmolLM2-135M Q4_1", help="a name as in the tables of `run.py`, or the path of a GGUF file")
    parser.add_argument("--embedder", help="the path of an embedding model's GGUF file, for `embeddings`")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    tools, library = Path(os.environ["TABAGENT_BENCH_TOOLS"]), str(library_directory())
    folder = os.environ.get("TABAGENT_TEST_MODELS", "")
    model = str(Path(folder) / MODELS[arguments.model]) if arguments.model in MODELS else arguments.model
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    machine = f"{platform.platform()}, {os.cpu_count()} processors"
    print(f"{machine}; medians of {arguments.rounds} rounds; {arguments.threads} thread(s); ↑ more, ↓ less is better")
    whole = Size(slots=STREAMS, slot_tokens=512, threads=arguments.threads)
    for scenario in arguments.scenarios:
        path, size = model, whole
        extra: list[str] = []
        if scenario == "embeddings":
            if arguments.embedder is None:
                parser.error("`embeddings` needs `--embedder`")
            # More tokens than MiniLM has positions for are refused.
            size = Size(slots=1, slot_tokens=512, threads=arguments.threads)
            path, extra = arguments.embedder, ["--embeddings"]
        programs: dict[str, Callable[[], HttpServer]] = {
            "tabagent serve": lambda path=path, extra=extra, size=size: tabagent_serve(library, path, size, extra),  # type: ignore[misc]
            "llama-server": lambda path=path, extra=extra, size=size: llama_server(tools / "llama-server", path, size, extra),  # type: ignore[misc]
        }
        if scenario == "ready":
            rounds = [ready(programs, model, library, arguments.threads) for _ in range(arguments.rounds)]
        else:
            ask = {"health": ask_health, "idle": ask_idle, "embeddings": ask_embeddings}[scenario]
            # Memory that was used once is used again, so each round needs servers of its own.
            n_starts, n_rounds = (arguments.rounds, 1) if scenario == "idle" else (1, arguments.rounds)
            rounds = []
            for _ in range(n_starts):
                with running(programs) as servers:
                    rounds += [{server.name: asyncio.run(ask(server)) for server in servers} for _ in range(n_rounds)]
        print_table(scenario, summary(rounds))


if __name__ == "__main__":
    main()
