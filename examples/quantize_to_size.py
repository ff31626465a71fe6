"""Make a model file of a given size that loses as little as it can: `python examples/quantize_to_size.py model-f16.gguf model-90mb.gguf 90MB`."""

from __future__ import annotations

import sys
from collections import Counter

from tabagent import gguf


def show(done: int, total: int) -> None:
    print(f"\r{done / max(total, 1):4.0%}", end="", file=sys.stderr, flush=True)


def main(source: str, destination: str, size: str) -> None:
    # The better source is the original in F16 or BF16; what is quantized already can be taken, too, and loses a second time.
    quantized = any(tensor.type.startswith("Q") for tensor in gguf.open(source).tensors)
    done = gguf.quantize_model(source, destination, target_size=size, allow_requantize=quantized, progress=show)
    print(file=sys.stderr)
    print(f"{destination}: {done.bytes / 1e6:.1f} MB, {done.bits_per_weight:.2f} bits a weight")
    for kind, count in Counter(tensor.type for tensor in done.tensors).most_common():
        print(f"{count:5} tensors as {kind}")


if __name__ == "__main__":
    main(*sys.argv[1:])
