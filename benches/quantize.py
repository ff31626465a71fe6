"""Quantizing a model: tabagent beside llama.cpp's own `llama-quantize`, whole processes, in one run.

    python benches/quantize.py model.gguf --tools "$(python -m tabagent_build bench-tools)"

The model is first made F16 by each. Every file is then written in turn by the one and the other, `--rounds` times, with the source in the
system's cache; the table has medians. Both write the same bytes, which is checked. `--ours PROGRAM` runs another program than
`python -m tabagent quantize`, such as the crate's example `quantize`, with the same arguments.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TYPES = ("Q4_K_M", "Q8_0", "Q4_0")


def seconds(command: list[str]) -> float:
    """How long a command takes that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    took = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return took


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Compare the speed of quantizing.")
    parser.add_argument("model", type=Path, help="any model; it is made F16 first")
    parser.add_argument("--tools", type=Path, required=True, help="the folder of llama-quantize")
    parser.add_argument("--ours", type=Path, help="a program in place of `python -m tabagent quantize`")
    parser.add_argument("--types", default=",".join(TYPES), help="what to make of it")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    theirs = [str(chosen.tools / "llama-quantize"), "--allow-requantize"]
    ours = [str(chosen.ours)] if chosen.ours else [sys.executable, "-m", "tabagent", "quantize", "--allow-requantize"]
    with tempfile.TemporaryDirectory(prefix="tabagent-bench-") as folder:
        source, mine, other = (str(Path(folder) / name) for name in ("f16.gguf", "ours.gguf", "theirs.gguf"))
        seconds([*theirs, str(chosen.model), source, "F16"])
        seconds([*ours, str(chosen.model), mine, "F16"])
        if Path(source).read_bytes() != Path(mine).read_bytes():
            sys.exit("the F16 files differ")
        print(f"{chosen.model.name} as F16, {Path(source).stat().st_size / 1e6:.0f} MB; seconds, medians of {chosen.rounds}\n")
        print("| type | threads | llama-quantize | tabagent | ratio |\n|---|---|---|---|---|")
        for kind in chosen.types.split(","):
            for threads in chosen.threads.split(","):
                times: dict[str, list[float]] = {other: [], mine: []}
                for _ in range(chosen.rounds):
                    for program, out in ((theirs, other), (ours, mine)):
                        Path(out).unlink(missing_ok=True)
                        times[out].append(seconds([*program, source, out, kind, threads]))
                if Path(other).read_bytes() != Path(mine).read_bytes():
                    sys.exit(f"the {kind} files differ")
                their_s, our_s = (statistics.median(times[out]) for out in (other, mine))
                print(f"| {kind} | {threads} | {their_s:.2f} | {our_s:.2f} | {their_s / our_s:.2f} |", flush=True)


if __name__ == "__main__":
    main()
