"""Tiny random models of every architecture that the pinned llama.cpp knows, and ways to spoil their hyperparameters.

The metadata are written here. Which tensors an architecture has, and of which shape, its own loader tells (`support.tensor_shapes`), so that a new
architecture needs at most some numbers of its own.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np

from support.fake_llama import ROOT
from support.gguf_image import ARRAY, BOOL, F32, F64, STRING, U32, Header, Image, Tensor, Value, array, number, read_header, text
from support.tiny_models import token_count, vocabulary

TESTS: Final = Path(__file__).parent.parent
WIDTH: Final = 64
HEADS: Final = 4
HEAD: Final = WIDTH // HEADS
FEED: Final = 96
LAYERS: Final = 2
RANK: Final = 32
ROPE: Final = 8
DRAW_S: Final = 30.0

Given = bool | float | list[int] | list[float] | list[bool]

#: What every architecture is told; each reads of it what it knows.
COMMON: Final[dict[str, Given]] = {
    "context_length": 256,
    "embedding_length": WIDTH,
    "features_length": WIDTH,
    "block_count": LAYERS,
    "leading_dense_block_count": 1,
    "feed_forward_length": FEED,
    "use_parallel_residual": False,
    "logit_scale": 1.0,
    "time_mix_extra_dim": 16,
    "time_decay_extra_dim": 16,
    "full_attention_interval": 2,
    "attention.head_count": HEADS,
    "attention.head_count_kv": HEADS,
    "attention.max_alibi_bias": 8.0,
    "attention.clamp_kqv": 1.0,
    "attention.layer_norm_epsilon": 1e-5,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.group_norm_epsilon": 1e-5,
    "attention.group_norm_groups": 8,
    "attention.q_lora_rank": RANK,
    "attention.kv_lora_rank": RANK,
    "attention.relative_buckets_count": 8,
    "attention.sliding_window": 32,
    "attention.sliding_window_pattern": 2,
    "attention.indexer.head_count": HEADS,
    "attention.indexer.key_length": HEAD,
    "attention.indexer.top_k": 1024,
    "attention.indexer.block_size": 4,
    "attention.indexer.kpool": 4,
    "attention.indexer.kpool_select_tail": True,
    "attention.indexer.local_blocks": 1,
    "rope.dimension_sections": [HEAD // 4] * 4,
    "expert_feed_forward_length": FEED,
    "expert_shared_feed_forward_length": FEED // 2,
    "expert_latent_length": FEED,
    "interleave_moe_layer_step": 2,
    "expert_count": 2,
    "expert_used_count": 2,
    "expert_shared_count": 1,
    "expert_gating_func": 2,
    "expert_group_scale": 1.0,
    "experts_per_group": 1,
    "posnet.embedding_length": WIDTH,
    "posnet.block_count": LAYERS,
    "convnext.embedding_length": WIDTH,
    "convnext.block_count": LAYERS,
    "xielu.alpha_n": 1.0,
    "xielu.alpha_p": 1.0,
    "xielu.beta": 1.0,
    "xielu.eps": 1e-7,
    "ssm.inner_size": 2 * WIDTH,
    "ssm.conv_kernel": 4,
    "ssm.state_size": 32,
    "ssm.time_step_rank": HEADS,
    "ssm.group_count": 2,
    "kda.head_dim": 32,
    "kda.safe_gate": True,
    "kda.gate_lower_bound": -5.0,
    "wkv.head_size": HEAD,
    "attention.decay_lora_rank": 16,
    "attention.iclr_lora_rank": 16,
    "attention.value_residual_mix_lora_rank": 16,
    "attention.gate_lora_rank": 16,
    "shortconv.l_cache": 3,
    "residual_scale": 1.5,
    "attn_res.block_size": 12,
    "activation.situ_beta": 4.0,
    "activation.situ_linear_beta": 25.0,
}

DENSE: Final[dict[str, Given | None]] = {
    name: None for name in COMMON if name.startswith("expert") or name in {"interleave_moe_layer_step", "leading_dense_block_count"}
}
MIXED_HEADS: Final[dict[str, Given]] = {"attention.head_count": [HEADS, 0], "attention.head_count_kv": [HEADS, 0]}
LATENT: Final[dict[str, Given]] = {
    "attention.head_count": 1,
    "attention.head_count_kv": 1,
    "attention.key_length": RANK + ROPE,
    "attention.value_length": RANK,
    "attention.key_length_mla": HEAD + ROPE,
    "attention.value_length_mla": HEAD,
    "rope.dimension_count": ROPE,
}
HYPER: Final[dict[str, Given]] = {
    "hyper_connection.count": 4,
    "hyper_connection.sinkhorn_iterations": 2,
    "hyper_connection.epsilon": 1e-6,
    "hyper_connection.low_rank": 8,
}
NARROW_STATE: Final[dict[str, Given]] = {"ssm.inner_size": 128}

#: What architectures need in place of that; None leaves a key out.
OWN: Final[dict[str, dict[str, Given | None]]] = {
    "arwkv7": {"token_shift_count": 1},
    "bailingmoe3": {**LATENT, "attention.head_count": [1, 0], "attention.head_count_kv": [1, 0], "rope.dimension_sections": [1, 1, 2, 0]},
    "cohere2moe": {"attention.sliding_window_pattern": [0, 1]},
    "deepseek2": dict(LATENT),
    "deepseek32": {**LATENT, "attention.indexer.head_count": 64, "attention.indexer.key_length": 128},
    "deepseek4": {
        "attention.head_count": HEADS,
        "attention.head_count_kv": 1,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "rope.dimension_count": HEAD // 2,
        "block_count": 4,
        "attention.output_group_count": 4,
        "attention.output_lora_rank": 16,
        "attention.compress_ratios": [0, 0, 4, 128],
        "attention.compress_rope_freq_base": 160000.0,
        "hash_layer_count": 0,
        "swiglu_clamp_exp": 10.0,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": True,
        "expert_gating_func": 4,
        **HYPER,
    },
    "dflash": {"target_layers": [0, 1], "block_size": 4, "attention.sliding_window_pattern": [True, False]},
    "dots3note": {
        **LATENT,
        "attention.kv_lora_rank_swa": RANK,
        "attention.key_length_swa": RANK + ROPE,
        "attention.value_length_swa": RANK,
        "attention.key_length_mla_swa": HEAD + ROPE,
        "attention.value_length_mla_swa": HEAD,
        "rope.freq_base_swa": 10000.0,
        "attention.indexer.types": [1, 0],
        "attention.sliding_window_pattern": [0, 1],
    },
    "eagle3": {"target_layers": [0, 1, 1], "target_hidden_size": WIDTH, "block_count": 1},
    "gemma3n": {"block_count": 22, "embedding_length": 64, "attention.head_count": 1, "attention.head_count_kv": 1},
    "gemma4": {
        "block_count": 5,
        "embedding_length_per_layer_input": WIDTH // 2,
        "attention.shared_kv_layers": 0,
        "attention.key_length_swa": HEAD,
        "attention.value_length_swa": HEAD,
        "rope.freq_base_swa": 10000.0,
        "attention.sliding_window_pattern": [True, True, True, True, False],
    },
    "gemma4-assistant": {
        "embedding_length_out": 2 * WIDTH,
        "nextn_predict_layers": LAYERS,
        "attention.key_length_swa": HEAD,
        "attention.value_length_swa": HEAD,
        "attention.sliding_window_pattern": [True, False],
    },
    "glm-dsa": {**LATENT, "attention.indexer.head_count": 64, "attention.indexer.key_length": 128},
    "glm5-next": {**LATENT, **HYPER, "attention.head_count_kv": [1, 0], "attention.key_length": RANK, "rope.dimension_count": 0},
    "granite_swa": {"attention.sliding_window_pattern": [0, 1]},
    "granitehybrid": dict(MIXED_HEADS),
    "graniteswitch": {
        "adapters.count": 2,
        "adapters.lora_rank": 4,
        "adapters.token_ids_activate": [5, 6],
        "adapters.token_ids_substitute": [7, 8],
    },
    "hrm_text": {"block_count": 6, "hrm.layers_per_stack": 1, "hrm.h_cycles": 2, "hrm.l_cycles": 2},
    "hy_v4": {
        **LATENT,
        **HYPER,
        "hyper_connection.magnitude": 2.0,
        "swiglu_clamp_exp": 10.0,
        "expert_weights_scale": 1.0,
        "expert_weights_norm": True,
        "attention.indexer.types": [1, 0],
    },
    "jamba": dict(MIXED_HEADS),
    "kimi-k3": {**LATENT, "attention.head_count": [1, 0], "attention.head_count_kv": [1, 0]},
    "kimi-linear": {**LATENT, "attention.head_count": [1, 0], "attention.head_count_kv": [1, 0]},
    "lfm2": dict(MIXED_HEADS),
    "lfm2moe": dict(MIXED_HEADS),
    "llama4": {"block_count": 4},
    "maple": {"attention.sliding_window_pattern": [0, 1], "swiglu_clamp_exp": 7.0},
    "mimo2": {"attention.sliding_window_pattern": [0, 1]},
    "minimax-m3": {"rope.dimension_count": HEAD, "attention.indexer.head_count": HEADS},
    "mistral4": dict(LATENT),
    "muse-glimmer": {"attention.sliding_window_pattern": [0, 1], "attention.head_count_kv": 2},
    "nemotron_h": {
        "block_count": 3,
        "feed_forward_length": [0, 0, FEED],
        "attention.head_count": [HEADS, 0, HEADS],
        "attention.head_count_kv": [HEADS, 0, HEADS],
    },
    "nemotron_h_moe": {
        "block_count": 3,
        "feed_forward_length": [0, 0, FEED],
        "attention.head_count": [HEADS, 0, HEADS],
        "attention.head_count_kv": [HEADS, 0, HEADS],
    },
    "plamo2": {**MIXED_HEADS, "ssm.group_count": 0},
    "qwen35": dict(NARROW_STATE),
    "qwen35moe": dict(NARROW_STATE),
    "qwen3next": dict(NARROW_STATE),
    "qwen4exp": {
        **NARROW_STATE,
        **HYPER,
        "attention.compress_ratios": [4, 4],
        "attention.indexer.key_length": HEAD,
    },
    "rwkv6qwen2": {"token_shift_count": 1},
    "spark2_5": {"attention.sliding_window_pattern": [0, 1]},
    "step35": {"attention.sliding_window_pattern": [0, 1]},
}
#: Architectures that are drawn with experts.
EXPERTS: Final = frozenset(
    {
        "afmoe",
        "arctic",
        "bailingmoe",
        "bailingmoe2",
        "bailingmoe3",
        "cohere2moe",
        "dbrx",
        "deepseek",
        "deepseek2",
        "deepseek2-ocr",
        "deepseek32",
        "deepseek4",
        "dots1",
        "dots3note",
        "ernie4_5-moe",
        "exaone-moe",
        "glm-dsa",
        "glm4moe",
        "glm5-next",
        "gpt-oss",
        "granitemoe",
        "grok",
        "grovemoe",
        "hunyuan-moe",
        "hy_v3",
        "hy_v4",
        "kimi-k3",
        "kimi-linear",
        "laguna",
        "lfm2moe",
        "llada-moe",
        "llama4",
        "maple",
        "mellum",
        "mimo2",
        "minimax-01",
        "minimax-m2",
        "minimax-m3",
        "mistral4",
        "nemotron_h_moe",
        "olmoe",
        "phimoe",
        "qwen2moe",
        "qwen35moe",
        "qwen3moe",
        "qwen3next",
        "qwen3vlmoe",
        "qwen4exp",
        "rnd1",
        "smallthinker",
        "step35",
    }
)


def names() -> list[str]:
    """All architectures that llama.cpp knows and loads: `gptj` has a name and no code."""
    source = (ROOT / "rust/gguf/src/check/architecture.rs").read_text(encoding="utf-8")
    table = source.split("ARCHITECTURES: &[&str] = &[", 1)[1].split("];", 1)[0]
    return [name for name in re.findall(r'"([^"]+)"', table) if name != "gptj"]


def metadata(architecture: str) -> Image:
    """The tiny model of this architecture, still without tensors."""
    image = Image()
    image.set("general.architecture", text(architecture))
    given: dict[str, Given | None] = dict(COMMON)
    if architecture not in EXPERTS:
        given |= DENSE
    given |= OWN.get(architecture, {})
    for name, value in given.items():
        if value is not None:
            image.set(name if name.startswith("xielu.") else f"{architecture}.{name}", encoded(value))
    image.metadata += vocabulary("spm")
    image.set("tokenizer.ggml.token_type_count", number(U32, 2))
    image.set(f"{architecture}.vocab_size", number(U32, token_count(image)))
    return image


def encoded(value: Given) -> Value:
    """A value in the type that loaders read it in."""
    if isinstance(value, list):
        kind = {bool: BOOL, float: F32, int: U32}[type(value[0])]
        return array(kind, list(value))
    if isinstance(value, bool):
        return number(BOOL, value)
    return number(F32 if type(value) is float else U32, value)


def draw(architectures: list[str], library: Path, folder: Path) -> dict[str, str]:
    """Write `NAME.gguf` into `folder` for each architecture; returns why some have none."""
    failed = {}
    for name in architectures:
        image = metadata(name)
        header = folder / "header.gguf"
        header.write_bytes(image.to_bytes())
        command = [sys.executable, "-m", "support.tensor_shapes", str(library), str(header)]
        environment = os.environ | {"GGML_NO_BACKTRACE": "1", "PYTHONPATH": str(TESTS)}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment, timeout=DRAW_S)
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            failed[name] = f"exit code {done.returncode}: {words[-1] if words else ''}"
            continue
        for tensor, shape in json.loads(done.stdout):
            image.tensors.append(Tensor(tensor, 0, tuple(shape), _weights(tensor, shape)))
        (folder / f"{name}.gguf").write_bytes(image.to_bytes())
    return failed


def _weights(name: str, shape: list[int]) -> bytes:
    source = np.random.default_rng(len(name) + sum(shape))
    values = source.normal(0.0, 0.1, int(np.prod(shape))).astype("<f4")
    # The states of state-space layers decay.
    return (-np.abs(values) if "ssm_a" in name else values).tobytes()


def spoiled(path: Path, seed: int) -> bytes:
    """The file with one to three hyperparameters changed; as it is with the seed 0."""
    data = path.read_bytes()
    if not seed:
        return data
    header = read_header(data)
    source = random.Random(f"{path.stem}/{seed}")  # noqa: S311 (reproducible cases)
    own = [key for key, _ in header.metadata if key.startswith(f"{path.stem}.")]
    changed = dict(header.metadata)
    for key in source.sample(own, source.choice([1, 1, 2, 3])):
        value = _other(changed[key], source)
        if value is None:
            del changed[key]
        else:
            changed[key] = value
    start = len(header.to_bytes(header.metadata))
    return Header(header.metadata, header.tensor_count, header.tensor_records).to_bytes(list(changed.items())) + data[start:]


def _other(value: Value, source: random.Random) -> Value | None:
    if source.random() < 0.15:
        return None
    if value.kind == BOOL:
        return number(BOOL, not value.raw[0])
    if value.kind in {F32, F64}:
        return number(value.kind, source.choice([0.0, 1e-30, 0.5, 1.0, 2.0, 100.0, 1e30]))
    if value.kind == U32:
        return number(U32, _other_number(int.from_bytes(value.raw, "little"), source))
    assert value.kind == ARRAY
    assert int.from_bytes(value.raw[:4], "little") in {U32, F32, BOOL, STRING}
    items = [int.from_bytes(value.raw[at : at + 4], "little") for at in range(12, len(value.raw), 4)]
    if source.random() < 0.4:
        return number(U32, _other_number(items[0], source))
    place = source.randrange(len(items))
    wild: list[int | float | bytes] = [_other_number(item, source) if at == place or source.random() < 0.2 else item for at, item in enumerate(items)]
    return array(U32, wild)


def _other_number(own: int, source: random.Random) -> int:
    near = [own + 1, max(own - 1, 0), own * 2, own // 2, own * 3]
    return source.choice([0, 1, 2, 3, 4, 5, 7, 8, 16, 24, 32, 48, 64, 128, 512, *near]) % 2**32
