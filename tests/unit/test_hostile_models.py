"""Hostile model files: no way to spoil a file may kill the process, hang it or eat its memory.

Hundreds of cases by name (`support.hostile`), run in child processes; a crash is fixed by a rule in `rust/gguf/src/check`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import needs
from conftest import SMOLLM2
from support import every_architecture, hostile
from support.hostile_parent import Report, run_cases
from support.tiny_models import VOCABULARIES

#: Cases of each family that a run of the suite takes, evenly spread; the others were run when they were written.
SHARE = 200


def some(names: list[str], count: int = SHARE) -> list[str]:
    """A share of the names, the same in every run."""
    return names if len(names) <= count else random.Random(1).sample(names, count)  # noqa: S311 (reproducible cases)


def check(names: list[str], sources: dict[str, Path] | None = None) -> Report:
    report = run_cases(names, needs.library(), sources or {})
    assert not report.failures, "\n".join(f"{name}: {fault}" for name, fault in report.failures)
    assert len(report.outcomes) == len(names)
    return report


def test_the_good_models_load_and_generate() -> None:
    report = check([f"tiny/{vocab}/good" for vocab in VOCABULARIES])
    assert set(report.outcomes.values()) == {"ok"}


def test_a_crash_of_the_child_is_noticed() -> None:
    report = run_cases(["tiny/spm/good", "nonsense/x", "tiny/bpe/good"], needs.library(), {})
    assert [name for name, _ in report.failures] == ["nonsense/x"]
    assert report.outcomes == {"tiny/spm/good": "ok", "tiny/bpe/good": "ok"}


def test_spoiled_metadata_of_tiny_models_is_harmless() -> None:
    report = check(some(hostile.tiny_case_names(), 360))
    assert any(outcome.startswith("InvalidModelError") for outcome in report.outcomes.values())


def test_spoiled_tensors_and_flipped_bytes_are_harmless() -> None:
    check(some(hostile.tensor_case_names(200)))


def test_every_architecture_with_odd_hyperparameters_is_harmless() -> None:
    names = every_architecture.names()
    assert len(names) > 100
    plain = [f"arch/{name}/0" for name in names]
    odd = [name for name in hostile.architecture_case_names(names, 12) if name not in plain]
    check(plain + some(odd, 100))


def test_spoiled_vocabulary_files_are_harmless() -> None:
    files = {path.stem: path for path in (needs.tree() / "models" / f"ggml-vocab-{name}.gguf" for name in ("bert-bge", "llama-spm", "gpt-2"))}
    for label, path in files.items():
        check(some(hostile.file_case_names(label, path), 20) + hostile.damage_case_names(label, 10), {label: path})


@pytest.mark.model
def test_spoiled_metadata_of_a_real_model_is_harmless() -> None:
    path = needs.model(SMOLLM2)
    check(some(hostile.file_case_names("smollm2", path), 16), {"smollm2": path})


#: Architectures whose tiny models llama.cpp does not survive, or does not load.
FRAIL = {"chameleon", "deepseek4", "dots3note", "gemma4-assistant", "plm", "qwen3tts", "rwkv6qwen2"}


def test_models_of_every_architecture_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "cache"))
    names = every_architecture.names()
    failed = every_architecture.draw(names, needs.library(), tmp_path)
    assert set(failed) <= FRAIL, failed
    drawn = [name for name in names if name not in failed]
    plain = [f"every/{name}/0" for name in drawn]
    report = check(plain + some([f"every/{name}/{seed}" for name in drawn for seed in range(1, 20)], 60), {"every": tmp_path})
    # Random weights may give logits that are no numbers, which sampling refuses.
    sound = {"ok", "UnsupportedModelError", "SamplingError"}
    odd = {name for name in drawn if report.outcomes[f"every/{name}/0"].split(":")[0] not in sound}
    assert odd <= FRAIL, {name: report.outcomes[f"every/{name}/0"] for name in odd - FRAIL}
