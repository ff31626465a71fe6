"""How much memory models and their contexts take."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tabagent import _native, log
from tabagent._load_options import load_options
from tabagent._placement import placement_options
from tabagent.loading import open_library, resolve_model_path

__all__ = ["DeviceNeed", "MemoryNeed", "MemoryPrediction", "predict_memory"]

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """Bytes of a model and its context, by what they are for. All are 0 with `vocab_only`."""

    mapped: int
    """Weights that are read from the mapped file. The system takes their memory back when it needs it, and reads them again: slow, but no failure."""
    weights: int
    """Weights in memory of their own."""
    cache: int
    """The memory of the context: keys and values, recurrent states, and what is kept about each token."""
    compute: int
    """Intermediate results of the largest computation, and the logits."""
    vocabulary: int
    """The vocabulary and the descriptions of tensors, by a rule of thumb."""

    @property
    def allocated(self) -> int:
        """What must be free: all but `mapped`."""
        return self.weights + self.cache + self.compute + self.vocabulary

    @property
    def total(self) -> int:
        """All of it."""
        return self.allocated + self.mapped

    @classmethod
    def from_native(cls, need: Mapping[str, Any]) -> MemoryNeed:
        """As the core tells it."""
        return MemoryNeed(**{name: need[name] for name in MemoryNeed.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class DeviceNeed:
    """Bytes of a model and its context in the memory of one device."""

    device: str
    """The device, such as `cuda:0`."""
    layers: int
    """Repeating layers there."""
    weights: int
    """Their weights, and those of the output if it is there."""
    cache: int
    """Their part of the context's memory."""
    compute: int
    """Intermediate results."""
    free: int
    """Bytes that were free there; 0 where the device does not tell."""
    margin: int
    """Bytes of these that `gpu_layers="auto"` leaves to the driver and its libraries."""

    @property
    def total(self) -> int:
        """All that is needed there."""
        return self.weights + self.cache + self.compute

    @property
    def fits(self) -> bool:
        """Whether it fits, as far as the device tells."""
        return self.free == 0 or self.total <= self.free


@dataclass(frozen=True, kw_only=True)
class MemoryPrediction(MemoryNeed):
    """What a model and its context would take, and what is free."""

    available: int | None
    """Bytes that this process may still take: of the machine's memory, within its control groups and its own limits. None where the system does
    not tell."""
    gpu_layers: int
    """Layers that go to devices, with the output as one of them: as many as were asked for, or with `auto` as many as fit."""
    devices: tuple[DeviceNeed, ...]
    """What is needed on each device that the model may use. The numbers above are of the host's memory alone."""
    context_size: int
    """Tokens of the context."""
    kv_types: tuple[str, str]
    """The types of its keys and of its values."""

    @property
    def fits(self) -> bool:
        """Whether it fits, as far as the system tells."""
        return (self.available is None or self.allocated <= self.available) and all(need.fits for need in self.devices)

    @classmethod
    def from_native(cls, need: Mapping[str, Any]) -> MemoryPrediction:
        """As the core tells it."""
        devices = tuple(DeviceNeed(**device) for device in need["devices"])
        return cls(**{**need, "kv_types": tuple(need["kv_types"]), "devices": devices})

    def __str__(self) -> str:
        keys, values = self.kv_types
        types = keys if keys == values else f"{keys} and {values}"
        return f"a context of {self.context_size:,} tokens in {types}, {-(-self.allocated // MIB):,} MiB in all"


def predict_memory(
    path: str | os.PathLike[str],
    *,
    variant: str | os.PathLike[str] = "auto",
    gpu_layers: int | Literal["auto"] = "auto",
    devices: Sequence[str] | None = None,
    split_mode: Literal["none", "layer", "row", "tensor"] | None = None,
    main_gpu: int | None = None,
    tensor_split: Sequence[float] | None = None,
    override_tensors: Mapping[str, str] | None = None,
    cpu_moe: bool | int = False,
    context_size: int | None = None,
    max_sequences: int | None = None,
    batch_size: int | None = None,
    micro_batch_size: int | None = None,
    kv_type: str | tuple[str, str] = "f16",
    flash_attention: Literal["auto", "on", "off"] = "auto",
    full_sliding_window: bool = False,
    kv_unified: bool = True,
    offload_kv: bool = True,
    offload_ops: bool = True,
    use_mmap: bool = True,
    mlock: bool = False,
    metadata_overrides: Mapping[str, float | bool | str] | None = None,
) -> MemoryPrediction:
    """What `Model.load` with these options would take of memory, and what is free. Reads the file's metadata and loads nothing.

        prediction = predict_memory("model.gguf", context_size=32_768)
        print(prediction.allocated, prediction.available, prediction.fits)

    llama.cpp itself counts cache and computation, without allocating them; of the weights that its CPU modules pack in another order, all that may
    be packed count. What finished requests leave in memory for others (`cache_bytes` of `load`) comes on top. Takes as long as reading the
    vocabulary.

    Raises:
        TypeError, ValueError: an option is wrong.
        ModelNotFoundError, InvalidModelError: there is no such file, or it is none that llama.cpp can run.
        IncompatibleLibraryError: the library is a build that cannot count.
        UnsupportedModelError: the model has no context.
    """
    placement = placement_options(
        devices=devices,
        split_mode=split_mode,
        main_gpu=main_gpu,
        tensor_split=tensor_split,
        override_tensors=override_tensors,
        cpu_moe=cpu_moe,
    )
    options = load_options(
        gpu_layers=gpu_layers,
        placement=placement,
        context_size=context_size,
        max_sequences=max_sequences,
        max_queue=None,
        deterministic=False,
        cache_bytes=None,
        threads=None,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        kv_type=kv_type,
        flash_attention=flash_attention,
        full_sliding_window=full_sliding_window,
        kv_unified=kv_unified,
        offload_kv=offload_kv,
        offload_ops=offload_ops,
        use_mmap=use_mmap,
        mlock=mlock,
        vocab_only=False,
        check_tensors=False,
        metadata_overrides=metadata_overrides,
    )
    file = resolve_model_path(path)
    library = open_library(variant, placement["devices"])
    try:
        found = _native.Model.predict_memory(file, library=library.directory, module=library.module, options=options)
    finally:
        log.forward()
    return MemoryPrediction.from_native(found)
