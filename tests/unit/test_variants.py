"""What is known about the machine and its libraries."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import needs
import tabagent
from tabagent import variants


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.delenv("TABAGENT_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(variants, "bundled_library", lambda: None)
    monkeypatch.setattr(variants, "package_libraries", list)
    declare(monkeypatch, tmp_path_factory.mktemp("empty"))


def declare(monkeypatch: pytest.MonkeyPatch, folder: Path, **entries: str) -> None:
    """Have a package installed that declares these entry points, and no other."""
    package = folder / "companion-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: companion\nVersion: 1.0\n", encoding="utf-8")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (package / "entry_points.txt").write_text(f"[{variants.ENTRY_POINTS}]\n{lines}" if entries else "", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)


def test_hardware_is_plausible() -> None:
    machine = tabagent.hardware()
    assert 1 <= machine.default_threads <= machine.budget.usable <= machine.cpu.logical_cores
    assert machine.budget.usable <= len(os.sched_getaffinity(0))
    assert set(machine.cpu.features) <= set(machine.cpu.reported)
    assert machine.memory is not None
    assert 0 < machine.memory.available_bytes <= machine.memory.total_bytes


def test_every_variant_has_a_reason_and_the_best_comes_first() -> None:
    needs.library()
    found = tabagent.list_available_variants()
    assert all(variant.reason for variant in found)
    assert [variant.usable for variant in found] == sorted((variant.usable for variant in found), reverse=True)
    assert all(variant.usable != bool(variant.missing) for variant in found if variant.module)
    assert tabagent.auto_select_variant() == found[0]
    assert tabagent.get_cpu_variant() == found[0].name


def test_module_can_be_asked_for_by_name() -> None:
    needs.library()
    choice = variants.choose_variant("X64")
    assert (choice.variant.name, choice.variant.cpu_module) == ("x64", "x64")


def test_unknown_name_lists_the_known_ones() -> None:
    needs.library()
    with pytest.raises(tabagent.VariantError, match="unknown variant `hasvell`; known here, closest first: `haswell`"):
        variants.choose_variant("hasvell")


def test_path_may_be_a_path_object_of_one_word(no_library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("haswell").mkdir()
    with pytest.raises(tabagent.VariantError, match=str(tmp_path)):
        variants.choose_variant(Path("haswell"))


@pytest.mark.parametrize("wrong", [None, 5, b"auto", ["auto"]])
def test_variant_of_wrong_type_is_named(wrong: object) -> None:
    with pytest.raises(TypeError, match="`variant`"):
        variants.choose_variant(wrong)  # type: ignore[arg-type]


def test_empty_variant_is_refused() -> None:
    with pytest.raises(tabagent.VariantError, match="empty"):
        variants.choose_variant("  ")


def test_no_library_says_what_to_do(no_library: None) -> None:
    with pytest.raises(tabagent.VariantError, match="TABAGENT_LIBRARY_PATH"):
        tabagent.auto_select_variant()


def test_companion_may_be_a_path_or_a_function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "companion_of_test.py").write_text(
        f"from pathlib import Path\nHERE = Path({str(tmp_path)!r})\ndef where():\n    return {str(tmp_path)!r}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    declare(monkeypatch, tmp_path, one="companion_of_test:HERE", two="companion_of_test:where")
    assert variants.companion_libraries() == [("one", str(tmp_path), []), ("two", str(tmp_path), [])]


@pytest.mark.parametrize("value", ["no_such_module:HERE", "os:no_such_name", "os:getpid", "os:kill"])
def test_broken_companion_warns_and_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    declare(monkeypatch, tmp_path, broken=value, fine="os:sep")
    with pytest.warns(RuntimeWarning, match="companion package `broken`"):
        assert variants.companion_libraries() == [("fine", os.sep, [])]


def test_place_without_library_warns(no_library: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABAGENT_LIBRARY_PATH", str(tmp_path))
    with pytest.warns(UserWarning, match=r"holds no `libllama\.so`"):
        assert tabagent.list_available_variants() == []
    with warnings.catch_warnings(), pytest.raises(tabagent.VariantError, match="holds no"):
        tabagent.auto_select_variant()


def test_the_library_of_another_installed_package_is_listed_and_used_by_those_who_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "llama_cpp" / "lib"
    folder.mkdir(parents=True)
    (tmp_path / "llama_cpp" / "__init__.py").write_text("raise RuntimeError('it must not be imported')", encoding="utf-8")
    for name in ("libllama.so", "libggml.so", "libggml-base.so", "libggml-cpu-x64.so"):
        shutil.copy(needs.package_library() / name, folder / name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "llama_cpp", raising=False)
    [found] = [variant for variant in tabagent.list_available_variants() if variant.name == "llama-cpp-python"]
    assert (found.source, found.path, found.only_named) == ("package llama-cpp-python", str(folder.resolve()), True)
    assert variants.choose_variant("llama-cpp-python").variant == found
    assert tabagent.auto_select_variant().name != "llama-cpp-python"
