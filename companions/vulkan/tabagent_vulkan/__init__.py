"""llama.cpp's Vulkan module for tabagent, which finds it by the entry point `vulkan` of the group `tabagent.variants`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["companion"]


def companion() -> Path:
    """Where the module lies. It needs the Vulkan loader of the system, `libvulkan.so.1`."""
    return Path(__file__).parent / "lib"
