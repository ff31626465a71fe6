"""BERT by its definition, in numpy and float64, from the files that its makers published."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def read_safetensors(path: Path) -> dict[str, Floats]:
    """All F32 tensors of a file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, info in header.items():
        if info.get("dtype") == "F32":
            start, end = (8 + length + offset for offset in info["data_offsets"])
            tensors[name] = np.frombuffer(raw[start:end], dtype="<f4").reshape(info["shape"]).astype(np.float64)
    return tensors


def vocabulary_of(folder: Path) -> dict[str, int]:
    """The word pieces of a folder, with their ids."""
    return {text: index for index, text in enumerate((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())}


def word_pieces(text: str, vocabulary: Mapping[str, int]) -> list[int]:
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


def bert_vectors(ids: Sequence[int], weights: Mapping[str, Floats], heads: int, layers: int) -> Floats:
    """The vectors of all tokens after BERT's encoder (Devlin et al. 2018)."""

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

    words = weights["embeddings.word_embeddings.weight"][list(ids)]
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
    return hidden
