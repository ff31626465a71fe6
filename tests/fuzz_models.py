"""Spoil tiny models of every architecture in many ways, and report those that end, hang or bloat the process that loads them.

    python tests/fuzz_models.py [--seeds N] [--only NAME]

Each seed changes one to three hyperparameters of each model. `make fuzz-models` runs it with a hundred seeds, which takes about an hour.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import needs
from support import every_architecture
from support.hostile_parent import Report, run_cases

WORKERS = 2


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--only", default="", help="a part of the names of architectures")
    given = parser.parse_args()
    library = needs.package_library()
    with tempfile.TemporaryDirectory(prefix="fuzz-models-") as folder:
        names = [name for name in every_architecture.names() if given.only in name]
        failed = every_architecture.draw(names, library, Path(folder))
        for name, why in failed.items():
            say(f"no model of `{name}`: {why}")
        cases = [f"every/{name}/{seed}" for seed in range(given.seeds + 1) for name in names if name not in failed]
        with ThreadPoolExecutor(WORKERS) as workers:
            parts = [cases[start::WORKERS] for start in range(WORKERS)]
            reports = list(workers.map(lambda part: run_cases(part, library, {"every": Path(folder)}), parts))
    return summary(reports)


def summary(reports: list[Report]) -> int:
    """Say what came of it; 1 if anything failed."""
    failures = [failure for report in reports for failure in report.failures]
    kinds = collections.Counter(outcome.split(":")[0] for report in reports for outcome in report.outcomes.values())
    for name, fault in failures:
        say(f"FAILED {name}: {fault}")
    for kind, count in kinds.most_common():
        say(f"{count:7} {kind}")
    say(f"{len(failures):7} failures")
    return 1 if failures else 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
