"""Models in processes of their own, and how to end these."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tabagent import Model

DEADLINE_S = 60.0
"""Long enough for any machine; a test that runs into it has failed."""


def children(of: int | None = None) -> set[int]:
    """The processes of models that a process (this one) has started and that live."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8")
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if int(parent) == (of or os.getpid()) and state != "Z" and b"serve" in command and command[0].endswith(b"tabagent-child"):
            found.add(int(entry.name))
    return found


def zombies() -> set[int]:
    """Children of this process that have ended and that nobody has waited for."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == os.getpid() and state == "Z":
                found.add(int(entry.name))
    return found


def child_of(load: Callable[[], Model]) -> tuple[Model, int]:
    """The model that `load` makes, and the process that it is in."""
    before = children()
    model = load()
    (child,) = children() - before
    return model, child


def wait_for_end(process: int) -> None:
    """Wait until a process has ended, and its parent has waited for it or is gone."""
    until = time.monotonic() + DEADLINE_S
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < until, f"process {process} does not end"
        time.sleep(0.01)


def is_running(process: int) -> bool:
    try:
        return (Path(f"/proc/{process}") / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
