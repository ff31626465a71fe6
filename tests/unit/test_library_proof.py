"""A library is tried in a child process before it is loaded here: one that crashes or computes nonsense takes nothing down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import needs
from support.fake_llama import compile_library, llama_source
from tabagent import VariantError, _trial
from tabagent.variants import choose_variant

CRASH = "__attribute__((constructor)) static void crash(void) { *(volatile int *)8 = 1; }"
ABORT = '#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void stop(void) { fputs("bad day\\n", stderr); abort(); }'
EXIT = "#include <unistd.h>\n__attribute__((constructor)) static void leave(void) { _exit(0); }"
FILES = ("libllama.so", "libggml.so", "libggml-base.so", "libggml-cpu-x64.so", "libggml-cpu-sse42.so")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and no library but those that a test names."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TABAGENT_CACHE", str(folder))
    monkeypatch.delenv("TABAGENT_LIBRARY_PATH", raising=False)
    return folder / "libraries-tried"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of the built library, with the two CPU modules that run on every machine of its kind."""
    needs.compiler()
    source, folder = needs.package_library(), tmp_path / "library"
    folder.mkdir()
    for name in FILES:
        shutil.copy(source / name, folder / name)
    return folder


def answers(cache: Path) -> int:
    return len(list(cache.iterdir())) if cache.is_dir() else 0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (CRASH, "it was killed by `SIGSEGV`"),
        (ABORT, "it was killed by `SIGABRT`; its last lines of log: `bad day`"),
        (EXIT, "it ended with exit code 0"),
    ],
    ids=["segfault", "abort", "exit"],
)
def test_a_constructor_that_ends_its_process_ends_a_child(tmp_path: Path, cache: Path, source: str, words: str) -> None:
    needs.compiler()
    compile_library(f"{llama_source()}\n{source}\n", tmp_path / "libllama.so")
    for _ in range(2):
        with pytest.raises(VariantError) as raised:
            choose_variant(tmp_path)
        assert str(raised.value) == (
            f"variant `built-in` cannot run on this machine: takes its process down when it is tried: {words}; ask for `auto` or another variant"
        )
    assert answers(cache) == 1


@pytest.mark.parametrize("source", [CRASH, ABORT, EXIT], ids=["segfault", "abort", "exit"])
def test_the_next_module_is_taken_where_the_best_one_crashes(library: Path, cache: Path, source: str) -> None:
    assert choose_variant(library).variant.name == "sse42"
    compile_library(source, library / "libggml-cpu-sse42.so")
    choice = choose_variant(library)
    assert choice.variant.name == "x64"
    assert choice.warning is not None
    assert choice.warning.startswith("`sse42` takes its process down when it is tried: it ")
    assert choice.warning.endswith("; took `x64` instead")
    # What was found out is not found out again.
    known = answers(cache)
    assert choose_variant(library) == choice
    assert answers(cache) == known == 3


def test_where_every_module_crashes_the_error_says_how(library: Path) -> None:
    for name in ("sse42", "x64"):
        compile_library(CRASH, library / f"libggml-cpu-{name}.so")
    with pytest.raises(VariantError, match="takes its process down when it is tried: it was killed by `SIGSEGV`"):
        choose_variant(library)


def test_the_environments_library_is_passed_over_aloud(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sse42", "x64"):
        compile_library(CRASH, library / f"libggml-cpu-{name}.so")
    monkeypatch.setenv("TABAGENT_LIBRARY_PATH", str(library))
    choice = choose_variant("auto")
    assert choice.variant.source == "bundled"
    assert choice.warning is not None
    assert "(`TABAGENT_LIBRARY_PATH`) runs on this machine (`sse42` takes its process down when it is tried" in choice.warning


def test_a_module_that_computes_nonsense_is_not_taken(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = compile_library("float expf(float x) { return 1.0f; }\nfloat sinf(float x) { return 0.5f; }", tmp_path / "wrong.so")
    program = tmp_path / "child"
    program.write_text(f'#!/bin/sh\nexec env LD_PRELOAD="{wrong}" "{_trial.CHILD}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr("tabagent._trial.CHILD", str(program))
    with pytest.raises(VariantError, match="computes logits that differ from the right ones by "):
        choose_variant(library)


def test_a_module_that_does_not_load_is_an_error_of_opening_it(library: Path) -> None:
    """Whoever opens it gets the error with all that there is to say."""
    (library / "libllama.so").write_bytes((library / "libllama.so").read_bytes()[:5000])
    choice = choose_variant(library)
    assert choice.variant.build is None
    listed = [variant for variant in _listed(library) if variant["path"] == str(library)]
    assert [variant["usable"] for variant in listed] == [False, False]
    assert all("damaged" in variant["reason"] for variant in listed), listed


def _listed(library: Path) -> list[dict[str, Any]]:
    code = "import dataclasses, json, tabagent; print(json.dumps([dataclasses.asdict(v) for v in tabagent.list_available_variants()]))"
    environment = {**os.environ, "TABAGENT_LIBRARY_PATH": str(library)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)  # type: ignore[no-any-return] # they are


def test_the_list_tells_what_build_each_is_and_what_crashes(library: Path) -> None:
    compile_library(CRASH, library / "libggml-cpu-sse42.so")
    x64, *rest = [variant for variant in _listed(library) if variant["path"] == str(library)]
    assert x64["name"] == "x64"
    assert x64["usable"]
    assert x64["build"]["name"].startswith("llama.cpp ")
    assert x64["build"]["layout"]
    [sse42] = rest
    assert not sse42["usable"]
    assert sse42["score"] == 0
    assert sse42["reason"].startswith("takes its process down when it is tried: it was killed by `SIGSEGV`")


def test_another_file_is_tried_again(library: Path, cache: Path) -> None:
    assert choose_variant(library).variant.build is not None
    assert answers(cache) == 1
    os.utime(library / "libggml.so", (0, 0))
    choose_variant(library)
    assert answers(cache) == 2


def test_what_is_broken_in_the_cache_is_asked_again(library: Path, cache: Path) -> None:
    first = choose_variant(library)
    [answer] = cache.iterdir()
    for content in ("", "{}", "not JSON", '{"proven": 1}', "[" * 100_000):
        answer.write_text(content, encoding="utf-8")
        assert choose_variant(library) == first


def test_without_a_cache_and_without_a_child_it_works(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "file"))
    assert choose_variant(library).variant.build is not None
    monkeypatch.setattr("tabagent._trial.CHILD", str(tmp_path / "none"))
    assert choose_variant(library).variant.build is None


def test_an_unverified_library_is_tried_as_such(tmp_path: Path) -> None:
    """It has no known build, so that opening it is refused, and its constructor is not reached; with leave, it is."""
    needs.compiler()
    marker = tmp_path / "loaded"
    compile_library(llama_source(version="9.9.9", marker=marker), tmp_path / "libllama.so")
    assert choose_variant(tmp_path).variant.build is None
    with pytest.raises(VariantError, match="takes its process down when it is tried"):
        choose_variant(tmp_path, allow_unverified=True)


def test_choosing_costs_little_once_it_is_known() -> None:
    needs.library()
    code = """
import time
from tabagent.variants import choose_variant
choose_variant("auto")
times = []
for _ in range(20):
    start = time.perf_counter()
    choose_variant("auto")
    times.append(time.perf_counter() - start)
print(min(times))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) < 0.005


def test_nothing_is_loaded_into_this_process() -> None:
    code = "import tabagent; from tabagent import _native; tabagent.list_available_variants(); print(_native.loaded_library())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "None"
