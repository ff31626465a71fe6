"""MiniLM as its makers published it, converted: its embeddings in llama.cpp are those of its definition."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import needs
from support.bert_reference import bert_vectors, read_safetensors, vocabulary_of, word_pieces
from tabagent import gguf

pytestmark = pytest.mark.model

CHILD = Path(__file__).resolve().parents[1] / "support" / "embed_child.py"
TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "Paris is the capital of France.",
    "embeddings, pooled by their mean",
    "a",
]


@pytest.mark.parametrize("out_type", ["f32", "f16"])
def test_embeddings_are_those_of_the_definition(out_type: str, minilm_path: Path, tmp_path: Path) -> None:
    done = gguf.convert(minilm_path, tmp_path / "minilm.gguf", out_type=out_type)
    assert (done.architecture, done.tensors) == ("bert", 101)
    command = [sys.executable, str(CHILD), str(needs.library()), str(tmp_path / "minilm.gguf")]
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parents[1])}
    child = subprocess.run(command, input=json.dumps(TEXTS), capture_output=True, text=True, check=False, env=environment)
    assert child.returncode == 0, child.stderr[-2000:]
    vocabulary = vocabulary_of(minilm_path)
    weights = read_safetensors(minilm_path / "model.safetensors")
    for text, answer in zip(TEXTS, json.loads(child.stdout), strict=True):
        ids = word_pieces(text, vocabulary)
        assert answer["tokens"] == ids
        expected, found = bert_vectors(ids, weights, heads=12, layers=6).mean(axis=0), np.array(answer["embedding"])
        cosine = float(expected @ found / np.linalg.norm(expected) / np.linalg.norm(found))
        assert cosine > 0.9999, f"{text}: {cosine}"
