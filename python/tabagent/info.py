"""Facts about a loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabagent.memory import MemoryNeed

__all__ = ["DeviceInfo", "ModelInfo", "ModelStats", "VariantInfo"]


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """Something that llama.cpp can compute with."""

    name: str
    """llama.cpp's name for it, such as `CPU` or `CUDA0`."""
    id: str = ""
    """Its name for `devices=`, such as `cpu` or `cuda:0`."""
    description: str
    """What it is, in words."""
    kind: str
    """Its type: `cpu`, `gpu`, `integrated_gpu`, `accelerator`, or `other_N` for a type unknown to this version."""
    memory_free: int
    """Free memory in bytes when the model was loaded; 0 where unknown."""
    memory_total: int
    """Memory in bytes; 0 where unknown."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DeviceInfo:
        """A device as the core describes it."""
        return cls(**{name: value[name] for name in ("name", "id", "description", "kind", "memory_free", "memory_total")})

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU, with memory of its own or not."""
        return self.kind in {"gpu", "integrated_gpu"}


@dataclass(frozen=True, kw_only=True)
class VariantInfo:
    """Which llama.cpp runs the model: what was asked for, what was got, and why."""

    requested: str
    """What was asked for: `auto`, a name, or a path."""
    name: str
    """The variant that was got."""
    library: str
    """The directory of its libraries."""
    source: str
    """How that directory was found."""
    reason: str
    """Why it was chosen."""
    build: str
    """The build of llama.cpp."""
    cpu_module: str | None
    """The CPU module in use; None where it is a part of the library."""


@dataclass(frozen=True, kw_only=True)
class ModelStats:
    """What a model is doing now."""

    active: int
    """Requests that are decoded in turn, their state in the context's memory."""
    queued: int
    """Requests that wait for their turn."""
    parked: int
    """Requests whose state waits in host memory for room."""
    cells_used: int
    """Tokens held in the context's memory, those that requests left for others included."""
    threads: int
    """Threads that steps of generation compute with now. It follows what else runs, unless `threads=` or `deterministic=True` fixes it."""
    prompt_threads: int
    """The same for prompts."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Facts about a loaded model. Sizes are in bytes."""

    path: str
    """The model file; the first one of a split model."""
    description: str
    """llama.cpp's one-line description."""
    architecture: str
    """The architecture, such as `llama` or `gemma3`."""
    name: str | None
    """The name in the file."""
    parameters: int
    """How many weights it has."""
    size: int
    """The weights' size."""
    engine: str
    """What computes it: `llama.cpp` or `rust`."""
    quantization: str
    """The type of most weights, such as `Q4_K_M`."""
    context_train_size: int
    """The longest context, in tokens, that the model was trained for."""
    embedding_dim: int
    """The width of the model."""
    vocab_size: int
    """How many tokens the vocabulary has."""
    vocab_kind: str
    """The kind of the tokenizer."""
    layers: int
    """How many layers it has."""
    layers_on_gpu: int
    """How many of them are on GPUs. The output counts as one, too, and goes there first: with `gpu_layers=1` it alone is there."""
    gpu_layers: int | None
    """How many layers `gpu_layers` asked for, or how many `auto` put on GPUs where not all fit; None where it put all there."""
    used_devices: tuple[str, ...]
    """The devices beside the CPU that the model may use, by the names in `devices`' `id`."""
    heads: int
    """Attention heads."""
    kv_heads: int
    """Attention heads of keys and values."""
    sliding_window: int
    """Tokens that sliding-window layers look back; 0 without such layers."""
    has_encoder: bool
    """Whether the model has an encoder."""
    has_decoder: bool
    """Whether the model has a decoder, and so can generate."""
    context_size: int
    """Tokens that the context of `generate` holds for all sequences together; 0 with `vocab_only`."""
    max_sequences: int
    """How many requests it can serve at a time; 0 with `vocab_only`."""
    batch_size: int
    """Tokens decoded in one go; 0 with `vocab_only`."""
    threads: int
    """Threads of computation, at most: `Model.stats` has the numbers in use. 0 with `vocab_only`."""
    kv_types: tuple[str, str]
    """The types of the context's keys and of its values."""
    memory: MemoryNeed
    """What the model and its context take of memory, on the host and on devices together, as llama.cpp counted it."""
    adjustments: tuple[str, ...]
    """What `gpu_layers="auto"`, `fit` and `fallback` changed so that it fits, which file was rewritten so that it loads, and which settings are used
    because `tabagent variants --benchmark` measured that they are faster than the defaults, in sentences."""
    devices: tuple[DeviceInfo, ...]
    """What llama.cpp can compute with on this machine."""
    variant: VariantInfo
    """Which llama.cpp runs it."""
