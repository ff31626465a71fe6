"""Measures what busy neighbours cost: fixed numbers of threads and the adapting one, on the same machine, by turns.

Neighbours are processes that compute all the time, with the priority of this one, or with a higher one (`--nice 5` lowers this one's). For each
number of neighbours, every way of choosing threads has its own loaded model, and a round measures each once, in alternating order. The table has
medians over the rounds of tokens a second, and the median of each round's ratio of the adapting model to the better one of the fixed ones. What
else runs on the machine disturbs all alike, since a round is short. Set `TABAGENT_TEST_MODELS`; the options narrow the run.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from run import MODELS
from workload import LONG_TEXT, SHORT_PROMPT

from tabagent import Model

BURN = "while True: sum(i * i for i in range(10_000))"
PROMPT_TOKENS = 128
PROMPTS = 4


class Neighbours:
    """Processes that compute all the time, stopped except within `busy`."""

    def __init__(self, count: int) -> None:
        """Starts them with the priority that this process has now."""
        self._processes = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(count)]
        self._signal(signal.SIGSTOP, count)

    def _signal(self, number: int, count: int) -> None:
        for process in self._processes[:count]:
            process.send_signal(number)

    @contextlib.contextmanager
    def busy(self, count: int) -> Iterator[None]:
        """Some of them run for the time of the block."""
        self._signal(signal.SIGCONT, count)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP, count)

    def end(self) -> None:
        """Ends all of them."""
        for process in self._processes:
            process.kill()
            process.wait()


def generation(model: Model, tokens: int) -> float:
    """Tokens a second of a stream."""
    stream = iter(model.generate(SHORT_PROMPT, max_tokens=tokens + 1, ignore_eos=True).events())
    next(stream)
    start = time.perf_counter()
    count = sum(len(event.token_ids) for event in stream)
    return count / (time.perf_counter() - start)


def prompt(model: Model, turn: int) -> float:
    """Tokens a second of prompts that the model has not seen."""
    tokens = model.tokenize(LONG_TEXT)
    starts = range(turn * PROMPTS, (turn + 1) * PROMPTS)
    done = [model.generate(tokens[start : start + PROMPT_TOKENS], max_tokens=1, ignore_eos=True).result() for start in starts]
    return PROMPTS * PROMPT_TOKENS / sum(completion.timings.prompt_s for completion in done)


def measure(path: Path, neighbours: Neighbours, count: int, arguments: argparse.Namespace) -> None:
    """Prints two rows of the table: generation and prompts beside `count` neighbours."""
    ways: dict[str, int | None] = {**{str(n): n for n in range(1, (os.cpu_count() or 1) + 1)}, "adapting": None}
    with contextlib.ExitStack() as stack:
        # Neighbours first, so that the adapting model begins on a machine that is busy already.
        stack.enter_context(neighbours.busy(count))
        models = {way: stack.enter_context(Model.load(path, context_size=1024, threads=n, max_sequences=1)) for way, n in ways.items()}
        results: dict[str, dict[str, list[float]]] = {"generation": {w: [] for w in ways}, "prompt": {w: [] for w in ways}}
        for turn in range(arguments.rounds):
            order = list(ways) if turn % 2 == 0 else list(ways)[::-1]
            for way in order:
                results["prompt"][way].append(prompt(models[way], turn))
                results["generation"][way].append(generation(models[way], arguments.tokens))
        in_use = models["adapting"].stats
    used = {"generation": in_use.threads, "prompt": in_use.prompt_threads}
    for kind, rates in results.items():
        fixed = [way for way in ways if way != "adapting"]
        best = max(fixed, key=lambda way: statistics.median(rates[way]))
        ratio = statistics.median(a / b for a, b in zip(rates["adapting"], rates[best], strict=True))
        cells = " | ".join(f"{statistics.median(rates[way]):.1f}" for way in ways)
        print(f"| {count} | {kind} | {cells} | {ratio:.3f} | {used[kind]} |", flush=True)


def main() -> None:
    """Prints a Markdown table for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--nice", type=int, default=0, help="how much lower the priority of this process is than its neighbours'")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments = parser.parse_args()
    neighbours = Neighbours(max(arguments.neighbours))
    os.nice(arguments.nice)
    try:
        report(neighbours, arguments)
    finally:
        neighbours.end()


def report(neighbours: Neighbours, arguments: argparse.Namespace) -> None:
    """Prints a table for each model."""
    folder = Path(os.environ["TABAGENT_TEST_MODELS"])
    for name in arguments.models:
        print(f"\n{name}, tokens a second, medians of {arguments.rounds} rounds:\n")
        fixed = " | ".join(f"`threads={n + 1}`" for n in range(os.cpu_count() or 1))
        print(f"| neighbours | | {fixed} | adapting | adapting / best fixed | threads in use |")
        print("|---" * ((os.cpu_count() or 1) + 5) + "|")
        for count in arguments.neighbours:
            measure(folder / MODELS[name], neighbours, count, arguments)


if __name__ == "__main__":
    main()
