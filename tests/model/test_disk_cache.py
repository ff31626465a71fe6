"""Beginnings of prompts that outlive a process, in a folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import needs
from near_ties import assert_alike
from support.tiny_memories import MEMORIES, memory_file
from tabagent import Model, SamplerConfig

GREEDY = SamplerConfig.greedy()
SYSTEM = "You keep the lighthouse of a small island. Ships pass at night, and you write down what you see of each. " * 6
CHILD = """
import json, sys
from tabagent import Model, SamplerConfig
with Model.load(sys.argv[1], threads=1, context_size=1024, cache_disk=sys.argv[2]) as model:
    done = model.generate(sys.argv[3], max_tokens=12, sampling=SamplerConfig.greedy(), ignore_eos=True).result()
    print(json.dumps([list(done.tokens), done.usage.cached_tokens, done.usage.prompt_tokens]))
"""


def answer(model: Model, prompt: str | list[int], **options: Any) -> tuple[list[int], int]:
    """The tokens of a greedy text, and how many of the prompt's were there already."""
    done = model.generate(prompt, max_tokens=12, sampling=GREEDY, ignore_eos=True, **options).result()
    return list(done.tokens), done.usage.cached_tokens


def load(path: Path, folder: Path, **options: Any) -> Model:
    return Model.load(path, threads=1, context_size=1024, cache_disk=folder, **options)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.cells"))


def test_another_process_begins_with_what_is_in_the_folder(smollm2_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "of prompts"
    with load(smollm2_path, folder) as model:
        n_system = len(model.tokenize(SYSTEM))
        assert n_system > 100
        assert answer(model, SYSTEM + "First")[1] == 0
        assert files(folder) == []
    assert len(files(folder)) == 1
    assert folder.stat().st_mode & 0o077 == 0
    assert files(folder)[0].stat().st_mode & 0o077 == 0
    command = [sys.executable, "-c", CHILD, str(smollm2_path), str(folder), SYSTEM + "Second"]
    tokens, n_cached, n_prompt = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert n_system - 2 <= n_cached < n_prompt
    with Model.load(smollm2_path, threads=1, context_size=1024) as model:
        assert_alike(model, SYSTEM + "Second", tokens, answer(model, SYSTEM + "Second")[0])
    assert len(files(folder)) == 2


def test_two_processes_share_a_folder(smollm2_path: Path, tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", CHILD, str(smollm2_path), str(tmp_path), SYSTEM + word] for word in ("One", "Two")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    assert [child.wait(120) for child in children] == [0, 0]
    for child in children:
        child.communicate()
    with load(smollm2_path, tmp_path) as model:
        assert answer(model, SYSTEM + "Three")[1] > 100


@pytest.mark.parametrize(
    "options", [{"isolation": "process"}, {"kv_type": "q8_0", "flash_attention": "on"}, {"kv_unified": False, "max_sequences": 2}]
)
def test_however_a_model_is_loaded(options: dict[str, Any], smollm2_path: Path, tmp_path: Path) -> None:
    for _ in range(2):
        with load(smollm2_path, tmp_path, cache_bytes=0, **options) as model:
            others = ["A cat sat on the quay and looked at the boats. " * 30, "The mayor spoke for an hour about the new road. " * 30]
            n_cached = answer(model, SYSTEM)[1]
            for other in others:
                answer(model, other)
            assert answer(model, SYSTEM + "So")[1] > 100
    assert n_cached > 100


def test_what_was_loaded_in_another_way_is_not_used(smollm2_path: Path, tmp_path: Path) -> None:
    with load(smollm2_path, tmp_path) as model:
        answer(model, SYSTEM)
    others: list[dict[str, Any]] = [
        {"kv_type": "q8_0", "flash_attention": "on"},
        {"metadata_overrides": {"llama.rope.freq_base": 20000.0}},
        {"deterministic": True},
    ]
    for options in others:
        with load(smollm2_path, tmp_path, **options) as model:
            assert answer(model, SYSTEM)[1] == 0
    with load(smollm2_path, tmp_path) as model:
        assert answer(model, SYSTEM, cache_prompt=False)[1] == 0
        assert answer(model, SYSTEM)[1] > 100


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _: b""])
def test_damaged_files_are_decoded_anew_and_go(damage: Callable[[bytes], bytes], smollm2_path: Path, tmp_path: Path) -> None:
    with load(smollm2_path, tmp_path) as model:
        expected, _ = answer(model, SYSTEM)
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    with load(smollm2_path, tmp_path) as model:
        assert answer(model, SYSTEM) == (expected, 0)
    assert len(files(tmp_path)) == 1
    with load(smollm2_path, tmp_path) as model:
        assert answer(model, SYSTEM)[1] > 100


def test_the_folder_has_a_limit(smollm2_path: Path, tmp_path: Path) -> None:
    limit = 20 << 20
    prompts = [f"Ship number {number}. " + SYSTEM for number in range(8)]
    with load(smollm2_path, tmp_path, cache_bytes=0, cache_disk_bytes=limit) as model:
        for prompt in prompts:
            assert answer(model, prompt)[1] == 0
    assert 0 < sum(file.stat().st_size for file in files(tmp_path)) <= limit
    assert len(files(tmp_path)) < len(prompts)
    with load(smollm2_path, tmp_path, cache_disk_bytes=0) as model:
        assert answer(model, prompts[-1])[1] > 100


def test_a_process_of_its_own_gives_its_cells_at_the_end(smollm2_path: Path, tmp_path: Path) -> None:
    with load(smollm2_path, tmp_path, isolation="process") as model:
        answer(model, SYSTEM)
    assert len(files(tmp_path)) == 1
    with load(smollm2_path, tmp_path) as model:
        assert answer(model, SYSTEM)[1] > 100


@pytest.mark.parametrize("kind", sorted(MEMORIES))
def test_all_kinds_of_memories_go_on_from_what_they_left(kind: str, tmp_path: Path) -> None:
    path = memory_file(kind, tmp_path)
    folder = tmp_path / "cache"
    prompt = [5 + number % 90 for number in range(150)]
    with load(path, folder) as model:
        first = model.generate(prompt, max_tokens=12, sampling=GREEDY, ignore_eos=True).result()
        # What a conversation's next turn begins with.
        longer = [*prompt, *first.tokens, 7, 8, 9]
    assert len(files(folder)) == 1
    with Model.load(path, threads=1, context_size=1024) as model:
        expected, _ = answer(model, longer)
    with load(path, folder) as model:
        tokens, n_cached = answer(model, longer)
        assert n_cached >= len(prompt)
        assert_alike(model, longer, expected, tokens)


def test_wrong_folders_are_errors(smollm2_path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file/cache"):
        Model.load(smollm2_path, cache_disk=tmp_path / "file" / "cache")
    with pytest.raises(TypeError, match="`cache_disk` must be"):
        Model.load(smollm2_path, cache_disk=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`cache_disk_bytes` must be"):
        Model.load(smollm2_path, cache_disk=tmp_path, cache_disk_bytes=-1)


def test_a_full_disk_costs_nothing_but_the_cache(smollm2_path: Path, tmp_path: Path) -> None:
    resource = needs.package("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with load(smollm2_path, tmp_path, cache_bytes=0) as model:
        expected, _ = answer(model, SYSTEM)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            answer(model, "A cat sat on the quay and looked at the boats. " * 60)
            assert answer(model, SYSTEM)[0] == expected
            model.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
