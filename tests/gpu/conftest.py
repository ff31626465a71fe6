"""Models on a GPU and on the CPU, in one process that runs llama.cpp with a companion's modules.

A process has one llama.cpp, so these tests have a run of pytest of their own: `make test-gpu GPU=vulkan`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import needs
from tabagent import Model

CONTEXT = 1024


@pytest.fixture(scope="session")
def backend() -> str:
    """The backend under test, such as `cuda`."""
    return needs.gpu()


@pytest.fixture(scope="session")
def device(backend: str) -> str:
    """The device under test, such as `cuda:0`."""
    return f"{backend}:0"


@pytest.fixture(scope="session")
def on_gpu(smollm2_path: Path, backend: str, device: str) -> Iterator[Model]:
    """SmolLM2 with all that fits on the GPU."""
    with Model.load(smollm2_path, variant=backend, devices=[device], context_size=CONTEXT) as model:
        yield model


@pytest.fixture(scope="session")
def on_cpu(smollm2_path: Path, backend: str) -> Iterator[Model]:
    """SmolLM2 on the CPU alone, by the same llama.cpp."""
    with Model.load(smollm2_path, variant=backend, devices=["cpu"], context_size=CONTEXT) as model:
        yield model
