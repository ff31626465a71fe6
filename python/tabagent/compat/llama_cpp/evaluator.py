"""Tokens one by one."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tabagent.compat.llama_cpp.base import LlamaBase
from tabagent.compat.llama_cpp.completion import until_stopped
from tabagent.compat.llama_cpp.grammar import LlamaGrammar, structure_of
from tabagent.compat.llama_cpp.processors import LogitsProcessorList, StoppingCriteriaList, hooks
from tabagent.compat.llama_cpp.sampler import seed_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tabagent.compat.llama_cpp.cache import BaseLlamaCache, LlamaState

__all__ = ["LlamaEvaluator"]


class LlamaEvaluator(LlamaBase):
    """The part of `Llama` that evaluates tokens by hand."""

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate more tokens."""
        self._evaluation.append([int(token) for token in tokens])

    def reset(self) -> None:
        """Forget the tokens."""
        self._evaluation.tokens = []

    def sample(
        self,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.80,
        repeat_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_eta: float = 0.1,
        mirostat_tau: float = 5.0,
        penalize_nl: bool = True,
        logits_processor: LogitsProcessorList | None = None,
        grammar: LlamaGrammar | None = None,
        idx: int | None = None,
    ) -> int:
        """A token after those that were evaluated.

        Raises:
            ValueError: `penalize_nl`, `mirostat_mode`, `grammar` or `idx` is other than by default: they need `generate`.
        """
        if not penalize_nl or mirostat_mode or grammar is not None or idx is not None:
            message = "`sample` knows no `penalize_nl`, `mirostat_mode`, `grammar` and `idx`; use `generate` or `create_completion`"
            raise ValueError(message)
        logits = self._evaluation.logits().copy()
        for hook in hooks(logits_processor, None):
            hook(np.array(self._evaluation.tokens, dtype=np.intc), logits)
        config = self._sampling(locals())
        edges = np.cumsum(config.probabilities(logits, self._evaluation.tokens), dtype=np.float64)
        return int(np.searchsorted(edges, self._draw() * edges[-1], side="right"))

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.80,
        repeat_penalty: float = 1.0,
        reset: bool = True,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        penalize_nl: bool = True,
        logits_processor: LogitsProcessorList | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        grammar: LlamaGrammar | None = None,
    ) -> Generator[int, Sequence[int] | None, None]:
        """Tokens that continue others, one by one, without an end: those that end a text come too. Tokens sent in go after the last one.

        Raises:
            ValueError: `penalize_nl` is off, which llama.cpp knows no more.
            ContextFullError: the context is full.
        """
        if not penalize_nl:
            message = "`penalize_nl=False` cannot be honoured: llama.cpp's penalties make no exception any more; leave it out"
            raise ValueError(message)
        sampling = self._sampling(locals())
        options = {"sampling": sampling, "logits_processors": hooks(logits_processor, stopping_criteria), **self._always(), **structure_of(grammar)}
        evaluation = self._evaluation
        evaluation.tokens = [*([] if reset else evaluation.tokens), *(int(token) for token in tokens)]
        while True:
            with self._model.generate(list(evaluation.tokens), add_special=False, **options) as stream:
                for token in _tokens_of(until_stopped(stream)):
                    evaluation.tokens.append(token)
                    sent = yield token
                    if sent is not None:
                        evaluation.tokens += (int(one) for one in sent)
                        break
                else:
                    if stream.finish_reason != "stop":
                        # A criterion was met, or the context is full: the next request says which of the two it is.
                        if stream.finish_reason == "length":
                            continue
                        return
                    match = stream.result().stop_match
                    end = match.value if match is not None and isinstance(match.value, int) else self._model.token_eos()
                    if end is None:
                        return
                    evaluation.tokens.append(end)
                    sent = yield end
                    evaluation.tokens += (int(one) for one in sent or ())
                    if grammar is not None:
                        return

    def save_state(self) -> LlamaState:
        """The tokens so far, of the last completion or of `eval`, and what the model holds of them."""
        return self._evaluation.save(self._seed)

    def load_state(self, state: LlamaState) -> None:
        """Put back what `save_state` gave.

        Raises:
            StateError: it is of another model, build or settings.
        """
        self._evaluation.load(state)
        self._seed = state.seed

    @property
    def n_tokens(self) -> int:
        """How many tokens there are, of the last completion or of `eval`."""
        return len(self._evaluation.tokens)

    @property
    def input_ids(self) -> NDArray[np.intc]:
        """Those tokens."""
        return np.array(self._evaluation.tokens, dtype=np.intc)

    @property
    def eval_tokens(self) -> list[int]:
        """The same as a list."""
        return list(self._evaluation.tokens)

    @property
    def scores(self) -> NDArray[np.single]:
        """The logits after each token with `logits_all`, else those after the last one that was evaluated: `(rows, n_vocab)`."""
        return self._evaluation.scores()

    @property
    def eval_logits(self) -> list[list[float]]:
        """The same as lists."""
        rows: list[list[float]] = self.scores.tolist()
        return rows

    def set_cache(self, cache: BaseLlamaCache | None) -> None:
        """Keep `cache` as `cache`. What was decoded is found again without one."""
        self.cache = cache

    def set_seed(self, seed: int) -> None:
        """The seed of texts from now on."""
        self._seed = seed

    def _draw(self) -> float:
        """A number from 0 to below 1 that the seed and the tokens so far decide, or chance without a seed."""
        seed = seed_of(self._seed)
        source = np.random.default_rng(None if seed is None else [seed, len(self._evaluation.tokens)])
        return float(source.random())


def _tokens_of(events: Iterator[Any]) -> Iterator[int]:
    for event in events:
        yield from event.token_ids
