"""Control vectors for the tiny models."""

from __future__ import annotations

import random
import struct

from support.gguf_image import U32, Image, Tensor, number, text
from support.tiny_models import LAYERS, WIDTH


def tiny_control_vector(*, width: int = WIDTH, layers: int = LAYERS, seed: int = 5) -> Image:
    """A file with a direction for each layer that can be moved, as `llama-cvector-generator` writes it."""
    image = Image()
    image.set("general.architecture", text("controlvector"))
    image.set("controlvector.model_hint", text("llama"))
    image.set("controlvector.layer_count", number(U32, layers - 1))
    source = random.Random(seed)  # noqa: S311 (numbers, not secrets)
    for layer in range(1, layers):
        values = [source.uniform(-1, 1) for _ in range(width)]
        image.tensors.append(Tensor(f"direction.{layer}", 0, (width,), struct.pack(f"<{width}f", *values)))
    return image


def directions(image: Image) -> dict[int, tuple[float, ...]]:
    """The directions of the file, by layer."""
    return {int(t.name.removeprefix("direction.")): struct.unpack(f"<{t.shape[0]}f", t.data) for t in image.tensors}
