"""Measures what a process of its own costs: `python benches/isolation.py MODEL.gguf... [--rounds N] [--threads N] [--tokens N]`.

Each round loads each model in this process and in one of its own, in turn and with warm files, decodes the same text with both, kills the second's
process and times the next call. Medians over the rounds are printed, and the medians of the ratios and differences of each round.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tabagent import Model, SamplerConfig

PROMPT = "Once upon a time there was a fox who lived in the forest, and every morning"


@dataclass(frozen=True)
class Figures:
    """What was measured of one model once."""

    load_s: float
    prompt_s: float
    tokens_per_s: float
    text: str


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=128)
    given = parser.parse_args()
    print_line("model", "load s", "apart s", "more ms", "tok/s", "apart tok/s", "ratio", "prompt ms", "apart ms", "restart s")
    for path in given.models:
        rounds = []
        restarts = []
        for number in range(given.rounds + 1):
            order = (None, "process") if number % 2 else ("process", None)
            figures: dict[str | None, Figures] = {}
            for isolation in order:
                model, load_s = load(path, given.threads, isolation)
                with model:
                    figures[isolation] = measure(model, load_s, given.tokens)
                    if isolation is not None:
                        restarts.append(restart(model))
            here, apart = figures[None], figures["process"]
            if here.text != apart.text:
                message = f"`{path}` gives other texts in another process"
                raise SystemExit(message)
            if number:
                rounds.append((here, apart))
        print_row(path, rounds, restarts)


def load(path: Path, threads: int, isolation: str | None) -> tuple[Model, float]:
    """A model, and how long loading it took."""
    began = time.perf_counter()
    model = Model.load(path, threads=threads, context_size=1024, trial=False, isolation=isolation)  # type: ignore[arg-type] # it is checked
    return model, time.perf_counter() - began


def measure(model: Model, load_s: float, tokens: int) -> Figures:
    """Decode a text."""
    done = model.generate(PROMPT, max_tokens=tokens, ignore_eos=True, sampling=SamplerConfig.greedy()).result()
    timings = done.timings
    return Figures(load_s, timings.prompt_s, timings.decode_tokens_per_s or 0.0, done.text)


def restart(model: Model) -> float:
    """How long the next call takes after the process was killed."""
    for process in children():
        os.kill(process, signal.SIGKILL)
    began = time.perf_counter()
    model.tokenize("a")
    return time.perf_counter() - began


def children() -> list[int]:
    """The processes of models that this process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == os.getpid() and b"serve" in command:
                found.append(int(entry.name))
    return found


def print_row(path: Path, rounds: list[tuple[Figures, Figures]], restarts: list[float]) -> None:
    """The medians of one model."""
    here = [row[0] for row in rounds]
    apart = [row[1] for row in rounds]
    more = statistics.median(b.load_s - a.load_s for a, b in rounds)
    ratio = statistics.median(b.tokens_per_s / a.tokens_per_s for a, b in rounds)
    print_line(
        path.stem[:32],
        f"{statistics.median(row.load_s for row in here):.3f}",
        f"{statistics.median(row.load_s for row in apart):.3f}",
        f"{more * 1000:.0f}",
        f"{statistics.median(row.tokens_per_s for row in here):.1f}",
        f"{statistics.median(row.tokens_per_s for row in apart):.1f}",
        f"{ratio:.3f}",
        f"{statistics.median(row.prompt_s for row in here) * 1000:.1f}",
        f"{statistics.median(row.prompt_s for row in apart) * 1000:.1f}",
        f"{statistics.median(restarts):.3f}",
    )


def print_line(*cells: str) -> None:
    """A row of the table."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
