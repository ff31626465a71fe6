"""Guesses of tokens as llama-cpp-python has them."""

from __future__ import annotations

from typing import Any, Final

from tabagent.speculation import SpeculativeConfig

MOST_GUESSES: Final = 64
"""More are never decoded ahead; guesses change the speed alone."""

__all__ = ["LlamaDraftModel", "LlamaPromptLookupDecoding", "speculation_of"]


class LlamaDraftModel:
    """What guesses tokens. `LlamaPromptLookupDecoding` is the one that there is; guesses are made in the core, not by a function in Python."""


class LlamaPromptLookupDecoding(LlamaDraftModel):
    """Guesses that what followed the last tokens before follows again."""

    def __init__(self, max_ngram_size: int = 2, num_pred_tokens: int = 10) -> None:
        self.max_ngram_size = max_ngram_size
        self.num_pred_tokens = num_pred_tokens
        self.config = SpeculativeConfig(min_match=1, max_match=max_ngram_size, max_draft=min(num_pred_tokens, MOST_GUESSES))
        """As `Model.generate(speculative=...)` takes it."""


def speculation_of(draft_model: Any) -> SpeculativeConfig | None:
    """What `Llama(draft_model=...)` asks for.

    Raises:
        TypeError: it is something that guesses in Python.
    """
    if draft_model is None:
        return None
    if not isinstance(draft_model, LlamaPromptLookupDecoding):
        message = f"`draft_model` must be a LlamaPromptLookupDecoding, got {type(draft_model).__name__}; Python cannot guess here"
        raise TypeError(message)
    return draft_model.config
