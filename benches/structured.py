"""Measures constrained generation: its speed beside free text, jump-forward, and compilation; with llama.cpp's own grammars in the same run.

Every round does each thing once, in turn, in one process a model, so that a machine whose speed drifts hurts all alike; medians are printed, and the
median of the ratios of each round. The environment is that of `make bench`. `--peer` alone is what this program calls itself.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run import MODELS, PEER, peer_python

HERE = Path(__file__).resolve().parent
PROMPT = "Write down some people you know, as JSON:\n"
# A model that ends early says nothing about speed: long lists of free strings.
LISTS = {
    "type": "array",
    "minItems": 40,
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 12, "maxLength": 40}, "text": {"type": "string", "minLength": 40, "maxLength": 80}},
        "required": ["name", "text"],
        "additionalProperties": False,
    },
}
# Nearly all of it is certain beforehand.
SKELETON = {
    "type": "object",
    "properties": {
        f"{group}_{name}": {"type": "boolean"} for group in ("delivery", "invoice", "newsletter") for name in ("requested", "confirmed", "cancelled")
    },
    "additionalProperties": False,
}
SKELETON["required"] = list(SKELETON["properties"])


def rate(done: Any) -> float:
    """Tokens a second after the first."""
    return (done.usage.completion_tokens - 1) / done.timings.decode_s


def ours(model_path: str, library: str, rounds: int, tokens: int, threads: int) -> dict[str, Any]:
    """Our figures: rates of each round, and the times of compilation."""
    from tabagent import Model, SamplerConfig  # noqa: PLC0415 (`--peer` runs where there is none)

    with Model.load(model_path, context_size=1024, threads=threads, max_sequences=1, variant=library) as model:
        start = time.perf_counter()
        model.compile_grammar(regex="a")
        table_ms = (time.perf_counter() - start) * 1e3
        compile_ms = compile_times(model)
        sampling = SamplerConfig(seed=1)

        def run(**options: Any) -> Any:
            return model.generate(PROMPT, max_tokens=tokens, sampling=sampling, **options).result()

        jobs: dict[str, Callable[[], Any]] = {
            "free": lambda: run(ignore_eos=True),
            "schema": lambda: run(json_schema=LISTS, compact_json=True),
            "schema, with white space": lambda: run(json_schema=LISTS),
            "regex `(?s:.{4000})`": lambda: run(regex="(?s:.{4000})"),
            "skeleton": lambda: run(json_schema=SKELETON, compact_json=True),
            "skeleton without jump-forward": lambda: run(json_schema=SKELETON, compact_json=True, logprobs=0),
        }
        for job in jobs.values():
            job()
        found: dict[str, list[float]] = {name: [] for name in jobs}
        forced = {}
        for _ in range(rounds):
            for name, job in jobs.items():
                done = job()
                found[name].append(rate(done))
                forced[name] = f"{done.usage.forced_tokens} of {done.usage.completion_tokens}"
        return {"rates": found, "forced": forced, "table_ms": table_ms, "compile_ms": compile_ms}


def compile_times(model: Any) -> list[float]:
    """Milliseconds for each schema of the corpus, none of which was compiled before."""
    times = []
    for path in sorted((HERE.parent / "tests" / "schemas").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "schema" not in content:
            continue
        start = time.perf_counter()
        model.compile_grammar(json_schema=content["schema"])
        times.append((time.perf_counter() - start) * 1e3)
    return times


def peer(model_path: str, library: str, rounds: int, tokens: int, threads: int) -> dict[str, Any]:
    """The same schemas as llama.cpp's GBNF, in llama-cpp-python over the same library."""
    import ctypes  # noqa: PLC0415 (what the other package's interpreter has, and ours need not)

    import llama_cpp  # noqa: PLC0415 (what the other package's interpreter has, and ours need not)

    ctypes.CDLL(str(Path(library) / "libggml.so")).ggml_backend_load_all_from_path(library.encode())
    model = llama_cpp.Llama(model_path, n_ctx=1024, n_batch=1024, n_threads=threads, n_threads_batch=threads, verbose=False)
    grammars = {"free": None, "schema": LISTS, "skeleton": SKELETON}
    compiled = {name: schema and llama_cpp.LlamaGrammar.from_json_schema(json.dumps(schema), verbose=False) for name, schema in grammars.items()}

    def run(name: str) -> float:
        bias = {model.token_eos(): -1e9} if compiled[name] is None else None
        stream = model.create_completion(
            PROMPT, max_tokens=tokens, stream=True, seed=1, temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, grammar=compiled[name], logit_bias=bias
        )
        next(stream)
        before, start = model.n_tokens, time.perf_counter()
        for _ in stream:
            pass
        return (model.n_tokens - before) / (time.perf_counter() - start)

    for name in grammars:
        run(name)
    found: dict[str, list[float]] = {name: [] for name in grammars}
    for _ in range(rounds):
        for name in grammars:
            found[name].append(run(name))
    return {"rates": found}


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all is not above."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def report(title: str, mine: dict[str, Any], theirs: dict[str, Any] | None) -> None:
    """Prints one model's tables."""
    print(f"\n### {title}\n\n| | tok/s | ratio to free | forced tokens |\n|---|---|---|---|")
    for prefix, figures in (("", mine), ("llama.cpp: ", theirs)):
        if figures is None:
            continue
        free = figures["rates"]["free"]
        for name, rates in figures["rates"].items():
            ratio = statistics.median(rate / base for rate, base in zip(rates, free, strict=True))
            forced = figures.get("forced", {}).get(name, "")
            print(f"| {prefix}{name} | {statistics.median(rates):.1f} | {ratio:.3f} | {forced} |")
    times = mine["compile_ms"]
    print(
        f"\nCompiling {len(times)} schemas: median {statistics.median(times):.1f} ms, 95th percentile {percentile(times, 0.95):.1f} ms, "
        f"longest {max(times):.1f} ms; laying out the vocabulary, once a model: {mine['table_ms']:.0f} ms"
    )


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--peer", metavar="MODEL")
    arguments = parser.parse_args()
    settings = (arguments.rounds, arguments.tokens, arguments.threads)
    if arguments.peer:
        print(json.dumps(peer(arguments.peer, os.environ["LLAMA_CPP_LIB_PATH"], *settings)))
        return
    folder = Path(os.environ["TABAGENT_TEST_MODELS"])
    library = os.environ.get("TABAGENT_LIBRARY_PATH") or str(HERE.parent / "python" / "tabagent" / "lib")
    print(f"{platform.platform()}, {os.cpu_count()} processors, {arguments.threads} thread(s); medians of {arguments.rounds} rounds")
    for name in arguments.models:
        path = str(folder / MODELS[name])
        mine = ours(path, library, *settings)
        theirs = None
        if not arguments.without_peer:
            python = peer_python(folder.parent / "peers" / PEER.replace("==", "-"))
            options = ["--rounds", arguments.rounds, "--tokens", arguments.tokens, "--threads", arguments.threads]
            command = [str(part) for part in (python, Path(__file__).resolve(), "--peer", path, *options)]
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, env={**os.environ, "LLAMA_CPP_LIB_PATH": library, "PYTHONPATH": str(HERE)}
            )
            if done.returncode != 0:
                sys.exit(f"llama-cpp-python failed with code {done.returncode}:\n{done.stderr[-2000:]}")
            theirs = json.loads(done.stdout.splitlines()[-1])
        report(name, mine, theirs)


if __name__ == "__main__":
    main()
