"""Every CPU module that this machine can run computes, and computes the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tabagent

pytestmark = pytest.mark.model


def modules() -> list[str]:
    return [variant.name for variant in tabagent.list_available_variants() if variant.usable and variant.module]


@pytest.mark.parametrize("module", modules())
def test_module_reads_a_prompt_and_continues_it(smollm2_path: Path, module: str) -> None:
    # In a process of its own: a process uses one module, and a wrong one ends it. The prompt is read as a batch, by other kernels than single tokens.
    command = [
        sys.executable,
        "-m",
        "tabagent",
        "run",
        "--raw",
        str(smollm2_path),
        "-p",
        "The capital of France is",
        "-n",
        "1",
        "--temp",
        "0",
        "-t",
        "1",
    ]
    done = subprocess.run([*command, "--variant", module], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, " Paris\n"), done.stderr
