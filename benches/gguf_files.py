"""Opening GGUF files: `tabagent.gguf` beside the `gguf` package, in one run.

    python benches/gguf_files.py model.gguf [more.gguf ...]

Medians of several rounds, the file in the system's cache. Three steps, each from nothing: opening; opening and reading all strings of
the vocabulary into a list; opening and decoding the largest tensor.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as peer

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


if __name__ == "__main__":
    main()
