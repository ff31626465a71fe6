"""Generated adapters and control vectors for real models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tabagent import gguf

ALPHA = 8.0
RANK = 4


def write_adapter(path: Path, model: Path, *, size: float = 0.02, seed: int = 0) -> Path:
    """A random adapter for the queries, values and `down` matrices of all layers; `size` is the deviation of its numbers."""
    file = gguf.open(model)
    writer = gguf.GgufWriter()
    architecture = str(file.metadata["general.architecture"])
    writer.update({"general.architecture": architecture, "general.type": "adapter", "adapter.type": "lora"})
    writer.set("adapter.lora.alpha", ALPHA, type="f32")
    source = np.random.default_rng(seed)
    for tensor in file.tensors:
        if tensor.name.endswith(("attn_q.weight", "attn_v.weight", "ffn_down.weight")):
            rows, columns = tensor.shape
            for letter, shape in (("a", (RANK, columns)), ("b", (rows, RANK))):
                writer.add_tensor(f"{tensor.name}.lora_{letter}", source.normal(0, size, shape).astype(np.float32))
    writer.write(path)
    return path


def write_control_vector(path: Path, model: Path, *, size: float = 0.1, seed: int = 0) -> Path:
    """A random control vector for all layers that can be moved."""
    metadata = gguf.open(model).metadata
    architecture = str(metadata["general.architecture"])
    layers, width = metadata[f"{architecture}.block_count"], metadata[f"{architecture}.embedding_length"]
    assert isinstance(layers, int)
    assert isinstance(width, int)
    writer = gguf.GgufWriter()
    writer.update({"general.architecture": "controlvector", "controlvector.model_hint": architecture})
    source = np.random.default_rng(seed)
    for layer in range(1, layers):
        writer.add_tensor(f"direction.{layer}", source.normal(0, size, width).astype(np.float32))
    writer.write(path)
    return path
