"""MiniLM as its makers published it, converted: its embeddings in llama.cpp are those of its definition."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import needs
from tabagent import gguf

pytestmark = pytest.mark.model

CHILD = Path(__file__).resolve().parents[1] / "support" / "embed_child.py"
TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "Paris is the capital of France.",
    "embeddings, pooled by their mean",
    "a",
]

Floats = NDArray[np.float32]


def read_safetensors(path: Path) -> dict[str, Floats]:
    """All F32 tensors of a file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, info in header.items():
        if info.get("dtype") == "F32":
            start, end = (8 + length + offset for offset in info["data_offsets"])
            tensors[name] = np.frombuffer(raw[start:end], dtype="<f4").reshape(info["shape"])
    return tensors


def word_pieces(text: str, vocabulary: dict[str, int]) -> list[int]:
    """The longest known pieces from the left of each word, between `[CLS]` and `[SEP]`; for plain ASCII text."""
    separated = "".join(c if c.isalnum() else f" {c} " for c in text.lower())
    ids = [vocabulary["[CLS]"]]
    for word in separated.split():
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next(end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary)
            ids.append(vocabulary[prefix + word[start:end]])
            start = end
    return [*ids, vocabulary["[SEP]"]]


def embed(ids: list[int], weights: dict[str, Floats], heads: int, layers: int) -> Floats:
    """BERT's encoder (Devlin et al. 2018) and the mean over all tokens, in F32."""

    def norm(values: Floats, name: str) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        result: Floats = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return result

    def linear(values: Floats, name: str) -> Floats:
        result: Floats = values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return result

    def gelu(values: Floats) -> Floats:
        result: Floats = values * 0.5 * (1 + np.vectorize(math.erf)(values / math.sqrt(2)))
        return result

    words = weights["embeddings.word_embeddings.weight"][ids]
    places = weights["embeddings.position_embeddings.weight"][: len(ids)]
    hidden = norm(words + places + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    width = hidden.shape[1] // heads
    for layer in range(layers):
        block = f"encoder.layer.{layer}"
        query, key, value = (
            linear(hidden, f"{block}.attention.self.{name}").reshape(len(ids), heads, width).transpose(1, 0, 2) for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(width)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        attended = (shares @ value).transpose(1, 0, 2).reshape(len(ids), -1)
        hidden = norm(hidden + linear(attended, f"{block}.attention.output.dense"), f"{block}.attention.output.LayerNorm")
        inner = gelu(linear(hidden, f"{block}.intermediate.dense"))
        hidden = norm(hidden + linear(inner, f"{block}.output.dense"), f"{block}.output.LayerNorm")
    result: Floats = hidden.mean(axis=0)
    return result


@pytest.mark.parametrize("out_type", ["f32", "f16"])
def test_embeddings_are_those_of_the_definition(out_type: str, minilm_path: Path, tmp_path: Path) -> None:
    done = gguf.convert(minilm_path, tmp_path / "minilm.gguf", out_type=out_type)
    assert (done.architecture, done.tensors) == ("bert", 101)
    command = [sys.executable, str(CHILD), str(needs.library()), str(tmp_path / "minilm.gguf")]
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[1])}
    child = subprocess.run(command, input=json.dumps(TEXTS), capture_output=True, text=True, check=False, env=environment)
    assert child.returncode == 0, child.stderr[-2000:]
    vocabulary = {text: index for index, text in enumerate((minilm_path / "vocab.txt").read_text(encoding="utf-8").splitlines())}
    weights = read_safetensors(minilm_path / "model.safetensors")
    for text, answer in zip(TEXTS, json.loads(child.stdout), strict=True):
        ids = word_pieces(text, vocabulary)
        assert answer["tokens"] == ids
        expected, found = embed(ids, weights, heads=12, layers=6), np.array(answer["embedding"])
        cosine = float(expected @ found / np.linalg.norm(expected) / np.linalg.norm(found))
        assert cosine > 0.9999, f"{text}: {cosine}"
