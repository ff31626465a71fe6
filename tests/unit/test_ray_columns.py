"""What the integration with Ray does without it: cells and columns, and an error that says what to install."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tabagent.integrations.ray._columns import Conversation, column_of, input_of, with_columns


def objects(*values: object) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def test_a_cell_is_a_text_tokens_or_a_conversation() -> None:
    assert input_of("One") == "One"
    assert type(input_of(np.str_("One"))) is str
    assert input_of(np.array([1, 2])) == [1, 2]
    assert input_of([]) == []
    assert input_of([np.int64(3)]) == [3]
    conversation = input_of(objects({"role": "user", "content": objects({"type": "text", "text": "Hi", "url": None}), "name": None}))
    assert isinstance(conversation, Conversation)
    assert conversation == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]


@pytest.mark.parametrize("cell", [None, 1, 1.5, b"One", {"role": "user"}, ["One"], [True], [{"role": "user"}, "One"], np.array([1.5])])
def test_any_other_cell_is_refused(cell: object) -> None:
    with pytest.raises(TypeError, match="a cell must be a text, a list of tokens or a list of messages, got"):
        input_of(cell)


def test_a_column_that_is_missing_is_named_with_those_that_are_there() -> None:
    with pytest.raises(ValueError, match="no column `prompt`, only `a`, `b`; name the right one"):
        column_of({"a": np.zeros(1), "b": np.zeros(1)}, "prompt")
    with pytest.raises(TypeError, match="a batch must be a dict of arrays, got list"):
        column_of([], "prompt")  # type: ignore[arg-type]


def test_columns_are_added_and_none_is_replaced() -> None:
    batch = {"text": objects("One")}
    assert list(with_columns(batch, {"text": objects("Two")}, "new_")) == ["text", "new_text"]
    with pytest.raises(ValueError, match="has a column `text` already; give a `prefix`"):
        with_columns(batch, {"text": objects("Two")}, "")


@pytest.mark.parametrize("name", ["TabagentDeployment", "TabagentPredictor"])
def test_without_ray_an_error_says_what_to_install(name: str) -> None:
    code = f"import sys; sys.modules['ray'] = sys.modules['ray.serve'] = None\nfrom tabagent.integrations.ray import {name}\n{name}('demo')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith('; `pip install "tabagent[ray]"` installs Ray with Ray Data and Ray Serve')


def test_the_package_does_not_import_ray() -> None:
    code = "import sys, tabagent; tabagent.Model, tabagent.Server; print([name for name in sys.modules if name.split('.')[0] == 'ray'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
