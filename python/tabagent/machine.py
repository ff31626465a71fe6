"""What is known about this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tabagent import _native

__all__ = ["Cpu", "CpuBudget", "Hardware", "Memory", "hardware"]


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """The processor."""

    vendor: str
    """The maker as the processor reports it, such as `GenuineIntel`; empty where unknown."""
    model: str
    """The marketing name; empty where unknown."""
    family: int | None
    """The family number (x86)."""
    model_number: int | None
    """The model number (x86)."""
    architecture: str
    """The architecture, such as `x86_64`."""
    features: tuple[str, ...]
    """Instruction set extensions that programs may use, by ggml's names."""
    reported: tuple[str, ...]
    """Extensions that the processor has, whether or not the operating system has switched them on."""
    physical_cores: int | None
    """Physical cores; None where unknown."""
    logical_cores: int
    """Hardware threads."""


@dataclass(frozen=True, kw_only=True)
class CpuBudget:
    """How much of the processor this process may use."""

    affinity: int
    """Hardware threads it may be scheduled on."""
    quota: float | None
    """Processors' worth of time that control groups allow; None without a limit."""
    cores: int | None
    """Physical cores among the allowed hardware threads; None where unknown."""
    usable: int
    """Hardware threads that can work at the same time."""
    reason: str
    """What decided, in words."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Main memory, in bytes."""

    total_bytes: int
    """Memory of the machine."""
    available_bytes: int
    """What can be taken without swapping, control group limits included."""
    limit_bytes: int | None
    """The tightest control group limit; None without one."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine as this process sees it. GPUs are told by a loaded library, in `model.info.devices`."""

    system: str
    """The operating system."""
    cpu: Cpu
    """The processor."""
    budget: CpuBudget
    """How much of it may be used."""
    memory: Memory | None
    """Main memory; None where it cannot be read."""
    default_threads: int
    """How many threads a model computes with unless told otherwise."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Hardware:
        """The machine as the core describes it."""
        cpu = {**value["cpu"], "features": tuple(value["cpu"]["features"]), "reported": tuple(value["cpu"]["reported"])}
        memory = value["memory"]
        return cls(
            system=value["system"],
            cpu=Cpu(**cpu),
            budget=CpuBudget(**value["budget"]),
            memory=None if memory is None else Memory(**memory),
            default_threads=value["default_threads"],
        )


def hardware() -> Hardware:
    """Look at this machine: processor, cores and memory that may be used. Takes about a millisecond."""
    return Hardware.from_json(json.loads(_native.hardware_json()))
