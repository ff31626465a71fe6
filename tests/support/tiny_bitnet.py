"""Tiny BitNet models as files: with the weights in F32, and packed as Microsoft's fork packs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from support.tiny_checkpoints import Checkpoint, bitnet
from tabagent import gguf

MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def packed(weights: np.ndarray[Any, Any]) -> bytes:
    """Weights of -s, 0 and s as the x86 files of Microsoft's fork hold them: 32 bytes for 128, then s and 28 bytes more."""
    scale = np.abs(weights).max()
    digits = (np.round(weights / scale) + 1).astype(np.uint8).reshape(-1, 4, 32)
    groups = digits[:, 0] << 6 | digits[:, 1] << 4 | digits[:, 2] << 2 | digits[:, 3]
    blocks: bytes = groups.tobytes() + np.float32(scale).tobytes() + bytes(28)
    return blocks


def is_matrix(name: str) -> bool:
    """Whether BitNet's training makes the tensor ternary."""
    return name.removesuffix(".weight").rpartition(".")[2] in MATRICES


def write_f32(folder: Path, checkpoint: Checkpoint | None = None) -> Path:
    """A model of random ternary weights in F32: the checkpoint, or a BitNet model."""
    gguf.convert((checkpoint or bitnet()).write(folder / "model"), folder / "f32.gguf", out_type="f32")
    return folder / "f32.gguf"


def write_i2_s(f32: Path, output: Path, *, architecture: str | None = None) -> Path:
    """The same model with its matrices in `I2_S`."""
    source = gguf.open(f32)
    writer = gguf.GgufWriter()
    for key, value in source.metadata.items():
        if architecture is not None and key == "general.architecture":
            value = architecture  # noqa: PLW2901 (the one that is asked for)
        writer.set(key, value, type=source.metadata.type(key))
    for tensor in source.tensors:
        data: Any = packed(tensor.numpy()) if is_matrix(tensor.name) else tensor.raw
        writer.add_tensor(tensor.name, data, type="I2_S" if is_matrix(tensor.name) else "F32", shape=tensor.shape)
    writer.write(output)
    return output
