"""Tiny random models whose contexts differ in kind: windows, compressed keys and values, recurrent states, and both."""

from __future__ import annotations

import random
import struct
from typing import Final

from support.gguf_image import F32, U32, Image, Tensor, array, number, text
from support.tiny_models import HEADS, KV_HEADS, WIDTH, token_count, vocabulary

LAYERS: Final = 6
FEED: Final = 64
HEAD: Final = WIDTH // HEADS
KINDS: Final = ("windows", "compressed", "recurrent", "hybrid")

Shapes = dict[str, tuple[int, ...]]


def tiny_context(kind: str) -> Image:
    """A model whose context is of this kind."""
    return {"windows": _windows, "compressed": _compressed, "recurrent": _recurrent, "hybrid": _hybrid}[kind]()


def _windows() -> Image:
    image = _image("gemma3", {"attention.sliding_window": 16, "attention.key_length": HEAD, "attention.value_length": HEAD})
    norms: Shapes = {"attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,), "post_attention_norm": (WIDTH,), "post_ffw_norm": (WIDTH,)}
    return _filled(image, [{**_attention(), **norms, **_feed()}] * LAYERS)


def _compressed() -> Image:
    rank, rope = 16, 8
    sizes = {
        "q_lora_rank": rank,
        "kv_lora_rank": rank,
        "key_length": rank + rope,
        "value_length": rank,
        "key_length_mla": HEAD + rope,
        "value_length_mla": HEAD,
    }
    image = _image("deepseek2", {f"attention.{name}": size for name, size in sizes.items()} | {"leading_dense_block_count": LAYERS})
    image.set("deepseek2.attention.head_count_kv", number(U32, 1))
    image.set("deepseek2.rope.dimension_count", number(U32, rope))
    for name, size in {"expert_count": 0, "expert_used_count": 0, "expert_feed_forward_length": FEED, "expert_shared_count": 0}.items():
        image.set(f"deepseek2.{name}", number(U32, size))
    layer: Shapes = {
        "attn_norm": (WIDTH,),
        "attn_q_a": (WIDTH, rank),
        "attn_q_a_norm": (rank,),
        "attn_q_b": (rank, HEADS * (HEAD + rope)),
        "attn_kv_a_mqa": (WIDTH, rank + rope),
        "attn_kv_a_norm": (rank,),
        "attn_k_b": (HEAD, rank, HEADS),
        "attn_v_b": (rank, HEAD, HEADS),
        "attn_output": (HEADS * HEAD, WIDTH),
    }
    return _filled(image, [{**layer, **_feed()}] * LAYERS, output=True)


def _recurrent() -> Image:
    inner, state, rank, kernel = 2 * WIDTH, 8, 4, 4
    image = _image("mamba", {"ssm.conv_kernel": kernel, "ssm.inner_size": inner, "ssm.state_size": state, "ssm.time_step_rank": rank})
    image.set("mamba.attention.head_count", number(U32, 0))
    image.set("mamba.feed_forward_length", number(U32, 0))
    layer: Shapes = {
        "attn_norm": (WIDTH,),
        "ssm_in": (WIDTH, 2 * inner),
        "ssm_conv1d": (kernel, inner),
        "ssm_conv1d.bias": (inner,),
        "ssm_x": (inner, rank + 2 * state),
        "ssm_dt": (rank, inner),
        "ssm_dt.bias": (inner,),
        "ssm_a": (state, inner),
        "ssm_d": (inner,),
        "ssm_out": (inner, WIDTH),
    }
    return _filled(image, [layer] * LAYERS)


def _hybrid() -> Image:
    image = _image("lfm2", {"shortconv.l_cache": 3})
    image.set("lfm2.attention.head_count_kv", array(U32, [KV_HEADS if layer % 3 == 2 else 0 for layer in range(LAYERS)]))
    norms: Shapes = {"attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,)}
    convolution: Shapes = {
        "attn_norm": (WIDTH,),
        "shortconv.conv": (3, WIDTH),
        "shortconv.in_proj": (WIDTH, 3 * WIDTH),
        "shortconv.out_proj": (WIDTH, WIDTH),
    }
    layers = [{**_attention(), **norms, **_feed()} if layer % 3 == 2 else {**convolution, **_feed()} for layer in range(LAYERS)]
    return _filled(image, layers, norm="token_embd_norm")


def _attention() -> Shapes:
    return {
        "attn_norm": (WIDTH,),
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (WIDTH, HEAD * KV_HEADS),
        "attn_v": (WIDTH, HEAD * KV_HEADS),
        "attn_output": (WIDTH, WIDTH),
    }


def _feed() -> Shapes:
    return {"ffn_norm": (WIDTH,), "ffn_gate": (WIDTH, FEED), "ffn_up": (WIDTH, FEED), "ffn_down": (FEED, WIDTH)}


def _image(architecture: str, sizes: dict[str, int]) -> Image:
    image = Image()
    image.set("general.architecture", text(architecture))
    common = {
        "context_length": 4096,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FEED,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "rope.dimension_count": HEAD,
    }
    for name, size in (common | sizes).items():
        image.set(f"{architecture}.{name}", number(U32, size))
    image.set(f"{architecture}.attention.layer_norm_rms_epsilon", number(F32, 1e-5))
    image.metadata += vocabulary("spm")
    image.set(f"{architecture}.vocab_size", number(U32, token_count(image)))
    return image


def _filled(image: Image, layers: list[Shapes], *, norm: str = "output_norm", output: bool = False) -> Image:
    """The image with random tensors: names without an ending are weights, but for the two of state spaces that have none."""
    tokens = token_count(image)
    shapes: Shapes = {"token_embd.weight": (WIDTH, tokens), f"{norm}.weight": (WIDTH,)}
    if output:
        shapes["output.weight"] = (WIDTH, tokens)
    for index, layer in enumerate(layers):
        for name, shape in layer.items():
            whole = name if name.endswith(".bias") or name in {"ssm_a", "ssm_d"} else f"{name}.weight"
            shapes[f"blk.{index}.{whole}"] = shape
    source = random.Random(0)  # noqa: S311 (weights, not secrets)
    for name, shape in shapes.items():
        count = 1
        for size in shape:
            count *= size
        values = [1.0 if len(shape) == 1 else source.uniform(-0.5, 0.5) for _ in range(count)]
        image.tensors.append(Tensor(name, 0, shape, struct.pack(f"<{count}f", *values)))
    return image
