"""Sampling against its definition in double precision, for any stages in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tabagent import SamplerConfig, Step

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEAR = 2e-5


def softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max())
    shares: Floats = weights / weights.sum()
    return shares


def entropy(shares: Floats) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


def decided(values: Floats, limit: float) -> None:
    """Leave out what single precision may decide either way."""
    assume(not np.any(np.abs(values - limit) <= NEAR * np.maximum(1.0, np.abs(values))))


def ranked(logits: Floats) -> NDArray[np.intp]:
    order = np.argsort(-logits, kind="stable")
    gaps = -np.diff(logits[order])
    assume(not np.any((gaps > 0) & (gaps < 1e-5)))
    return order


class Definition:
    """The kept tokens with their logits, changed stage by stage."""

    def __init__(self, logits: Floats, history: list[int]) -> None:
        self.ids = np.arange(len(logits))
        self.logits = logits
        self.history = history

    def keep(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> None:
        mask = np.zeros(len(self.ids), dtype=bool)
        mask[places] = True
        self.ids, self.logits = self.ids[mask], self.logits[mask]

    def recent(self, window: int) -> list[int]:
        return self.history if window < 0 else self.history[len(self.history) - min(window, len(self.history)) :]

    def penalties(self, repeat_penalty: float, repeat_window: int, frequency_penalty: float, presence_penalty: float) -> None:
        counts = np.array([self.recent(repeat_window).count(int(token)) for token in self.ids])
        repeated = np.where(self.logits <= 0, self.logits * repeat_penalty, self.logits / repeat_penalty)
        self.logits = np.where(counts > 0, repeated - counts * frequency_penalty - presence_penalty, self.logits)

    def dry(self, dry_multiplier: float, dry_base: float, dry_allowed_length: int, dry_window: int) -> None:
        recent = self.recent(dry_window)
        if len(recent) <= dry_allowed_length or dry_base < 1:
            return
        longest: dict[int, int] = {}
        for at in range(1, len(recent)):
            length = 0
            while length < at and recent[at - 1 - length] == recent[-1 - length]:
                length += 1
            longest[recent[at]] = max(length, longest.get(recent[at], 0))
        lengths = np.array([longest.get(int(token), -1) for token in self.ids])
        penalty = dry_multiplier * dry_base ** np.maximum(lengths - dry_allowed_length, 0)
        self.logits = np.where(lengths >= dry_allowed_length, self.logits - penalty, self.logits)

    def temperature(self, temperature: float, dynatemp_range: float, dynatemp_exponent: float) -> None:
        if dynatemp_range > 0:
            if len(self.ids) < 2:
                return
            relative = min(1.0, entropy(softmax(self.logits)) / np.log(len(self.ids)))
            low = max(0.0, temperature - dynatemp_range)
            temperature = low + (temperature + dynatemp_range - low) * relative**dynatemp_exponent
            assume(temperature > 0.02)
        self.logits = self.logits / temperature

    def top_n_sigma(self, top_n_sigma: float) -> None:
        limit = self.logits.max() - top_n_sigma * self.logits.std()
        decided(self.logits, limit)
        self.keep(self.logits >= limit)

    def top_k(self, top_k: int) -> None:
        if top_k > 0:
            self.keep(ranked(self.logits)[:top_k])

    def prefix(self, order: NDArray[np.intp], sums: Floats, least: float, min_keep: int) -> None:
        decided(sums, least)
        n = int(np.argmax((sums >= least) & (np.arange(1, len(sums) + 1) >= min_keep))) + 1
        self.keep(order[: n if sums[n - 1] >= least and n >= min_keep else len(order)])

    def top_p(self, top_p: float, min_keep: int) -> None:
        order = ranked(self.logits)
        self.prefix(order, np.cumsum(softmax(self.logits)[order]), top_p, min_keep)

    def min_p(self, min_p: float, min_keep: int) -> None:
        shares = softmax(self.logits)
        decided(shares / shares.max(), min_p)
        n = max(int((shares >= min_p * shares.max()).sum()), min_keep)
        self.keep(ranked(self.logits)[:n])

    def typical_p(self, typical_p: float, min_keep: int) -> None:
        shares = softmax(self.logits)
        distances = np.abs(-np.log(shares) - entropy(shares))
        order = np.argsort(distances, kind="stable")
        # Tokens that are as typical as each other but not as probable are told apart by the last bits.
        assume(not np.any((np.diff(distances[order]) < 1e-5) & (np.diff(self.logits[order]) != 0)))
        order = order[np.lexsort((self.ids[order], np.round(distances[order], 6)))]
        self.prefix(order, np.cumsum(shares[order]), typical_p, min_keep)

    def xtc(self, xtc_threshold: float, min_keep: int) -> None:
        shares, order = softmax(self.logits), ranked(self.logits)
        decided(shares, xtc_threshold)
        n_gone = int((shares >= xtc_threshold).sum()) - 1
        if n_gone > 0 and len(shares) - n_gone >= min_keep:
            self.keep(order[n_gone:])

    def adaptive_p(self, target: float) -> None:
        distances = np.abs(softmax(self.logits) - target) / 0.3
        self.logits = 5 - 10 * distances**2 / (1 + distances)


window = st.integers(-1, 30)
keep = st.integers(1, 6)
share = st.floats(0.0625, 0.9375, width=32)
PARAMETERS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "penalties": {
        "repeat_penalty": st.floats(0.5, 2, width=32),
        "repeat_window": window,
        "frequency_penalty": st.floats(-1, 1, width=32),
        "presence_penalty": st.floats(-1, 1, width=32),
    },
    "dry": {
        "dry_multiplier": st.floats(0.125, 2, width=32),
        "dry_base": st.floats(1, 2, width=32),
        "dry_allowed_length": st.integers(0, 3),
        "dry_window": window,
    },
    "temperature": {
        "temperature": st.floats(0.5, 2, width=32),
        "dynatemp_range": st.sampled_from([0.0, 0.25, 0.75]),
        "dynatemp_exponent": st.floats(0.5, 2, width=32),
    },
    "top_n_sigma": {"top_n_sigma": st.floats(0.5, 3, width=32)},
    "top_k": {"top_k": st.integers(0, 30)},
    "top_p": {"top_p": share, "min_keep": keep},
    "min_p": {"min_p": st.floats(0.015625, 1, width=32), "min_keep": keep},
    "typical_p": {"typical_p": share, "min_keep": keep},
    "xtc": {"xtc_threshold": st.floats(0.015625, 0.5, width=32), "min_keep": keep},
}
steps = st.sampled_from(sorted(PARAMETERS)).flatmap(lambda name: st.tuples(st.just(name), st.fixed_dictionaries(PARAMETERS[name])))
# Eighths make exact ties and exact products.
logit = st.one_of(st.integers(-40, 40).map(lambda x: x / 8), st.floats(-10, 10, width=32))


@settings(max_examples=300, deadline=None)
@given(
    logits=st.lists(logit, min_size=1, max_size=60),
    history=st.lists(st.integers(0, 9), max_size=40),
    stages=st.lists(steps, max_size=6),
    target=st.one_of(st.none(), st.floats(0, 1, width=32)),
)
def test_any_stages_in_any_order_agree_with_their_definition(
    logits: list[float], history: list[int], stages: list[tuple[str, dict[str, float]]], target: float | None
) -> None:
    row = np.array(logits, dtype=np.float32)
    definition = Definition(row.astype(np.float64), history)
    order = []
    for name, parameters in stages:
        getattr(definition, name)(**parameters)
        own = {**parameters, "xtc_probability": 1.0} if name == "xtc" else parameters
        order.append(Step(name, **own))  # type: ignore[arg-type]
    if target is not None:
        definition.adaptive_p(target)
    config = SamplerConfig(order=(*order, "adaptive_p"), adaptive_target=-1 if target is None else target, dry_breakers=(), seed=1)
    wanted = np.zeros(len(row))
    wanted[definition.ids] = softmax(definition.logits)
    np.testing.assert_allclose(config.probabilities(row, history), wanted, rtol=2e-4, atol=1e-6)
