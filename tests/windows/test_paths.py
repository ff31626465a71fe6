"""Paths on Windows: long ones, with letters of every script, and where the cache lies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.windows_child import run_code
from tabagent import Model, SamplerConfig, gguf

GENERATE = """
import sys
from tabagent import Model, SamplerConfig
with Model.load(sys.argv[1]) as model:
    print(model.generate("Once upon a time", max_tokens=4, sampling=SamplerConfig.greedy()).result().text)
"""


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """A folder whose path alone has more than 260 characters."""
    folder = tmp_path
    while len(str(folder)) < 300:
        folder /= "a-rather-long-name-of-a-folder"
    # The prefix lifts the limit, whatever the settings of the machine.
    os.makedirs("\\\\?\\" + str(folder))  # noqa: PTH103 (`pathlib` takes the prefix apart)
    return folder


@pytest.mark.parametrize("name", ["日本語 модель ü.gguf", "☃ ❤.gguf", "a b's (1).gguf"])
def test_a_model_loads_by_a_path_in_any_script(model_path: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "папка ñ"
    folder.mkdir()
    path = folder / name
    shutil.copyfile(model_path, path)
    assert gguf.open(path).metadata["general.architecture"] == "llama"
    with Model.load(path) as model:
        assert model.generate("Once upon a time", max_tokens=4, sampling=SamplerConfig.greedy()).result().text
    path.unlink()


def test_a_model_loads_by_a_long_path(model_path: Path, long_folder: Path) -> None:
    path = "\\\\?\\" + str(long_folder / "model.gguf")
    shutil.copyfile(model_path, path)
    done = run_code(GENERATE, str(long_folder / "model.gguf"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_cache_may_lie_behind_a_long_path_in_any_script(model_path: Path, long_folder: Path) -> None:
    cache = long_folder / "кэш"
    done = run_code(GENERATE.replace("sys.argv[1])", "sys.argv[1], trial=True)"), model_path, TABAGENT_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    assert os.path.isdir("\\\\?\\" + str(cache))  # noqa: PTH112 (`pathlib` takes the prefix apart)


def test_the_cache_is_where_windows_has_local_data(tmp_path: Path) -> None:
    code = "from tabagent._cache_path import cache_path; print(cache_path())"
    done = run_code(code, TABAGENT_CACHE="", XDG_CACHE_HOME="", LOCALAPPDATA=str(tmp_path))
    assert done.stdout.strip() == str(tmp_path / "tabagent")
