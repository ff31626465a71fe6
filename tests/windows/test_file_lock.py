"""The lock by which processes that build the same thing wait for each other, on Windows."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "build_backend" / "tabagent_build" / "file_lock.py"
LOAD = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("file_lock", sys.argv[1])
file_lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(file_lock)
handle = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
"""
HOLD = (
    LOAD
    + """
assert file_lock.try_lock(handle)
print("held", flush=True)
sys.stdin.read()
"""
)


@pytest.fixture
def file_lock() -> ModuleType:
    """The module alone: the rest of the build needs what is not here."""
    spec = importlib.util.spec_from_file_location("file_lock", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_lock_is_one_process_s_until_it_ends_however_it_does(file_lock: ModuleType, tmp_path: Path, end: str) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(FILE), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            handle = os.open(path, os.O_RDWR)
            try:
                assert not file_lock.try_lock(handle)
                holder.kill() if end == "kill" else holder.stdin.close()
                file_lock.lock(handle)
                assert holder.wait(10) is not None
            finally:
                os.close(handle)
        finally:
            holder.kill()
