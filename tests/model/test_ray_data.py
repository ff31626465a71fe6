"""Ray Data on a cluster of two nodes, both on this machine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import needs
import tabagent

pytestmark = pytest.mark.model

CHILD = Path(__file__).parent.parent / "support" / "ray_data_child.py"


def run(kind: str, model: Path, folder: Path) -> dict[str, Any]:
    """What the child found."""
    paths = [Path(tabagent.__file__).parent.parent, CHILD.parent.parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [str(needs.ray()), str(CHILD), kind, str(model), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_killed_worker_loses_nothing(smollm2_path: Path, tmp_path: Path) -> None:
    found = run("killed", smollm2_path, tmp_path)
    assert found["numbers"] == list(range(1000))
    assert found["is_equal"]
    assert found["texts"] > 5
    assert (found["tokens"], found["reasons"]) == ([2], ["length"])
    assert found["nodes"] == 2
    # The killed one had begun, a third process came in its place, and work was left for that.
    assert found["victim"] in found["pids"]
    assert len(found["pids"]) >= 3
    assert found["last_of_victim"] < 999


def test_what_cells_may_be(smollm2_path: Path, tmp_path: Path) -> None:
    found = run("kinds", smollm2_path, tmp_path)
    added = {"answer_text", "answer_finish_reason", "answer_prompt_tokens", "answer_completion_tokens", "answer_reasoning", "answer_tool_calls"}
    for row in found["conversations"]:
        assert row.keys() == {"messages"} | added
        assert row["answer_text"]
        assert row["answer_tool_calls"] == "[]"
        assert row["answer_reasoning"] is None
        assert 10 < row["answer_prompt_tokens"] < 60
        assert 0 < row["answer_completion_tokens"] <= 8
    assert found["parts"][0]["text"]
    assert [row["prompt_tokens"] for row in found["tokens"]] == [2, 1]

    good, long, nothing, last = found["errors"]
    assert good["error"] is last["error"] is None
    assert good["completion_tokens"] == last["completion_tokens"] == 2
    assert (long["text"], long["finish_reason"], long["prompt_tokens"]) == ("", "error", 0)
    assert long["error"].startswith("ContextFullError: ")
    assert nothing["error"].startswith("TypeError: a cell must be a text")

    vectors = np.array(found["vectors"])
    assert vectors.shape == (2, 576)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    assert "ContextFullError" in found["long"]
    assert "the dataset has no column `prompt`, only `question`" in found["column"]
    assert "the dataset has a column `text` already" in found["taken"]
    assert "`generate_batch` has no option `max_tokns`" in found["option"]
