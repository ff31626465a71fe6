"""The cache of built libraries: with this machine's modules first, completed later, never built twice."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

import needs
from support.fake_llama_tree import SCORES, write_tree
from tabagent_build import hooks, library, wheel_content
from tabagent_build.child_program import child_name
from tabagent_build.errors import BuildError
from tabagent_build.library import BUILD_INFO, build_library, install_library, missing_modules, read_info
from tabagent_build.shim import shim_name

SHIM = shim_name()
CHILD = child_name()
CORE = {"libllama.so", "libggml.so", "libggml-base.so", "libggml-rpc.so"}
OWN = CORE | {"libggml-cpu-best.so", "libggml-cpu-plain.so"}
ALL = CORE | {f"libggml-cpu-{name}.so" for name in SCORES}


@dataclass
class Machine:
    """A cache, a source tree and a compiler that keeps a list of what it compiled."""

    cache: Path
    log: Path
    broken: Path

    def compiled(self) -> list[str]:
        """The source files compiled so far, in order of their names."""
        return sorted(self.log.read_text(encoding="utf-8").split()) if self.log.exists() else []

    def trees(self) -> list[Path]:
        folder = self.cache / "builds"
        return list(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    needs.machine(sys.platform.startswith("linux"), f"llama.cpp is built for Linux only so far, and this is {sys.platform}")
    needs.compiler()
    made = Machine(tmp_path / "cache", tmp_path / "compiled.txt", tmp_path / "broken")
    compiler = tmp_path / "cc"
    compiler.write_text(
        f"""#!/bin/sh
for last; do :; done
case "$*" in *" -c "*) case "$last" in */tree/*)
    if [ -e '{made.broken}' ] && grep -qx "$(basename "$last")" '{made.broken}'; then
        seq 1 200 | sed 's/^/error line /'
        exit 1
    fi
    basename "$last" >> '{made.log}';;
esac;; esac
exec cc "$@"
""",
        encoding="utf-8",
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setenv("TABAGENT_CACHE", str(made.cache))
    monkeypatch.setenv("TABAGENT_LLAMA_CPP_SRC", str(write_tree(tmp_path / "tree")))
    return made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.so")}


def test_own_modules_are_the_best_and_the_plainest_that_run(machine: Machine) -> None:
    folder = build_library(modules="own")
    assert names(folder) == OWN
    info = read_info(folder)
    assert info is not None
    assert set(info["libraries"]) == OWN
    assert missing_modules(info) == ["ggml-cpu-foreign", "ggml-cpu-middle"]
    for name, facts in info["libraries"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]


def test_all_modules_are_added_to_what_is_there(machine: Machine) -> None:
    first = build_library(modules="own")
    before = machine.compiled()
    times = {path.name: path.stat().st_mtime_ns for path in first.glob("*.so")}
    assert build_library(modules="all") == first
    assert names(first) == ALL
    added = machine.compiled()
    for name in before:
        added.remove(name)
    assert added == ["cpu-foreign.c", "cpu-middle.c"]
    assert {name: (first / name).stat().st_mtime_ns for name in times} == times
    info = read_info(first)
    assert info is not None
    assert missing_modules(info) == []


def test_complete_libraries_need_no_build_tree(machine: Machine) -> None:
    folder = build_library()
    assert names(folder) == ALL
    assert machine.trees() == []
    compiled = machine.compiled()
    assert build_library(modules="own") == build_library() == folder
    assert machine.compiled() == compiled


def test_modules_built_at_once_are_those_added_later(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_library(modules="own")
    by_and_by = read_info(build_library())
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "another"))
    at_once = read_info(build_library())
    assert by_and_by == at_once


def test_failed_build_shows_all_that_the_compiler_wrote_and_goes_on_later(machine: Machine) -> None:
    machine.broken.write_text("cpu-best.c\n", encoding="utf-8")
    with pytest.raises(BuildError) as caught:
        build_library(modules="own")
    text = str(caught.value)
    assert "\n".join(f"error line {number}" for number in range(1, 201)) in text
    assert "cpu-best.c.o" in text
    assert not list((machine.cache / "libraries").rglob(BUILD_INFO))
    before = machine.compiled()
    machine.broken.unlink()
    assert names(build_library(modules="own")) == OWN
    added = machine.compiled()
    for name in before:
        added.remove(name)
    assert "cpu-best.c" in added
    assert "feats.c" not in added


def test_unfinished_copy_is_removed_and_not_counted(machine: Machine) -> None:
    folder = build_library(modules="own")
    (folder / ".libggml-cpu-middle.so.x.part").write_bytes(b"half")
    (folder / "libggml-cpu-middle.so").write_bytes(b"copied, but listed nowhere")
    build_library()
    assert {path.name for path in folder.iterdir()} == ALL | {BUILD_INFO, "LICENSE.llama.cpp"}
    info = read_info(folder)
    assert info is not None
    assert (folder / "libggml-cpu-middle.so").stat().st_size == info["libraries"]["libggml-cpu-middle.so"]["size"]


def test_installed_folder_grows_and_does_not_shrink(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    for modules, expected in (("own", OWN), ("all", ALL), ("own", ALL)):
        assert install_library(folder, modules=modules) == folder  # type: ignore[arg-type]
        assert {path.name for path in folder.iterdir()} == expected | {BUILD_INFO, "LICENSE.llama.cpp", SHIM}


def test_installed_folder_holds_nothing_else(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    install_library(folder, modules="own")
    (folder / "libggml-cpu-old.so").touch()
    (folder / "libllama.so").write_bytes(b"")
    (folder / SHIM).write_bytes(bytes((folder / SHIM).stat().st_size))
    install_library(folder, modules="own")
    assert names(folder) == OWN | {SHIM}
    assert (folder / SHIM).read_bytes().startswith(b"\x7fELF")
    assert (folder / "libllama.so").stat().st_size > 0


def wheel_of(folder: Path, wheel: Path, change: Callable[[dict[str, bytes]], None] = lambda _: None) -> Path:
    shim = folder / SHIM
    files = dict.fromkeys((f"tabagent/lib/{SHIM}", f"tabagent/bin/{CHILD}"), shim.read_bytes() if shim.exists() else b"")
    files |= {f"tabagent/lib/{path.name}": path.read_bytes() for path in folder.iterdir()}
    change(files)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def test_complete_wheel_passes(machine: Machine, tmp_path: Path) -> None:
    wheel = wheel_of(build_library(), tmp_path / "x.whl")
    wheel_content.check_libraries(wheel)
    assert wheel.exists()


def test_wheel_without_all_modules_is_refused_and_removed(machine: Machine, tmp_path: Path) -> None:
    wheel = wheel_of(build_library(modules="own"), tmp_path / "x.whl")
    with pytest.raises(BuildError, match=r"the wheel `x\.whl` lacks the module `ggml-cpu-foreign`, the module `ggml-cpu-middle`, because"):
        wheel_content.check_libraries(wheel)
    assert not wheel.exists()


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_wheel_with_another_library_than_it_says_is_refused(machine: Machine, tmp_path: Path, fault: str) -> None:
    def change(files: dict[str, bytes]) -> None:
        if fault == "gone":
            del files["tabagent/lib/libggml-cpu-best.so"]
        else:
            files["tabagent/lib/libggml-cpu-best.so"] += b"\0"

    wheel = wheel_of(build_library(), tmp_path / "x.whl", change)
    with pytest.raises(BuildError, match=r"lacks the `libggml-cpu-best\.so` that `build-info\.json` describes"):
        wheel_content.check_libraries(wheel)


@pytest.mark.parametrize("name", [f"lib/{SHIM}", f"bin/{CHILD}"])
def test_wheel_without_shim_or_child_is_refused(machine: Machine, tmp_path: Path, name: str) -> None:
    def change(files: dict[str, bytes]) -> None:
        del files[f"tabagent/{name}"]

    wheel = wheel_of(build_library(), tmp_path / "x.whl", change)
    with pytest.raises(BuildError, match=rf"lacks `tabagent/{name}`, because"):
        wheel_content.check_libraries(wheel)


def test_wheel_without_libraries_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match=r"lacks `build-info\.json`"):
        wheel_content.check_libraries(wheel_of(tmp_path / "empty", tmp_path / "x.whl"))


def test_hooks_ask_for_all_modules_of_a_wheel_and_for_few_of_an_editable_one(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "lib"
    real = library.install_library
    monkeypatch.setattr(hooks, "install_library", lambda *, modules: real(folder, modules=modules))
    profiles: list[str] = []
    monkeypatch.setattr(hooks, "install_child", profiles.append)
    maturin = SimpleNamespace(
        build_editable=lambda *_: "editable.whl", build_wheel=lambda where, *_: wheel_of(folder, Path(where) / "x-1-cp310-abi3-linux_x86_64.whl").name
    )
    monkeypatch.setattr(hooks, "maturin", maturin)
    assert hooks.build_editable(str(tmp_path)) == "editable.whl"
    assert names(folder) == OWN | {SHIM}
    # As if a colleague's `make dev` had put an incomplete folder there in the moment before it is packed.
    with monkeypatch.context() as patch:
        patch.setattr(hooks, "install_library", lambda *, modules: None)
        with pytest.raises(SystemExit):
            hooks.build_wheel(str(tmp_path))
    assert "tabagent: the wheel `x-1-cp310-abi3-linux_x86_64.whl` lacks the module `ggml-cpu-foreign`" in capfd.readouterr().err
    monkeypatch.setattr(hooks, "retag", lambda wheel, _: wheel)
    assert hooks.build_wheel(str(tmp_path)) == "x-1-cp310-abi3-linux_x86_64.whl"
    assert names(folder) == ALL | {SHIM}
    assert profiles == ["editable", "release", "release"]


def test_announcement_says_what_and_how_long(machine: Machine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "1")
    build_library(modules="own")
    assert "building llama.cpp and 2 of its 4 CPU modules (plain, best) from" in capfd.readouterr().err
    build_library()
    said = capfd.readouterr().err
    assert "building 2 more of the 4 CPU modules of llama.cpp (middle, foreign) from" in said
    assert "minutes on 1 core; the result is kept in the cache" in said or "minute on 1 core; the result is kept in the cache" in said
    assert json.loads((build_library() / BUILD_INFO).read_text())["source"]["pinned"] is False
