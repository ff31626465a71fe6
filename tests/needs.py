"""What tests need from outside the source tree, and what becomes of a test that does not find it.

`make test` names all of it in the environment, and `make -s test-env` prints the names. A test that needs what is missing is skipped, with the
reason in pytest's summary; where `CI` is set it fails instead. A path that is named and does not exist is a failure everywhere. The Rust tests
have the same rules from `rust/material`.

What a machine cannot have at all, such as a right that its user lacks, is skipped everywhere: see `machine`.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

import tabagent


def models() -> Path:
    """The folder of the real models: `TABAGENT_TEST_MODELS`."""
    return _named("TABAGENT_TEST_MODELS")


def model(name: str) -> Path:
    """A file in the folder of the real models."""
    return _present(models() / name, "TABAGENT_TEST_MODELS")


def clients() -> Path:
    """The Python of an environment with other programs' clients and frameworks: `TABAGENT_TEST_CLIENTS`."""
    return _named("TABAGENT_TEST_CLIENTS")


def ray() -> Path:
    """The Python of an environment with Ray: `TABAGENT_TEST_RAY`."""
    return _named("TABAGENT_TEST_RAY")


def tree() -> Path:
    """The unpacked pinned tree of llama.cpp: `TABAGENT_LLAMA_CPP_TREE`."""
    return _named("TABAGENT_LLAMA_CPP_TREE")


def library() -> Path:
    """The folder of the llama.cpp that the tests use: `TABAGENT_LIBRARY_PATH`, else the package's own."""
    return _named("TABAGENT_LIBRARY_PATH") if os.environ.get("TABAGENT_LIBRARY_PATH") else package_library()


def package_library() -> Path:
    """The folder of the package's own llama.cpp, built from the pinned tree."""
    folder = Path(tabagent.__file__).parent / "lib"
    if not (folder / "libllama.so").is_file():
        missing(f"`{folder}` has no `libllama.so`", "`make dev` builds it")
    return folder


def emulator() -> str:
    """QEMU's emulator of x86-64 programs, on an x86-64 machine."""
    found = shutil.which("qemu-x86_64")
    if found is None or platform.machine() != "x86_64":
        missing("there is no emulator `qemu-x86_64` for this machine's programs", "install Debian's `qemu-user`")
    return found


def compiler() -> str:
    """A C compiler."""
    found = shutil.which("cc") or shutil.which("gcc")
    if found is None:
        missing("there is no C compiler `cc` or `gcc` on the PATH", "install one")
    return found


def package(name: str) -> Any:
    """A Python package, or a module of one, that only tests use."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing(f"the package `{name}` cannot be imported ({error})", "`pip install -r requirements-dev.txt` has it")


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test, or in CI fail it, for want of something."""
    if os.environ.get("CI"):
        pytest.fail(f"in CI nothing is skipped: {what}; {remedy}")
    pytest.skip(f"{what}; {remedy}")


def machine(fits: bool, why_not: str) -> None:  # noqa: FBT001 (a condition, as in `assert`)
    """Skip the test, in CI too, unless this machine is one that it can run on."""
    if not fits:
        pytest.skip(why_not)


def gpu() -> str:
    """The backend, such as `cuda`, that `TABAGENT_TEST_GPU` names, if its companion package is installed and finds a GPU here."""
    backend = os.environ.get("TABAGENT_TEST_GPU", "")
    machine(bool(backend), "`TABAGENT_TEST_GPU` names no backend; `make test-gpu GPU=vulkan` runs this with one")
    found = [variant for variant in tabagent.list_available_variants() if variant.name == backend]
    machine(bool(found), f"the companion package for `{backend}` is not installed; `make companion-{backend}` builds it")
    machine(found[0].usable, f"`{backend}` {found[0].reason}")
    return backend


def _named(variable: str) -> Path:
    """The path in an environment variable."""
    path = os.environ.get(variable)
    if not path:
        missing(f"`{variable}` is not set", "`make test` sets it")
    return _present(Path(path), variable)


def _present(path: Path, variable: str) -> Path:
    if not path.exists():
        pytest.fail(f"`{variable}` is set, but `{path}` does not exist; `make test-material` fetches it")
    return path
