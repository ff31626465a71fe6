"""Compares streams that guess tokens ahead with plain ones, in one run: a text that repeats much of its prompt, and free text.

Each round asks both ways once, in turn. Medians over the rounds are printed, and the median of the ratios of each round:

    python benches/speculation.py ~/models/model.gguf --threads 1 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from tabagent import Completion, Model, SamplerConfig

CODE = """class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def distance(self, other):
        dx = self.x - other.x
        dy = self.y - other.y
        return (dx * dx + dy * dy) ** 0.5

    def moved(self, dx, dy):
        return Point(self.x + dx, self.y + dy)

    def __repr__(self):
        return f"Point({self.x}, {self.y})"
"""
EDIT = f"Some code:\n```python\n{CODE}```\nThe same code with better names:\n```python\n"
FREE = "Once upon a time, in a village by the sea, there lived an old fisherman who"
TEXTS = {"edit": (EDIT, SamplerConfig.greedy()), "free": (FREE, SamplerConfig(temperature=0.8, seed=5))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=160)
    options = parser.parse_args()
    print("| model | text | plain tok/s | lookup tok/s | ratio | drafted | came |\n| --- | --- | --- | --- | --- | --- | --- |")
    for path in options.models:
        with Model.load(path, context_size=2048, threads=options.threads) as model:
            for name in TEXTS:
                print(f"| {path.stem} | {name} | {_row(model, name, options.rounds, options.tokens)} |", flush=True)


def _row(model: Model, name: str, rounds: int, tokens: int) -> str:
    pairs = [(_ask(model, name, tokens, guess=False), _ask(model, name, tokens, guess=True)) for _ in range(rounds)]
    plain, guessed = ([_rate(done) for done in side] for side in zip(*pairs, strict=True))
    ratio = statistics.median(fast / slow for slow, fast in zip(plain, guessed, strict=True))
    usage = pairs[-1][1].usage
    return f"{statistics.median(plain):.1f} | {statistics.median(guessed):.1f} | {ratio:.3f} | {usage.drafted_tokens} | {usage.accepted_tokens}"


def _ask(model: Model, name: str, tokens: int, *, guess: bool) -> Completion:
    prompt, sampling = TEXTS[name]
    stream = model.generate(prompt, max_tokens=tokens, sampling=sampling, ignore_eos=True, speculative="lookup" if guess else None)
    return stream.result()


def _rate(done: Completion) -> float:
    rate = done.timings.decode_tokens_per_s
    if rate is None:
        message = "there are too few tokens for a rate; raise `--tokens`"
        raise SystemExit(message)
    return rate


if __name__ == "__main__":
    main()
