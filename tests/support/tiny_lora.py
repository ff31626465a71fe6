"""Tiny random GGUF adapters for a tiny model."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from typing import Final

from support.gguf_image import F32, Image, Tensor, number, text
from support.tiny_models import tiny_llama

RANK: Final = 3
ALPHA: Final = 6.0
TOKENS: Final = (1, 40, 77, 100, 140, 200, 259, 260)
"""What the models are run on."""
EMBEDDINGS: Final = "token_embd.weight"


CASES: Final[dict[str, tuple[tuple[str, float], ...]]] = {
    "none": (),
    "blocks": (("blocks", 1.0),),
    "both": (("blocks", 0.5), ("more", -1.5)),
    "embeddings": (("embeddings", 2.0),),
}
"""Adapters with their scales, by name."""


def untied_llama() -> Image:
    """`tiny_llama` with an output matrix of its own, so that an adapter of the embeddings changes only the table in which tokens are looked up."""
    image = tiny_llama()
    embeddings = next(tensor for tensor in image.tensors if tensor.name == EMBEDDINGS)
    source = random.Random(3)  # noqa: S311 (weights, not secrets)
    count = embeddings.shape[0] * embeddings.shape[1]
    values = [source.uniform(-0.5, 0.5) for _ in range(count)]
    image.tensors.append(Tensor("output.weight", 0, embeddings.shape, struct.pack(f"<{count}f", *values)))
    return image


def tiny_adapters(model: Image) -> dict[str, Image]:
    """The adapters that `CASES` names."""
    return {
        "blocks": tiny_adapter(model),
        "more": tiny_adapter(model, seed=8, alpha=None),
        "embeddings": tiny_adapter(model, [EMBEDDINGS]),
    }


def matrices(model: Image) -> list[str]:
    """Names of the tensors that an adapter can change."""
    return [tensor.name for tensor in model.tensors if len(tensor.shape) == 2]


def tiny_adapter(model: Image, names: Iterable[str] | None = None, *, seed: int = 7, alpha: float | None = ALPHA) -> Image:
    """An adapter of rank 3 for tensors of `model`, by default for all blocks' matrices."""
    image = Image()
    for key, value in {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}.items():
        image.set(key, text(value))
    if alpha is not None:
        image.set("adapter.lora.alpha", number(F32, alpha))
    source = random.Random(seed)  # noqa: S311 (weights, not secrets)
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    wanted = [name for name in matrices(model) if name.startswith("blk.")] if names is None else list(names)
    for name in wanted:
        row, rows = shapes[name]
        sizes = ((RANK, rows), (RANK, row)) if name == EMBEDDINGS else ((row, RANK), (RANK, rows))
        for letter, shape in zip("ab", sizes, strict=True):
            values = [source.uniform(-0.3, 0.3) for _ in range(shape[0] * shape[1])]
            image.tensors.append(Tensor(f"{name}.lora_{letter}", 0, shape, struct.pack(f"<{len(values)}f", *values)))
    return image
