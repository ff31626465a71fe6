"""Measures what a trial adds to a load: `python benches/trial.py MODEL.gguf... [--rounds N] [--threads N]`.

Each round loads each model once without a trial, once with one, and once with its verdict known, in turn and all with warm files. Medians over the
rounds are printed, and the median of the ratios and differences of each round. The verdicts lie in a folder of their own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tabagent import Model


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trials-") as cache:
        os.environ["TABAGENT_CACHE"] = cache
        print_line("model", "no trial s", "tried s", "ratio", "known s", "more ms")
        for path in given.models:
            seconds(path, given.threads, trial=True)
            rounds = [[seconds(path, given.threads, trial=trial) for trial in (False, True, "auto")] for _ in range(given.rounds)]
            plain, tried, known = (statistics.median(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(row[1] / row[0] for row in rounds)
            more = statistics.median(row[2] - row[0] for row in rounds)
            print_line(path.stem[:32], f"{plain:.3f}", f"{tried:.3f}", f"{ratio:.2f}", f"{known:.3f}", f"{more * 1000:.1f}")


def seconds(path: Path, threads: int, *, trial: bool | str) -> float:
    """How long a load takes."""
    began = time.perf_counter()
    model = Model.load(path, threads=threads, trial=trial)  # type: ignore[arg-type] # it is checked
    taken = time.perf_counter() - began
    model.close()
    return taken


def print_line(*cells: str) -> None:
    """A row of the table."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
