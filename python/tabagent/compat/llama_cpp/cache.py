"""Caches and states as llama-cpp-python has them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BaseLlamaCache", "LlamaCache", "LlamaDiskCache", "LlamaRAMCache", "LlamaState"]

DEFAULT_CAPACITY = 2 << 30


@dataclass
class LlamaState:
    """What `Llama.save_state` gives: the tokens and what the model holds of them."""

    input_ids: NDArray[np.intc]
    """The tokens; those behind `n_tokens` have no meaning."""
    scores: NDArray[np.single]
    """The logits after each token with `logits_all`, else those after the last one."""
    n_tokens: int
    """How many tokens there are."""
    llama_state: bytes
    """What the model holds, for the same file, build and settings alone."""
    llama_state_size: int
    """How many bytes that is."""
    seed: int
    """The seed of the `Llama`."""


class BaseLlamaCache:
    """States by the tokens that they hold."""

    def __init__(self, capacity_bytes: int = DEFAULT_CAPACITY) -> None:
        self.capacity_bytes = capacity_bytes


class LlamaRAMCache(BaseLlamaCache):
    """States in memory, of which the least recently used go first.

    `Llama` does not need one: what was decoded is kept and found again without it. It is there for programs that keep states themselves.
    """

    def __init__(self, capacity_bytes: int = DEFAULT_CAPACITY) -> None:
        super().__init__(capacity_bytes)
        self.cache_state: OrderedDict[tuple[int, ...], LlamaState] = OrderedDict()

    @property
    def cache_size(self) -> int:
        """Bytes of all states."""
        return sum(state.llama_state_size for state in self.cache_state.values())

    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        """The state that holds most of the tokens of `key`.

        Raises:
            KeyError: none begins with the same token.
        """
        found = self._longest_prefix(tuple(key))
        if found is None:
            message = "no state begins with these tokens"
            raise KeyError(message)
        self.cache_state.move_to_end(found)
        return self.cache_state[found]

    def __contains__(self, key: Sequence[int]) -> bool:
        return self._longest_prefix(tuple(key)) is not None

    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None:
        tokens = tuple(key)
        self.cache_state.pop(tokens, None)
        self.cache_state[tokens] = value
        while self.cache_size > self.capacity_bytes and self.cache_state:
            self.cache_state.popitem(last=False)

    def _longest_prefix(self, key: tuple[int, ...]) -> tuple[int, ...] | None:
        best, length = None, 0
        for known in self.cache_state:
            shared = shared_prefix(known, key)
            if shared > length:
                best, length = known, shared
        return best


LlamaCache = LlamaRAMCache


class LlamaDiskCache(BaseLlamaCache):
    """States on disk: not there."""

    def __init__(self, cache_dir: str = ".cache/llama_cache", capacity_bytes: int = DEFAULT_CAPACITY) -> None:
        message = "there is no cache on disk here; leave it out (what was decoded stays in memory), or keep states with `save_state` and `pickle`"
        raise NotImplementedError(message)


def shared_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts have in common from their beginning on."""
    count = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        count += 1
    return count
