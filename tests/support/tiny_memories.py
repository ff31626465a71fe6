"""Tiny models with each kind of memory."""

from pathlib import Path
from typing import Final

from support.tiny_architectures import tiny_context
from support.tiny_embedders import tiny_embedder
from support.tiny_models import tiny_llama

MEMORIES: Final = ("full", "windows", "recurrent", "hybrid")


def memory_file(memory: str, folder: Path) -> Path:
    """A tiny model with this kind of memory."""
    path = folder / f"{memory}.gguf"
    image = tiny_llama() if memory == "full" else tiny_embedder("mamba", context=512) if memory == "recurrent" else tiny_context(memory)
    path.write_bytes(image.to_bytes())
    return path
