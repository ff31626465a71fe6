"""The package on processors that it does not run on here: `qemu-x86_64` ends a program at the first instruction that its processor lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import needs

pytestmark = pytest.mark.model

PROGRAM = """
import json, sys
import tabagent
from tabagent import Model, SamplerConfig, list_available_variants
usable = [found.name for found in list_available_variants() if found.usable and found.source == "bundled"]
with Model.load(sys.argv[1], context_size=64) as model:
    done = model.generate("Once upon a time", max_tokens=4, ignore_eos=True, sampling=SamplerConfig.greedy()).result()
    print(json.dumps({"usable": usable, "module": model.info.variant.cpu_module, "tokens": len(done.tokens), "text": done.text}))
"""


@pytest.mark.parametrize(
    ("cpu", "module"),
    # The emulator of Debian 12 has no AVX-512, so that a Skylake-Server is left with what a Haswell has.
    [("Nehalem", "sse42"), ("Haswell", "haswell"), ("Skylake-Server", None), ("EPYC-Rome", "haswell")],
)
def test_the_package_picks_a_module_that_runs_and_generates(cpu: str, module: str | None, tmp_path: Path) -> None:
    emulator = needs.emulator()
    model = needs.model("smollm2-135m-instruct-q4_1.gguf")
    environment = {**os.environ, "TABAGENT_CACHE": str(tmp_path / "cache")}
    # The package's own libraries are to be chosen among, as a user's are.
    environment.pop("TABAGENT_LIBRARY_PATH", None)
    command = [emulator, "-cpu", cpu, sys.executable, "-c", PROGRAM, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["usable"][0] == answer["module"]
    assert answer["module"] == module or (module is None and answer["module"] in {"haswell", "skylakex"})
    assert answer["tokens"] == 4
    assert answer["text"].strip()
