"""Models for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import needs

if TYPE_CHECKING:
    from tabagent import Model

# A job in the background of a shell starts with Ctrl-C ignored, and so would the programs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test-windows` runs them, in a Python for Windows.
collect_ignore: Final = ["windows"]

SMOLLM2: Final = "smollm2-135m-instruct-q4_1.gguf"
GEMMA: Final = "gemma-3-270m-q4_k_m.gguf"
CODER: Final = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
# llama.cpp's threads wait for each other at every operation: beside other busy processes two are slower than one.
THREADS: Final = 1


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """The folder of MiniLM as its makers published it."""
    return needs.model("all-MiniLM-L6-v2/model.safetensors").parent


@pytest.fixture(scope="session")
def minilm_file(minilm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM as a GGUF file in F32, as `tabagent convert` makes it."""
    from tabagent import gguf

    path = tmp_path_factory.mktemp("minilm") / "minilm.gguf"
    gguf.convert(minilm_path, path, out_type="f32")
    return path


@pytest.fixture(scope="session")
def minilm(minilm_file: Path) -> Iterator[Model]:
    """MiniLM, a BERT that embeds."""
    from tabagent import Model

    with Model.load(minilm_file, threads=THREADS) as model:
        yield model


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    return needs.model(SMOLLM2)


@pytest.fixture(scope="session")
def gemma_path() -> Path:
    return needs.model(GEMMA)


@pytest.fixture(scope="session")
def coder_path() -> Path:
    return needs.model(CODER)


@pytest.fixture(scope="session")
def coder(coder_path: Path) -> Iterator[Model]:
    """Qwen2.5-Coder 0.5B Instruct, with a context of 1,024 tokens, whose texts are the same each time."""
    from tabagent import Model

    with Model.load(coder_path, context_size=1024, threads=THREADS, deterministic=True) as model:
        yield model


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Iterator[Model]:
    """SmolLM2 135M Instruct, with a context of 512 tokens."""
    from tabagent import Model

    with Model.load(smollm2_path, context_size=512, threads=THREADS) as model:
        yield model


@pytest.fixture(scope="session")
def gemma(gemma_path: Path) -> Iterator[Model]:
    """Gemma 3 270M, with a context of 512 tokens."""
    from tabagent import Model

    with Model.load(gemma_path, context_size=512, threads=THREADS) as model:
        yield model


@pytest.fixture(scope="session")
def smollm2_vocabulary(smollm2_path: Path) -> Iterator[Model]:
    from tabagent import Model

    with Model.load(smollm2_path, vocab_only=True) as model:
        yield model


@pytest.fixture(scope="session")
def gemma_vocabulary(gemma_path: Path) -> Iterator[Model]:
    from tabagent import Model

    with Model.load(gemma_path, vocab_only=True) as model:
        yield model


@pytest.fixture
def one_core() -> Iterator[None]:
    """Models that the test loads, here or in programs that it starts, compute with one thread, as `THREADS` says for those above."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)
