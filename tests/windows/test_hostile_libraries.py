"""Libraries that must be refused on Windows, with an error that says why, before any of their code runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tabagent
from support.windows_child import run_code

LIBRARY = Path(tabagent.__file__).parent / "lib"
ATTEMPT = """
import json, sys
from tabagent import _native
try:
    print(json.dumps({"ok": json.loads(_native.open_library(sys.argv[1], None))}))
except Exception as error:
    print(json.dumps({"class": type(error).__name__, "text": str(error)}))
"""
PE_OFFSET = 0x3C


def attempt(path: Path, **options: Any) -> dict[str, Any]:
    """What comes of opening a library in a process of its own."""
    done = run_code(ATTEMPT, path, **options)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def refusal(path: Path, **options: Any) -> str:
    told = attempt(path, **options)
    assert "ok" not in told, "it was loaded"
    assert told["class"] == "LibraryLoadError"
    return str(told["text"])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the libraries, to be spoiled."""

    def written_anew(source: str, target: str) -> None:
        # `shutil` copies by a function that Wine lacks.
        Path(target).write_bytes(Path(source).read_bytes())

    return shutil.copytree(LIBRARY, tmp_path / "lib", copy_function=written_anew)


def spoil(file: Path, offset: int, value: bytes) -> None:
    content = bytearray(file.read_bytes())
    content[offset : offset + len(value)] = value
    file.write_bytes(content)


def test_a_copy_is_loaded_from_its_own_folder(copy: Path) -> None:
    told = attempt(copy)
    assert Path(told["ok"]["directory"]) == copy
    assert Path(told["ok"]["cpu_module_file"]).parent == copy


@pytest.mark.parametrize("name", ["llama.dll", "ggml-base.dll"])
def test_a_library_for_another_processor(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    header = int.from_bytes(content[PE_OFFSET : PE_OFFSET + 4], "little")
    spoil(copy / name, header + 4, (0xAA64).to_bytes(2, "little"))
    text = refusal(copy)
    assert text == f"cannot load `{copy / name}`: it is built for `aarch64` and this process runs on `x86_64`"


def test_an_import_that_is_missing_is_named(copy: Path) -> None:
    (copy / "libstdc++-6.dll").unlink()
    text = refusal(copy)
    assert "it needs `libstdc++-6.dll`, which is neither beside it nor on this system" in text


def test_imports_come_neither_from_the_current_folder_nor_from_the_path(copy: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (copy / "libstdc++-6.dll").rename(elsewhere / "libstdc++-6.dll")
    assert "libstdc++-6.dll" in refusal(copy, folder=elsewhere, PATH=str(elsewhere))


def test_a_file_that_is_no_library(copy: Path) -> None:
    (copy / "llama.dll").write_text("not a PE file", encoding="utf-8")
    assert f"cannot load `{copy / 'llama.dll'}`: " in refusal(copy)


@pytest.mark.parametrize("size", [0, 64, 300, 4096, 200_000])
def test_a_library_that_was_cut(copy: Path, size: int) -> None:
    file = copy / "llama.dll"
    file.write_bytes(file.read_bytes()[:size])
    assert f"cannot load `{file}`: " in refusal(copy)


def test_a_folder_without_the_library(tmp_path: Path) -> None:
    text = refusal(tmp_path)
    assert text == f"no file `{tmp_path / 'llama.dll'}`; give the directory of `llama.dll` or the path of the file itself"


def test_a_linux_library(copy: Path) -> None:
    (copy / "llama.dll").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200))
    assert f"cannot load `{copy / 'llama.dll'}`: " in refusal(copy)
