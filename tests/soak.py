"""Many requests of every kind at once, for as long as is asked: `python tests/soak.py --seconds 600 MODEL` (`make soak`).

Readers run at the same time, each with one request after another: short and long prompts, some that begin alike, schemas, adapters, some of which
come and go, control vectors, time limits, streams that are cancelled, dropped or whose reader fails. In the end nothing may be lost or mixed up:
greedy texts are those that the request has alone, and what the process holds of memory and threads is what it held before.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from near_ties import assert_alike
from support.real_adapters import write_adapter, write_control_vector
from tabagent import Completion, Model, SamplerConfig

GREEDY: Final = SamplerConfig.greedy()
SHARED: Final = "The story begins in a small town by the sea. " * 6
PROMPTS: Final = ["Once", "The capital of France is", "One, two, three,", *(f"{SHARED}{name} said" for name in ("Ann", "Bob", "Cleo")), "word " * 150]
SCHEMA: Final = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["age"]}
FIRST: Final = 8
"""Tokens of a text that is compared."""
CACHE_BYTES: Final = 8 << 20
"""What requests may leave in host memory: little, so that what grows is a leak."""


class ReaderFailedError(Exception):
    """What a reader raises in the middle of a stream."""


class Soak:
    """A model under load, and what came of it."""

    def __init__(self, model: Model, folder: Path, *, readers: int, seed: int = 0) -> None:
        """Adapters for the model are written into `folder`."""
        self.model = model
        self.readers = readers
        self.seed = seed
        self.adapter = write_adapter(folder / "a.gguf", Path(model.info.path), size=0.05)
        one = model.load_adapter(self.adapter)
        two = model.load_adapter(write_adapter(folder / "b.gguf", Path(model.info.path), size=0.05, seed=1))
        vector = model.load_control_vector(write_control_vector(folder / "v.gguf", Path(model.info.path)))
        self.changes: list[dict[str, Any]] = [{}, {"adapters": one}, {"adapters": {one: 0.5, two: -1}, "control_vector": {vector: 2}}]
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.lock = threading.Lock()
        self.other: set[tuple[str, int, tuple[int, ...]]] = set()
        kinds = [(prompt, change) for prompt in PROMPTS for change in range(len(self.changes))]
        self.alone = {(prompt, change): self.greedy(prompt, self.changes[change]).tokens for prompt, change in kinds}

    def greedy(self, prompt: str, change: Mapping[str, Any], *, cache_prompt: bool = False) -> Completion:
        """A text that is the same every time."""
        return self.model.generate(prompt, max_tokens=FIRST, sampling=GREEDY, ignore_eos=True, cache_prompt=cache_prompt, **change).result()

    def run(self, seconds: float) -> None:
        """Keep all readers busy for so long."""
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self._read, args=(end, number)) for number in range(self.readers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def check(self, *, exact: bool) -> list[str]:
        """What went wrong. Unless texts must be `exact`, they may differ where two tokens are about as probable."""
        faults = list(self.faults)
        for prompt, change, tokens in sorted(self.other):
            alone = self.alone[prompt, change]
            try:
                assert not exact, f"{tokens} instead of {alone}"
                assert_alike(self.model, prompt, tokens, alone, **self.changes[change])
            except AssertionError as error:
                faults.append(f"{prompt[-20:]!r} with {self.changes[change]}: {error}")
        return faults

    def _read(self, end: float, number: int) -> None:
        rng = random.Random(f"{self.seed} {number}")  # noqa: S311 (no secret)
        kinds = [self._text, self._text, self._cancel, self._drop, self._fail, self._time_out, self._fill_in, self._sample, self._reload]
        while time.monotonic() < end:
            kind = rng.choice(kinds)
            try:
                kind(rng)
            except Exception as error:  # noqa: BLE001 (reported at the end)
                with self.lock:
                    self.faults.append(f"{kind.__name__}: {type(error).__name__}: {error}")
            else:
                with self.lock:
                    self.counts[kind.__name__.strip("_")] += 1

    def _text(self, rng: random.Random) -> None:
        self._compare(rng, rng.randrange(len(self.changes)))

    def _compare(self, rng: random.Random, change: int, adapters: Mapping[str, Any] | None = None) -> None:
        """Compare a text with the one that such a request gets alone; `adapters` are equal to those of `change`."""
        prompt = rng.choice(PROMPTS)
        tokens = self.greedy(prompt, adapters or self.changes[change], cache_prompt=rng.random() < 0.5).tokens
        if tokens != self.alone[prompt, change]:
            with self.lock:
                self.other.add((prompt, change, tokens))

    def _reload(self, rng: random.Random) -> None:
        with self.model.load_adapter(self.adapter) as adapter:
            self._compare(rng, 1, {"adapters": adapter})
            stream = self.model.generate(rng.choice(PROMPTS), max_tokens=5, ignore_eos=True, adapters={adapter: rng.random()})
        assert len(stream.result().tokens) == 5

    def _cancel(self, rng: random.Random) -> None:
        stream = self.model.generate(rng.choice(PROMPTS), ignore_eos=True, priority=rng.randint(-1, 1), **rng.choice(self.changes))
        for _ in range(rng.randint(0, 5)):
            next(stream, None)
        stream.cancel()
        assert stream.result().finish_reason in {"cancelled", "length"}

    def _drop(self, rng: random.Random) -> None:
        stream = self.model.generate(rng.choice(PROMPTS), ignore_eos=True, **rng.choice(self.changes))
        next(stream, None)

    def _fail(self, rng: random.Random) -> None:
        try:
            with self.model.generate(rng.choice(PROMPTS), ignore_eos=True, **rng.choice(self.changes)) as stream:
                next(stream, None)
                raise ReaderFailedError  # noqa: TRY301 (what is tried here)
        except ReaderFailedError:
            assert stream.finish_reason is not None

    def _time_out(self, rng: random.Random) -> None:
        limits: dict[str, Any] = {"max_tokens": 200, "timeout": rng.uniform(0, 0.3), **rng.choice(self.changes)}
        done = self.model.generate(rng.choice(PROMPTS), ignore_eos=True, **limits).result()
        assert done.finish_reason in {"timeout", "length"}

    def _fill_in(self, rng: random.Random) -> None:
        done = self.model.generate(
            f"{rng.choice(PROMPTS)} JSON:",
            json_schema=SCHEMA,
            max_tokens=80,
            sampling=SamplerConfig(seed=rng.randint(0, 99)),
            **rng.choice(self.changes),
        ).result()
        if done.finish_reason == "stop":
            assert 0 <= done.parse()["age"] <= 99

    def _sample(self, rng: random.Random) -> None:
        done = self.model.generate(
            rng.choice(PROMPTS),
            max_tokens=rng.randint(1, 30),
            sampling=SamplerConfig(seed=rng.randint(0, 99)),
            logprobs=2,
            **rng.choice(self.changes),
        ).result()
        assert len(done.logprobs or ()) == len(done.tokens)


def held() -> tuple[int, int]:
    """Bytes of memory that the process holds, and its threads; zeros where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0, 0
    values: dict[str, Any] = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return int(values["VmRSS"].split()[0]) * 1024, int(values["Threads"])


def main() -> int:
    """Run the load and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--readers", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--batched", action="store_true", help="decode requests together; texts may then differ where two tokens are about as probable"
    )
    options = parser.parse_args()
    settings: dict[str, Any] = {"context_size": 4096, "deterministic": not options.batched, "cache_bytes": CACHE_BYTES}
    with tempfile.TemporaryDirectory() as folder, Model.load(options.model, **settings) as model:
        soak = Soak(model, Path(folder), readers=options.readers, seed=options.seed)
        soak.run(min(options.seconds / 10, 20))
        gc.collect()
        memory, threads = held()
        soak.run(options.seconds)
        gc.collect()
        grown, more = held()
        change = f"{(grown - memory) / 2**20:+.1f} MiB, {more - threads:+d} threads"
        lines = [f"{dict(soak.counts)} {change}, {model.metrics().requests_per_step:.1f} requests a step"]
        left = model.stats
        faults = soak.check(exact=not options.batched)
        lines += [f"fault: {fault}" for fault in faults[:20]]
        lines.append(f"left: {left.active} active, {left.queued} queued, {left.parked} parked")
        sys.stdout.write("\n".join(lines) + "\n")
        flat = grown - memory < 32 * 2**20 and more <= threads
        return 0 if flat and not faults and not (left.active or left.queued or left.parked) else 1


if __name__ == "__main__":
    sys.exit(main())
