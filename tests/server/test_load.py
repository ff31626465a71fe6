"""Many clients at once, in short; `tests/load.py` takes as long as is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import needs
from load import report


@pytest.mark.model
def test_nothing_is_lost_and_nothing_grows_under_load(smollm2_path: Path) -> None:
    needs.machine(sys.platform == "linux", "it reads `/proc`")
    lines = report(str(smollm2_path), str(smollm2_path), clients=16, seconds=10)
    assert not [line for line in lines if line.startswith("fault")], "\n".join(lines[:20])
