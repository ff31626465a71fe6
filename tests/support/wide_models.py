"""A small random model whose rows are whole blocks of 256, as the K types need them."""

from __future__ import annotations

from typing import Final

import numpy as np

from support.tiny_models import tiny_llama
from tabagent import gguf

WIDTH: Final = 256
LAYERS: Final = 8


def wide_llama(*, seed: int = 0, layers: int = LAYERS) -> gguf.GgufWriter:
    """A model of architecture `llama` with F32 weights."""
    tiny = gguf.open(tiny_llama().to_bytes())
    tokens = tiny.tensors["token_embd.weight"].shape[0]
    writer = gguf.GgufWriter()
    for key, value in tiny.metadata.items():
        writer.set(key, value, type=tiny.metadata.type(key))
    sizes = {"embedding_length": WIDTH, "feed_forward_length": WIDTH, "block_count": layers, "rope.dimension_count": WIDTH // 4}
    for name, size in sizes.items():
        writer.set(f"llama.{name}", size, type="u32")
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (tokens, WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(layers):
        for name, rows in {"attn_q": 256, "attn_k": 128, "attn_v": 128, "attn_output": 256, "ffn_gate": 256, "ffn_up": 256, "ffn_down": 256}.items():
            shapes[f"blk.{layer}.{name}.weight"] = (rows, WIDTH)
        for name in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{layer}.{name}.weight"] = (WIDTH,)
    random = np.random.default_rng(seed)
    for name, shape in shapes.items():
        values = np.ones(shape) if len(shape) == 1 else random.normal(size=shape) * 0.05
        writer.add_tensor(name, values.astype(np.float32))
    return writer
