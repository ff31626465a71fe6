"""Search among texts by meaning: `python examples/embeddings.py model.gguf "How many people live in Berlin?" notes.txt`."""

from __future__ import annotations

import sys
from pathlib import Path

from tabagent import Model


def search(model: Model, query: str, texts: list[str], best: int = 3) -> list[tuple[float, str]]:
    """The texts nearest to the query, with the cosine of their vectors. A reranker reads both together: `model.rerank(query, texts)`."""
    scores = model.embed(texts, truncate=True) @ model.embed(query)[0]
    return [(float(scores[index]), texts[index]) for index in (-scores).argsort()[:best]]


def main(path: str, query: str, file: str) -> None:
    lines = [line for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    with Model.load(path) as model:
        for score, text in search(model, query, lines):
            print(f"{score:.3f}  {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
