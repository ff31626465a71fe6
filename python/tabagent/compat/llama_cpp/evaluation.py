"""Tokens that a caller evaluates by hand, in a context of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tabagent.compat.llama_cpp.cache import LlamaState, shared_prefix
from tabagent.errors import DecodeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tabagent.context import Context
    from tabagent.model import Model

__all__ = ["Evaluation"]


class Evaluation:
    """The tokens so far, and the context that holds them, which is made when somebody first needs it."""

    def __init__(self, model: Model, *, context_size: int, batch_size: int, keeps_all: bool, options: dict[str, Any]) -> None:
        self.tokens: list[int] = []
        self._model = model
        self._options = {"context_size": context_size, "batch_size": batch_size, **options}
        self._keeps_all = keeps_all
        self._context: Context | None = None
        self._held: list[int] = []
        self._rows: list[NDArray[np.single]] = []

    def append(self, tokens: Sequence[int]) -> None:
        """Evaluate more tokens."""
        self.tokens += tokens
        self._catch_up()

    def logits(self) -> NDArray[np.single]:
        """The logits after the last token.

        Raises:
            ValueError: there is no token.
        """
        if not self.tokens:
            message = "there are no tokens; call `eval` first"
            raise ValueError(message)
        self._catch_up()
        return self._rows[-1]

    def scores(self) -> NDArray[np.single]:
        """All rows of logits that are kept: one for each token with `logits_all`, else the last one alone."""
        width = self._model.vocab_size()
        return np.stack(self._rows) if self._rows else np.zeros((0, width), dtype=np.single)

    def save(self, seed: int) -> LlamaState:
        """The tokens and what the context holds of them."""
        self._catch_up()
        state: bytes = self._opened().save_state()  # type: ignore[assignment] # None only where a file was named
        ids = np.array(self.tokens, dtype=np.intc)
        return LlamaState(input_ids=ids, scores=self.scores(), n_tokens=len(ids), llama_state=state, llama_state_size=len(state), seed=seed)

    def load(self, state: LlamaState) -> None:
        """Put a state back."""
        self._opened().load_state(state.llama_state)
        self.tokens = [int(token) for token in state.input_ids[: state.n_tokens]]
        self._held = list(self.tokens)
        self._rows = list(state.scores)

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._context.close()

    def _opened(self) -> Context:
        if self._context is None:
            self._context = self._model.create_context(**self._options)
        return self._context

    def _catch_up(self) -> None:
        """Make the context hold the tokens, and no others."""
        if self._held == self.tokens and (self._rows or not self.tokens):
            return
        context = self._opened()
        # The last token is always evaluated again where nothing is new, for its logits.
        kept = min(shared_prefix(self._held, self.tokens), max(len(self.tokens) - 1, 0))
        if kept < len(self._held):
            kept = self._cut(context, kept)
        try:
            while kept < len(self.tokens):
                part = self.tokens[kept : kept + context.batch_size]
                context.decode(part, logits="all" if self._keeps_all else "last")
                rows = [context.logits(index) for index in range(len(part))] if self._keeps_all else [context.logits()]
                self._rows = self._rows + rows if self._keeps_all else rows
                kept += len(part)
                self._held = self.tokens[:kept]
        except BaseException:
            # Ctrl-C, or a full context: what was decoded stays, the rest was never evaluated.
            self.tokens = list(self._held)
            raise

    def _cut(self, context: Context, kept: int) -> int:
        """Forget what is behind the first `kept` tokens, or everything where a part cannot be forgotten. Returns what is left."""
        try:
            if kept:
                context.remove(0, kept)
            else:
                context.clear()
        except DecodeError:
            context.clear()
            kept = 0
        self._held = self._held[:kept]
        self._rows = self._rows[:kept] if self._keeps_all else []
        return kept
