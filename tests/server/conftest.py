"""Servers on loopback over the real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import needs
from tabagent import Model, Server

if TYPE_CHECKING:
    from openai import OpenAI

QWEN: Final = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
# llama.cpp's threads wait for each other at every operation: beside other busy processes two are slower than one.
THREADS: Final = 1


@pytest.fixture(scope="session")
def batching_server(smollm2_path: Path) -> Iterator[Server]:
    """SmolLM2, with everything that is off by default. Batches of other shapes may give other texts at near ties."""
    with (
        Model.load(smollm2_path, context_size=2048, threads=THREADS) as model,
        Server(model, port=0, metrics=True, slots=True, name="smollm2") as server,
    ):
        yield server


@pytest.fixture(scope="session")
def steady_server(smollm2_path: Path) -> Iterator[Server]:
    """SmolLM2 whose texts are the same each time, for tests that compare them."""
    with (
        Model.load(smollm2_path, context_size=2048, threads=THREADS, deterministic=True) as model,
        Server(model, port=0, metrics=True, slots=True, name="smollm2") as server,
    ):
        yield server


@pytest.fixture
def server(batching_server: Server) -> Server:
    """The one that tests of a file talk to, unless the file chooses another."""
    return batching_server


@pytest.fixture(scope="session")
def qwen_server() -> Iterator[Server]:
    """Qwen2.5-Coder, which calls tools."""
    with Model.load(needs.model(QWEN), context_size=4096, threads=THREADS, deterministic=True) as model, Server(model, port=0, name="qwen") as server:
        yield server


@pytest.fixture(scope="session")
def minilm_server(minilm: Model) -> Iterator[Server]:
    """MiniLM, which embeds alone."""
    with Server(minilm, port=0, name="minilm") as server:
        yield server


def client_of(server: Server) -> OpenAI:
    """OpenAI's client of a server; it tries once, so that a test sees each failure."""
    openai = needs.package("openai")
    client: OpenAI = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120)
    return client


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def qwen(qwen_server: Server) -> Iterator[OpenAI]:
    with client_of(qwen_server) as client:
        yield client


@pytest.fixture
def embedder(minilm_server: Server) -> Iterator[OpenAI]:
    with client_of(minilm_server) as client:
        yield client
