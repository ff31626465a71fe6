"""Compares the engine of our own (`engine="rust"`) with llama.cpp, by its own `llama-bench` and under tabagent.

All compute the same file with the same threads in one run: each round starts every program once, in turn. Medians over the rounds are printed, and
the median of the ratios of each round. `--busy N` keeps N other processes busy meanwhile. `make bench-engine` sets the environment.
"""

import argparse
import contextlib
import dataclasses
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from run import MODELS, Figures, child, library_directory, llama_bench, report
from workload import Job

QWEN = {"Qwen2.5-Coder-0.5B Q4_K_M": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"}
FILES = MODELS | QWEN


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keeps so many processes busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def one_round(job: Job, bench: Path) -> dict[str, Figures]:
    """Every program once."""
    return {
        "engine of our own": child(sys.executable, "ours.py", dataclasses.replace(job, engine="rust"), {}),
        "llama-bench": llama_bench(bench, job),
        "llama.cpp under tabagent": child(sys.executable, "ours.py", dataclasses.replace(job, engine="llama.cpp"), {}),
    }


def main() -> None:
    """Runs the comparison and prints a Markdown table for each model and thread count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", choices=list(FILES), default=list(FILES))
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="busy processes beside each measurement")
    parser.add_argument("--prompt", type=int, default=512, metavar="N", help="tokens of the prompt")
    parser.add_argument("--new", type=int, default=128, metavar="N", help="tokens of the text")
    arguments = parser.parse_args()
    folder = Path(os.environ["TABAGENT_TEST_MODELS"])
    bench = Path(os.environ["TABAGENT_BENCH_TOOLS"])
    bench = bench / "llama-bench" if bench.is_dir() else bench
    print(f"{platform.platform()}, {os.cpu_count()} processors, {arguments.busy} busy neighbours; medians of {arguments.rounds} rounds")
    for name in arguments.models:
        for threads in arguments.threads:
            sizes = {"prompt_tokens": arguments.prompt, "new_tokens": arguments.new}
            job = Job(model=str(folder / FILES[name]), threads=threads, library=str(library_directory()), **sizes)
            with busy(arguments.busy):
                results = [one_round(job, bench) for _ in range(arguments.rounds)]
            report(f"{name}, {threads} thread{'s' if threads > 1 else ''}", results)


if __name__ == "__main__":
    main()
