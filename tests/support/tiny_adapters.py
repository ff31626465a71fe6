"""Tiny random PEFT adapters for the tiny checkpoints, the same bytes on every machine."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Final

from support.tiny_checkpoints import Checkpoint, gemma2, llama3, numbers, phi3, qwen3, smollm, write_safetensors

RANK: Final = 4
ALPHA: Final = 6


def write_peft(folder: Path, checkpoint: Checkpoint, *, seed: int = 0, embeddings: bool = False, **config: Any) -> Path:
    """Write an adapter for all projections of `checkpoint`, and with `embeddings` for its table of tokens, into `folder`, which is made."""
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "someone/tiny",
        "r": RANK,
        "lora_alpha": ALPHA,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings | config), encoding="utf-8")
    generator = random.Random(seed)  # noqa: S311 (numbers for a test)
    blobs = {}

    def add(name: str, shape: tuple[int, ...]) -> None:
        blobs[f"base_model.model.{name}"] = ("F32", shape, numbers(generator, "F32", shape))

    for name, (_, shape) in sorted(checkpoint.tensors.items()):
        module = name.removesuffix(".weight")
        if module.endswith("_proj"):
            add(f"{module}.lora_A.weight", (RANK, shape[1]))
            add(f"{module}.lora_B.weight", (shape[0], RANK))
        elif embeddings and module.endswith("embed_tokens"):
            add(f"{module}.lora_embedding_A", (RANK, shape[0]))
            add(f"{module}.lora_embedding_B", (shape[1], RANK))
    write_safetensors(folder / "adapter_model.safetensors", blobs)
    return folder


ADAPTERS: Final = {
    "llama3-1B-Instruct": (llama3, True, "f32"),
    "smollm-tiny": (smollm, False, "f16"),
    "qwen3-tiny": (qwen3, True, "f32"),
    "gemma-2-2b-it": (gemma2, False, "bf16"),
    "phi-3-mini-128k": (phi3, False, "f32"),
}
"""For each family its checkpoint, whether the adapter changes the embeddings too, and the type that it is converted to."""
