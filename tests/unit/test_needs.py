"""Tests that need something from outside are skipped in one way, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import needs
import tabagent

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "TABAGENT_TEST_MODELS", "TABAGENT_LLAMA_CPP_TREE", "TABAGENT_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("value", [None, ""])
def test_what_is_not_named_is_skipped_with_its_name(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("TABAGENT_TEST_MODELS", value)
    with pytest.raises(pytest.skip.Exception, match="`TABAGENT_TEST_MODELS` is not set; `make test` sets it"):
        needs.model("a.gguf")
    with pytest.raises(pytest.skip.Exception, match="`TABAGENT_LLAMA_CPP_TREE` is not set"):
        needs.tree()


def test_nothing_is_skipped_in_ci(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tabagent, "__file__", str(tmp_path / "__init__.py"))
    for need in (needs.models, needs.tree, needs.library, needs.package_library, needs.compiler, lambda: needs.package("no_such_package")):
        with pytest.raises(pytest.fail.Exception, match="in CI nothing is skipped"):
            need()


def test_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABAGENT_TEST_MODELS", str(tmp_path))
    assert needs.models() == tmp_path
    with pytest.raises(pytest.fail.Exception, match=r"`TABAGENT_TEST_MODELS` is set, but `.*a\.gguf` does not exist"):
        needs.model("a.gguf")
    monkeypatch.setenv("TABAGENT_LIBRARY_PATH", str(tmp_path / "lib"))
    with pytest.raises(pytest.fail.Exception, match="`TABAGENT_LIBRARY_PATH` is set"):
        needs.library()


def test_no_test_skips_by_itself() -> None:
    pattern = re.compile(r"pytest\.(skip\(|importorskip|mark\.skip)|unittest\.skip")
    own = [
        f"{path.relative_to(TESTS)}:{number}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(needs.__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line) and "pattern" not in line
    ]
    assert own == [], "use `tests/needs.py`"
