"""The progress bar of the command line."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from tabagent.cli.progress import ProgressBar


class Screen(io.StringIO):
    """A terminal that keeps what it was sent."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    # pytest puts its own `sys.stderr` back between a fixture and its test.
    monkeypatch.setattr("tabagent.cli.progress.sys", SimpleNamespace(stderr=screen))
    monkeypatch.setenv("TERM", "xterm")
    return screen


def test_slow_load_shows_its_part_and_goes_on(screen: Screen) -> None:
    with ProgressBar("loading [m].gguf", patience_s=0.0) as bar:
        assert bar.part(0.25) is True
        assert bar.part(0.5) is True
    assert "loading [m].gguf" in screen.getvalue()
    assert "50%" in screen.getvalue()


def test_download_of_unknown_length_shows_bytes(screen: Screen) -> None:
    with ProgressBar("demo", in_bytes=True, patience_s=0.0) as bar:
        bar.bytes(2_000_000, None)
    assert "2.0" in screen.getvalue()


def test_quick_load_shows_nothing(screen: Screen) -> None:
    with ProgressBar("loading", patience_s=60.0) as bar:
        bar.part(0.5)
        bar.part(1.0)
    assert screen.getvalue() == ""


def test_nothing_is_shown_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with ProgressBar("loading", patience_s=0.0) as bar:
        bar.part(0.5)
    assert pipe.getvalue() == ""
