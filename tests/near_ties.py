"""Comparing texts of requests that were decoded in batches of different shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tabagent import Model, SamplerConfig

NEAR = 0.6
"""The log-probabilities of two tokens that a batch of another shape may put in another order differ by less than this."""


def assert_alike(model: Model, prompt: str | Sequence[int], got: Sequence[int], want: Sequence[int], **changes: Any) -> None:
    """Two greedy continuations are the same up to their end, or up to a place where two tokens are about as probable.

    `changes` are the adapters and control vectors of both.
    """
    together = next((index for index, pair in enumerate(zip(got, want, strict=False)) if pair[0] != pair[1]), None)
    if together is None:
        assert len(got) == len(want)
        return
    before = model.tokenize(prompt, parse_special=True) if isinstance(prompt, str) else list(prompt)
    tokens = [*before, *want[:together]]
    options: dict[str, Any] = {"sampling": SamplerConfig.greedy(), "cache_prompt": False, "ignore_eos": True, "add_special": False, **changes}
    best = model.generate(tokens, max_tokens=1, logprobs=20, **options)
    logprobs = {top.token: top.logprob for event in best.events() for one in event.logprobs for top in one.top}
    assert got[together] in logprobs, f"token {together} is {got[together]}, which is far from {want[together]}"
    assert abs(logprobs[got[together]] - logprobs[want[together]]) < NEAR, f"token {together} is {got[together]} instead of {want[together]}"
