"""Compares tabagent with llama.cpp's own `llama-bench` and with llama-cpp-python, all over the same library, in one run.

Each round starts every program once, in turn, so that a machine whose speed drifts hurts all alike. Medians over the rounds are printed, and
the ratio of each round's pair, as median. `make bench` sets the environment; `--rounds`, `--threads` and `--models` narrow the run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from workload import Job

HERE = Path(__file__).resolve().parent
PEER = "llama-cpp-python==0.3.36"
MODELS = {"SmolLM2-135M Q4_1": "smollm2-135m-instruct-q4_1.gguf", "Gemma-3-270M Q4_K_M": "gemma-3-270m-q4_k_m.gguf"}
COLUMNS = ("import_ms", "load_ms", "ready_ms", "first_token_ms", "prompt_tok_s", "decode_tok_s", "tokenize_mb_s", "peak_mib")
LESS_IS_BETTER = {"import_ms", "load_ms", "ready_ms", "first_token_ms", "peak_mib"}

Figures = dict[str, float]


def library_directory() -> Path:
    """The directory of the libraries that the package carries."""
    import tabagent  # noqa: PLC0415 (only its place is wanted)

    return Path(tabagent.__file__).resolve().parent / "lib"


def peer_python(folder: Path) -> Path:
    """An interpreter with llama-cpp-python, installed without its own llama.cpp so that it runs ours."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        environment = {**os.environ, "CMAKE_ARGS": "-DLLAMA_BUILD=OFF"}
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True, env=environment)
    return python


def child(python: Path | str, script: str, job: Job, environment: dict[str, str]) -> Figures:
    """Runs one measurement in a process of its own."""
    command = [str(python), str(HERE / script), json.dumps(asdict(job))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        sys.exit(f"{script} failed with code {done.returncode}:\n{done.stderr[-2000:]}")
    result: Figures = json.loads(done.stdout.splitlines()[-1])
    return result


def llama_bench(program: Path, job: Job) -> Figures:
    """llama.cpp's own numbers for the same prompt and generation lengths."""
    command = [program, "-m", job.model, "-t", job.threads, "-p", job.prompt_tokens, "-n", job.new_tokens, "-r", 1, "-o", "json"]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    prompt = next(row["avg_ts"] for row in rows if row["n_prompt"] > 0)
    decode = next(row["avg_ts"] for row in rows if row["n_gen"] > 0)
    return {"prompt_tok_s": prompt, "decode_tok_s": decode}


def rounds(count: int, job: Job, bench: Path, python: Path) -> Iterator[dict[str, Figures]]:
    """Every program once a round."""
    for _ in range(count):
        yield {
            "tabagent": child(sys.executable, "ours.py", job, {}),
            "llama-bench": llama_bench(bench, job),
            "llama-cpp-python": child(python, "peer_llama_cpp_python.py", job, {"LLAMA_CPP_LIB_PATH": job.library}),
        }


def report(title: str, results: list[dict[str, Figures]]) -> None:
    """Prints medians, and medians of the ratios of each round."""
    print(f"\n### {title}\n")
    print("| | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name in results[0]:
        cells = []
        for column in COLUMNS:
            values = [r[name][column] for r in results if column in r[name]]
            cells.append(f"{statistics.median(values):.1f}" if values else "")
        print(f"| {name} | " + " | ".join(cells) + " |")
    first, *peers = results[0]
    for peer in peers:
        cells = []
        for column in COLUMNS:
            ratios = [r[first][column] / r[peer][column] for r in results if column in r[peer]]
            mark = "↓" if column in LESS_IS_BETTER else "↑"
            cells.append(f"{statistics.median(ratios):.3f} {mark}" if ratios else "")
        print(f"| ratio to {peer} | " + " | ".join(cells) + " |")


def main() -> None:
    """Runs the comparison and prints a Markdown table for each model and thread count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments = parser.parse_args()
    folder = Path(os.environ["TABAGENT_TEST_MODELS"])
    bench = Path(os.environ["TABAGENT_BENCH_TOOLS"])
    bench = bench / "llama-bench" if bench.is_dir() else bench
    python = peer_python(folder.parent / "peers" / PEER.replace("==", "-"))
    print(f"{platform.platform()}, {os.cpu_count()} processors; medians of {arguments.rounds} rounds; ↑ more is better, ↓ less is better")
    for name in arguments.models:
        for threads in arguments.threads:
            job = Job(model=str(folder / MODELS[name]), threads=threads, library=str(library_directory()))
            results = list(rounds(arguments.rounds, job, bench, python))
            report(f"{name}, {threads} thread{'s' if threads > 1 else ''}", results)


if __name__ == "__main__":
    main()
