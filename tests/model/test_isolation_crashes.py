"""What becomes of a model whose process ends: errors that say how, another process, and streams that go on."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import child
from near_ties import assert_alike
from support.isolated import child_of, children, is_running, wait_for_end, zombies
from support.real_adapters import write_adapter
from support.tiny_models import tiny_llama
from tabagent import ClosedError, EngineCrashedError, InvalidModelError, Model, SamplerConfig

PROMPT = "Once upon a time"
GREEDY = SamplerConfig.greedy()
SEEDED = SamplerConfig(temperature=0.8, seed=7)
SIGNALS = pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS], ids=lambda how: how.name)


def start(path: Path, **options: Any) -> tuple[Model, int]:
    return child_of(lambda: Model.load(path, **{"context_size": 512, "threads": 1, "isolation": "process", **options}))


def kill(process: int, how: int = signal.SIGKILL) -> None:
    os.kill(process, how)


def whole(model: Model, **options: Any) -> str:
    return model.generate(PROMPT, **{"max_tokens": 40, "sampling": SEEDED, **options}).result().text


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    return path


@SIGNALS
def test_a_crash_in_a_stream_is_an_error_that_says_how_and_the_next_call_is_served(smollm2_path: Path, how: signal.Signals) -> None:
    model, process = start(smollm2_path)
    with model:
        expected = whole(model)
        stream = model.generate(PROMPT, max_tokens=400, ignore_eos=True, sampling=SEEDED)
        next(stream)
        kill(process, how)
        with pytest.raises(EngineCrashedError, match=f"the process of model `{smollm2_path}` was killed by `{how.name}`.*next call starts it again"):
            stream.result()
        assert whole(model) == expected
        assert zombies() == set()
        assert len(children()) == 1


def test_a_crash_in_an_async_stream(smollm2_path: Path) -> None:
    model, process = start(smollm2_path)

    async def read() -> None:
        async for _ in model.generate(PROMPT, max_tokens=400, ignore_eos=True):
            if is_running(process):
                kill(process)

    with model, pytest.raises(EngineCrashedError, match="SIGKILL"):
        asyncio.run(read())


def test_a_crash_while_nothing_runs_fails_nobody(smollm2_path: Path) -> None:
    model, process = start(smollm2_path)
    with model:
        expected = whole(model)
        calls: list[Callable[[], bool]] = [
            lambda: whole(model) == expected,
            lambda: model.tokenize(PROMPT) == model.tokenize(PROMPT),
            lambda: model.embed("a").shape == (1, model.info.embedding_dim),
            lambda: model.perplexity(PROMPT * 3).perplexity > 0,
        ]
        for call in calls:
            kill(process)
            wait_for_end_or_zombie(process)
            assert call()
            (process,) = children()
        assert whole(model) == expected


def test_a_crash_in_a_prompt(smollm2_path: Path) -> None:
    model, process = start(smollm2_path, context_size=4096)
    with model:
        stream = model.generate(PROMPT * 700, max_tokens=4)
        until_busy(process)
        kill(process)
        with pytest.raises(EngineCrashedError):
            stream.result()


def test_streams_are_replayed_byte_by_byte(smollm2_path: Path, smollm2: Model) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"sampling": GREEDY},
        {"sampling": SamplerConfig(temperature=1.0, seed=3, repeat_penalty=1.2)},
        {"json_schema": {"type": "array", "items": {"type": "integer"}, "minItems": 6, "maxItems": 8}},
        {"logprobs": 2},
    ]
    expected = [whole(smollm2, **each) for each in options]
    model, process = start(smollm2_path, on_crash="replay")
    with model:
        for each, complete in zip(options, expected, strict=True):
            stream = model.generate(PROMPT, **{"max_tokens": 40, "sampling": SEEDED, **each})
            pieces = []
            for piece in stream:
                pieces.append(piece)
                if len(pieces) in {2, 9}:
                    kill(process)
                    wait_for_end_or_zombie(process)
                    process = new_child(process)
            assert "".join(pieces) == complete, each


@pytest.mark.parametrize("deterministic", [False, True], ids=["together", "one at a time"])
def test_eight_streams_are_replayed(smollm2_path: Path, smollm2: Model, *, deterministic: bool) -> None:
    prompts = [f"{index} men went to" for index in range(8)]
    # Where a text ends may be a near tie, too.
    options: dict[str, Any] = {"max_tokens": 24, "sampling": GREEDY, "ignore_eos": True}
    expected = [smollm2.generate(prompt, **options).result() for prompt in prompts]
    model, process = start(smollm2_path, on_crash="replay", context_size=1024, max_sequences=8, deterministic=deterministic)
    with model:
        streams = [model.generate(prompt, **options) for prompt in prompts]
        begun = [next(stream) for stream in streams]
        kill(process, signal.SIGSEGV)
        texts = [first + "".join(stream) for first, stream in zip(begun, streams, strict=True)]
        done = [stream.result() for stream in streams]
        # What was shown before the crash stands, and nothing comes twice.
        assert texts == [each.text for each in done]
        for prompt, got, want in zip(prompts, done, expected, strict=True):
            if deterministic:
                assert got.text == want.text
            else:
                assert_alike(smollm2, prompt, got.tokens, want.tokens)
        assert model.stats.active == 0


def test_eight_streams_end_with_the_error_and_none_hangs(smollm2_path: Path) -> None:
    model, process = start(smollm2_path)
    with model:
        streams = [model.generate(PROMPT, max_tokens=400, ignore_eos=True, sampling=SEEDED) for _ in range(8)]
        for stream in streams:
            next(stream)
        kill(process)
        for stream in streams:
            with pytest.raises(EngineCrashedError):
                stream.result()
        assert model.stats.active == model.stats.queued == 0


def test_sessions_and_adapters_survive(smollm2_path: Path, smollm2: Model, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "a.gguf", smollm2_path)
    with smollm2.load_adapter(path) as adapter:
        changed = whole(smollm2, adapters=adapter)
    with smollm2.session() as session:
        session.append(PROMPT)
        told = [session.generate(max_tokens=8, sampling=GREEDY).result().text for _ in range(3)]
    model, process = start(smollm2_path)
    with model, model.session() as session:
        adapter = model.load_adapter(path)
        session.append(PROMPT)
        again = []
        for _ in range(3):
            again.append(session.generate(max_tokens=8, sampling=GREEDY).result().text)
            kill(process)
            wait_for_end_or_zombie(process)
            assert whole(model, adapters=adapter) == changed
            (process,) = children()
        assert again == told


@SIGNALS
def test_a_crash_while_it_loads(smollm2_path: Path, how: signal.Signals) -> None:
    before = children()

    def crash(_: float) -> None:
        for process in children() - before:
            kill(process, how)

    with pytest.raises(EngineCrashedError, match=how.name):
        Model.load(smollm2_path, isolation="process", threads=1, progress=crash)
    assert children() == before
    assert zombies() == set()


def test_a_crash_while_it_closes(smollm2_path: Path) -> None:
    model, process = start(smollm2_path)
    stream = model.generate(PROMPT, max_tokens=400, ignore_eos=True)
    next(stream)
    killer = threading.Thread(target=kill, args=(process,))
    killer.start()
    model.close()
    killer.join()
    with pytest.raises((ClosedError, EngineCrashedError)):
        stream.result()
    assert zombies() == set()


def test_a_process_that_is_stopped_does_not_stop_its_parent(smollm2_path: Path) -> None:
    model, process = start(smollm2_path)
    stream = model.generate(PROMPT, max_tokens=400, ignore_eos=True)
    next(stream)
    kill(process, signal.SIGSTOP)
    model.close()
    wait_for_end(process)
    with pytest.raises(ClosedError):
        stream.result()


def test_a_model_file_that_is_cut_while_it_is_mapped_is_an_error(smollm2_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(smollm2_path.read_bytes())
    model, _ = start(path)
    with model:
        expected = whole(model)
        stream = model.generate(PROMPT, max_tokens=400, ignore_eos=True, sampling=SEEDED)
        next(stream)
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(EngineCrashedError, match="SIGBUS"):
            stream.result()
        with pytest.raises((EngineCrashedError, InvalidModelError), match="cut off"):
            whole(model)
        path.write_bytes(smollm2_path.read_bytes())
        assert whole(model) == expected


def test_another_model_in_the_file_is_no_replacement(tiny: Path, smollm2_path: Path) -> None:
    model, process = start(tiny, context_size=64)
    with model:
        kill(process)
        wait_for_end_or_zombie(process)
        tiny.write_bytes(smollm2_path.read_bytes())
        with pytest.raises(EngineCrashedError, match="another model now than when it was loaded"):
            model.tokenize("a")


def test_a_child_that_speaks_no_sense_is_an_error(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "child"
    monkeypatch.setattr("tabagent._trial.CHILD", str(program))
    for script, words in {
        "echo '/a/ggml.c:7: GGML_ASSERT(x) failed' >&2; kill -ABRT $$": r"was killed by `SIGABRT`: `ggml.c:7: GGML_ASSERT\(x\) failed`",
        "exit 3": "ended with exit code 3",
        "head -c 4 >/dev/null; printf 'nonsense of some length' >&0; exec sleep 60": r"cannot be asked|ended|was killed",
    }.items():
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        with pytest.raises(EngineCrashedError, match=words):
            Model.load(tiny, isolation="process")
    assert zombies() == set()


def test_memory_and_descriptors_stay_flat_over_many_crashes(smollm2_path: Path) -> None:
    def kept() -> tuple[int, int, int]:
        gc.collect()
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        rss = int(status.partition("VmRSS:")[2].split()[0])
        return rss, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))  # noqa: PTH208 (counts only)

    model, process = start(smollm2_path)
    with model:
        first = (0, 0, 0)
        for index in range(20):
            stream = model.generate(PROMPT, max_tokens=100, ignore_eos=True)
            next(stream)
            kill(process)
            with pytest.raises(EngineCrashedError):
                stream.result()
            model.tokenize("a")
            (process,) = children()
            if index == 4:
                first = kept()
        last = kept()
    assert last[0] - first[0] < 8 * 1024, "KiB"
    assert last[1:] == first[1:]


def test_nothing_is_left_in_shared_memory(smollm2_path: Path) -> None:
    folder = Path("/dev/shm")  # noqa: S108 (looked at, not written)
    before = set(folder.iterdir())
    model, process = start(smollm2_path)
    with model:
        whole(model)
        kill(process)
        whole(model)
    assert set(folder.iterdir()) <= before


def test_the_interpreter_ends_well_after_a_crash(smollm2_path: Path) -> None:
    program = """
        import os, signal, sys
        from support.isolated import children
        from tabagent import Model
        model = Model.load(sys.argv[1], context_size=512, threads=1, isolation="process", on_crash="replay")
        stream = model.generate("Once", max_tokens=400, ignore_eos=True)
        next(stream)
        (process,) = children()
        os.kill(process, signal.SIGKILL)
        next(stream)
    """
    child.check(program, smollm2_path, environment={"PYTHONPATH": str(Path(__file__).parent.parent)})


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def until_busy(process: int) -> None:
    """Wait until a process has computed for a fifth of a second more."""

    def ticks() -> int:
        return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11])

    begun = ticks()
    until(lambda: ticks() > begun + 20)


def wait_for_end_or_zombie(process: int) -> None:
    until(lambda: not is_running(process))


def new_child(old: int) -> int:
    until(lambda: bool(children() - {old}))
    (process,) = children() - {old}
    return process
