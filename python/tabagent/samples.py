"""Several texts of one prompt: how many, and which are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from tabagent._arguments import as_int, type_name
from tabagent.completion import Completion
from tabagent.sampling import SEED_RANGE, SamplerConfig

__all__ = ["Samples"]

MOST: Final = 1024


@dataclasses.dataclass(frozen=True)
class Samples:
    """How many texts are generated, and how many of them are kept."""

    generated: int = 1
    kept: int = 1
    keep_logprobs: bool = True

    @classmethod
    def of(cls, n: int | None, best_of: int | None, *, keep_logprobs: bool) -> Samples:
        """Of the options of `generate`.

        Raises:
            TypeError, ValueError: they are no counts, or more are to be kept than generated.
        """
        kept = 1 if n is None else as_int(n, "n", 1, MOST)
        generated = kept if best_of is None else as_int(best_of, "best_of", 1, MOST)
        if generated < kept:
            message = f"`best_of` is how many texts are generated, so it must be at least `n`; got {generated} with `n={kept}`"
            raise ValueError(message)
        return cls(generated, kept, keep_logprobs)

    @property
    def are_ranked(self) -> bool:
        """Whether some are left out."""
        return self.generated > self.kept

    def configs(self, sampling: SamplerConfig) -> Iterator[SamplerConfig]:
        """The settings of each text: with a seed of its own, if there is one."""
        for index in range(self.generated):
            seed = None if sampling.seed is None else (sampling.seed + index) % (SEED_RANGE[1] + 1)
            yield sampling if index == 0 else dataclasses.replace(sampling, seed=seed)

    def choose(self, texts: list[Completion]) -> list[Completion]:
        """The texts that are kept, of all: those with the most probable tokens, best first, if some are left out."""
        if not self.are_ranked:
            return texts
        best = sorted(texts, key=_mean_logprob, reverse=True)[: self.kept]
        return best if self.keep_logprobs else [dataclasses.replace(text, logprobs=None) for text in best]


def forked(config: SamplerConfig, seed: int | None, sampling: SamplerConfig | None, number: int) -> SamplerConfig:
    """How the fork of that number of a text is chosen.

    Raises:
        TypeError, ValueError: `seed` is none, or `sampling` is no SamplerConfig.
    """
    if not (sampling is None or isinstance(sampling, SamplerConfig)):
        message = f"`sampling` must be a SamplerConfig, got {type_name(sampling)}"
        raise TypeError(message)
    if sampling is None and seed is None and config.seed is not None:
        seed = (config.seed + number) % (SEED_RANGE[1] + 1)
    chosen = sampling or config
    return chosen if seed is None else dataclasses.replace(chosen, seed=seed)


def _mean_logprob(text: Completion) -> float:
    """How probable a text's tokens are; a text without tokens comes last."""
    logprobs = [entry.logprob for entry in text.logprobs or ()]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")
