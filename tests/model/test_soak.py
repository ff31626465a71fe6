"""A short run of the load that `make soak` keeps up for ten minutes."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from soak import CACHE_BYTES, Soak, held
from tabagent import Model
from waiting import until


@pytest.mark.parametrize(("deterministic", "readers"), [(True, 5), (False, 24)], ids=["one by one", "together"])
def test_requests_of_every_kind_at_once_harm_nobody(smollm2_path: Path, tmp_path: Path, *, deterministic: bool, readers: int) -> None:
    with Model.load(smollm2_path, context_size=1024, threads=1, deterministic=deterministic, cache_bytes=CACHE_BYTES) as model:
        soak = Soak(model, tmp_path, readers=readers)
        soak.run(3)
        gc.collect()
        memory, threads = held()
        soak.run(6)
        gc.collect()
        assert soak.check(exact=deterministic) == []
        assert soak.counts["text"] > 0
        until(lambda: not (model.stats.active or model.stats.queued or model.stats.parked))
        grown, more = held()
        assert grown - memory < 64 * 2**20
        assert more <= threads
