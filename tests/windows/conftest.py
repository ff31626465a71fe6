"""What the tests for Windows share. `make test-windows` names the model and the text to compare with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tabagent import Model


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell whoever started Wine how it went: its exit code does not."""
    counts = {name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "error")}
    told = {"passed": counts["passed"], "failed": counts["failed"] + counts["error"]}
    Path(os.environ["TABAGENT_TEST_REPORT"]).write_text(json.dumps(told), encoding="utf-8")


@pytest.fixture(scope="session")
def model_path() -> Path:
    return Path(os.environ["TABAGENT_TEST_MODEL"])


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    """The greedy continuation of a prompt on Linux, with the tokens that were most probable at each place (`tests/support/continuation.py`)."""
    read: dict[str, Any] = json.loads(Path(os.environ["TABAGENT_TEST_REFERENCE"]).read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="session")
def model(model_path: Path) -> Iterator[Model]:
    with Model.load(model_path, threads=2, max_sequences=8) as loaded:
        yield loaded
