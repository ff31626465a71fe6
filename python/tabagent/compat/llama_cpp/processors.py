"""Functions that look at logits, as llama-cpp-python calls them, as hooks of `Model.generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LogitsProcessor", "LogitsProcessorList", "MinTokensLogitsProcessor", "Stopped", "StoppingCriteria", "StoppingCriteriaList", "hooks"]

LogitsProcessor: TypeAlias = Callable[["NDArray[np.intc]", "NDArray[np.single]"], "NDArray[np.single]"]
"""`f(input_ids, scores)` gives the scores to use."""
StoppingCriteria: TypeAlias = Callable[["NDArray[np.intc]", "NDArray[np.single]"], bool]
"""`f(input_ids, logits)` says whether the text ends before the next token."""


class LogitsProcessorList(list[LogitsProcessor]):
    """Processors that run one after another."""

    def __call__(self, input_ids: NDArray[np.intc], scores: NDArray[np.single]) -> NDArray[np.single]:
        """The scores after all of them."""
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


class StoppingCriteriaList(list[StoppingCriteria]):
    """Criteria of which any one ends the text."""

    def __call__(self, input_ids: NDArray[np.intc], logits: NDArray[np.single]) -> bool:
        """Whether one of them does."""
        return any([criterion(input_ids, logits) for criterion in self])  # noqa: C419 (each sees each token)


class MinTokensLogitsProcessor:
    """Keeps the model from ending a text before it has so many tokens."""

    def __init__(self, min_tokens: int, token_eos: int) -> None:
        self.min_tokens = min_tokens
        self.token_eos = token_eos
        self.prompt_tokens: int | None = None

    def __call__(self, input_ids: NDArray[np.intc], scores: NDArray[np.single]) -> NDArray[np.single]:
        """The scores, without the end while it is too early for it."""
        if self.prompt_tokens is None:
            self.prompt_tokens = len(input_ids)
        if len(input_ids) - self.prompt_tokens < self.min_tokens:
            scores[self.token_eos] = -np.inf
        return scores


class Stopped(Exception):  # noqa: N818 (not an error: a criterion was met)
    """A stopping criterion was met."""


def hooks(processors: Any, criteria: Any) -> list[Callable[[Any, Any], None]]:
    """The functions as `generate(logits_processors=...)` takes them. A criterion that is met ends the stream with `Stopped`.

    Criteria see the model's own logits, as they do in llama-cpp-python.

    Raises:
        TypeError: one of the two is neither None nor a function nor a list of functions.
    """
    made: list[Callable[[Any, Any], None]] = []
    criterion = _as_function(criteria, "stopping_criteria", StoppingCriteriaList)
    if criterion is not None:
        made.append(_stopper(criterion))
    processor = _as_function(processors, "logits_processor", LogitsProcessorList)
    if processor is not None:
        made.append(_in_place(processor))
    return made


def _as_function(value: Any, name: str, kind: type[list[Any]]) -> Callable[[Any, Any], Any] | None:
    if value is None or (isinstance(value, Sequence) and not value):
        return None
    if callable(value):
        function: Callable[[Any, Any], Any] = value
        return function
    if isinstance(value, Sequence) and all(map(callable, value)):
        joined: Callable[[Any, Any], Any] = kind(value)  # type: ignore[assignment] # both lists can be called
        return joined
    message = f"`{name}` must be a function or a list of functions, got {type(value).__name__}"
    raise TypeError(message)


def _stopper(criterion: Callable[[Any, Any], Any]) -> Callable[[Any, Any], None]:
    def stop(tokens: Any, logits: Any) -> None:
        if criterion(tokens, logits.copy()):
            raise Stopped

    return stop


def _in_place(processor: Callable[[Any, Any], Any]) -> Callable[[Any, Any], None]:
    def process(tokens: Any, logits: Any) -> None:
        changed = processor(tokens, logits)
        if changed is None:
            message = "a logits processor gave None; it must give the scores"
            raise TypeError(message)
        if changed is not logits:
            logits[:] = changed

    return process
