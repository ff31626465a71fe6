"""Opening GGUF files: `tabagent.gguf` beside the `gguf` package, in one run.

    python benches/gguf_files.py model.gguf [more.gguf ...]

Medians of several rounds, the file in the system's cache. Three steps, each from nothing: opening; opening and reading all strings of
the vocabulary into a list; opening and decoding the largest tensor.

Then decoding alone, on one thread, in GB of F32 written a second: call after call, where the memory of the result before is used again;
into new memory, all results being kept; and into an array that is there. Beside each numpy fills as much memory in the same run (new
memory in the first two), which is what the machine can do; the ratio to that is what counts on a busy one.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as peer
import numpy as np

from tabagent import gguf

TOKENS = "tokenizer.ggml.tokens"


def median_ms(work: Callable[[], object], rounds: int) -> float:
    """The median time of `work`, in milliseconds; of less rounds where one takes over five seconds."""
    times: list[float] = []
    while len(times) < rounds and (not times or times[-1] < 5000):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def our_tokens(path: Path) -> list[str]:
    """The vocabulary by `tabagent.gguf`."""
    found: list[str] = gguf.open(path).metadata[TOKENS].tolist()
    return found


def their_tokens(path: Path) -> Any:
    """The vocabulary by the `gguf` package."""
    field = peer.GGUFReader(path).get_field(TOKENS)
    return None if field is None else field.contents()


def our_largest(path: Path) -> Any:
    """The largest tensor as floats, by `tabagent.gguf`."""
    return max(gguf.open(path).tensors, key=lambda tensor: tensor.size).dequantize()


def their_largest(path: Path) -> Any:
    """The largest tensor as floats, by the `gguf` package."""
    tensor = max(peer.GGUFReader(path).tensors, key=lambda tensor: int(tensor.n_elements))
    return peer.dequantize(tensor.data, tensor.tensor_type)


def rates(path: Path) -> list[tuple[str, float, float]]:
    """Decoding the largest tensor and filling as much memory, in GB/s: a name, ours, numpy's."""
    tensor = max(gguf.open(path).tensors, key=lambda tensor: tensor.size)
    room = np.ones(tensor.shape, np.float32)
    kept: list[Any] = []

    def decoded() -> Any:
        return tensor.dequantize(threads=1)

    def filled() -> Any:
        return np.full(tensor.shape, 1, np.float32)

    work: list[tuple[str, int, Callable[[], object], Callable[[], object]]] = [
        ("call after call", 25, decoded, filled),
        ("results kept", 6, lambda: kept.append(decoded()), lambda: kept.append(filled())),
        ("out=", 25, lambda: tensor.dequantize(out=room, threads=1), lambda: room.fill(1)),
    ]
    gigabytes = room.nbytes / 1e9
    found = []
    for name, rounds, ours, fill in work:
        # By turns, so that what else the machine does meets both.
        times = [(median_ms(ours, 1), median_ms(fill, 1)) for _ in range(rounds)]
        kept.clear()
        mine, theirs = (statistics.median(column) for column in zip(*times, strict=True))
        found.append((f"{tensor.type}, {room.nbytes >> 20} MiB, {name}", gigabytes / mine * 1e3, gigabytes / theirs * 1e3))
    return found


def main() -> None:
    """Print a table for each file."""
    for name in sys.argv[1:]:
        path = Path(name)
        assert our_tokens(path) == their_tokens(path)
        assert (our_largest(path) == their_largest(path)).all()
        print(f"{path.name}: {'':26}  tabagent ms      gguf ms   ratio")
        steps: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
            ("open", lambda path=path: gguf.open(path), lambda path=path: peer.GGUFReader(path)),
            ("open, read the vocabulary", lambda path=path: our_tokens(path), lambda path=path: their_tokens(path)),
            ("open, decode largest tensor", lambda path=path: our_largest(path), lambda path=path: their_largest(path)),
        ]
        for label, ours, theirs in steps:
            mine, other = median_ms(ours, 15), median_ms(theirs, 3)
            print(f"  {label:40} {mine:12.2f} {other:12.1f} {other / mine:7.0f}")
        print(f"  {'decode, one thread':40} {'GB/s':>12} {'numpy fill':>12} {'ratio':>7}")
        for label, mine, other in rates(path):
            print(f"  {label:40} {mine:12.2f} {other:12.1f} {mine / other:7.2f}")


if __name__ == "__main__":
    main()
