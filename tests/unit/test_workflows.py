"""The workflows of GitHub: what they say is what GitHub reads, and what they run is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VALIDATE = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows")


def validate(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*VALIDATE, *paths], capture_output=True, text=True, check=False)


def test_workflows_follow_the_schema_of_github() -> None:
    assert {path.name for path in WORKFLOWS} == {"test.yml", "wheels.yml"}
    done = validate(*WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_misspelt_key_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert validate(wrong).returncode == 1


def test_workflows_run_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    run = {name for path in WORKFLOWS for name in re.findall(r"run: make ([a-z0-9-]+)", path.read_text(encoding="utf-8"))}
    assert {"test", "test-windows", "test-aarch64"} <= run <= targets
