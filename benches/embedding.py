"""Compares `model.embed` with llama-cpp-python and llama-server, all over the same library and with the same threads, in one run.

The model is MiniLM, converted by `tabagent.gguf.convert`; the texts have 5 to 200 words. Each round starts every program once, in turn. Medians
over the rounds are printed, and the median of the ratios of each round. The environment is that of `make bench`; without `TABAGENT_BENCH_TOOLS`, or a
`llama-server` there, llama-server is left out, and the output says so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = "all-MiniLM-L6-v2"
WORDS = (
    *(
        "the",
        "of",
        "and",
        "to",
        "in",
        "is",
        "was",
        "for",
        "that",
        "with",
        "as",
        "his",
        "on",
        "be",
        "at",
        "by",
        "had",
        "not",
        "are",
        "but",
        "from",
        "or",
    ),
    *("have", "an", "they", "which", "one", "you", "were", "all", "her", "she", "there", "would", "their", "we", "him", "been", "has", "when", "who"),
    *("will", "no", "more", "if", "out", "so", "up", "said", "what", "its", "about", "than", "into", "them", "can", "only", "other", "time", "new"),
)
CONTEXT = 512
LONGEST = 200

Measured = tuple[tuple[float, float], list[list[float]]]
"""Seconds by the clock and of processor time, and the first vectors."""


def make_texts(count: int) -> list[str]:
    """Texts of 5 to 200 words, the same ones in every program."""
    source = random.Random(7)  # noqa: S311 (texts, not secrets)
    return [" ".join(source.choices(WORDS, k=source.randint(5, LONGEST))) for _ in range(count)]


# What runs in a process of its own, in the interpreter of each peer.


def ours(job: dict[str, Any]) -> Measured:
    """`model.embed`."""
    from tabagent import Model  # noqa: PLC0415 (another peer's interpreter does not have it)

    model = Model.load(job["model"], threads=job["threads"])
    texts = make_texts(job["texts"])
    model.embed(texts[:8])
    start, worked = time.perf_counter(), time.process_time()
    vectors = model.embed(texts)
    return (time.perf_counter() - start, time.process_time() - worked), vectors[:4].tolist()


def llama_cpp_python(job: dict[str, Any]) -> Measured:
    """`Llama(embedding=True).embed`, in batches of its default size."""
    import ctypes  # noqa: PLC0415 (needed here alone)

    import llama_cpp  # noqa: PLC0415 (another peer's interpreter does not have it)

    directory = os.environ["LLAMA_CPP_LIB_PATH"]
    ctypes.CDLL(str(Path(directory) / "libggml.so")).ggml_backend_load_all_from_path(directory.encode())
    threads = {"n_threads": job["threads"], "n_threads_batch": job["threads"]}
    model = llama_cpp.Llama(job["model"], embedding=True, n_ctx=CONTEXT, n_batch=CONTEXT, n_ubatch=CONTEXT, verbose=False, **threads)
    texts = make_texts(job["texts"])
    model.embed(texts[:8], normalize=True)
    start, worked = time.perf_counter(), time.process_time()
    vectors = model.embed(texts, normalize=True)
    return (time.perf_counter() - start, time.process_time() - worked), vectors[:4]


CHILDREN = {"tabagent": ours, "llama-cpp-python": llama_cpp_python}


def child(python: Path | str, name: str, job: dict[str, Any]) -> Measured:
    """Runs one measurement in a process of its own."""
    command = [str(python), str(HERE / "embedding.py"), "--child", name, json.dumps(job)]
    environment = {**os.environ, "LLAMA_CPP_LIB_PATH": job["library"]}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{name} failed with code {done.returncode}:\n{done.stderr[-2000:]}")
    (clock, processor), vectors = json.loads(done.stdout.splitlines()[-1])
    return (clock, processor), vectors


def llama_server(program: Path, job: dict[str, Any]) -> Measured:
    """`/v1/embeddings` of llama-server, with all texts in one request."""
    import socket  # noqa: PLC0415 (needed here alone)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    arguments = [
        "-m",
        job["model"],
        "--embedding",
        "-np",
        8,
        "-c",
        8 * CONTEXT,
        "-b",
        CONTEXT,
        "-ub",
        CONTEXT,
        "-t",
        job["threads"],
        "-tb",
        job["threads"],
    ]
    command = [program, *arguments, "--host", "127.0.0.1", "--port", port, "--no-ui", "--offline", "-fit", "off"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            texts = make_texts(job["texts"])
            ask(port, texts[:8])
            start, worked = time.perf_counter(), processor_time(process.pid)
            vectors = ask(port, texts)
            return (time.perf_counter() - start, processor_time(process.pid) - worked), vectors[:4]
        finally:
            process.terminate()
            process.wait()


def processor_time(pid: int) -> float:
    """Seconds that a process has computed, by all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until the server answers."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 (our own server)
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("llama-server did not start")
            time.sleep(0.05)


def ask(port: int, texts: list[str]) -> list[list[float]]:
    """The vectors of texts."""
    body = json.dumps({"input": texts}).encode()
    url, headers = f"http://127.0.0.1:{port}/v1/embeddings", {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=3600) as answer:  # noqa: S310 (as above)
        rows: list[dict[str, Any]] = json.load(answer)["data"]
    return [row["embedding"] for row in sorted(rows, key=lambda row: row["index"])]


def furthest(left: list[list[float]], right: list[list[float]]) -> float:
    """The smallest cosine of vectors of the same texts, which have the length 1."""
    return min(sum(a * b for a, b in zip(x, y, strict=True)) for x, y in zip(left, right, strict=True))


def main() -> None:
    """Runs all programs and prints a table for each number of threads."""
    from run import PEER, library_directory, peer_python  # noqa: PLC0415 (not needed by the peers)

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--texts", type=int, default=1000)
    options = parser.parse_args()
    from tabagent import gguf  # noqa: PLC0415 (not in the peers' interpreters)

    tools = os.environ.get("TABAGENT_BENCH_TOOLS")
    server = Path(tools) / "llama-server" if tools else None
    if server is None or not server.is_file():
        print("llama-server is left out: `TABAGENT_BENCH_TOOLS` names no folder with it")
        server = None
    models = Path(os.environ["TABAGENT_TEST_MODELS"])
    python = peer_python(models.parent / "peers" / PEER.replace("==", "-"))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "minilm.gguf"
        gguf.convert(models / FOLDER, model, out_type="f16")
        job = {"model": str(model), "threads": options.threads, "texts": options.texts, "library": str(library_directory())}
        results: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.rounds):
            found = {"tabagent": child(sys.executable, "tabagent", job), "llama-cpp-python": child(python, "llama-cpp-python", job)}
            if server is not None:
                found["llama-server"] = llama_server(server, job)
            for name, (seconds, vectors) in found.items():
                results.setdefault(name, []).append(seconds)
                nearest = furthest(vectors, found["tabagent"][1])
                if nearest < 0.9999:
                    sys.exit(f"the vectors of {name} are others: cosine {nearest:.6f}")
    print(f"\nMiniLM F16, {options.texts:,} texts of 5 to {LONGEST} words, {options.threads} threads, {options.rounds} rounds\n")
    print("| | s | texts/s | tabagent's speed to its | processor time, s | ratio of processor time |\n|---|---|---|---|---|---|")
    for name, measured in results.items():
        pairs = list(zip(measured, results["tabagent"], strict=True))
        clock, processor = (statistics.median(theirs[kind] / ours[kind] for theirs, ours in pairs) for kind in (0, 1))
        seconds, worked = (statistics.median(theirs[kind] for theirs in measured) for kind in (0, 1))
        print(f"| {name} | {seconds:.1f} | {options.texts / seconds:.0f} | {clock:.2f} | {worked:.1f} | {processor:.2f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(CHILDREN[sys.argv[2]](json.loads(sys.argv[3]))))
    else:
        main()
