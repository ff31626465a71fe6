"""Tiny random models that embed or rank, of several architectures, as files that llama.cpp loads and runs."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from typing import Final

import numpy as np

from support.gguf_image import BOOL, F32, STRING, U32, Image, Tensor, Value, array, number, text
from support.tiny_models import token_count, vocabulary

WIDTH: Final = 32
HEADS: Final = 4
LAYERS: Final = 2
FFN: Final = 48
CONTEXT: Final = 128
POOLINGS: Final = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}

Shapes = dict[str, tuple[int, ...]]


def tiny_embedder(
    architecture: str,
    *,
    pooling: str | None = None,
    labels: int | None = None,
    dense: bool = False,
    vocab: str | None = None,
    template: str | None = None,
    context: int = CONTEXT,
    seed: int = 1,
) -> Image:
    """A model with random weights. `labels`: it has a classifier with so many outputs. `dense`: vectors go through two more layers."""
    image = Image()
    image.set("general.architecture", text(architecture))
    image.set("general.name", text("tiny"))
    image.set("general.file_type", number(U32, 0))
    for key, value in (_metadata(architecture, context)).items():
        image.set(f"{architecture}.{key}", value)
    if "bert" in architecture:
        image.set("tokenizer.ggml.token_type_count", number(U32, 2))
    if pooling is not None:
        image.set(f"{architecture}.pooling_type", number(U32, POOLINGS[pooling]))
    image.metadata += vocabulary(vocab or VOCABULARIES[architecture])
    if template is not None:
        image.set("tokenizer.chat_template.rerank", text(template))
    shapes = _shapes(architecture, token_count(image), context)
    if labels is not None:
        shapes |= _classifier(architecture, labels)
        names = array(STRING, [f"label{index}".encode() for index in range(labels)])
        image.set(f"{architecture}.classifier.output_labels", names)
    if dense:
        shapes |= _dense(image, architecture)
    source = random.Random(seed)  # noqa: S311 (weights, not secrets)
    for name, shape in shapes.items():
        image.tensors.append(Tensor(name, 0, shape, _numbers(source, name, shape)))
    return image


def weights_of(image: Image) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """The weights, rows first."""
    return {tensor.name: np.frombuffer(tensor.data, "<f4").reshape(tensor.shape[::-1]).astype(np.float64) for tensor in image.tensors}


VOCABULARIES: Final[Mapping[str, str]] = {
    "bert": "wpm",
    "nomic-bert": "wpm",
    "jina-bert-v2": "wpm",
    "t5encoder": "ugm",
    "qwen2": "bpe",
    "qwen3": "bpe",
    "gemma-embedding": "spm",
    "llama": "spm",
    "gpt2": "bpe",
    "mamba": "bpe",
}


def _metadata(architecture: str, context: int) -> dict[str, Value]:
    common = {
        "context_length": number(U32, context),
        "embedding_length": number(U32, WIDTH),
        "block_count": number(U32, LAYERS),
        "feed_forward_length": number(U32, FFN),
        "attention.head_count": number(U32, HEADS),
    }
    norm = number(F32, 1e-5)
    if architecture in {"bert", "nomic-bert", "jina-bert-v2"}:
        return {**common, "attention.layer_norm_epsilon": number(F32, 1e-12), "attention.causal": number(BOOL, 0)}
    if architecture == "gpt2":
        return {**common, "attention.layer_norm_epsilon": norm}
    if architecture == "t5encoder":
        return {
            **common,
            "attention.layer_norm_rms_epsilon": norm,
            "attention.relative_buckets_count": number(U32, 8),
            "attention.key_length": number(U32, WIDTH // HEADS),
            "attention.value_length": number(U32, WIDTH // HEADS),
        }
    if architecture == "gemma-embedding":
        return {
            **common,
            "attention.layer_norm_rms_epsilon": norm,
            "attention.head_count_kv": number(U32, 2),
            "attention.key_length": number(U32, WIDTH // HEADS),
            "attention.value_length": number(U32, WIDTH // HEADS),
            "attention.sliding_window": number(U32, 16),
            "attention.sliding_window_pattern": number(U32, 2),
        }
    if architecture == "mamba":
        ssm = {"conv_kernel": 4, "inner_size": 2 * WIDTH, "state_size": 8, "time_step_rank": 4}
        return {**common, **{f"ssm.{key}": number(U32, value) for key, value in ssm.items()}, "attention.layer_norm_rms_epsilon": norm}
    return {
        **common,
        "attention.layer_norm_rms_epsilon": norm,
        "attention.head_count_kv": number(U32, 2),
        "attention.key_length": number(U32, WIDTH // HEADS),
        "attention.value_length": number(U32, WIDTH // HEADS),
        "rope.dimension_count": number(U32, WIDTH // HEADS),
        "rope.freq_base": number(F32, 10000.0),
    }


def _shapes(architecture: str, tokens: int, context: int) -> Shapes:
    shapes: Shapes = {"token_embd.weight": (WIDTH, tokens)}
    if architecture in {"bert", "nomic-bert", "jina-bert-v2"}:
        shapes |= {"token_types.weight": (WIDTH, 2)} | _with_bias("token_embd_norm", (WIDTH,))
        if architecture == "bert":
            shapes["position_embd.weight"] = (WIDTH, context)
    elif architecture == "t5encoder":
        shapes["enc.output_norm.weight"] = (WIDTH,)
    else:
        shapes["output_norm.weight"] = (WIDTH,)
    if architecture == "gpt2":
        shapes |= {"position_embd.weight": (WIDTH, context), "output_norm.bias": (WIDTH,)}
    for layer in range(LAYERS):
        prefix = "enc.blk" if architecture == "t5encoder" else "blk"
        shapes |= {f"{prefix}.{layer}.{name}": shape for name, shape in _block(architecture, layer).items()}
    return shapes


def _with_bias(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}


def _dense(image: Image, architecture: str) -> Shapes:
    """Two layers after the pooling."""
    for key, value in {"dense_2_feat_in": WIDTH, "dense_2_feat_out": 64, "dense_3_feat_in": 64, "dense_3_feat_out": WIDTH}.items():
        image.set(f"{architecture}.{key}", number(U32, value))
    return {"dense_2.weight": (WIDTH, 64), "dense_3.weight": (64, WIDTH)}


SQUARE: Final = (WIDTH, WIDTH)
HEAD: Final = WIDTH // HEADS
GATED: Final[Shapes] = {"ffn_gate.weight": (WIDTH, FFN), "ffn_up.weight": (WIDTH, FFN)}
BERT: Final[Shapes] = {
    **{key: shape for name in ("attn_q", "attn_k", "attn_v", "attn_output") for key, shape in _with_bias(name, SQUARE).items()},
    **_with_bias("attn_output_norm", (WIDTH,)),
    **_with_bias("layer_output_norm", (WIDTH,)),
    **_with_bias("ffn_down", (FFN, WIDTH)),
}
LLAMA: Final[Shapes] = {
    "attn_norm.weight": (WIDTH,),
    "attn_q.weight": SQUARE,
    "attn_k.weight": (WIDTH, 2 * HEAD),
    "attn_v.weight": (WIDTH, 2 * HEAD),
    "attn_output.weight": SQUARE,
    "ffn_norm.weight": (WIDTH,),
    **GATED,
    "ffn_down.weight": (FFN, WIDTH),
}
QWEN3: Final[Shapes] = {**LLAMA, "attn_q_norm.weight": (HEAD,), "attn_k_norm.weight": (HEAD,)}
T5: Final[Shapes] = {
    **{f"attn_{name}.weight": SQUARE for name in "qkvo"},
    "attn_norm.weight": (WIDTH,),
    "ffn_norm.weight": (WIDTH,),
    **GATED,
    "ffn_down.weight": (FFN, WIDTH),
}
BLOCKS: Final[Mapping[str, Shapes]] = {
    "bert": {**BERT, **_with_bias("ffn_up", (WIDTH, FFN))},
    "jina-bert-v2": {**BERT, **GATED},
    "nomic-bert": {
        "attn_qkv.weight": (WIDTH, 3 * WIDTH),
        "attn_output.weight": SQUARE,
        **GATED,
        "ffn_down.weight": (FFN, WIDTH),
        **_with_bias("attn_output_norm", (WIDTH,)),
        **_with_bias("layer_output_norm", (WIDTH,)),
    },
    "t5encoder": T5,
    "gpt2": {
        **_with_bias("attn_norm", (WIDTH,)),
        **_with_bias("attn_qkv", (WIDTH, 3 * WIDTH)),
        **_with_bias("attn_output", SQUARE),
        **_with_bias("ffn_norm", (WIDTH,)),
        **_with_bias("ffn_up", (WIDTH, FFN)),
        **_with_bias("ffn_down", (FFN, WIDTH)),
    },
    "mamba": {
        "attn_norm.weight": (WIDTH,),
        "ssm_in.weight": (WIDTH, 4 * WIDTH),
        **_with_bias("ssm_conv1d", (4, 2 * WIDTH)),
        "ssm_x.weight": (2 * WIDTH, 20),
        **_with_bias("ssm_dt", (4, 2 * WIDTH)),
        "ssm_a": (8, 2 * WIDTH),
        "ssm_d": (2 * WIDTH,),
        "ssm_out.weight": (2 * WIDTH, WIDTH),
    },
    "llama": LLAMA,
    "qwen2": {**LLAMA, "attn_q.bias": (WIDTH,), "attn_k.bias": (2 * HEAD,), "attn_v.bias": (2 * HEAD,)},
    "qwen3": QWEN3,
    "gemma-embedding": {**QWEN3, "post_attention_norm.weight": (WIDTH,), "post_ffw_norm.weight": (WIDTH,)},
}


def _block(architecture: str, layer: int) -> Shapes:
    relative: Shapes = {"attn_rel_b.weight": (HEADS, 8)} if architecture == "t5encoder" and layer == 0 else {}
    return {**BLOCKS[architecture], **relative}


def _classifier(architecture: str, labels: int) -> Shapes:
    if architecture == "jina-bert-v2":
        return _with_bias("cls", (WIDTH, 1))
    output: Shapes = {"cls.output.weight": (WIDTH, labels)}
    if architecture == "bert":
        return output | _with_bias("cls", (WIDTH, WIDTH)) | {"cls.output.bias": (labels,)}
    return output


def _numbers(source: random.Random, name: str, shape: tuple[int, ...]) -> bytes:
    count = int(np.prod(shape))
    if name.endswith("ssm_a"):
        return struct.pack(f"<{count}f", *(-source.uniform(0.5, 1.5) for _ in range(count)))
    if "norm" in name and name.endswith("weight"):
        return struct.pack(f"<{count}f", *(source.uniform(0.8, 1.2) for _ in range(count)))
    return struct.pack(f"<{count}f", *(source.uniform(-0.5, 0.5) for _ in range(count)))
