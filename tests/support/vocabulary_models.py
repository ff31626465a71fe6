"""Tiny random models with the vocabularies of the pinned llama.cpp tree, and with small ones of the kinds that it has no file of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

import needs
from support.gguf_image import F32, I32, STRING, U32, array, number, text
from support.tiny_models import BYTE, CONTROL, NORMAL, UNKNOWN, tiny_llama
from tabagent import gguf

FILES: Final = (
    "aquila",
    "baichuan",
    "bert-bge",
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "gpt-neox",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "nomic-bert-moe",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
)
SMALL: Final = ("tiny-rwkv-without-eos", "tiny-plamo2", "tiny-ugm")
WIDTH: Final = 32
CONTEXT: Final = 512


def vocabulary_folder() -> Path:
    """Where the vocabularies are."""
    return needs.tree() / "models"


def write_model(name: str, path: Path) -> None:
    """A model of architecture `llama` with one layer, random weights and the vocabulary of that name."""
    if name in SMALL:
        path.write_bytes(_small(name))
        return
    vocabulary = gguf.open(vocabulary_folder() / f"ggml-vocab-{name}.gguf").metadata
    writer = gguf.GgufWriter()
    writer.set("general.architecture", "llama")
    sizes = {"context_length": CONTEXT, "embedding_length": WIDTH, "block_count": 1, "feed_forward_length": 32, "attention.head_count": 2}
    writer.update({f"llama.{key}": value for key, value in sizes.items()})
    writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for key, value in vocabulary.items():
        if key.startswith("tokenizer."):
            is_array = isinstance(value, gguf.GgufArray)
            writer.set(key, value.tolist() if is_array else value, type=vocabulary.type(key))
    weights = np.random.default_rng(len(name))
    matrices = {"attn_q": WIDTH, "attn_k": WIDTH, "attn_v": WIDTH, "attn_output": WIDTH, "ffn_gate": 32, "ffn_up": 32, "ffn_down": WIDTH}
    shapes = {"token_embd": (len(vocabulary["tokenizer.ggml.tokens"]), WIDTH), **{f"blk.0.{name}": (rows, WIDTH) for name, rows in matrices.items()}}
    for tensor, shape in shapes.items():
        writer.add_tensor(f"{tensor}.weight", weights.uniform(-0.5, 0.5, shape).astype(np.float32))
    for tensor in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{tensor}.weight", np.ones(WIDTH, np.float32))
    writer.write(path)


def _small(name: str) -> bytes:
    """The file of a small vocabulary."""
    kind = name.split("-")[1]
    if kind == "plamo2":
        image = tiny_llama("spm")
        words = ["▁", " ", "a", "ab", "yes", "no", '"', '":', "red", "né"]
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
        image.set("tokenizer.ggml.model", text("plamo2"))
        image.set("tokenizer.ggml.tokens", array(STRING, [token.encode() for token in tokens]))
        image.set("tokenizer.ggml.token_type", array(I32, [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(words)]))
        image.set("tokenizer.ggml.scores", array(F32, [*[0.0] * 259, *(-float(rank) for rank in range(len(words)))]))
        image.set("llama.vocab_size", number(U32, len(tokens)))
        embedding = next(tensor for tensor in image.tensors if tensor.name == "token_embd.weight")
        values = np.random.default_rng(1).uniform(-0.5, 0.5, (len(tokens), WIDTH)).astype("<f4")
        image.replace_tensor(embedding, type(embedding)(embedding.name, embedding.kind, (WIDTH, len(tokens)), values.tobytes()))
    else:
        image = tiny_llama(kind)
    if name.endswith("without-eos"):
        for key in ("bos_token_id", "eos_token_id", "unknown_token_id", "add_bos_token"):
            image.remove(f"tokenizer.ggml.{key}")
    image.set("llama.context_length", number(U32, CONTEXT))
    return image.to_bytes()
