"""Vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabagent.compat.llama_cpp.base import LlamaBase
from tabagent.compat.llama_cpp.constants import LLAMA_POOLING_TYPE_NONE, LLAMA_POOLING_TYPE_UNSPECIFIED, POOLING_NAMES

__all__ = ["LlamaEmbedder"]


class LlamaEmbedder(LlamaBase):
    """The part of `Llama` that embeds."""

    def create_embedding(self, input: str | Sequence[str], model: str | None = None) -> dict[str, Any]:
        """The vectors of texts, as OpenAI's endpoint gives them. As `embed` otherwise."""
        texts = [input] if isinstance(input, str) else list(input)
        vectors, count = self.embed(texts, return_count=True)
        data = [{"object": "embedding", "embedding": vector, "index": index} for index, vector in enumerate(vectors)]
        return {"object": "list", "data": data, "model": model or self.model_path, "usage": {"prompt_tokens": count, "total_tokens": count}}

    def embed(
        self,
        input: str | Sequence[str],
        normalize: bool = False,
        truncate: bool = True,
        return_count: bool = False,
    ) -> Any:
        """A list of floats for each text; where tokens are not pooled, a list of them for each token of each text. A single str gives its own alone.

        What is not pooled: with `pooling_type=LLAMA_POOLING_TYPE_NONE`, and where neither that nor the file names a way.

        Raises:
            RuntimeError: the model was made without `embedding=True`.
        """
        if not self._settings["embedding"]:
            message = "the vectors of texts need `Llama(..., embedding=True)`"
            raise RuntimeError(message)
        texts = [input] if isinstance(input, str) else list(input)
        lists = [tokens[: self.n_batch] if truncate else tokens for tokens in self._model.tokenize_batch(texts)]
        pooling = self._pooling()
        if pooling is None:
            vectors: list[Any] = [self._model.embed_tokens(tokens, normalize=normalize).tolist() for tokens in lists]
        else:
            vectors = self._model.embed(lists, pooling=pooling, normalize=normalize).tolist() if lists else []
        found = vectors[0] if isinstance(input, str) else vectors
        return (found, sum(map(len, lists))) if return_count else found

    def pooling_type(self) -> int:
        """How the vectors of a text's tokens become one, as a number of llama.cpp's."""
        asked = self._settings["pooling_type"]
        if asked != LLAMA_POOLING_TYPE_UNSPECIFIED:
            return int(asked)
        named = self._model.metadata.get(f"{self._model.info.architecture}.pooling_type")
        return LLAMA_POOLING_TYPE_NONE if named is None else int(named)

    def _pooling(self) -> Any:
        kind = self.pooling_type()
        if kind == LLAMA_POOLING_TYPE_NONE:
            return None
        if kind not in POOLING_NAMES:
            message = f"`pooling_type={kind}` gives no vectors; models that rank have `Llama.model.rerank(query, documents)`"
            raise ValueError(message)
        return POOLING_NAMES[kind]
