"""The build backend's own parts: tools, sources, cache and wheel tags."""

from __future__ import annotations

import ctypes
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tabagent_build import source, toolchain
from tabagent_build.cache import finished_folder
from tabagent_build.errors import BuildError
from tabagent_build.fetching import ROOT
from tabagent_build.library import OPTIONS
from tabagent_build.pin import read_pin
from tabagent_build.wheel_tag import retag


def test_pin_is_complete() -> None:
    pin = read_pin()
    assert re.fullmatch("[0-9a-f]{64}", pin.source.sha256)
    assert pin.source.file_name.removesuffix(".tar.gz") == pin.subtree.split("/")[0]
    assert re.fullmatch("[0-9a-f]{7,40}", pin.commit)


def test_options_build_for_every_cpu_and_for_no_special_one() -> None:
    assert OPTIONS["GGML_CPU_ALL_VARIANTS"] == OPTIONS["GGML_BACKEND_DL"] == "ON"
    assert OPTIONS["GGML_NATIVE"] == OPTIONS["GGML_OPENMP"] == "OFF"


@pytest.mark.parametrize("variable", ["CC", "CXX"])
def test_missing_named_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "/nonexistent/compiler")
    with pytest.raises(BuildError, match=rf"`/nonexistent/compiler` that `{variable}` names does not exist.*build-essential.*gcc-c\+\+"):
        toolchain.find_toolchain()


def test_machine_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"no C compiler found \(tried `cc`, `gcc`, `clang`\); .*build-essential.*Fedora"):
        toolchain.find_toolchain()


def test_step_without_a_compiler_ends_with_one_sentence() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build_backend"), "CXX": "/nonexistent"}
    done = subprocess.run([sys.executable, "-m", "tabagent_build", "library"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tabagent: the C++ compiler `/nonexistent`")
    assert done.stderr.count("\n") == 1


def test_failed_step_shows_its_last_lines() -> None:
    with pytest.raises(BuildError, match=r"exit status 3; its last lines:\nwhy it failed"):
        toolchain.run([sys.executable, "-c", "print('why it failed'); raise SystemExit(3)"])


def test_a_stripped_library_keeps_what_is_exported_alone(tmp_path: Path) -> None:
    tools = toolchain.find_toolchain()
    source_file, library, stripped = tmp_path / "a.c", tmp_path / "whole.so", tmp_path / "stripped.so"
    source_file.write_text("static int hidden_name(int a) { return a * 3; } int shown_name(int a) { return hidden_name(a); }\n", encoding="utf-8")
    toolchain.run([*tools.c_compiler, "-g", "-O0", "-shared", "-fPIC", str(source_file), "-o", str(library)])
    tools.strip(library, stripped)
    assert b"hidden_name" in library.read_bytes()
    assert b"hidden_name" not in stripped.read_bytes()
    assert ctypes.CDLL(str(stripped)).shown_name(7) == 21


def test_job_count_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "3")
    assert toolchain.job_count() == 3
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "0")
    assert 1 <= toolchain.job_count() <= len(os.sched_getaffinity(0))


def test_source_override_must_be_a_llama_cpp_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABAGENT_LLAMA_CPP_SRC", str(tmp_path))
    with pytest.raises(BuildError, match=r"give the root of a llama\.cpp checkout"):
        source.find_source(read_pin())


def test_source_override_is_another_build_after_an_edit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("include/llama.h", "ggml/CMakeLists.txt", "src/llama.cpp", "CMakeLists.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setenv("TABAGENT_LLAMA_CPP_SRC", str(tmp_path))
    before = source.find_source(read_pin())
    assert before == source.find_source(read_pin())
    assert not before.is_pinned
    (tmp_path / "src" / "llama.cpp").write_text("12")
    assert source.find_source(read_pin()).identity != before.identity


def archive_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_unpacking_takes_plain_files_of_the_subtree_alone(tmp_path: Path) -> None:
    link = tarfile.TarInfo("top/tree/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = archive_of(
        tmp_path / "a.tar.gz",
        [
            (tarfile.TarInfo("top/tree/a/b.txt"), b"b"),
            (tarfile.TarInfo("top/other.txt"), b"o"),
            (tarfile.TarInfo("top/treebeard"), b"t"),
            (link, b""),
        ],
    )
    source.unpack_subtree(archive, "top/tree", tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in sorted((tmp_path / "out").rglob("*"))] == ["a", "a/b.txt"]
    assert (tmp_path / "out" / "a" / "b.txt").read_bytes() == b"b"


def test_unpacking_refuses_paths_that_lead_out(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar.gz", [(tarfile.TarInfo("top/tree/../../../evil"), b"e")])
    with pytest.raises(BuildError, match="unsafe path"):
        source.unpack_subtree(archive, "top/tree", tmp_path / "out")


def test_unpacking_misses_an_absent_subtree(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.tar.gz", [(tarfile.TarInfo("elsewhere/x"), b"x")])
    with pytest.raises(BuildError, match="holds no folder `top/tree`"):
        source.unpack_subtree(archive, "top/tree", tmp_path / "out")


def test_interrupted_work_leaves_nothing(tmp_path: Path) -> None:
    def make(work: Path) -> None:
        (work / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished_folder(tmp_path / "result", make)
    assert [path.name for path in tmp_path.iterdir()] == [".result.lock"]


def test_work_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-result-dead" / "deep").mkdir(parents=True)
    finished_folder(tmp_path / "result", lambda work: (work / "whole").touch())
    assert {path.name for path in tmp_path.iterdir()} == {".result.lock", "result"}


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    made: list[Path] = []
    waited = threading.Event()

    def make(work: Path) -> None:
        made.append(work)
        assert waited.wait(30)

    def follow() -> None:
        finished_folder(tmp_path / "result", make, waiting=waited.set)

    threads = [threading.Thread(target=follow) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (tmp_path / "result").is_dir()


def test_retagged_wheel_is_consistent(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-cp310-abi3-linux_x86_64.whl"
    tag = "Wheel-Version: 1.0\nTag: cp310-abi3-linux_x86_64\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x/a.so", b"content")
        archive.writestr("x-1.dist-info/WHEEL", tag)
        archive.writestr("x-1.dist-info/RECORD", "x/a.so,sha256=abc,7\nx-1.dist-info/WHEEL,sha256=old,1\nx-1.dist-info/RECORD,,\n")
    new = retag(wheel, "manylinux_2_34_x86_64")
    assert new.name == "x-1-cp310-abi3-manylinux_2_34_x86_64.whl"
    assert not wheel.exists()
    with zipfile.ZipFile(new) as archive:
        assert archive.testzip() is None
        assert archive.read("x/a.so") == b"content"
        content = archive.read("x-1.dist-info/WHEEL")
        assert content.decode() == tag.replace("linux_x86_64", "manylinux_2_34_x86_64")
        record = archive.read("x-1.dist-info/RECORD").decode().splitlines()
    assert record[0] == "x/a.so,sha256=abc,7"
    assert re.fullmatch(rf"x-1\.dist-info/WHEEL,sha256=[\w-]{{43}},{len(content)}", record[1])
    assert record[2] == "x-1.dist-info/RECORD,,"
