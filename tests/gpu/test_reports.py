"""What is said of GPUs before anything is loaded, and by the commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tabagent import LibraryAlreadyLoadedError, Model, list_available_variants


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tabagent", *arguments], capture_output=True, text=True, check=False, timeout=300)


def test_the_variant_tells_its_gpus(backend: str, device: str) -> None:
    (variant,) = [variant for variant in list_available_variants() if variant.name == backend]
    gpu = variant.gpus[0]
    assert gpu.name == device
    assert gpu.fault is None
    assert gpu.memory_total > 0
    assert gpu.description in variant.reason
    assert variant.source == f"companion {backend}"
    if backend == "cuda":
        assert gpu.vendor == "nvidia"
        assert gpu.driver is not None
        assert gpu.compute_capability is not None


def test_the_command_lists_it(backend: str, device: str) -> None:
    done = run("variants", "--json")
    assert done.returncode == 0, done.stderr
    (listed,) = [variant for variant in json.loads(done.stdout)["variants"] if variant["name"] == backend]
    assert listed["usable"]
    assert listed["gpus"][0]["name"] == device
    # What pretends to be a GPU is for those who name it.
    assert listed["selected"] == (listed["gpus"][0]["kind"] != "software")


def test_the_doctor_finds_the_device(backend: str) -> None:
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["ok"], report["checks"]
    (listed,) = [variant for variant in list_available_variants() if variant.name == backend]
    names = [device["id"] for device in report["library"]["devices"]]
    assert (f"{backend}:0" in names) == (not listed.only_named)


def test_a_text_is_generated_by_the_command(smollm2_path: str, device: str) -> None:
    done = run("run", str(smollm2_path), "--raw", "-p", "1, 2, 3, 4, 5, 6,", "-n", "9", "--temp", "0", "--device", device)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith("7, 8, 9")


def test_a_process_has_these_backends_or_others(on_gpu: Model, smollm2_path: str) -> None:
    plain = next(variant.name for variant in list_available_variants() if variant.source == "bundled" and variant.usable)
    with pytest.raises(LibraryAlreadyLoadedError, match="use another process"):
        Model.load(smollm2_path, variant=plain)
