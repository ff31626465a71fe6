"""Trials: a model is loaded in a child process before it is loaded here."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

import needs
from support.gguf_image import text
from support.tiny_models import tiny_llama
from tabagent import Model
from tabagent._cache_path import cache_path
from tabagent._fetch import FetchError, cache_folder
from tabagent._trial import CHILD
from tabagent.errors import InvalidModelError, ModelLoadError, OutOfMemoryError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TABAGENT_CACHE", str(folder))
    needs.library()
    return folder / "trials"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    return path


def verdicts(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []


def program(monkeypatch: pytest.MonkeyPatch, path: Path, script: str) -> None:
    """Let `script` be the program of the child."""
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setattr("tabagent._trial.CHILD", str(path))


def load(path: Path, **options: object) -> None:
    Model.load(path, **{"threads": 1, "context_size": 64, **options}).close()  # type: ignore[arg-type]


def test_the_child_lies_beside_the_package() -> None:
    assert Path(CHILD).is_file()
    assert Path(CHILD).stat().st_mode & stat.S_IXUSR


def test_a_model_is_tried_once_for_its_header_and_the_options_that_matter(cache: Path, model: Path, tmp_path: Path) -> None:
    load(model)
    known = verdicts(cache)
    assert len(known) == 1
    # What does not change what is computed, the path included.
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(model.read_bytes())
    load(copy, threads=2, cache_bytes=0, deterministic=True, use_mmap=False)
    assert verdicts(cache) == known
    for options in ({"kv_type": "f32"}, {"max_sequences": 2}, {"metadata_overrides": {"llama.rope.freq_base": 5000.0}}, {"vocab_only": True}):
        load(model, **options)
        assert len(verdicts(cache)) == len(known) + 1, options
        known = verdicts(cache)
    copy.write_bytes(tiny_llama().set("general.name", text("other")).to_bytes())
    load(copy)
    assert len(verdicts(cache)) == len(known) + 1


def test_false_tries_nothing_and_true_tries_again(cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(model, trial=False)
    assert verdicts(cache) == []
    load(model)
    program(monkeypatch, tmp_path / "child", "kill -ABRT $$")
    load(model)
    with pytest.raises(InvalidModelError, match="was killed by `SIGABRT`"):
        load(model, trial=True)
    # The last verdict is the one that counts.
    with pytest.raises(InvalidModelError, match="was killed by `SIGABRT`"):
        load(model)
    load(model, trial=False)


def test_a_child_that_dies_is_an_error_with_its_last_words(cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, tmp_path / "child", "echo 'loading tensors' >&2; echo '/a/b.c:7: GGML_ASSERT(x == y) failed' >&2; kill -ABRT $$")
    words = (
        f"llama.cpp does not survive `{model}`: a child process that tried it was killed by `SIGABRT`: `b.c:7: GGML_ASSERT(x == y) failed`; "
        "its last lines of log: `loading tensors`"
    )
    with pytest.raises(InvalidModelError) as first:
        load(model)
    assert str(first.value) == words
    assert len(verdicts(cache)) == 1
    # The verdict is kept: nothing is started any more.
    monkeypatch.setattr("tabagent._trial.CHILD", str(tmp_path / "nothing"))
    with pytest.raises(InvalidModelError) as second:
        load(model)
    assert str(second.value) == words


def test_want_of_memory_is_no_verdict(cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, tmp_path / "child", "kill -KILL $$")
    with pytest.raises(OutOfMemoryError, match="lower `context_size` or free memory"):
        load(model)
    assert verdicts(cache) == []


def test_without_a_child_auto_loads_and_true_fails(cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabagent._trial.CHILD", str(tmp_path / "nothing"))
    load(model)
    assert verdicts(cache) == []
    with pytest.raises(ModelLoadError, match=r"cannot try .* in a child process: `.*nothing` does not start"):
        load(model, trial=True)


def test_a_cache_that_cannot_be_written_costs_the_verdict_alone(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "file"))
    load(model)


def test_a_load_that_is_cancelled_ends_its_trial(cache: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    program(monkeypatch, tmp_path / "child", f"echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 60")

    def stop(_part: float) -> bool:
        return not pid.exists()

    timer = threading.Timer(20, lambda: pid.write_text("0", encoding="ascii"))
    timer.start()
    began = time.monotonic()
    # A function that hears the same part again is not called again, so the signal does it.
    interrupt = threading.Thread(target=_interrupt_when, args=(pid,))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        load(model, progress=stop)
    timer.cancel()
    interrupt.join()
    assert time.monotonic() - began < 15
    number_of_child = int(pid.read_text(encoding="ascii"))
    while _runs(number_of_child):
        assert time.monotonic() - began < 30
    assert verdicts(cache) == []


def _interrupt_when(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
    signal.raise_signal(signal.SIGINT)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_wrong_values_are_refused(model: Path) -> None:
    with pytest.raises(TypeError, match='`trial` must be True, False or "auto", got int'):
        load(model, trial=1)
    with pytest.raises(ValueError, match=r"`trial` must be True, False or .auto., got .never"):
        load(model, trial="never")


def test_a_file_without_tensors_is_a_vocabulary(tmp_path: Path, cache: Path) -> None:
    image = tiny_llama()
    image.tensors.clear()
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(image.to_bytes())
    for trial in (True, False):
        with pytest.raises(InvalidModelError, match=r"has no tensors.*`vocab_only=True`"):
            load(path, trial=trial)
    load(path, vocab_only=True)
    assert len(verdicts(cache)) == 1


@pytest.mark.parametrize("rotated", [0, 7])
def test_a_rotation_that_kills_is_named(model: Path, rotated: int) -> None:
    with pytest.raises(InvalidModelError, match=f"`llama.rope.dimension_count` is `{rotated}`, but a head rotates pairs"):
        load(model, metadata_overrides={"llama.rope.dimension_count": rotated}, trial=False)


def test_the_cache_is_found_as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path))
    assert cache_path() == str(tmp_path)
    monkeypatch.delenv("TABAGENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "a")
    assert cache_folder() == Path.cwd() / "a" / "tabagent"
    monkeypatch.setenv("XDG_CACHE_HOME", "~no-such-user/x")
    with pytest.raises(FetchError, match="no such home directory"):
        cache_folder()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_path() == str(tmp_path / ".cache" / "tabagent")


def test_a_child_ends_with_its_parent() -> None:
    """Its standard input is the parent's to hold open."""
    command = [CHILD, "trial", str(needs.library()), "model.gguf"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        assert started.stdin is not None
        started.stdin.close()
        assert started.wait(timeout=30) == 2
