"""What the core tells `logging`."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from tabagent import Model


def test_requests_are_told_when_they_are_over(smollm2: Model, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="tabagent.engine"):
        # The level counts from the end of a stream on.
        smollm2.generate("One", max_tokens=1).result()
        caplog.clear()
        done = smollm2.generate("One two three", max_tokens=3, ignore_eos=True, priority=7).result()
    lines = [record.getMessage() for record in caplog.records if record.name == "tabagent.engine" and record.levelno == logging.DEBUG]
    told = [line for line in lines if "priority=7" in line]
    assert len(told) == 1
    counts = rf"prompt_tokens={done.usage.prompt_tokens} cached_tokens=0 completion_tokens=3"
    wanted = rf"request id=\d+ priority=7 {counts} queued_s=[\d.]+ first_token_s=[\d.]+ finish=length took_s=[\d.]+"
    assert re.fullmatch(wanted, told[0])


def test_steps_are_told_where_somebody_wants_them_all(smollm2: Model, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(5, logger="tabagent.engine"):
        smollm2.generate("One", max_tokens=1).result()
        caplog.clear()
        smollm2.generate("One two three", max_tokens=3, ignore_eos=True).result()
        # A step is told when it is over, which may be after the end of its last request.
        smollm2.generate("One", max_tokens=1).result()
    steps = [record.getMessage() for record in caplog.records if record.levelno == 5]
    assert len(steps) >= 3
    assert all(line.startswith("step n_requests=1 n_prompt=") for line in steps)


def test_nothing_is_kept_where_nobody_listens(smollm2: Model, caplog: pytest.LogCaptureFixture) -> None:
    smollm2.generate("One", max_tokens=1).result()
    smollm2.generate("One two three", max_tokens=3).result()
    with caplog.at_level(logging.DEBUG, logger="tabagent.engine"):
        smollm2.generate("Two", max_tokens=1).result()
    assert not [record for record in caplog.records if record.name == "tabagent.engine"]


def test_a_model_in_a_process_of_its_own_logs_here(smollm2_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="tabagent.llama"):
        with Model.load(smollm2_path, isolation="process", context_size=256) as model:
            model.generate("One", max_tokens=1).result()
        lines = [record.getMessage() for record in caplog.records if record.name == "tabagent.llama"]
    assert any("print_info: arch" in line for line in lines), lines[:20]
    assert not [line for line in lines if "\x01" in line]
