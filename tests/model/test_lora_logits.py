"""Merged models against llama.cpp with the adapters beside the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_lora import CASES, TOKENS, tiny_adapters, untied_llama
from tabagent import Model, gguf

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "lora" / "logits.json"


@pytest.mark.parametrize("case", CASES)
def test_merged_models_give_the_logits_of_adapters_at_run_time(case: str, tmp_path: Path) -> None:
    image = untied_llama()
    path = tmp_path / "model.gguf"
    path.write_bytes(image.to_bytes())
    files = {name: tmp_path / f"{name}.gguf" for name in tiny_adapters(image)}
    for name, adapter in tiny_adapters(image).items():
        files[name].write_bytes(adapter.to_bytes())
    if CASES[case]:
        gguf.merge_lora(path, {files[name]: scale for name, scale in CASES[case]}, tmp_path / "merged.gguf")
        path = tmp_path / "merged.gguf"
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    # The settings of `support/lora_logits_golden.py`.
    exact: Any = {"context_size": 64, "threads": 1, "kv_type": "f32", "flash_attention": "off"}
    with Model.load(path, context_size=64, threads=1, gpu_layers=0) as model, model.create_context(**exact) as context:
        context.decode(TOKENS)
        logits = context.logits()
    wanted = np.array(golden[case])
    assert np.abs(logits - wanted).max() < 1e-3
    if CASES[case]:
        assert np.abs(wanted - golden["none"]).max() > 0.1, "the adapter does something"
